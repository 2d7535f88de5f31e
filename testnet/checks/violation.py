"""What a check reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold."""

    check: str
    """Name of the invariant."""
    detail: str
    """What was seen, with numbers."""
