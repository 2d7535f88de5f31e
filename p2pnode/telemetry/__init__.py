"""Events, structured logs and metrics."""
