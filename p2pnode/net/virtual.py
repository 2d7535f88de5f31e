"""Virtual time for many nodes in one process: nothing waits, and seeds decide the order of things.

Trio's MockClock does the same through a task, a cancel scope and a search for idleness per jump.
Here the clock itself hands out what is due when no task can run: 15 instead of 40 µs a frame.
"""

from __future__ import annotations

from math import inf
from typing import Protocol

import outcome
import trio


class Events(Protocol):
    """A queue of things that happen at times; under `VirtualTime` they run outside of any task."""

    def next_due(self) -> float:
        """Return the time of the first one, infinity when there is none."""

    def work_off(self, now: float) -> None:
        """Do everything due at `now` or before."""


class VirtualTime(trio.abc.Clock):
    """A Trio clock that jumps to the next deadline or event as soon as every task waits.

    For `trio.run(main, clock=VirtualTime())`. As under any jumping clock, real input and worker
    threads are not waited for, and `wait_all_tasks_blocked` returns only after the last deadline.
    """

    def __init__(self) -> None:
        """Start at time 0."""
        self._now = 0.0
        self._events: Events | None = None
        self._driver: trio.lowlevel.Task | None = None

    async def drive(self, events: Events) -> None:
        """Work off a queue's events until cancelled; one queue at a time.

        Raises:
            Exception: What an event raised.
        """
        assert self._events is None, "virtual time drives one queue of events"
        self._events = events
        self._driver = trio.lowlevel.current_task()
        try:
            await trio.sleep_forever()
        finally:
            self._events = self._driver = None

    def start_clock(self) -> None:
        """Do nothing: time passes only in `deadline_to_sleep_time`."""

    def current_time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Jump; Trio asks this when no task can run.

        Args:
            deadline: The next time at which a task wants to wake.

        Returns:
            Real seconds to wait: none, or unlimited where nothing is left to happen.
        """
        events = self._events
        due = inf if events is None else events.next_due()
        if events is not None and due <= deadline and due < inf:
            self._now = max(self._now, due)
            try:
                events.work_off(self._now)
            except Exception as error:  # noqa: BLE001 - raised again where `drive` waits
                # Here it would end Trio; it belongs to the task that `drive` runs in.
                assert self._driver is not None
                trio.lowlevel.reschedule(self._driver, outcome.Error(error))
            return 0
        if deadline == inf:
            return inf
        self._now = max(self._now, deadline)
        return 0
