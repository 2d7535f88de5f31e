"""The vocabulary every node agrees on: transactions, batches, payloads, certificates."""
