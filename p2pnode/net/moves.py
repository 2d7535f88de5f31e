"""Who has moved, and is to be told on: whose turn it is, when more move than can be told of.

Pure: the time comes in. Identities are free, and each may move as often as it likes, so the turns
are not given in the order of arrival: peers that this node keeps connected come first, and the
others in turns of those who told of them. So what one peer makes up delays the news of no other,
and only news by whoever tells most is dropped.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from p2pnode.ports import PeerId
from p2pnode.types.record import Scope, SignedRecord

WAITING_MAX: Final = 64
"""Peers whose moves wait, besides those kept connected, whose number is their own limit."""

PAUSE_S: Final = 5.0
"""A peer that moves more often is told of this often, with its last address."""


@dataclass(slots=True)
class _Move:
    teller: PeerId
    is_kept: bool
    """The peer is one that this node keeps connected."""
    records: dict[Scope, SignedRecord] = field(default_factory=dict)


class Moves:
    """The newest records of peers that have moved and have not been told on."""

    def __init__(self) -> None:
        self._waiting: dict[PeerId, _Move] = {}
        self._told_s: dict[PeerId, float] = {}
        """When peers were told of, within the pause."""
        self._turns: dict[PeerId, int] = {}
        """Of each teller of whom something waits: its last turn, or that when it began to."""
        self._turn = 0
        self.dropped_count = 0
        """Moves not told on, since start."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, signed: SignedRecord, *, teller: PeerId, is_kept: bool) -> None:
        """Let a record wait in place of an older one; where too many do, one is dropped.

        Args:
            signed: The peer's new record.
            teller: Who told us.
            is_kept: Whether this node keeps the peer connected: that is told on in any case.
        """
        move = self._waiting.get(signed.record.peer)
        if move is None:
            move = self._waiting[signed.record.peer] = _Move(teller, is_kept)
            self._turns.setdefault(teller, self._turn)
        move.is_kept = is_kept
        move.records[signed.record.scope] = signed
        others = [(peer, m) for peer, m in self._waiting.items() if not m.is_kept]
        if len(others) > WAITING_MAX:
            told = Counter(m.teller for _, m in others)
            # Of whom most waits, the newest: what waits longest is told next.
            peer = max(reversed(others), key=lambda entry: told[entry[1].teller])[0]
            del self._waiting[peer]
            self.dropped_count += 1

    def take(self, records_max: int, now_s: float) -> list[SignedRecord]:
        """Take out what is told now: whole peers, as many as there is room for.

        Args:
            records_max: The most that is told at a time; at least one for each scope.
            now_s: The time.
        """
        assert records_max >= len(Scope), records_max
        self._told_s = {p: s for p, s in self._told_s.items() if now_s - s < PAUSE_S}
        found: list[SignedRecord] = []
        for peer in self._in_turn():
            move = self._waiting[peer]
            if len(found) + len(move.records) > records_max:
                break
            found += move.records.values()
            del self._waiting[peer]
            self._told_s[peer] = now_s
            self._turn += 1
            self._turns[move.teller] = self._turn
        tellers = {move.teller: None for move in self._waiting.values()}
        self._turns = {t: turn for t, turn in self._turns.items() if t in tellers}
        return found

    def _in_turn(self) -> list[PeerId]:
        """Return whose moves may be told, in the order of their turns."""
        kept: list[PeerId] = []
        others: dict[PeerId, list[PeerId]] = {}
        for peer, move in self._waiting.items():
            if peer in self._told_s:
                continue
            if move.is_kept:
                kept.append(peer)
            else:
                others.setdefault(move.teller, []).append(peer)
        tellers = sorted(others, key=lambda teller: self._turns[teller])
        rounds = max((len(peers) for peers in others.values()), default=0)
        for place in range(rounds):
            kept += [others[t][place] for t in tellers if place < len(others[t])]
        return kept
