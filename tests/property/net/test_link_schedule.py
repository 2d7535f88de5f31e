"""A faulty link delays, slows and stalls bytes; it never loses, makes or swaps any."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.net.links.profile import LinkProfile
from p2pnode.net.links.schedule import PIECE_BYTES_MAX, LinkSchedule, pieces

PROFILES = st.builds(
    lambda low, width, loss, rate, burst: LinkProfile(
        low, low + width, loss=loss, rate_bytes_per_s=rate, loss_burst=burst
    ),
    st.floats(0, 500),
    st.floats(0, 500),
    st.sampled_from([0.0, 0.01, 0.3]),
    st.none() | st.floats(1_000, 1e8),
    st.sampled_from([1.0, 3.0]),
)


@dataclass(frozen=True)
class Put:
    size_bytes: int


@dataclass(frozen=True)
class Change:
    profile: LinkProfile | None
    cut: bool


@dataclass(frozen=True)
class Take:
    pass


STEPS = st.lists(
    st.tuples(
        st.floats(0, 2),
        st.builds(Put, st.integers(1, PIECE_BYTES_MAX))
        | st.builds(Change, st.none() | PROFILES, st.booleans())
        | st.just(Take()),
    ),
    max_size=40,
)


def drain(schedule: LinkSchedule, now_s: float) -> tuple[bytes, float]:
    """Take everything as it becomes due."""
    found = b""
    while schedule.next_due_s < inf:
        now_s = max(now_s, schedule.next_due_s)
        found += schedule.take(now_s)
    return found, now_s


@given(PROFILES, STEPS, st.integers(0, 1 << 32))
def test_what_is_put_comes_out_once_and_in_order(
    profile: LinkProfile, steps: list[tuple[float, Put | Change | Take]], seed: int
) -> None:
    rng = random.Random(seed)
    schedule = LinkSchedule(profile, rng.random)
    sent, got, now_s = b"", b"", 0.0
    for pause_s, step in steps:
        now_s += pause_s
        match step:
            case Put(size_bytes):
                piece = rng.randbytes(size_bytes)
                sent += piece
                schedule.put(piece, now_s)
            case Change(other, cut):
                schedule.change(other, cut=cut, now_s=now_s)
            case Take():
                got += schedule.take(now_s)
        assert schedule.queued_bytes == len(sent) - len(got)
    schedule.change(profile, cut=False, now_s=now_s)
    rest, _ = drain(schedule, now_s)
    assert got + rest == sent
    assert schedule.queued_bytes == 0


@given(PROFILES, st.lists(st.tuples(st.floats(0, 0.2), st.integers(1, 16384)), min_size=1))
def test_nothing_arrives_before_its_latency_or_faster_than_the_rate(
    profile: LinkProfile, puts: list[tuple[float, int]]
) -> None:
    schedule = LinkSchedule(profile, random.Random(1).random)
    now_s, busy_s = 0.0, 0.0
    earliest_s: list[float] = []
    for pause_s, size_bytes in puts:
        now_s += pause_s
        busy_s = max(busy_s, now_s) + size_bytes / (profile.rate_bytes_per_s or inf)
        earliest_s += [busy_s + profile.latency_ms_min / 1e3] * size_bytes
        schedule.put(bytes(size_bytes), now_s)
    arrived = 0
    while schedule.next_due_s < inf:
        due_s = schedule.next_due_s
        arrived += len(schedule.take(due_s))
        assert due_s >= earliest_s[arrived - 1] - 1e-6
    assert arrived == len(earliest_s)


@given(PROFILES, st.lists(st.integers(1, 16384), min_size=1, max_size=20), st.floats(0, 3))
def test_a_cut_link_delivers_only_what_was_on_the_wire(
    profile: LinkProfile, sizes: list[int], cut_s: float
) -> None:
    schedule = LinkSchedule(profile, random.Random(2).random)
    for size in sizes:
        schedule.put(bytes(size), 0.0)
    schedule.take(cut_s)
    schedule.change(profile, cut=True, now_s=cut_s)
    _, last_s = drain(schedule, cut_s)
    assert last_s <= cut_s + profile.latency_ms_max / 1e3 + 1e-6
    delivered = sum(sizes) - schedule.queued_bytes
    if profile.rate_bytes_per_s is not None:
        assert delivered <= profile.rate_bytes_per_s * cut_s + 1e-3
    schedule.put(b"later", cut_s)
    assert drain(schedule, cut_s + 1000.0)[0] == b""
    schedule.change(profile, cut=False, now_s=cut_s + 1000.0)
    assert schedule.next_due_s >= cut_s + 1000.0 + profile.latency_ms_min / 1e3 - 1e-6
    assert drain(schedule, cut_s + 1000.0)[0].endswith(b"later")


@given(st.binary(max_size=5 * PIECE_BYTES_MAX))
def test_pieces_are_the_data(data: bytes) -> None:
    cut = pieces(data)
    assert b"".join(cut) == data
    assert all(0 < len(piece) <= PIECE_BYTES_MAX for piece in cut)
