"""Whole nodes in one process, in virtual time, from a seed."""
