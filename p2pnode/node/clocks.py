"""How far the validators' clocks differ from ours at least, by the times in their final payloads.

A payload carries its proposer's wall clock, and is made after every one below it. What was final
here before its own time comes from a clock ahead of ours; what stands upon a payload of ours with
an earlier time comes from one behind. Both hold however slow we, they, or the network are: what a
delay can explain is not called a clock. So differences below about a payload's way, or the time
between two payloads of ours, are not seen. For people only.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

SAMPLES_MAX: Final = 8
SAMPLES_MIN: Final = 3
"""Fewer payloads of a proposer say nothing; as many have to show a difference: one alone may come
from a clock that was just set, theirs or ours."""

PROPOSERS_MAX: Final = 1024


@dataclass(slots=True)
class _Bounds:
    """What payloads of one proposer prove, the newest last; 0: nothing."""

    ahead_ms: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))
    behind_ms: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))


class Clocks:
    """What final payloads have proved of their proposers' clocks."""

    def __init__(self) -> None:
        """Start knowing nothing."""
        self._bounds: dict[int, _Bounds] = {}
        self._own_ms: int | None = None
        """The time of our newest payload."""

    def saw(self, proposer: int, time_ms: int, now_ms: int, *, own: bool) -> None:
        """A payload became final here, on top of all that did before.

        Args:
            proposer: Whose.
            time_ms: Its own time.
            now_ms: By our clock.
            own: We are the proposer.
        """
        if own:
            self._own_ms = time_ms
            return
        if proposer not in self._bounds and len(self._bounds) >= PROPOSERS_MAX:
            return
        bounds = self._bounds.setdefault(proposer, _Bounds())
        bounds.ahead_ms.append(max(0, time_ms - now_ms))
        bounds.behind_ms.append(0 if self._own_ms is None else max(0, self._own_ms - time_ms))

    def ahead_ms(self, proposer: int) -> int | None:
        """Return how far a clock is ahead of ours at least; 0 when it need not differ.

        Args:
            proposer: Whose; not our own.
        """
        bounds = self._bounds.get(proposer)
        if bounds is None or len(bounds.ahead_ms) < SAMPLES_MIN:
            return None
        ahead_ms, behind_ms = (
            sorted(proved)[-SAMPLES_MIN] for proved in (bounds.ahead_ms, bounds.behind_ms)
        )
        return ahead_ms if ahead_ms >= behind_ms else -behind_ms
