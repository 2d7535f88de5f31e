"""Frames no faster than the terminal shows them, however much a line would store.

Between a program and the person's eyes lie buffers: an ssh channel alone holds 2 MiB, minutes of a
slow line. A write that waits tells nothing about them. So each frame ends with a question that all
terminals answer, and while an answer is overdue, no new frame is drawn: the next one shows the
newest state, and what lay between is left out. A terminal that never answers is not waited for.
"""

from __future__ import annotations

from collections import deque
from typing import Final

ASK: Final = "\x1b[5n"
"""Asks for the terminal's state (DSR), which it gives once it has come so far."""

SLACK_S: Final = 0.1
"""An answer that takes so much longer than the fastest did is overdue. A frame is late by no more
than its answer, so that waiting for one too many costs little."""
GIVE_UP_S: Final = 5.0
"""No answer for so long is no longer waited for."""
ASKED_MAX: Final = 64
"""Most questions under way; frames beyond ask nothing."""


class Pace:
    """Knows which questions have been answered; times in seconds."""

    def __init__(self) -> None:
        """Start knowing nothing of the terminal."""
        self._asked_s: deque[float] = deque()
        self._round_trip_s: float | None = None
        """Of the fastest answer."""

    @property
    def under_way_count(self) -> int:
        """Questions without an answer."""
        return len(self._asked_s)

    @property
    def answers(self) -> bool:
        """Whether the terminal has ever answered."""
        return self._round_trip_s is not None

    def ask(self, now_s: float) -> str:
        """Return what to write after a frame; empty for nothing."""
        # Who has not answered once is asked once.
        if len(self._asked_s) >= (ASKED_MAX if self.answers else 1):
            return ""
        self._asked_s.append(now_s)
        return ASK

    def answered(self, now_s: float) -> None:
        """The terminal has answered the oldest question."""
        if not self._asked_s:
            return
        took_s = now_s - self._asked_s.popleft()
        known_s = self._round_trip_s
        self._round_trip_s = took_s if known_s is None else min(known_s, took_s)

    def hold_s(self, now_s: float) -> float:
        """Return how long to draw nothing, unless an answer comes; 0: draw."""
        if self._round_trip_s is None or not self._asked_s:
            return 0.0
        waited_s = now_s - self._asked_s[0]
        if waited_s <= self._round_trip_s + SLACK_S:
            return 0.0
        if waited_s < GIVE_UP_S:
            return GIVE_UP_S - waited_s
        self._asked_s.clear()
        return 0.0
