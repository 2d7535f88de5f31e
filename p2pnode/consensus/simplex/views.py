"""What a simplex node knows, view by view. Facts and questions about them; the rules are in
engine.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from p2pnode import codec
from p2pnode.consensus.engine import Digest, Floor, Index
from p2pnode.consensus.simplex.votes import Kind, Proposal
from p2pnode.consensus.tally import Tally


class Verdict(IntEnum):
    """State of a question to the host."""

    UNASKED = 0
    PENDING = 1
    YES = 2
    NO = 3


@dataclass(slots=True)
class View:
    """Everything known about one view."""

    number: int
    notarizes: Tally
    """Slot ("n", number)."""

    finals: Tally
    """Slot ("f", number): finalize and nullify."""

    proposal: Proposal | None = None
    """What the proposer's first notarize names."""

    seen_ns: int = 0
    """When a proposal of this view was first seen, for pacing; 0 when that was in another life."""

    equivocated: bool = False
    """The proposer signed two proposals."""

    forked: bool = False
    """Two certificates of this view exclude each other; said once."""

    alive: bool = False
    """A proposal or a nullify arrived: the view's timers run without demand."""

    checked: Verdict = Verdict.UNASKED
    """Check of `proposal`."""

    certified: Verdict = Verdict.UNASKED
    """YES: its block may be built on and finalized."""

    certificates: dict[Kind, bytes] = field(default_factory=dict)
    """By kind: notarization, nullification, finalization."""

    block: Proposal | None = None
    """What the notarization or finalization names; a view has one (quorum intersection)."""

    shown: dict[Kind, int] = field(default_factory=dict)
    """By kind: bitmap of the validators that have shown the certificate, or that they hold it."""

    unrelayed: list[Kind] = field(default_factory=list)
    """Certificates that wait for the relay timer."""

    voted: bytes | None = None
    """Body of our notarize, from the moment it is drafted."""

    closed: bytes | None = None
    """Body of our nullify or finalize, from the moment it is drafted: the slot is taken."""

    timed_out: bool = False
    """Our nullify came from a timer that was given its full time."""

    lengthened: bool = False
    """Something of this view already lengthened Δ."""

    def tally(self, kind: Kind) -> Tally:
        """Return the tally in which votes of a kind are counted."""
        return self.notarizes if kind is Kind.NOTARIZE else self.finals

    def take_slot(self, kind: Kind, body: bytes) -> None:
        """Note that we signed a vote."""
        if kind is Kind.NOTARIZE:
            self.voted = body
        else:
            self.closed = body

    def certificate(self, kind: Kind) -> bytes | None:
        """Return the certificate of a kind, if known."""
        return self.certificates.get(kind)

    def show(self, kind: Kind, index: Index | None) -> None:
        """Note that a validator holds a certificate."""
        if index is not None:
            self.shown[kind] = self.shown.get(kind, 0) | 1 << index

    def has_shown(self, kind: Kind, index: Index) -> bool:
        """Tell whether a validator is known to hold a certificate."""
        return bool(self.shown.get(kind, 0) >> index & 1)

    @property
    def usable(self) -> bool:
        """Whether a payload may be built on this view's block."""
        return self.block is not None and self.certified is Verdict.YES

    def __len__(self) -> int:
        return 1 + len(self.notarizes) + len(self.finals) + len(self.certificates)

    def snapshot(self) -> codec.Value:
        """Return the whole state, for fingerprints."""
        return (
            self.number,
            self.notarizes.snapshot(),
            self.finals.snapshot(),
            _proposal_value(self.proposal),
            self.seen_ns,
            int(self.equivocated) | int(self.forked) << 1 | int(self.alive) << 2,
            int(self.checked),
            int(self.certified),
            tuple((int(kind), self.certificates[kind]) for kind in sorted(self.certificates)),
            _proposal_value(self.block),
            tuple((int(kind), self.shown[kind]) for kind in sorted(self.shown)),
            tuple(int(kind) for kind in self.unrelayed),
            self.voted,
            self.closed,
            int(self.timed_out) | int(self.lengthened) << 1,
        )


def _proposal_value(proposal: Proposal | None) -> codec.Value:
    if proposal is None:
        return None
    return (proposal.view, proposal.parent, proposal.height, proposal.digest)


