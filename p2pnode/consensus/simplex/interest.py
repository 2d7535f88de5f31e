"""Interest: which items are worth the check of their signatures. A question; it changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from p2pnode.consensus.certs import CertScheme
from p2pnode.consensus.engine import EngineParameters, Epoch, Index, Interest, Item, Signed
from p2pnode.consensus.simplex import votes
from p2pnode.consensus.simplex.pace import Pace
from p2pnode.consensus.simplex.views import Views
from p2pnode.consensus.simplex.votes import Ballot, Kind
from p2pnode.consensus.tally import Counted
from p2pnode.errors import RemoteProtocolError


class Interests:
    """Judges items by what is known of their views."""

    __slots__ = ("_certs", "_epoch", "_pace", "_parameters", "_proposer_of", "_views")

    def __init__(
        self,
        parameters: EngineParameters,
        epoch: Epoch,
        certs: CertScheme,
        views: Views,
        pace: Pace,
        *,
        proposer_of: Callable[[int], Index],
    ) -> None:
        """Take what is asked.

        Args:
            parameters: How far ahead votes are taken.
            epoch: Who votes.
            certs: Decodes certificates.
            views: What is known of each view.
            pace: Who has been quiet.
            proposer_of: Returns the proposer of a view.
        """
        self._parameters = parameters
        self._epoch = epoch
        self._certs = certs
        self._views = views
        self._pace = pace
        self._proposer_of = proposer_of

    def of(self, item: Item, current: int, now_ns: int, *, done: bool) -> Interest:
        """Return what to do with an item.

        Args:
            item: Not checked yet.
            current: The current view.
            now_ns: Now.
            done: The epoch is over.
        """
        try:
            if isinstance(item, Signed):
                ballot = votes.decode_body(item.body)
                return Interest.DROP if done else self._in_vote(item, ballot, current, now_ns)
            ballot = votes.decode_body(self._certs.decode(item).body)
        except RemoteProtocolError:
            # `claims` raises the same error for the host, which then knows whom to blame.
            return Interest.NOW
        return Interest.DROP if done else self._in_certificate(ballot)

    def _in_vote(self, vote: Signed, ballot: Ballot, current: int, now_ns: int) -> Interest:
        number = ballot.view
        if number < self._views.lowest():
            return Interest.DROP
        if not 0 <= vote.sender < len(self._epoch.validators):
            return Interest.NOW  # for `claims` to refuse
        if number > current + self._parameters.window_views:
            return Interest.DROP
        if number > current + 1:
            return Interest.DEFER
        view = self._views.get(number)
        if view is None:
            return Interest.NOW
        tally = view.notarizes if ballot.kind is Kind.NOTARIZE else view.finals
        match tally.foresee(vote.sender, vote.body):
            case Counted.KNOWN:
                return Interest.DROP
            case Counted.CONFLICT:
                return Interest.NOW
        above = number > self._views.floor_view
        if above and ballot.kind is Kind.NOTARIZE and vote.sender == self._proposer_of(number):
            # Even when decided: a late proposal tells that Δ is short, and brings the payload.
            return Interest.NOW
        decided = ballot.kind in view.certificates or (
            ballot.kind is not Kind.NULLIFY and Kind.NULLIFY in view.certificates
        )
        if decided and vote.sender != self._epoch.me:
            # Somebody far away is always too late to decide, but must not count as silent.
            return Interest.NOW if self._pace.quiet(vote.sender, now_ns) else Interest.DROP
        return Interest.NOW

    def _in_certificate(self, ballot: Ballot) -> Interest:
        if ballot.view < self._views.lowest():
            return Interest.DROP
        view = self._views.get(ballot.view)
        if view is None or ballot.kind not in view.certificates:
            return Interest.NOW
        # A second certificate of a kind is news only if it names another block: that is a fork.
        same = ballot.proposal is None or ballot.proposal == view.block
        return Interest.DROP if same else Interest.NOW
