"""Answers: what a peer gets that has told in a summary what it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pnode.consensus.engine import Effect, Epoch, Index, Send, TrafficClass
from p2pnode.consensus.simplex import summaries
from p2pnode.consensus.simplex.summaries import Status
from p2pnode.consensus.simplex.views import Views

ANSWER_VIEWS_MAX: Final = 4
"""Newest views whose own votes an answer repeats."""


class Answers:
    """Sends a peer what it lacks: a finalization, certificates from its floor on, our votes.

    With them a node that lags, restarted or lost messages always moves: the finalization makes it
    final or start block sync, the newest certificate lets it enter our view, the others let it
    build and vote there, and the votes let it form what nobody holds yet.
    """

    __slots__ = ("_emit", "_epoch", "_proposer_of", "_views")

    def __init__(
        self,
        epoch: Epoch,
        views: Views,
        *,
        proposer_of: Callable[[int], Index],
        emit: Callable[[Effect], None],
    ) -> None:
        """Take what is told of.

        Args:
            epoch: Who we are.
            views: What is known of each view.
            proposer_of: Returns the proposer of a view.
            emit: Takes effects.
        """
        self._epoch = epoch
        self._views = views
        self._proposer_of = proposer_of
        self._emit = emit

    def give(self, peer: Index, status: Status, final: int, current: int, *, done: bool) -> None:
        """Answer a summary.

        Args:
            peer: Whose it is.
            status: What it says.
            final: Our highest view with a finalization.
            current: Our current view.
            done: The epoch is over: certificates are still given, votes are not.
        """
        me = self._epoch.me
        if me is None or peer == me:
            return
        for data in summaries.lacking(status, self._views, final, current):
            self._emit(Send((peer,), data, TrafficClass.BULK))
        if done:
            return
        newest_votes = max(status.final, final, current - ANSWER_VIEWS_MAX) + 1
        for number in range(newest_votes, current + 1):
            self._repeat_votes(peer, number, me)

    def _repeat_votes(self, peer: Index, number: int, me: Index) -> None:
        view = self._views.get(number)
        if view is None:
            return
        proposing = self._proposer_of(number) == me
        for tally, traffic in (
            (view.notarizes, TrafficClass.PROPOSAL if proposing else TrafficClass.VOTE),
            (view.finals, TrafficClass.VOTE),
        ):
            own = tally.vote_of(me)
            if own is not None:
                self._emit(Send((peer,), own, traffic))
