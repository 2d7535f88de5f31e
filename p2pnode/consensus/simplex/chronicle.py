"""What people may want to know of the last views: when things came, and why views were skipped.

Written by the engine as it goes, read by nobody but `standing`: no rule depends on it, so it is in
no fingerprint. Bounded: the newest `VIEWS_MAX` views.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from p2pnode.consensus.epoch import Index
from p2pnode.consensus.simplex.summaries import Status
from p2pnode.consensus.simplex.views import Verdict, View
from p2pnode.consensus.simplex.votes import Ballot, Kind, nullify
from p2pnode.consensus.standing import (
    VIEWS_MAX,
    SkipReason,
    Standing,
    ViewOutcome,
    ViewRow,
    VoteCount,
    Whereabouts,
)

_NS_PER_MS: Final = 1_000_000


@dataclass(slots=True)
class _Page:
    """One view."""

    number: int
    entered_ns: int | None = None
    left_ns: int | None = None
    gave_up_ns: int | None = None
    skip: SkipReason | None = None
    """Why we gave it up, if we did."""
    late_ms: int | None = None
    height: int | None = None
    voters: int = 0
    """Bitmap."""
    notarized: bool = False
    nullified: bool = False
    final: bool = False


class Chronicle:
    """The last views of one epoch."""

    __slots__ = ("_current", "_pages", "_timer_at_ns", "_timer_ns", "_where")

    def __init__(self, validators_count: int) -> None:
        """Start empty."""
        self._pages: dict[int, _Page] = {}
        self._current = 0
        self._timer_ns = 0
        self._timer_at_ns = 0
        self._where: list[tuple[int, int]] = [(0, -1)] * validators_count
        """(view, height) by validator; (0, -1) for not heard."""

    def _page(self, number: int) -> _Page:
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = _Page(number)
            if len(self._pages) > VIEWS_MAX:
                del self._pages[min(self._pages)]
        return page

    # --- written by the engine -------------------------------------------------------------------

    def entered(self, now_ns: int, number: int) -> None:
        """The engine entered a view."""
        if self._current in self._pages:
            self._pages[self._current].left_ns = now_ns
        self._current = number
        self._page(number).entered_ns = now_ns

    def armed(self, now_ns: int, timer_ns: int) -> None:
        """The current view's timer runs."""
        self._timer_ns, self._timer_at_ns = timer_ns, now_ns + timer_ns

    def proposed(self, now_ns: int, number: int) -> None:
        """The proposer's own vote in a view came, for the first time."""
        page = self._page(number)
        if page.skip is SkipReason.SILENT and page.gave_up_ns is not None:
            page.skip = SkipReason.LATE
            page.late_ms = (now_ns - page.gave_up_ns) // _NS_PER_MS

    def voted(self, ballot: Ballot, signer: Index) -> None:
        """A vote that is new came, alone or in a certificate."""
        page = self._page(ballot.view)
        page.voters |= 1 << signer
        # Whoever finalizes a view holds its notarization and has entered the next one.
        view = ballot.view + (ballot.kind is Kind.FINALIZE)
        height = -1
        if ballot.proposal is not None:
            page.height = ballot.proposal.height
            height = ballot.proposal.height - (ballot.kind is Kind.NOTARIZE)
        self._seen(signer, view, height)

    def told(self, peer: Index, status: Status) -> None:
        """A summary came."""
        self._seen(peer, status.current, status.height)

    def _seen(self, index: Index, view: int, height: int) -> None:
        known_view, known_height = self._where[index]
        self._where[index] = max(known_view, view), max(known_height, height)

    def gave_up(self, now_ns: int, view: View, *, timed: bool) -> None:
        """We nullified a view; `timed` when it was the timer that made us."""
        page = self._page(view.number)
        page.gave_up_ns = now_ns
        if view.voted is not None:
            page.skip = SkipReason.VOTES
        elif view.proposal is not None:
            page.skip = SkipReason.UNAVAILABLE
        else:
            page.skip = SkipReason.SILENT if timed else SkipReason.OTHERS

    def certified(self, ballot: Ballot) -> None:
        """A certificate formed here, or came."""
        page = self._page(ballot.view)
        page.notarized |= ballot.kind is not Kind.NULLIFY
        page.nullified |= ballot.kind is Kind.NULLIFY
        if ballot.proposal is not None:
            page.height = ballot.proposal.height

    def finalized(self, numbers: Iterable[int]) -> None:
        """The blocks of views became final."""
        for number in numbers:
            if number in self._pages:
                self._pages[number].final = True

    # --- read by people --------------------------------------------------------------------------

    def rows(self, proposer: Index, floor: int) -> tuple[ViewRow, ...]:
        """Return the views up to the current one, oldest first.

        Args:
            proposer: Of the current view; those before had the ones before it in turn.
            floor: The newest view known final.
        """
        count = len(self._where)
        return tuple(
            self._row(self._pages[number], (proposer + number - self._current) % count, floor)
            for number in sorted(self._pages)
            if number <= self._current
        )

    def _row(self, page: _Page, proposer: Index, floor: int) -> ViewRow:
        if page.final:
            outcome = ViewOutcome.FINAL
        elif page.nullified:
            outcome = ViewOutcome.SKIPPED
        elif page.notarized:
            # Below a floor that block sync brought: final, or the child would need a nullification.
            outcome = ViewOutcome.FINAL if page.number <= floor else ViewOutcome.NOTARIZED
        else:
            outcome = ViewOutcome.SKIPPED if page.number < floor else ViewOutcome.OPEN
        skipped = outcome is ViewOutcome.SKIPPED
        duration_ms = None
        if page.entered_ns is not None and page.left_ns is not None:
            duration_ms = (page.left_ns - page.entered_ns) // _NS_PER_MS
        return ViewRow(
            view=page.number,
            proposer=proposer,
            outcome=outcome,
            height=page.height,
            voters=tuple(i for i in range(len(self._where)) if page.voters >> i & 1),
            skip=(page.skip or SkipReason.OTHERS) if skipped else None,
            late_ms=page.late_ms if skipped else None,
            duration_ms=duration_ms,
        )

    def standing(
        self,
        view: View | None,
        proposer: Index,
        floor: int,
        powers: tuple[int, ...],
        *,
        armed: bool,
        delta_ns: int,
        delta_max_ns: int,
    ) -> Standing:
        """Return where the engine stands.

        Args:
            view: What is known of the current view.
            proposer: Of the current view.
            floor: The newest view known final.
            powers: Voting power by validator.
            armed: Whether the view's timer runs.
            delta_ns: The engine's Δ.
            delta_max_ns: Its cap.
        """
        page = self._pages.get(self._current)
        checking = None
        if view is not None and view.checked is Verdict.PENDING and view.proposal is not None:
            checking = view.proposal.digest
        return Standing(
            view=self._current,
            proposer=proposer,
            entered_ns=None if page is None else page.entered_ns,
            proposal_seen=view is not None and view.proposal is not None,
            checking=checking,
            timer_ns=self._timer_ns if armed else None,
            timer_at_ns=self._timer_at_ns if armed else None,
            delta_ns=delta_ns,
            delta_max_ns=delta_max_ns,
            votes=() if view is None else _counts(view, powers),
            recent=self.rows(proposer, floor),
            whereabouts=tuple(
                Whereabouts(view or None, None if height < 0 else height)
                for view, height in self._where
            ),
        )


def _counts(view: View, powers: tuple[int, ...]) -> tuple[VoteCount, ...]:
    signers: dict[str, list[int]] = {}
    nullified = nullify(view.number)
    for vote in view.notarizes.votes():
        signers.setdefault("notarize", []).append(vote.sender)
    for vote in view.finals.votes():
        kind = "nullify" if vote.body == nullified else "finalize"
        signers.setdefault(kind, []).append(vote.sender)
    return tuple(
        VoteCount(kind, tuple(found), sum(powers[i] for i in found))
        for kind, found in signers.items()
    )
