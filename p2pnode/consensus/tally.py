"""Counting votes: one per signer and slot, added up by voting power, conflicts kept as evidence."""

from __future__ import annotations

from enum import Enum

from p2pnode import codec
from p2pnode.consensus.engine import Index, Signed


class Counted(Enum):
    """What became of a vote."""

    NEW = 0
    """Counted."""

    KNOWN = 1
    """The same vote again, or one more of a signer already caught."""

    CONFLICT = 2
    """Another value in the same slot: an offence, not counted. Said once per signer."""


class Tally:
    """The votes of one slot of one view, by verified signers."""

    __slots__ = ("_caught", "_power_by_body", "_powers", "_votes")

    def __init__(self, powers: tuple[int, ...]) -> None:
        """Start empty.

        Args:
            powers: Voting power by validator.
        """
        self._powers = powers
        self._votes: dict[Index, Signed] = {}
        self._power_by_body: dict[bytes, int] = {}
        self._caught: dict[Index, Signed] = {}

    def add(self, vote: Signed) -> Counted:
        """Count a vote. The first of a signer stays; the second conflicting one is kept as
        evidence.
        """
        first = self._votes.get(vote.sender)
        if first is None:
            self._votes[vote.sender] = vote
            power = self._powers[vote.sender]
            self._power_by_body[vote.body] = self._power_by_body.get(vote.body, 0) + power
            return Counted.NEW
        if first.body == vote.body or vote.sender in self._caught:
            return Counted.KNOWN
        self._caught[vote.sender] = vote
        return Counted.CONFLICT

    def foresee(self, signer: Index, body: bytes) -> Counted:
        """Tell what `add` would say to a vote, changing nothing."""
        first = self._votes.get(signer)
        if first is None:
            return Counted.NEW
        if first.body == body or signer in self._caught:
            return Counted.KNOWN
        return Counted.CONFLICT

    def power_of(self, body: bytes) -> int:
        """Return the voting power behind a body."""
        return self._power_by_body.get(body, 0)

    def votes_for(self, body: bytes) -> list[Signed]:
        """Return the votes for a body, by ascending signer."""
        return [self._votes[i] for i in sorted(self._votes) if self._votes[i].body == body]

    def votes(self) -> list[Signed]:
        """Return the first vote of every signer, by ascending signer."""
        return [self._votes[i] for i in sorted(self._votes)]

    def vote_of(self, signer: Index) -> Signed | None:
        """Return the first vote of a signer."""
        return self._votes.get(signer)

    def forget(self) -> None:
        """Drop all votes: the slot is decided and out of reach."""
        self._votes.clear()
        self._power_by_body.clear()
        self._caught.clear()

    def __len__(self) -> int:
        return len(self._votes) + len(self._caught)

    def snapshot(self) -> codec.Value:
        """Return the whole state, for fingerprints."""
        return tuple(
            tuple((i, votes[i].body, votes[i].sig) for i in sorted(votes))
            for votes in (self._votes, self._caught)
        )
