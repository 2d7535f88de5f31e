"""Percentiles, the same in every report, status and metric."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

Number = TypeVar("Number", bound=float)


def percentile(ordered: Sequence[Number], percent: int) -> Number:
    """Return a percentile: the least value that more than `percent` % of all do not exceed.

    It is always one of the values, never something between two. So p99 of fewer than 101 values is
    the largest, and p50 of an even number the upper one of the two in the middle.

    Args:
        ordered: The values, ascending, at least one.
        percent: From 0 to 99.
    """
    assert ordered, "no percentile of nothing"
    assert 0 <= percent <= 99, percent
    return ordered[len(ordered) * percent // 100]


class Newest(Generic[Number]):
    """The newest of many values, for their percentiles: sorted once until another one comes."""

    def __init__(self, kept_max: int) -> None:
        """Begin with none.

        Args:
            kept_max: Older ones than so many are forgotten.
        """
        self._values: deque[Number] = deque(maxlen=kept_max)
        self._ordered: list[Number] | None = None

    def add(self, value: Number) -> None:
        """Take one more."""
        self._values.append(value)
        self._ordered = None

    def percentile(self, percent: int) -> Number | None:
        """Return a percentile of those kept, None of none."""
        if not self._values:
            return None
        if self._ordered is None:
            self._ordered = sorted(self._values)
        return percentile(self._ordered, percent)
