"""The load: transactions at a steady rate from a process of its own, and what became of them."""
