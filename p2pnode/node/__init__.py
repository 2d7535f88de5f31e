"""The assembly: one Trio nursery in which effects become I/O."""
