"""Adapters of the Store port, and the write-ahead log."""
