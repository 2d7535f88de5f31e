"""Single properties of a faulty link, with numbers to check by hand."""

from __future__ import annotations

import pytest

from p2pnode.net.links.profile import LinkProfile
from p2pnode.net.links.schedule import (
    PIECE_BYTES_MAX,
    QUEUE_BYTES_MAX,
    QUEUE_BYTES_MIN,
    RTO_MARGIN_S,
    SEGMENT_BYTES,
    LinkSchedule,
)


def never() -> float:
    return 0.999999


def test_latency_is_drawn_between_its_bounds_and_order_is_kept() -> None:
    draws = iter([1.0 - 1e-9, 0.0])
    schedule = LinkSchedule(LinkProfile(100, 200), lambda: next(draws))
    schedule.put(b"a", 0.0)
    schedule.put(b"b", 0.01)
    assert schedule.take(0.19) == b""
    assert schedule.next_due_s == pytest.approx(0.2)
    assert schedule.take(0.2) == b"ab"


def test_a_rate_spreads_pieces_over_time() -> None:
    schedule = LinkSchedule(LinkProfile(0, 0, rate_bytes_per_s=1000), never)
    for _ in range(3):
        schedule.put(bytes(100), 0.0)
    assert schedule.take(0.0) == b""
    assert len(schedule.take(0.1001)) == 100
    assert len(schedule.take(0.25)) == 100
    assert schedule.next_due_s == pytest.approx(0.3)


def test_a_lost_tail_waits_for_the_time_out_and_a_lost_head_for_a_round_trip() -> None:
    profile = LinkProfile(50, 50, loss=0.1)
    tail = LinkSchedule(profile, iter([0.0, 0.5]).__next__)
    tail.put(b"vote", 0.0)
    assert tail.next_due_s == pytest.approx(0.05 + 0.1 + RTO_MARGIN_S)
    # The first of five segments is lost once: four behind it tell of it.
    head = LinkSchedule(profile, iter([0.0, 0.5, 0.5, 0.5, 0.5, 0.5]).__next__)
    head.put(bytes(5 * SEGMENT_BYTES), 0.0)
    assert head.next_due_s == pytest.approx(0.05 + 0.1)


def test_a_time_out_doubles_with_each_loss() -> None:
    schedule = LinkSchedule(LinkProfile(0, 0, loss=0.1), iter([0.0, 0.0, 0.0, 0.5]).__next__)
    schedule.put(b"vote", 0.0)
    assert schedule.next_due_s == pytest.approx(RTO_MARGIN_S * (1 + 2 + 4))


def test_a_link_that_loses_everything_still_has_an_end_of_its_draws() -> None:
    schedule = LinkSchedule(LinkProfile(0, 0, loss=1.0), lambda: 0.0)
    schedule.put(b"vote", 0.0)
    assert schedule.next_due_s > 20.0


def test_what_waits_is_bounded_by_what_the_link_carries() -> None:
    slow = LinkSchedule(LinkProfile(0, 0, rate_bytes_per_s=1000), never)
    assert slow.queued_bytes_max == QUEUE_BYTES_MIN
    middle = LinkSchedule(LinkProfile(500, 500, rate_bytes_per_s=1e6), never)
    assert middle.queued_bytes_max == 2_000_000
    fast = LinkSchedule(LinkProfile(10, 10), never)
    assert fast.queued_bytes_max == QUEUE_BYTES_MAX
    while slow.has_room:
        slow.put(bytes(PIECE_BYTES_MAX), 0.0)
    assert slow.queued_bytes < QUEUE_BYTES_MIN + PIECE_BYTES_MAX


def test_bytes_wait_for_the_healing_behind_those_on_the_wire() -> None:
    schedule = LinkSchedule(LinkProfile(100, 100), never)
    schedule.put(b"on the wire, ", 0.0)
    schedule.change(None, cut=True, now_s=0.05)
    schedule.put(b"held", 0.06)
    assert schedule.take(5.0) == b"on the wire, "
    assert schedule.next_due_s == float("inf")
    schedule.change(LinkProfile(100, 100), cut=False, now_s=9.0)
    assert schedule.take(9.09) == b""
    assert schedule.take(9.1) == b"held"