class Views:
    """All views from a little below the floor up to the one after the current."""

    __slots__ = ("_powers", "_tail", "_views", "base", "floor", "floor_view")

    def __init__(self, powers: tuple[int, ...], tail: int) -> None:
        """Start without a floor; `raise_floor` comes before anything else.

        Args:
            powers: Voting power by validator.
            tail: How many views below the floor are kept for stragglers.
        """
        self._powers = powers
        self._tail = tail
        self._views: dict[int, View] = {}
        self.floor = Floor(0, b"", b"")
        self.floor_view = -1

    def get(self, number: int) -> View | None:
        """Return a view if anything is known about it."""
        return self._views.get(number)

    def make(self, number: int) -> View:
        """Return a view, new if nothing was known about it."""
        view = self._views.get(number)
        if view is None:
            view = View(number, Tally(self._powers), Tally(self._powers))
            self._views[number] = view
        return view

    def raise_floor(self, floor: Floor, block: Proposal) -> None:
        """Make `block` final and forget what is below the tail.

        Args:
            floor: Height, digest and proof of the block.
            block: Where it stands; view 0 for the floor of the epoch.
        """
        assert block.view > self.floor_view, (block.view, self.floor_view)
        self.floor, self.floor_view = floor, block.view
        view = self.make(block.view)
        view.block, view.certified = block, Verdict.YES
        for number in [n for n in self._views if n < block.view - self._tail]:
            del self._views[number]

    def lowest(self) -> int:
        """Return the lowest view of which anything is still kept or taken.

        Certificates below the floor help stragglers; late votes there may be evidence.
        """
        return max(self.floor_view - self._tail, 1)

    def parent_for(self, number: int) -> View | int:
        """Return the highest notarized view to build on in view `number`, or the view that stops
        us.

        Every view between must be nullified (eprint 2023/463, §3); the view returned as a number
        is the highest one for which neither certificate is known.
        """
        for candidate in range(number - 1, self.floor_view, -1):
            view = self._views.get(candidate)
            if view is None:
                return candidate
            if view.usable:
                return view
            if view.certificate(Kind.NULLIFY) is None:
                return candidate
        return self._views[self.floor_view]

    def missing_between(self, parent: int, number: int) -> list[int]:
        """Return the views strictly between whose nullification is unknown."""
        missing = []
        for between in range(max(parent, self.floor_view) + 1, number):
            view = self._views.get(between)
            if view is None or view.certificate(Kind.NULLIFY) is None:
                missing.append(between)
        return missing

    def chain_to(self, number: int) -> list[View] | int:
        """Return the blocks above the floor up to that of view `number`, oldest first.

        Returns:
            The views; or the number of the first ancestor (going down) whose block is unknown. A
            number below the floor is a fork of it: more than a third of the power is faulty.
        """
        chain: list[View] = []
        while number > self.floor_view:
            view = self._views.get(number)
            if view is None or view.block is None:
                return number
            chain.append(view)
            number = view.block.parent
        return chain[::-1] if number == self.floor_view else number

    def parent_digest(self, block: Proposal) -> Digest | None:
        """Return the digest that a block's payload names as its parent.

        A payload proposed again is its own parent in the chain of views, but not in the chain of
        payloads.
        """
        while True:
            parent = self._views.get(block.parent)
            if parent is None or parent.block is None:
                return None
            if parent.block.digest != block.digest:
                return parent.block.digest
            block = parent.block

    def notarized_views(self) -> list[View]:
        """Return the views above the floor that have a block, ascending."""
        return [
            self._views[n]
            for n in sorted(self._views)
            if n > self.floor_view and self._views[n].block is not None
        ]

    def compact(self, first: int, stop: int) -> None:
        """Drop the votes of the nullified views from `first` to before `stop`.

        Nothing can become final there, and long stretches of them may wait for a finalization.
        """
        for number in range(max(first, self.floor_view + 1), stop):
            view = self._views.get(number)
            if view is not None and Kind.NULLIFY in view.certificates:
                view.finals.forget()
                if view.block is not None:
                    view.notarizes.forget()

    def __len__(self) -> int:
        return sum(len(view) for view in self._views.values())

    def snapshot(self) -> codec.Value:
        """Return the whole state, for fingerprints."""
        return (
            (self.floor.height, self.floor.digest, self.floor.proof, self.floor_view),
            tuple(self._views[n].snapshot() for n in sorted(self._views)),
        )
