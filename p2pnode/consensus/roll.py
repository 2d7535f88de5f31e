"""The roll: when each validator was last heard, and how far it said its chain is final.

For people only; nothing is decided by it.
"""

from __future__ import annotations

from typing import Final

ENTRIES_MAX: Final = 1024
"""Validators remembered, over all epochs; the one heard longest ago goes first."""


class Roll:
    """What was heard of validators, by their peer ids."""

    __slots__ = ("_heard_ns", "_heights")

    def __init__(self) -> None:
        """Start having heard nobody."""
        self._heard_ns: dict[bytes, int] = {}
        self._heights: dict[bytes, int] = {}

    def heard(self, peer: bytes, now_ns: int) -> None:
        """A well-formed message of a validator came from its own peer."""
        self._heard_ns.pop(peer, None)
        self._heard_ns[peer] = now_ns
        if len(self._heard_ns) > ENTRIES_MAX:
            oldest = next(iter(self._heard_ns))
            del self._heard_ns[oldest]
            self._heights.pop(oldest, None)

    def told(self, peer: bytes, height: int) -> None:
        """A validator that was heard told its final height; its word, which may be less after a
        restart.
        """
        if peer in self._heard_ns:
            self._heights[peer] = height

    def heard_ns(self, peer: bytes) -> int | None:
        """Return when a validator was last heard, None for never."""
        return self._heard_ns.get(peer)

    def height(self, peer: bytes) -> int | None:
        """Return the height a validator told last."""
        return self._heights.get(peer)
