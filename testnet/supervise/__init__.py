"""The supervisor: one process that starts, watches, commands and judges a testnet."""
