"""Voting: every vote of ours but a proposer's own, drafted here under the rules that make it safe.

At most one notarize a view, and never both finalize and nullify of one (Simplex, eprint 2023/463,
§2). A draft takes its slot at once (`View.voted`, `View.closed`), so that no second one is drafted
while the first is being signed; it counts when it comes back as a message.
"""

from __future__ import annotations

from collections.abc import Callable

from p2pnode.consensus.engine import (
    Broadcast,
    Check,
    Digest,
    Draft,
    Effect,
    Epoch,
    Index,
    SetTimer,
    TrafficClass,
)
from p2pnode.consensus.simplex import votes
from p2pnode.consensus.simplex.chronicle import Chronicle
from p2pnode.consensus.simplex.missing import Missing
from p2pnode.consensus.simplex.pace import Pace
from p2pnode.consensus.simplex.views import Verdict, View, Views
from p2pnode.consensus.simplex.votes import Kind


class Voting:
    """Drafts notarize, finalize and nullify; an observer's drafts none."""

    __slots__ = (
        "_chronicle",
        "_emit",
        "_epoch",
        "_me",
        "_missing",
        "_pace",
        "_proposer_of",
        "_views",
    )

    def __init__(
        self,
        epoch: Epoch,
        views: Views,
        pace: Pace,
        missing: Missing,
        chronicle: Chronicle,
        *,
        proposer_of: Callable[[int], Index],
        emit: Callable[[Effect], None],
    ) -> None:
        """Start with no vote.

        Args:
            epoch: Who we are, and where it ends.
            views: What is known of each view.
            pace: The adaptive Δ.
            missing: Gets the views that a proposal stands on and that are not known.
            chronicle: Is told why we gave a view up.
            proposer_of: Returns the proposer of a view.
            emit: Takes effects.
        """
        self._epoch = epoch
        self._me = epoch.me
        self._views = views
        self._pace = pace
        self._missing = missing
        self._chronicle = chronicle
        self._proposer_of = proposer_of
        self._emit = emit

    def notarize(self, number: int, now_ns: int) -> None:
        """Sign the proposal of the current view.

        Rule: first notarize(c, v) of the proposer, parent usable, gaps nullified, Check ok →
        notarize.

        Check says no → nullify at once. Not answered yet → wait.

        Args:
            number: The current view.
            now_ns: Now.
        """
        view = self._views.get(number)
        if self._me is None or view is None or view.proposal is None:
            return
        if view.voted is not None or view.closed is not None or view.equivocated:
            return
        proposal = view.proposal
        if proposal.parent < self._views.floor_view:
            self.nullify(view, now_ns)  # it would skip a final view
            return
        missing = self._views.missing_between(proposal.parent, view.number)
        parent = self._views.get(proposal.parent)
        if parent is None or parent.block is None:
            missing.insert(0, proposal.parent)
        if missing:
            self._missing.wanted += tuple(missing)
            return
        assert parent is not None
        assert parent.block is not None
        if not parent.usable:
            return  # the host has not certified it yet
        last = parent.block.height >= self._epoch.last_height
        expected = parent.block.height if last else parent.block.height + 1
        if proposal.height != expected or (last and proposal.digest != parent.block.digest):
            self.nullify(view, now_ns)
            return
        if view.checked is Verdict.UNASKED:
            view.checked = Verdict.PENDING
            digest = self._views.parent_digest(proposal)
            if digest is None:
                # Proposed again, and the parent of the first proposal is below what we kept: it is
                # final or notarized, so checked by somebody correct.
                view.checked = Verdict.YES
            else:
                self._emit(
                    Check(
                        ("check", view.number, proposal.digest),
                        proposal.digest,
                        digest,
                        self._proposer_of(view.number),
                        proposal.height,
                    )
                )
        if view.checked is Verdict.YES:
            view.voted = votes.notarize(proposal)
            self._emit(Broadcast(Draft(view.voted), TrafficClass.VOTE))
        elif view.checked is Verdict.NO:
            self.nullify(view, now_ns)

    def checked(self, number: int, digest: Digest, ok: bool) -> None:
        """The host answers the Check of a proposal."""
        view = self._views.get(number)
        asked = view is not None and view.checked is Verdict.PENDING
        if view is not None and asked and view.proposal is not None:
            assert view.proposal.digest == digest
            view.checked = Verdict.YES if ok else Verdict.NO

    def finalize(self, view: View) -> None:
        """Sign that a block may be final.

        Rule: Q notarize(c, v) → finalize(c, v), unless nullify(v) was sent.

        Args:
            view: One whose block is notarized and certified.
        """
        assert view.block is not None
        if (
            self._me is not None
            and view.closed is None
            and not view.equivocated
            and view.number > self._views.floor_view
            and Kind.NULLIFY not in view.certificates
            and Kind.FINALIZE not in view.certificates
        ):
            view.closed = votes.finalize(view.block)
            self._emit(Broadcast(Draft(view.closed), TrafficClass.VOTE))
            self._emit(SetTimer(("final", view.number), 4 * self._pace.delta_ns))

    def nullify(self, view: View, now_ns: int, *, timed: bool = False) -> bool:
        """Give a view up; tell whether that was done now.

        Rule: nullify(v) once, unless finalize(v) was sent.
        """
        if self._me is None or view.closed is not None:
            return False
        view.closed = votes.nullify(view.number)
        self._chronicle.gave_up(now_ns, view, timed=timed)
        self._emit(Broadcast(Draft(view.closed), TrafficClass.VOTE))
        return True
