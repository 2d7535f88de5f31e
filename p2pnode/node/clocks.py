"""How far the validators' clocks differ from ours, by the times in their final payloads.

A payload carries its proposer's wall clock; it is seen final some time later, about as long for
every proposer. What differs is the clocks. For people only, good to some 100 ms.
"""

from __future__ import annotations

from collections import deque
from typing import Final

SAMPLES_MAX: Final = 8
SAMPLES_MIN: Final = 3
"""Fewer payloads of a proposer say nothing."""

PROPOSERS_MAX: Final = 1024


class Clocks:
    """Times from a payload's own time to its finality here, by proposer."""

    def __init__(self) -> None:
        """Start knowing nothing."""
        self._lags_ms: dict[int, deque[int]] = {}

    def saw(self, proposer: int, lag_ms: int) -> None:
        """A payload became final here so long after its own time; negative where its clock is
        ahead.
        """
        if proposer not in self._lags_ms and len(self._lags_ms) >= PROPOSERS_MAX:
            return
        self._lags_ms.setdefault(proposer, deque(maxlen=SAMPLES_MAX)).append(lag_ms)

    def ahead_ms(self, proposer: int, own: int | None) -> int | None:
        """Return how far a clock is ahead of ours.

        Args:
            proposer: Whose.
            own: Our own index: our own payloads say how long finality takes.
        """
        mine = None if own is None else self._middle(own)
        theirs = self._middle(proposer)
        return None if mine is None or theirs is None else mine - theirs

    def _middle(self, proposer: int) -> int | None:
        lags = self._lags_ms.get(proposer, ())
        return sorted(lags)[len(lags) // 2] if len(lags) >= SAMPLES_MIN else None
