"""Adversaries, as wrappers around a correct node; no product code knows them."""
