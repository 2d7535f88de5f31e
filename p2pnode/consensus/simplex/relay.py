"""Relay: certificates go on to those who have not shown that they hold them."""

from __future__ import annotations

from collections.abc import Callable

from p2pnode.consensus.engine import (
    Broadcast,
    Effect,
    EngineParameters,
    Epoch,
    Index,
    Send,
    SetTimer,
    TrafficClass,
)
from p2pnode.consensus.simplex.pace import Pace
from p2pnode.consensus.simplex.views import View, Views
from p2pnode.consensus.simplex.votes import Ballot, Kind


class Relay:
    """Sends each certificate to whom it may help; who holds what stands in `View.shown`."""

    __slots__ = ("_emit", "_epoch", "_pace", "_parameters", "_proposer_of", "_views")

    def __init__(
        self,
        parameters: EngineParameters,
        epoch: Epoch,
        views: Views,
        pace: Pace,
        *,
        proposer_of: Callable[[int], Index],
        emit: Callable[[Effect], None],
    ) -> None:
        """Start without a certificate.

        Args:
            parameters: When certificates are relayed.
            epoch: To whom.
            views: What is known of each view.
            pace: The adaptive Δ.
            proposer_of: Returns the proposer of a view.
            emit: Takes effects.
        """
        self._parameters = parameters
        self._epoch = epoch
        self._views = views
        self._pace = pace
        self._proposer_of = proposer_of
        self._emit = emit

    def learned(self, view: View, kind: Kind, data: bytes) -> None:
        """Rule: after Δ/4 to those who have not shown it, to the next proposer at
        once.
        """
        after_ns = self._parameters.relay_after_ns
        me = self._epoch.me
        if me is None:
            return
        if after_ns == 0:
            self._emit(Broadcast(data, TrafficClass.CERT))
            return
        if view.number <= self._views.floor_view:
            return  # the floor's own proof replaces it
        follower = self._proposer_of(view.number + 1)
        ahead = kind is not Kind.FINALIZE and follower != me
        if ahead and not view.has_shown(kind, follower):
            self._emit(Send((follower,), data, TrafficClass.CERT))
            view.show(kind, follower)
        if not view.unrelayed:
            self._emit(
                SetTimer(
                    ("relay", view.number),
                    self._pace.delta_ns // 4 if after_ns is None else after_ns,
                )
            )
        view.unrelayed.append(kind)

    def due(self, number: int, final: int) -> None:
        """The timer of a view fired.

        Args:
            number: The view.
            final: Highest view with a finalization.
        """
        view = self._views.get(number)
        if view is None:
            return
        for kind in view.unrelayed:
            # A newer finalization replaces everything at or below it.
            if number < final or (number == final and kind is not Kind.FINALIZE):
                continue
            to = tuple(
                index
                for index in range(len(self._epoch.validators))
                if index != self._epoch.me and not view.has_shown(kind, index)
            )
            if to:
                self._emit(Send(to, view.certificates[kind], TrafficClass.CERT))
        view.unrelayed = []

    def note_holdings(self, signer: Index, ballot: Ballot) -> None:
        """A correct validator's vote tells which certificates it holds: no need to relay them to
        it.

        A finalize is sent on a notarization; a notarize on that of the parent and the
        nullifications between. Whoever sends finalize gets the others' in all likelihood too, and
        forms the finalization itself; if not, its summary says so.
        """
        proposal = ballot.proposal
        assert proposal is not None
        if ballot.kind is Kind.FINALIZE:
            for kind in (Kind.NOTARIZE, Kind.FINALIZE):
                self._views.make(ballot.view).show(kind, signer)
            return
        parent = self._views.get(proposal.parent)
        if parent is not None:
            parent.show(Kind.NOTARIZE, signer)
        for number in range(max(proposal.parent, self._views.floor_view) + 1, ballot.view):
            between = self._views.get(number)
            if between is not None:
                between.show(Kind.NULLIFY, signer)
