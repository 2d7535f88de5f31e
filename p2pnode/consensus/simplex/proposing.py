"""Proposing: what a proposer does in its view, from the parent it builds on to its own notarize."""

from __future__ import annotations

from collections.abc import Callable

from p2pnode import codec
from p2pnode.consensus.engine import (
    Broadcast,
    Build,
    Digest,
    Draft,
    Effect,
    Epoch,
    Key,
    SetTimer,
    TrafficClass,
)
from p2pnode.consensus.simplex import votes
from p2pnode.consensus.simplex.missing import Missing
from p2pnode.consensus.simplex.pace import Pace
from p2pnode.consensus.simplex.views import Views
from p2pnode.consensus.simplex.votes import Proposal


class Proposing:
    """Asks for a payload on the right parent, and drafts the notarize that proposes it."""

    __slots__ = ("_build", "_emit", "_epoch", "_missing", "_pace", "_views")

    def __init__(
        self,
        epoch: Epoch,
        views: Views,
        pace: Pace,
        missing: Missing,
        emit: Callable[[Effect], None],
    ) -> None:
        """Start with nothing asked for.

        Args:
            epoch: Where it ends.
            views: What is known of each view.
            pace: How fast blocks may follow.
            missing: Gets the view of a parent that is not known.
            emit: Takes effects.
        """
        self._epoch = epoch
        self._views = views
        self._pace = pace
        self._missing = missing
        self._emit = emit
        self._build: tuple[int, int] | None = None
        """(view, view of the parent) of what was asked for."""

    def entered(self) -> None:
        """A view begins: whatever was asked for before is late."""
        self._build = None

    def propose(self, number: int, now_ns: int) -> None:
        """Rule: the proposer builds on the highest notarized parent it can reach over
        nullifications.

        Args:
            number: The current view, of which we are the proposer.
            now_ns: Now.
        """
        view = self._views.make(number)
        if view.voted is not None or view.closed is not None:
            return
        parent = self._views.parent_for(number)
        if isinstance(parent, int):
            self._missing.wanted = (parent,)
            return
        if self._build == (number, parent.number):
            return
        assert parent.block is not None
        self._build = (number, parent.number)
        not_before_ns = self._pace.child_due_ns(parent.seen_ns, now_ns)
        if parent.block.height >= self._epoch.last_height:
            # Rule: nothing new after the last height; its payload is proposed again until final.
            self._emit(SetTimer(("repropose", number), not_before_ns - now_ns))
            return
        self._emit(
            Build(
                self._build,
                parent.block.digest,
                parent.block.height + 1,
                not_before_ns,
                may_be_empty=parent.number > self._views.floor_view,
            )
        )

    def built(self, ctx: Key, payload: Digest | None, current: int, now_ns: int) -> None:
        """The host has built a payload, or has nothing to build one of."""
        if payload is None or self._build is None or ctx != self._build:
            return
        number, parent_number = self._build
        parent = self._views.get(parent_number)
        assert parent is not None
        assert parent.block is not None
        if parent.block.height < self._epoch.last_height:
            proposal = Proposal(number, parent_number, parent.block.height + 1, payload)
            self._draft(proposal, current, now_ns)

    def again(self, number: int, current: int, now_ns: int) -> None:
        """The timer `repropose` fired."""
        if self._build is None or self._build[0] != number:
            return
        parent = self._views.get(self._build[1])
        assert parent is not None
        block = parent.block
        assert block is not None
        if block.height >= self._epoch.last_height:
            proposal = Proposal(number, parent.number, block.height, block.digest)
            self._draft(proposal, current, now_ns)

    def _draft(self, proposal: Proposal, current: int, now_ns: int) -> None:
        view = self._views.make(proposal.view)
        if proposal.view != current or view.voted is not None or view.closed is not None:
            return
        view.voted = votes.notarize(proposal)
        view.seen_ns = view.seen_ns or now_ns
        self._emit(Broadcast(Draft(view.voted), TrafficClass.PROPOSAL))

    def snapshot(self) -> codec.Value:
        """Return the whole state, for fingerprints."""
        return self._build
