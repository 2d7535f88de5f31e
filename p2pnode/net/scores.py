"""Scores of peers: faults add up, time heals, and who reaches -100 is banned for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pnode.ports import PeerId

BAN_SCORE: Final = -100.0
"""At this score a peer is disconnected and refused."""

RECOVERY_PER_S: Final = 0.5
"""Points a score moves back towards 0 in a second."""


@dataclass(slots=True)
class _Entry:
    score: float
    updated_s: float
    banned_until_s: float


class Scores:
    """The scores of the peers that have one other than 0."""

    def __init__(self, *, ban_s: float, peers_max: int = 4096) -> None:
        """Begin with every peer at 0.

        Args:
            ban_s: How long a ban lasts; the score starts at 0 after it.
            peers_max: Peers remembered; the one forgotten first is the one not heard of longest.
        """
        self._ban_s = ban_s
        self._peers_max = peers_max
        self._entries: dict[PeerId, _Entry] = {}

    def penalize(self, peer: PeerId, points: float, now_s: float) -> bool:
        """Lower a score; negative points raise it, to 0 at most.

        Returns:
            True when this has banned the peer.
        """
        if self.banned(peer, now_s):
            return False
        score = min(0.0, self.score(peer, now_s) - points)
        self._entries.pop(peer, None)
        if score == 0.0:
            return False
        is_ban = score <= BAN_SCORE
        until_s = now_s + self._ban_s if is_ban else 0.0
        self._entries[peer] = _Entry(max(score, BAN_SCORE), now_s, until_s)
        if len(self._entries) > self._peers_max:
            del self._entries[next(iter(self._entries))]
        return is_ban

    def score(self, peer: PeerId, now_s: float) -> float:
        """Return a score, 0 (neutral) to -100 (banned)."""
        entry = self._entries.get(peer)
        if entry is None:
            return 0.0
        if entry.banned_until_s:
            return BAN_SCORE if now_s < entry.banned_until_s else 0.0
        return min(0.0, entry.score + (now_s - entry.updated_s) * RECOVERY_PER_S)

    def banned(self, peer: PeerId, now_s: float) -> bool:
        """Tell whether a peer is refused at the moment."""
        entry = self._entries.get(peer)
        return entry is not None and now_s < entry.banned_until_s
