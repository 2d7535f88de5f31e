"""Scores of peers: faults add up, time heals, and who reaches -100 is banned for a while.

A second ban lasts twice as long as the first, and so on up to a cap; a peer that behaves for as
long as the cap after a ban is as good as new.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from p2pnode.ports import BannedPeer, Deduction, PeerId

BAN_SCORE: Final = -100.0
"""At this score a peer is disconnected and refused."""

LOW_SCORE: Final = -50.0
"""Below it a peer is in no gossip mesh and its requests are refused, pings excepted."""

RECOVERY_PER_S: Final = 0.5
"""Points a score moves back towards 0 in a second."""

REASONS_MAX: Final = 8
"""Last deductions remembered of a peer."""

REASON_CHARS_MAX: Final = 160
"""Longest reason remembered."""


@dataclass(slots=True)
class _Entry:
    score: float = 0.0
    updated_s: float = 0.0
    banned_until_s: float = 0.0
    """0 when not banned."""
    bans_count: int = 0
    forgiven_s: float = 0.0
    """When the last ban ended."""
    reasons: deque[tuple[str, float, float]] = field(
        default_factory=lambda: deque(maxlen=REASONS_MAX)
    )
    """(reason, points, when)."""


class Scores:
    """The scores of the peers that have one other than 0, or had."""

    def __init__(self, *, ban_s: float, ban_max_s: float = 86_400.0, peers_max: int = 4096) -> None:
        """Begin with every peer at 0.

        Args:
            ban_s: How long the first ban lasts; the score starts at 0 after it.
            ban_max_s: How long the longest lasts.
            peers_max: Peers remembered; the one forgotten first is the one not heard of longest,
                those not banned before those that are.
        """
        self._ban_s = ban_s
        self._ban_max_s = max(ban_s, ban_max_s)
        self._peers_max = peers_max
        self._entries: dict[PeerId, _Entry] = {}
        self._banned: dict[PeerId, None] = {}
        self.bans_count = 0
        """Bans since start."""

    def penalize(self, peer: PeerId, points: float, now_s: float, reason: str = "") -> bool:
        """Lower a score; negative points raise it, to 0 at most.

        Returns:
            True when this has banned the peer.
        """
        if self.banned(peer, now_s):
            return False
        self._end_ban(peer)
        score = min(0.0, self.score(peer, now_s) - points)
        entry = self._entries.pop(peer, None)
        if entry is None:
            if score == 0.0:
                return False
            entry = _Entry()
        self._shrink()
        self._entries[peer] = entry
        entry.score, entry.updated_s = max(score, BAN_SCORE), now_s
        if points > 0:
            self._note(entry, reason[:REASON_CHARS_MAX], points, now_s)
        if score > BAN_SCORE:
            return False
        if entry.bans_count and now_s - entry.forgiven_s > self._ban_max_s:
            entry.bans_count = 0
        length_s = min(self._ban_s * 2.0 ** min(entry.bans_count, 64), self._ban_max_s)
        entry.bans_count += 1
        entry.banned_until_s = now_s + length_s
        self._banned[peer] = None
        self.bans_count += 1
        return True

    def _note(self, entry: _Entry, reason: str, points: float, now_s: float) -> None:
        # The same thing again and again is one reason: the others stay to be seen.
        if entry.reasons and entry.reasons[-1][0] == reason:
            points += entry.reasons.pop()[1]
        entry.reasons.append((reason, points, now_s))

    def _shrink(self) -> None:
        # Before one is added: with all others banned, the new one would be the one to go.
        if len(self._entries) >= self._peers_max:
            others = (p for p in self._entries if p not in self._banned)
            oldest = next(others, None) or next(iter(self._entries))
            del self._entries[oldest]
            self._banned.pop(oldest, None)

    def _end_ban(self, peer: PeerId) -> None:
        if peer in self._banned:
            del self._banned[peer]
            entry = self._entries[peer]
            entry.score, entry.updated_s = 0.0, entry.banned_until_s
            entry.forgiven_s, entry.banned_until_s = entry.banned_until_s, 0.0

    def forgive(self, now_s: float) -> tuple[PeerId, ...]:
        """End the bans whose time is over; called now and then.

        Returns:
            Whose bans have ended since the last call.
        """
        over = tuple(p for p in self._banned if now_s >= self._entries[p].banned_until_s)
        for peer in over:
            self._end_ban(peer)
        return over

    def score(self, peer: PeerId, now_s: float) -> float:
        """Return a score, 0 (neutral) to -100 (banned)."""
        entry = self._entries.get(peer)
        if entry is None:
            return 0.0
        if entry.banned_until_s:
            return BAN_SCORE if now_s < entry.banned_until_s else 0.0
        return min(0.0, entry.score + (now_s - entry.updated_s) * RECOVERY_PER_S)

    def knows(self, peer: PeerId) -> bool:
        """Tell whether a peer has lost points that are not forgotten."""
        return peer in self._entries

    def banned(self, peer: PeerId, now_s: float) -> bool:
        """Tell whether a peer is refused at the moment."""
        return now_s < self.banned_until_s(peer)

    def banned_until_s(self, peer: PeerId) -> float:
        """Return when a peer's ban ends; 0 without one."""
        entry = self._entries.get(peer)
        return 0.0 if entry is None else entry.banned_until_s

    def reasons(self, peer: PeerId, now_s: float) -> tuple[Deduction, ...]:
        """Return the last deductions of a peer, newest first; equal ones in a row are one."""
        entry = self._entries.get(peer)
        if entry is None:
            return ()
        return tuple(
            Deduction(reason, points, max(0.0, now_s - at_s))
            for reason, points, at_s in reversed(entry.reasons)
        )

    def all_banned(self, now_s: float) -> tuple[BannedPeer, ...]:
        """Return those refused at the moment, ascending by id."""
        return tuple(
            BannedPeer(
                peer,
                self._entries[peer].banned_until_s - now_s,
                self._entries[peer].bans_count,
                self.reasons(peer, now_s),
            )
            for peer in sorted(self._banned)
            if self.banned(peer, now_s)
        )
