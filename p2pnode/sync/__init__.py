"""How a node that was away or late catches up, verifying everything."""
