"""Transactions that wait, and the collator that packs them."""
