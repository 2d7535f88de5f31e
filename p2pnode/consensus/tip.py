"""The tip: the newest final block, which everything that is proposed stands on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tip:
    """Where the chain ends; only the ordering moves it."""

    height: int
    """Newest final height; 0 is genesis."""
    hash: bytes
    """Hash of its block, 32 bytes."""
    time_ms: int
    """Time of its block, as the chain has it."""
    at_ns: int = 0
    """When it became final here."""
