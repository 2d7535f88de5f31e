"""JSON-RPC, health and metrics over HTTP."""
