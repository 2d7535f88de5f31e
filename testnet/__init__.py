"""Local testnets of real processes, and whole nodes in virtual time."""
