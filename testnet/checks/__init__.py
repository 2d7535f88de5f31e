"""Invariants of a run, judged without the code under test."""
