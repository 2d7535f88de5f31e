"""Adversaries, as wrappers around a correct node."""
