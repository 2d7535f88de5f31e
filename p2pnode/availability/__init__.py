"""Proof, before ordering, that a batch can be rebuilt."""
