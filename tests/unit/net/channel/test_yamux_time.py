"""What the machine does when time passes: silence, idleness, stalls, unread remains."""

from __future__ import annotations

import pytest

from p2pnode.net.channel.errors import SilentPeerError, StreamResetError
from p2pnode.net.channel.events import IdleExpired, StreamReset
from p2pnode.net.channel.frames import (
    GO_AWAY,
    INITIAL_WINDOW_BYTES,
    PING,
    SYN,
    WINDOW_UPDATE,
    GoAway,
    header,
)
from tests.unit.net.channel.machines import READ_ALL, Pair, frames, machine

LIMITS = {
    "keepalive_s": 10.0,
    "silence_s": 30.0,
    "idle_s": 100.0,
    "stall_s": 20.0,
    "linger_s": 60.0,
}


def test_a_silent_peer_is_asked_once_and_given_up_when_it_does_not_answer() -> None:
    a = machine(is_initiator=True, **LIMITS)
    for now_s in range(10):
        a.tick(now_s)
    assert not a.has_output
    for now_s in range(10, 30):
        a.tick(now_s)
    assert [f[:2] for f in frames(a.data_to_send())] == [(PING, SYN)]
    with pytest.raises(SilentPeerError, match=r"no frame for 30\.0 s"):
        a.tick(30.0)
    assert a.is_closed
    assert a.tick(31.0) == []


def test_a_peer_that_answers_lives_on() -> None:
    pair = Pair(**LIMITS)
    pair.open()
    for now_s in range(0, 1000, 5):
        pair.a.tick(now_s)
        pair.pump()
    assert pair.a.statistics().pings_sent > 50
    assert pair.a.statistics().pings_answered == pair.a.statistics().pings_sent


def test_bytes_that_make_no_frame_are_no_sign_of_life() -> None:
    # A peer that sends a body byte by byte answers no ping meanwhile.
    b = machine(**LIMITS)
    b.receive(header(0, SYN, 1, 1000))
    for now_s in range(30):
        b.receive(b"x")
        b.tick(now_s)
    b.receive(b"x")
    with pytest.raises(SilentPeerError):
        b.tick(30.0)


def test_a_connection_without_streams_is_closed_after_a_while() -> None:
    pair = Pair(**LIMITS)
    events = []
    for now_s in range(0, 110, 5):
        events += pair.b.tick(now_s)
        if events:
            break
        pair.pump()
    assert events == [IdleExpired()]
    assert frames(pair.b.data_to_send())[-1] == (GO_AWAY, 0, 0, GoAway.NORMAL, b"")


def test_a_stream_keeps_the_connection_and_its_end_starts_the_clock_anew() -> None:
    pair = Pair(**LIMITS)
    ours, _ = pair.open()
    for now_s in range(0, 500, 5):
        assert pair.b.tick(now_s) == []
        pair.pump()
    pair.a.reset(ours)
    pair.pump()
    for now_s in range(500, 600, 5):
        assert pair.b.tick(now_s) == []
        pair.pump()
    assert pair.b.tick(605.0) == [IdleExpired()]


def test_a_stream_whose_peer_does_not_read_is_reset_and_others_go_on() -> None:
    pair = Pair(**LIMITS)
    stuck, _ = pair.open()
    moving, theirs = pair.open()
    pair.a.write(stuck, bytes(INITIAL_WINDOW_BYTES + 1))
    events = []
    for now_s in range(25):
        pair.a.write(moving, b"x")
        pair.pump()
        events += pair.a.tick(now_s)
    assert events == [StreamReset(stuck)]
    assert pair.a.statistics().stalls == 1
    with pytest.raises(StreamResetError):
        pair.a.write(stuck, b"more")
    assert len(pair.b.read(theirs, READ_ALL)) == 25


def test_a_stream_that_makes_some_progress_is_not_stalled() -> None:
    a = machine(is_initiator=True, **LIMITS)
    a.write(a.open(), bytes(INITIAL_WINDOW_BYTES + 1000))
    for now_s in range(200):
        while a.has_output:
            a.data_to_send()
        assert a.tick(now_s) == []
        if now_s % 15 == 0:
            a.receive(header(WINDOW_UPDATE, 0, 1, 1))


def test_a_stream_that_is_full_again_at_every_look_is_not_stalled() -> None:
    # What is unsent never shrinks from tick to tick, yet it is always something else.
    pair = Pair(**LIMITS)
    ours, theirs = pair.open()
    for now_s in range(200):
        pair.a.write(ours, b"x" * 100)
        assert pair.a.tick(now_s) == []
        pair.pump()
        pair.b.read(theirs, READ_ALL)


def test_what_nobody_reads_of_a_finished_stream_is_dropped_after_a_while() -> None:
    pair = Pair(**LIMITS)
    ours, theirs = pair.open()
    pair.b.finish(theirs)
    pair.a.write(ours, bytes(1000))
    pair.a.finish(ours)
    for now_s in range(60):
        pair.pump()
        pair.b.tick(now_s)
    assert pair.b.statistics().buffered_bytes == 1000
    pair.pump()
    pair.b.tick(60.0)
    assert pair.b.statistics().reserved_bytes == 0
    with pytest.raises(StreamResetError):
        pair.b.read(theirs, READ_ALL)
