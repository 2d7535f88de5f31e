"""Allowances of peers: so much of something at once, and what was taken grows back with time."""

from __future__ import annotations

from typing import Final

NS_PER_S: Final = 1_000_000_000

PEERS_MAX: Final = 1024
"""Peers whose spending is known; the one forgotten first is the one that spent longest ago."""


class Allowances:
    """Counts what many peers have taken of one thing."""

    def __init__(self, *, per_s: int, at_once_max: int, peers_max: int = PEERS_MAX) -> None:
        """Begin with all of everybody's.

        Args:
            per_s: How many grow back in a second.
            at_once_max: How many a peer may take after silence.
            peers_max: Peers remembered.
        """
        self._per_s = per_s
        self._at_once_max = at_once_max
        self._peers_max = peers_max
        self._whole_ns: dict[bytes, int] = {}
        """When a peer will have all of its allowance again."""

    def left(self, peer: bytes, now_ns: int) -> int:
        """Return how many a peer may take now."""
        return max(0, self._at_once_max - self.taken(peer, now_ns))

    def taken(self, peer: bytes, now_ns: int) -> int:
        """Return how many a peer has taken that have not grown back."""
        taken_ns = max(0, self._whole_ns.get(peer, 0) - now_ns)
        return -(-taken_ns * self._per_s // NS_PER_S)

    def spend(self, peer: bytes, count: int, now_ns: int) -> None:
        """Note that a peer has taken so many, be it more than are left."""
        if count:
            begin_ns = max(now_ns, self._whole_ns.pop(peer, 0))
            self._whole_ns[peer] = begin_ns + count * NS_PER_S // self._per_s
            if len(self._whole_ns) > self._peers_max:
                del self._whole_ns[next(iter(self._whole_ns))]
