"""Counting: votes and certificates become what is known of a view, and lies become evidence."""

from __future__ import annotations

from collections.abc import Callable

from p2pnode.consensus.certs import Certificate, CertScheme
from p2pnode.consensus.engine import Effect, Index, Offence, Persist, Report, Signed
from p2pnode.consensus.simplex.chronicle import Chronicle
from p2pnode.consensus.simplex.views import View, Views
from p2pnode.consensus.simplex.votes import Ballot, Kind
from p2pnode.consensus.tally import Counted


class Counting:
    """Counts in the views' tallies, and keeps certificates; fires no rule."""

    __slots__ = ("_certs", "_chronicle", "_emit", "_proposer_of", "_views")

    def __init__(
        self,
        certs: CertScheme,
        views: Views,
        chronicle: Chronicle,
        *,
        proposer_of: Callable[[int], Index],
        emit: Callable[[Effect], None],
    ) -> None:
        """Start with nothing counted.

        Args:
            certs: Makes certificates of votes.
            views: What is known of each view.
            chronicle: Is told what is new.
            proposer_of: Returns the proposer of a view.
            emit: Takes effects.
        """
        self._certs = certs
        self._views = views
        self._chronicle = chronicle
        self._proposer_of = proposer_of
        self._emit = emit

    def count(self, view: View, ballot: Ballot, vote: Signed) -> bool:
        """Count a vote; tell whether it was new. Two values in a slot are an offence."""
        tally = view.tally(ballot.kind)
        counted = tally.add(vote)
        if counted is Counted.CONFLICT:
            first = tally.vote_of(vote.sender)
            assert first is not None
            self._emit(Offence(vote.sender, first, vote))
            if ballot.kind is Kind.NOTARIZE and vote.sender == self._proposer_of(view.number):
                view.equivocated = True
        if counted is Counted.NEW:
            self._chronicle.voted(ballot, vote.sender)
        return counted is Counted.NEW

    def formed(self, view: View, ballot: Ballot, body: bytes) -> bytes | None:
        """Return the certificate that the votes for a body are, None when there is none yet."""
        tally = view.tally(ballot.kind)
        if tally.power_of(body) < self._certs.quorum:
            return None
        return self._certs.assemble(tally.votes_for(body))

    def keep(self, view: View, ballot: Ballot, data: bytes) -> bool:
        """Keep a certificate that formed here or came; tell whether it was new, and can be."""
        if ballot.proposal is not None and view.block not in (None, ballot.proposal):
            return False
        if ballot.kind in view.certificates:
            return False
        view.certificates[ballot.kind] = data
        self._chronicle.certified(ballot)
        if view.number > self._views.floor_view:
            self._emit(Persist(data, sync=False))
        return True

    def accuse(self, view: View, ballot: Ballot, certificate: Certificate) -> None:
        """Two certificates that cannot both be: whoever signed both is guilty, and is > 1/3."""
        rivals = [ballot.kind] if ballot.kind is Kind.NOTARIZE else [Kind.NULLIFY, Kind.FINALIZE]
        for kind in rivals:
            data = view.certificates.get(kind)
            if data is None or view.forked:
                continue
            other = self._certs.decode(data)
            if other.body == certificate.body:
                continue
            view.forked = True
            self._emit(Report("fork", {"view": view.number}))
            for offence in _offences_of(other, certificate):
                self._emit(offence)


def _offences_of(one: Certificate, other: Certificate) -> list[Offence]:
    """Return the offences of whoever signed both of two certificates that exclude each other."""
    signed = {claim.signer: claim for claim in one.claims()}
    return [
        Offence(
            claim.signer,
            Signed(claim.signer, signed[claim.signer].body, signed[claim.signer].sig),
            Signed(claim.signer, claim.body, claim.sig),
        )
        for claim in other.claims()
        if claim.signer in signed
    ]
