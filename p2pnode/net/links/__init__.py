"""Links that have latency, loss, a rate or a cut: what they are like, and the faults made of it."""
