"""Token buckets and meters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.net.rates import Meter, Pace, Rate, RateError, TokenBucket

RATE = Rate(bytes_per_s=1000, messages_per_s=10, burst_s=2)


def test_burst_after_silence_costs_no_pause() -> None:
    bucket = TokenBucket(10, 20)
    assert bucket.spend(20, 0) == 0
    assert bucket.spend(10, 1) == 0


def test_debt_is_paid_at_the_rate() -> None:
    bucket = TokenBucket(10, 20)
    assert bucket.spend(50, 0) == pytest.approx(3)
    assert bucket.spend(0, 1) == pytest.approx(2)
    assert bucket.spend(0, 3) == 0


def test_silence_fills_no_further_than_the_brim() -> None:
    bucket = TokenBucket(10, 20)
    bucket.spend(0, 0)
    assert bucket.spend(21, 1e9) == pytest.approx(0.1)


def test_taking_more_than_there_is_takes_nothing() -> None:
    bucket = TokenBucket(1, 5)
    assert not bucket.take(6, 0)
    assert bucket.take(5, 0)
    assert not bucket.take(1, 0.5)
    assert bucket.take(1, 1.5)


def test_clock_that_goes_back_gives_nothing_and_breaks_nothing() -> None:
    bucket = TokenBucket(1, 5)
    assert bucket.spend(5, 100) == 0
    assert bucket.spend(1, 50) == pytest.approx(1)
    assert bucket.spend(0, 51) == 0


def test_bytes_and_messages_are_limited_each() -> None:
    assert Meter(RATE, grace_s=5).spend(2000, 1, 0).pause_s == 0
    assert Meter(RATE, grace_s=5).spend(3000, 1, 0).pause_s == pytest.approx(1)
    assert Meter(RATE, grace_s=5).spend(0, 30, 0).pause_s == pytest.approx(1)


def test_flooder_is_slowed_first_and_counted_after_the_grace_second_by_second() -> None:
    meter = Meter(RATE, grace_s=5)
    now_s, told = 0.0, []
    meter.spend(2000, 0, now_s)
    for _ in range(20):
        pace = meter.spend(500, 0, now_s)
        assert pace.pause_s > 0
        told.append((now_s, pace.excess_s))
        now_s += pace.pause_s
    assert all(excess == 0 for at_s, excess in told if at_s < 6)
    assert sum(excess for _, excess in told) == int(told[-1][0] - 5)


def test_honest_bursts_are_never_in_excess() -> None:
    meter = Meter(RATE, grace_s=5)
    for second in range(0, 600, 10):
        # 3 s' worth at once, every 10 s: slowed for a moment, never counted.
        assert meter.spend(3000, 20, second).excess_s == 0
        assert meter.spend(1, 0, second + 5) == Pace(0.0, 0)


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 3)), max_size=80))
def test_who_waits_as_told_never_gets_more_than_rate_and_burst(
    steps: list[tuple[int, float]],
) -> None:
    meter = Meter(RATE, grace_s=5)
    now_s, total = 0.0, 0
    for size_bytes, idle_s in steps:
        pause_s = meter.spend(size_bytes, 0, now_s).pause_s
        total += size_bytes
        now_s += pause_s + idle_s
        assert total <= 1000 * now_s + 2000 + 1e-6


@pytest.mark.parametrize("values", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_rate_that_lets_nothing_through_is_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(RateError):
        Rate(*values)


def test_traffic_that_nobody_is_blamed_for_is_slowed_all_the_same() -> None:
    meter = Meter(Rate(1000, 10, is_blamed=False), grace_s=1)
    now_s = 0.0
    for _ in range(50):
        pace = meter.spend(5000, 1, now_s)
        assert pace.excess_s == 0
        now_s += pace.pause_s
    assert now_s > 200


def test_a_flooder_is_counted_although_we_sleep_too_long() -> None:
    meter = Meter(Rate(1 << 20, 500), grace_s=5)
    now_s, excess_s = 0.0, 0
    while now_s < 30:
        pace = meter.spend(2, 1, now_s)
        excess_s += pace.excess_s
        if pace.pause_s:
            now_s += pace.pause_s + 0.005
    assert excess_s >= 10


def test_who_keeps_just_within_the_rate_is_not_told_of_a_debt_long_ago() -> None:
    meter = Meter(Rate(1 << 20, 100, burst_s=1), grace_s=5)
    meter.spend(0, 110, 0.0)
    excess_s, now_s = 0, 0.1
    while now_s < 60:
        now_s += 0.0101
        excess_s += meter.spend(0, 1, now_s).excess_s
    excess_s += meter.spend(0, 30, now_s).excess_s
    assert excess_s <= 1
