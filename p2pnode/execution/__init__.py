"""Deterministic execution of ordered batches, one account range a shard."""
