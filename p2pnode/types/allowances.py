"""Allowances of peers: so much of something at once, and what was taken grows back with time."""

from __future__ import annotations

from typing import Final

PEERS_MAX: Final = 1024
"""Peers whose spending is known; the one forgotten first is the one that spent longest ago."""


class Allowances:
    """Counts what many peers have taken of one thing."""

    def __init__(self, *, unit_ns: int, at_once_max: int, peers_max: int = PEERS_MAX) -> None:
        """Begin with all of everybody's.

        Args:
            unit_ns: Time in which one grows back.
            at_once_max: How many a peer may take after silence.
            peers_max: Peers remembered.
        """
        self._unit_ns = unit_ns
        self._at_once_max = at_once_max
        self._peers_max = peers_max
        self._whole_ns: dict[bytes, int] = {}
        """When a peer will have all of its allowance again."""

    def left(self, peer: bytes, now_ns: int) -> int:
        """Return how many a peer may take now."""
        taken_ns = max(0, self._whole_ns.get(peer, 0) - now_ns)
        return max(0, self._at_once_max - -(-taken_ns // self._unit_ns))

    def spend(self, peer: bytes, count: int, now_ns: int) -> None:
        """Note that a peer has taken so many, be it more than are left."""
        if count:
            whole_ns = max(now_ns, self._whole_ns.pop(peer, 0)) + count * self._unit_ns
            self._whole_ns[peer] = whole_ns
            if len(self._whole_ns) > self._peers_max:
                del self._whole_ns[next(iter(self._whole_ns))]
