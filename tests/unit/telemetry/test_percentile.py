"""Percentiles: one of the values, and more than that share of all do not exceed it."""

from __future__ import annotations

import pytest

from p2pnode.telemetry.percentile import Newest, percentile


@pytest.mark.parametrize("count", [1, 2, 3, 99, 100, 101, 1000])
@pytest.mark.parametrize("percent", [0, 50, 95, 99])
def test_a_percentile_is_the_least_value_that_more_than_its_share_do_not_exceed(
    count: int, percent: int
) -> None:
    values = [float(n) for n in range(count)]
    found = percentile(values, percent)
    assert found in values
    assert 100 * sum(v <= found for v in values) > percent * count
    assert 100 * sum(v < found for v in values) <= percent * count


def test_of_one_value_every_percentile_is_that_value() -> None:
    assert [percentile([0.5], p) for p in (0, 50, 99)] == [0.5] * 3


def test_of_a_hundred_values_p99_is_the_largest_and_p50_the_51st() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 99)) == (51.0, 100.0)


def test_percentiles_of_the_newest_follow_each_value_and_forget_the_oldest() -> None:
    newest: Newest[int] = Newest(3)
    assert newest.percentile(50) is None
    for value, expected in ((9, 9), (1, 9), (5, 5), (2, 2), (2, 2)):
        newest.add(value)
        # Asked twice: the second answer is the remembered one.
        assert [newest.percentile(50), newest.percentile(50)] == [expected] * 2
    assert newest.percentile(99) == 5
