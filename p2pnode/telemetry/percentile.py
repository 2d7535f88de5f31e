"""Percentiles, the same in every report, status and metric."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: int) -> float:
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
