"""The timers of the current view: when waiting for its proposal, or for its end, is over."""

from __future__ import annotations

from collections.abc import Callable

from p2pnode import codec
from p2pnode.consensus.engine import CancelTimer, Effect, EngineParameters, Index, SetTimer
from p2pnode.consensus.simplex import votes
from p2pnode.consensus.simplex.pace import Pace
from p2pnode.consensus.simplex.views import View, Views


class ViewTimers:
    """Arms and disarms; what a timer that fires does is the engine's."""

    __slots__ = (
        "_emit",
        "_pace",
        "_parameters",
        "_proposer_of",
        "_views",
        "_waiting",
        "armed",
        "full_time",
        "retrying",
    )

    def __init__(
        self,
        parameters: EngineParameters,
        views: Views,
        pace: Pace,
        *,
        proposer_of: Callable[[int], Index],
        emit: Callable[[Effect], None],
    ) -> None:
        """Start with no timer.

        Args:
            parameters: The least interval between repetitions.
            views: What is known of each view.
            pace: The adaptive Δ, and who is silent.
            proposer_of: Returns the proposer of a view.
            emit: Takes effects.
        """
        self._parameters = parameters
        self._views = views
        self._pace = pace
        self._proposer_of = proposer_of
        self._emit = emit
        self._waiting = False
        self.armed = False
        """The timers `propose` and `advance` run."""
        self.full_time = False
        """They were given their full time: the proposer was not known to be silent."""
        self.retrying = False
        """The timer `retry` runs."""

    def keep(self, number: int, now_ns: int, *, demand: bool) -> int | None:
        """Rule: a view's timers run under own demand, or after a valid message of the view.

        Proposal after 2Δ, advance after 3Δ, counted from when the proposer may propose; both 0
        when it has been silent. An idle network has no timers, so no nullified views.

        Args:
            number: The current view.
            now_ns: Now.
            demand: There is something to propose.

        Returns:
            When the timers were armed just now, how long the view has from here.
        """
        view = self._views.get(number)
        if view is not None and view.closed is not None:
            self.disarm(number, keep_retry=True)
            if not self.retrying and view.closed == votes.nullify(number):
                self.retrying = True
                self._emit(SetTimer(("retry", number), self.retry_ns()))
            return None
        after_ns = None
        alive = view is not None and view.alive
        if not (alive or demand):
            self.disarm(number)
        elif not self.armed:
            self.armed = True
            parent = self._views.parent_for(number)
            start_ns = now_ns
            if not alive and isinstance(parent, View):
                start_ns = self._pace.child_due_ns(parent.seen_ns, now_ns)
            wait_ns = start_ns - now_ns
            delta_ns = self._pace.delta_ns
            if not alive and self._pace.silent(self._proposer_of(number), now_ns):
                wait_ns = delta_ns = 0
            if view is None or view.proposal is None:
                self._emit(SetTimer(("propose", number), wait_ns + 2 * delta_ns))
            after_ns = wait_ns + 3 * delta_ns
            self._emit(SetTimer(("advance", number), after_ns))
            self.full_time = delta_ns > 0
        elif view is not None and view.proposal is not None and self._waiting:
            self._emit(CancelTimer(("propose", number)))
        self._waiting = self.armed and (view is None or view.proposal is None)
        return after_ns

    def disarm(self, number: int, *, keep_retry: bool = False) -> None:
        """Stop the timers of the current view."""
        if self.armed:
            self._emit(CancelTimer(("propose", number)))
            self._emit(CancelTimer(("advance", number)))
            self.armed = False
        if self.retrying and not keep_retry:
            self._emit(CancelTimer(("retry", number)))
            self.retrying = False

    def retry_ns(self) -> int:
        """Return the interval between repetitions."""
        return max(self._parameters.retry_ns, 2 * self._pace.delta_ns)

    def snapshot(self) -> codec.Value:
        """Return the whole state, for fingerprints."""
        return tuple(
            int(flag) for flag in (self.armed, self.retrying, self._waiting, self.full_time)
        )
