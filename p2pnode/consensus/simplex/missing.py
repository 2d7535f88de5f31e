"""What is missing here and known elsewhere: certificates of views, and heights beyond votes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pnode import codec
from p2pnode.consensus.engine import (
    Behind,
    CancelTimer,
    Effect,
    Epoch,
    Fetch,
    Index,
    SetTimer,
)
from p2pnode.consensus.simplex.views import Views

HINTS_MAX: Final = 2
"""Validators that a Fetch or Behind names."""


class Missing:
    """Asks for what the rules lack, not before its relay had its time."""

    __slots__ = ("_asking", "_behind", "_emit", "_epoch", "_hint", "_views", "wanted")

    def __init__(self, epoch: Epoch, views: Views, emit: Callable[[Effect], None]) -> None:
        """Start with nothing missing.

        Args:
            epoch: Whom to ask.
            views: What is known.
            emit: Takes effects.
        """
        self._epoch = epoch
        self._views = views
        self._emit = emit
        self.wanted: tuple[int, ...] = ()
        """Views of which the rules just tried lack a notarization or nullification."""
        self._asking = False
        self._behind = 0
        self._hint = 0

    def settle(self, delta_ns: int) -> None:
        """Rule: a missing notarization or nullification is asked for, when its relay had its
        time.
        """
        needed = bool(self.wanted) or self._behind > self._views.floor_view
        if needed and not self._asking:
            self._asking = True
            self._emit(SetTimer(("fetch",), delta_ns // 2))
        elif not needed and self._asking:
            self._asking = False
            self._emit(CancelTimer(("fetch",)))

    def due(self, final: int, retry_ns: int) -> None:
        """The timer fired: ask, and again after `retry_ns`.

        Args:
            final: Highest view with a finalization.
            retry_ns: Until the next question.
        """
        if not self._asking:
            return
        self._emit(SetTimer(("fetch",), retry_ns))
        if self.wanted:
            self.ask_for(self.wanted)
        if self._behind > self._views.floor_view:
            self._report_behind(final)

    def stop(self) -> None:
        """The epoch is over: nothing is asked for any more."""
        if self._asking:
            self._emit(CancelTimer(("fetch",)))

    def ask_for(self, views: tuple[int, ...]) -> None:
        """Ask a few validators for the certificates of views."""
        self._emit(Fetch((), tuple((number,) for number in views), self._hints()))

    def fell_behind(self, final: int) -> None:
        """View `final` is final and an ancestor of its block unknown; said once a view."""
        if self._behind < final:
            self._behind = final
            self._report_behind(final)

    def _report_behind(self, final: int) -> None:
        view = self._views.get(final)
        assert view is not None
        assert view.block is not None
        chain = self._views.chain_to(final)
        if isinstance(chain, int):
            self.ask_for((chain,))
        self._emit(Behind(view.block.height, self._hints()))

    def _hints(self) -> tuple[Index, ...]:
        """Return a few other validators, others each time."""
        count = len(self._epoch.validators)
        others = [index for index in range(count) if index != self._epoch.me]
        self._hint += HINTS_MAX
        named = min(HINTS_MAX, len(others))
        return tuple(others[(self._hint + i) % len(others)] for i in range(named))

    def snapshot(self) -> codec.Value:
        """Return the whole state, for fingerprints."""
        return (self.wanted, int(self._asking), self._behind, self._hint)
