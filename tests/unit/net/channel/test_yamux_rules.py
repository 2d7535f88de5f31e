"""Every rule of frames and streams, and every limit, on the machine alone."""

from __future__ import annotations

import pytest

from p2pnode.net.channel.errors import (
    ChannelClosedError,
    ChannelProtocolError,
    ControlFloodError,
    FrameFloodError,
    StrayDataError,
    StreamClosedError,
    StreamFinishedError,
    StreamIdError,
    StreamResetError,
    TooManyStreamsError,
    UnknownFrameError,
    WindowExceededError,
    WindowOverflowError,
    WrongVersionError,
)
from p2pnode.net.channel.events import (
    GoAwayReceived,
    PingAnswered,
    StreamOpened,
    StreamReadable,
    StreamReset,
)
from p2pnode.net.channel.frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    INITIAL_WINDOW_BYTES,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    GoAway,
    data_frame,
    header,
)
from p2pnode.net.channel.limits import MuxerLimits, MuxerLimitsError
from p2pnode.net.channel.yamux import BODY_BYTES_MAX, OUTPUT_BYTES, Yamux
from tests.unit.net.channel.machines import READ_ALL, Pair, frames, machine, opened

WINDOW = INITIAL_WINDOW_BYTES


def send_all(sender: Yamux) -> bytes:
    sent = b""
    while sender.has_output:
        sent += sender.data_to_send()
    return sent


# --- opening ------------------------------------------------------------------


def test_streams_of_the_initiator_are_odd_and_those_of_the_responder_even() -> None:
    pair = Pair()
    assert [pair.a.open().stream_id for _ in range(3)] == [1, 3, 5]
    assert [pair.b.open().stream_id for _ in range(3)] == [2, 4, 6]


def test_a_stream_is_opened_by_a_window_update_and_answered_by_another() -> None:
    pair = Pair()
    stream = pair.a.open()
    syn = pair.a.data_to_send()
    assert frames(syn) == [(WINDOW_UPDATE, SYN, 1, 0, b"")]
    assert opened(pair.b.receive(syn))[0].stream_id == 1
    assert not stream.is_accepted
    ack = pair.b.data_to_send()
    assert frames(ack) == [(WINDOW_UPDATE, ACK, 1, 0, b"")]
    assert pair.a.receive(ack) == []
    assert stream.is_accepted


def test_data_may_follow_the_opening_at_once_and_come_with_it() -> None:
    pair = Pair()
    pair.a.write(pair.a.open(), b"at once")
    assert frames(pair.a.data_to_send())[1] == (DATA, 0, 1, 7, b"at once")
    events = pair.b.receive(data_frame(1, b"with it", SYN))
    stream = opened(events)[0]
    assert events == [StreamOpened(stream), StreamReadable(stream)]
    assert pair.b.read(stream, READ_ALL) == b"with it"


def test_an_opening_may_allow_more_than_the_first_window() -> None:
    b = machine()
    (stream,) = opened(b.receive(header(WINDOW_UPDATE, SYN, 1, 1000)))
    assert stream.send_window_bytes == WINDOW + 1000


def test_an_opening_may_be_finished_and_may_be_reset() -> None:
    b = machine()
    (stream,) = opened(b.receive(data_frame(1, b"all", SYN | FIN)))
    assert b.read(stream, READ_ALL) == b"all"
    with pytest.raises(StreamFinishedError):
        b.read(stream, READ_ALL)
    events = b.receive(header(WINDOW_UPDATE, SYN | RST, 3, 0))
    assert [type(e) for e in events] == [StreamOpened, StreamReset]
    assert b.statistics().streams_inbound == 1


@pytest.mark.parametrize(
    ("stream_id", "reason"), [(0, "0 is the connection"), (2, "are ours"), (1, "open already")]
)
def test_an_id_that_is_not_the_peers_to_take_ends_the_connection(
    stream_id: int, reason: str
) -> None:
    b = machine()
    b.receive(header(WINDOW_UPDATE, SYN, 1, 0))
    with pytest.raises(StreamIdError, match=reason):
        b.receive(header(WINDOW_UPDATE, SYN, stream_id, 0))
    assert frames(b.data_to_send())[-1] == (GO_AWAY, 0, 0, GoAway.PROTOCOL_ERROR, b"")
    assert b.is_closed


def test_the_id_of_a_stream_that_has_ended_may_be_used_again() -> None:
    b = machine()
    b.receive(header(WINDOW_UPDATE, SYN, 1, 0) + header(WINDOW_UPDATE, RST, 1, 0))
    assert opened(b.receive(header(WINDOW_UPDATE, SYN, 1, 0)))


# --- frames -------------------------------------------------------------------


def test_a_frame_of_another_version_ends_the_connection() -> None:
    with pytest.raises(WrongVersionError, match="version 1"):
        machine().receive(b"\x01" + header(PING, SYN, 0, 0)[1:])


def test_a_frame_of_no_known_type_ends_the_connection() -> None:
    with pytest.raises(UnknownFrameError, match="type 4"):
        machine().receive(header(4, 0, 0, 0))


def test_unknown_flags_are_ignored() -> None:
    pair = Pair()
    _, theirs = pair.open()
    pair.b.receive(data_frame(1, b"x", 0x8000))
    assert pair.b.read(theirs, READ_ALL) == b"x"
    assert not theirs.fin_received


def test_frames_may_come_byte_by_byte() -> None:
    b = machine()
    events = []
    for byte in data_frame(1, b"slowly", SYN | FIN):
        events += b.receive(bytes([byte]))
    (stream,) = opened(events)
    assert b.read(stream, READ_ALL) == b"slowly"


def test_a_body_can_be_read_before_all_of_it_has_come() -> None:
    b = machine()
    (stream,) = opened(b.receive(data_frame(1, b"0123456789", SYN)[:-5]))
    assert b.read(stream, READ_ALL) == b"01234"
    assert b.read(stream, READ_ALL) == b""


def test_a_finish_on_a_data_frame_counts_after_its_body() -> None:
    b = machine()
    frame = data_frame(1, b"ab", SYN | FIN)
    (stream,) = opened(b.receive(frame[:-1]))
    assert not stream.fin_received
    b.receive(frame[-1:])
    assert stream.fin_received


def test_pings_are_answered_with_their_value() -> None:
    b = machine()
    b.receive(header(PING, SYN, 0, 77))
    assert frames(b.data_to_send()) == [(PING, ACK, 0, 77, b"")]


def test_an_answer_counts_if_it_was_asked_for() -> None:
    pair = Pair()
    value = pair.a.ping()
    assert pair.pump() == [PingAnswered(value)]
    assert pair.a.receive(header(PING, ACK, 0, value)) == []
    assert pair.a.statistics().pings_answered == 1


def test_what_cannot_be_a_ping_of_either_kind_is_ignored() -> None:
    b = machine()
    assert b.receive(header(PING, 0, 0, 5)) == []
    assert not b.has_output


def test_go_away_ends_everything_but_what_has_come_can_be_read() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.a.write(ours, b"last")
    pair.pump()
    waiting = pair.b.open()
    assert pair.b.receive(header(GO_AWAY, 0, 0, 1)) == [GoAwayReceived(1)]
    assert pair.b.is_closed
    assert pair.b.read(theirs, READ_ALL) == b"last"
    for stream in (theirs, waiting):
        with pytest.raises(StreamResetError):
            pair.b.read(stream, READ_ALL)
        with pytest.raises(StreamResetError):
            pair.b.write(stream, b"x")
    with pytest.raises(ChannelClosedError):
        pair.b.open()
    assert pair.b.receive(data_frame(1, b"more")) == []


def test_our_go_away_is_the_last_thing_we_say() -> None:
    pair = Pair()
    ours, _ = pair.open()
    pair.a.write(ours, b"never sent")
    pair.a.go_away()
    pair.a.go_away(GoAway.INTERNAL_ERROR)
    assert frames(send_all(pair.a)) == [(GO_AWAY, 0, 0, GoAway.NORMAL, b"")]


def test_a_lost_connection_has_nothing_more_to_send() -> None:
    pair = Pair()
    ours, _ = pair.open()
    pair.a.write(ours, b"x")
    pair.a.lose()
    assert not pair.a.has_output
    assert ours.is_reset


# --- data ---------------------------------------------------------------------


def test_messages_arrive_in_order_and_as_large_as_they_are() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    for message in (b"a" * 10, b"b" * 200_000, b"c"):
        pair.a.write(ours, message)
    pair.pump()
    assert pair.b.read(theirs, READ_ALL) == b"a" * 10 + b"b" * 200_000 + b"c"


def test_small_messages_of_a_stream_share_a_frame() -> None:
    pair = Pair()
    ours, _ = pair.open()
    for _ in range(100):
        pair.a.write(ours, b"0123456789")
    assert [f[3] for f in frames(pair.a.data_to_send())] == [1000]


def test_a_frame_fills_a_record_and_no_more() -> None:
    pair = Pair()
    ours, _ = pair.open()
    pair.a.write(ours, bytes(100_000))
    assert [f[3] for f in frames(send_all(pair.a))] == [BODY_BYTES_MAX, 100_000 - BODY_BYTES_MAX]


def test_reading_takes_at_most_what_was_asked_for() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.a.write(ours, b"0123456789")
    pair.pump()
    assert pair.b.read(theirs, 4) == b"0123"
    assert pair.b.read(theirs, 100) == b"456789"


def test_readable_is_told_once_until_it_was_read() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    for _ in range(2):
        pair.a.write(ours, b"1")
        assert pair.pump() == [StreamReadable(theirs)]
        pair.a.write(ours, b"2")
        assert pair.pump() == []
        assert pair.b.read(theirs, READ_ALL) == b"12"


def test_streams_take_turns_a_frame_each() -> None:
    pair = Pair()
    first, second = pair.a.open(), pair.a.open()
    pair.pump()
    pair.a.write(first, bytes(3 * BODY_BYTES_MAX))
    pair.a.write(second, b"urgent")
    order = [f[2] for f in frames(send_all(pair.a))]
    assert order[:3] == [1, 3, 1]


def test_control_frames_go_before_data() -> None:
    pair = Pair()
    ours, _ = pair.open()
    pair.a.write(ours, b"data")
    pair.a.receive(header(PING, SYN, 0, 9))
    assert [f[0] for f in frames(pair.a.data_to_send())] == [PING, DATA]


def test_output_comes_in_pieces_of_about_the_size_asked_for() -> None:
    pair = Pair()
    ours, _ = pair.open()
    pair.a.write(ours, bytes(WINDOW))
    sizes = []
    while pair.a.has_output:
        sizes.append(len(pair.a.data_to_send()))
    assert max(sizes) <= OUTPUT_BYTES
    assert len(sizes) == 3
    pair.a.write(pair.a.open(), bytes(5000))
    pair.a.data_to_send(13)  # the opening
    assert len(pair.a.data_to_send(13)) == 1024 + 12  # not a frame for every byte


# --- windows ------------------------------------------------------------------


def test_no_more_is_sent_than_the_window_allows() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.a.write(ours, bytes(WINDOW + 100))
    pair.pump()
    assert len(theirs.received) == WINDOW
    assert ours.unsent_bytes == 100
    assert not pair.a.has_output
    pair.a.receive(header(WINDOW_UPDATE, 0, 1, 60))
    assert [f[3] for f in frames(pair.a.data_to_send())] == [60]


def test_a_stream_without_window_does_not_hold_up_the_others() -> None:
    pair = Pair()
    full, _ = pair.open()
    pair.a.write(full, bytes(2 * WINDOW))
    pair.pump()
    other, theirs = pair.open()
    pair.a.write(other, b"passes")
    pair.pump()
    assert pair.b.read(theirs, READ_ALL) == b"passes"


def test_reading_lets_the_peer_send_more_and_doubles_its_window_up_to_the_limit() -> None:
    pair = Pair(window_bytes_max=WINDOW * 4)
    ours, theirs = pair.open()
    windows = []
    for _ in range(5):
        pair.a.write(ours, bytes(theirs.recv_window_bytes))
        pair.pump()
        windows.append(len(theirs.received))
        pair.b.read(theirs, READ_ALL)
        pair.pump()
    assert windows == [WINDOW, 2 * WINDOW, 4 * WINDOW, 4 * WINDOW, 4 * WINDOW]


def test_little_reads_are_gathered_into_one_update() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.a.write(ours, bytes(WINDOW))
    pair.pump()
    updates = 0
    for _ in range(WINDOW // 1024):
        pair.b.read(theirs, 1024)
        updates += len(frames(pair.b.data_to_send()))
    assert updates <= 2


@pytest.mark.parametrize("size_bytes", [1, 100_000])
def test_a_peer_that_ignores_the_window_is_cut_off_before_its_data_is_held(
    size_bytes: int,
) -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.a.write(ours, bytes(WINDOW))
    pair.pump()
    with pytest.raises(WindowExceededError, match=f"{size_bytes} bytes on stream 1"):
        pair.b.receive(header(DATA, 0, 1, size_bytes))
    assert frames(pair.b.data_to_send()) == [(GO_AWAY, 0, 0, GoAway.PROTOCOL_ERROR, b"")]
    assert len(theirs.received) == WINDOW


def test_a_frame_beyond_the_first_window_is_refused_with_its_opening() -> None:
    with pytest.raises(WindowExceededError):
        machine().receive(header(DATA, SYN, 1, WINDOW + 1))


def test_a_window_beyond_32_bits_ends_the_connection() -> None:
    pair = Pair()
    pair.open()
    with pytest.raises(WindowOverflowError, match="stream 1"):
        pair.a.receive(header(WINDOW_UPDATE, 0, 1, 2**32 - 1))


def test_all_windows_together_are_bounded_and_growing_leaves_half_for_new_streams() -> None:
    pair = Pair(reserved_bytes_max=8 * WINDOW, window_bytes_max=8 * WINDOW)
    pair.a = machine(is_initiator=True)
    pairs = [pair.open() for _ in range(2)]
    for _ in range(6):
        for ours, theirs in pairs:
            pair.a.write(ours, bytes(theirs.recv_window_bytes))
            pair.pump()
            pair.b.read(theirs, READ_ALL)
            pair.pump()
    assert pair.b.statistics().reserved_bytes == 4 * WINDOW
    for _ in range(10):
        pair.a.open()
    pair.pump()
    assert pair.b.statistics().reserved_bytes == 8 * WINDOW
    assert pair.b.statistics().streams_refused == 6


# --- ends ---------------------------------------------------------------------


def test_each_side_finishes_its_own_direction() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.a.write(ours, b"question")
    pair.a.finish(ours)
    pair.a.finish(ours)
    pair.pump()
    assert pair.b.read(theirs, READ_ALL) == b"question"
    with pytest.raises(StreamFinishedError):
        pair.b.read(theirs, READ_ALL)
    with pytest.raises(StreamClosedError, match="stream 1"):
        pair.a.write(ours, b"more")
    pair.b.write(theirs, b"answer")
    pair.b.finish(theirs)
    pair.pump()
    assert pair.a.read(ours, READ_ALL) == b"answer"
    with pytest.raises(StreamFinishedError):
        pair.a.read(ours, READ_ALL)
    for side in (pair.a, pair.b):
        assert side.statistics().streams_inbound + side.statistics().streams_outbound == 0
        assert side.statistics().reserved_bytes == 0


def test_a_finish_goes_behind_all_that_was_written() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.a.write(ours, bytes(WINDOW + 10))
    pair.a.finish(ours)
    pair.pump()
    assert not theirs.fin_received
    total = len(pair.b.read(theirs, READ_ALL))
    pair.pump()
    total += len(pair.b.read(theirs, READ_ALL))
    assert total == WINDOW + 10
    assert theirs.fin_received


def test_what_both_sides_have_finished_can_still_be_read() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.b.finish(theirs)
    pair.a.write(ours, bytes(1000))
    pair.a.finish(ours)
    pair.pump()
    assert pair.b.statistics().buffered_bytes == 1000
    assert pair.b.statistics().reserved_bytes == 1000
    assert len(pair.b.read(theirs, 600)) == 600
    assert len(pair.b.read(theirs, 600)) == 400
    assert pair.b.statistics().reserved_bytes == 0


def test_what_was_written_goes_before_the_reset_if_it_is_little() -> None:
    pair = Pair()
    ours, _ = pair.open()
    pair.a.write(ours, b"an")
    pair.a.write(ours, b"swer")
    pair.a.reset(ours)
    assert frames(send_all(pair.a)) == [
        (DATA, 0, 1, 6, b"answer"),
        (WINDOW_UPDATE, RST, 1, 0, b""),
    ]


def test_what_streams_leave_to_be_sent_when_they_are_reset_is_bounded() -> None:
    pair = Pair()
    streams = [pair.a.open() for _ in range(20)]
    pair.pump()
    for stream in streams:
        pair.a.write(stream, bytes(10_000))
        pair.a.reset(stream)
    sent = frames(pair.a.data_to_send())
    assert sum(f[3] for f in sent if f[0] == DATA) == 60_000
    assert sorted(f[2] for f in sent if f[1] == RST) == [s.stream_id for s in streams]


def test_a_reset_wakes_both_sides_and_drops_what_is_under_way() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.a.write(ours, b"lost")
    pair.pump()
    pair.a.write(ours, bytes(100_000))
    pair.a.reset(ours)
    pair.a.reset(ours)
    assert frames(send_all(pair.a)) == [(WINDOW_UPDATE, RST, 1, 0, b"")]
    assert pair.b.receive(header(WINDOW_UPDATE, RST, 1, 0)) == [StreamReset(theirs)]
    for side, stream in ((pair.a, ours), (pair.b, theirs)):
        with pytest.raises(StreamResetError):
            side.read(stream, READ_ALL)
        with pytest.raises(StreamResetError):
            side.write(stream, b"x")
        assert side.statistics().reserved_bytes == 0


def test_a_finish_that_was_not_read_before_a_reset_is_no_end_to_rely_on() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.a.write(ours, b"data")
    pair.a.finish(ours)
    pair.pump()
    pair.b.receive(header(WINDOW_UPDATE, RST, 1, 0))
    with pytest.raises(StreamResetError):
        pair.b.read(theirs, READ_ALL)


def test_resetting_a_finished_stream_frees_what_nobody_read() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.b.finish(theirs)
    pair.a.write(ours, bytes(1000))
    pair.a.finish(ours)
    pair.pump()
    pair.b.reset(theirs)
    assert pair.b.statistics().reserved_bytes == 0
    assert pair.b.statistics().resets_sent == 0  # the peer knows nothing of it any more


def test_late_data_of_a_stream_we_reset_is_dropped_as_far_as_its_window_went() -> None:
    pair = Pair()
    _, theirs = pair.open()
    pair.b.reset(theirs)
    assert pair.b.receive(data_frame(1, bytes(WINDOW - 1))) == []
    assert pair.b.receive(data_frame(1, b"x")) == []
    assert pair.b.statistics().stray_bytes == WINDOW
    with pytest.raises(StrayDataError, match="1 bytes on stream 1"):
        pair.b.receive(data_frame(1, b"x"))


def test_data_on_a_stream_that_never_was_ends_the_connection() -> None:
    with pytest.raises(StrayDataError, match="at most 0 bytes"):
        machine().receive(data_frame(5, b"x"))


def test_data_after_a_finish_ends_the_connection() -> None:
    pair = Pair()
    pair.open()
    pair.b.receive(header(WINDOW_UPDATE, FIN, 1, 0))
    with pytest.raises(StrayDataError):
        pair.b.receive(data_frame(1, b"x"))


@pytest.mark.parametrize("flags", [0, ACK, FIN, RST])
def test_control_frames_of_streams_that_have_ended_are_ignored(flags: int) -> None:
    b = machine()
    assert b.receive(header(WINDOW_UPDATE, flags, 7, 100)) == []
    assert not b.has_output


def test_a_body_whose_stream_we_reset_half_way_is_dropped() -> None:
    pair = Pair()
    _, theirs = pair.open()
    frame = data_frame(1, bytes(100))
    pair.b.receive(frame[:50])
    pair.b.reset(theirs)
    assert pair.b.receive(frame[50:]) == []
    assert pair.b.receive(header(PING, SYN, 0, 1)) == []


# --- limits -------------------------------------------------------------------


def test_streams_above_the_limit_are_reset_and_the_others_live() -> None:
    b = machine(streams_inbound_max=2)
    for stream_id in (1, 3):
        assert opened(b.receive(data_frame(stream_id, b"x", SYN)))
    b.data_to_send()
    assert b.receive(data_frame(5, b"refused", SYN)) == []
    assert frames(b.data_to_send()) == [(WINDOW_UPDATE, RST, 5, 0, b"")]
    assert b.statistics().streams_refused == 1
    b.receive(header(WINDOW_UPDATE, RST, 1, 0))
    assert opened(b.receive(header(WINDOW_UPDATE, SYN, 7, 0)))


def test_streams_of_ours_are_limited_too() -> None:
    a = machine(is_initiator=True, streams_outbound_max=2)
    first = a.open()
    a.open()
    with pytest.raises(TooManyStreamsError, match="2 streams opened by us"):
        a.open()
    a.reset(first)
    a.open()


def test_streams_are_limited_by_the_sum_of_windows() -> None:
    a = machine(is_initiator=True, reserved_bytes_max=2 * WINDOW)
    a.open()
    a.open()
    with pytest.raises(TooManyStreamsError, match=f"{2 * WINDOW} bytes"):
        a.open()


def test_a_peer_that_asks_and_does_not_read_the_answers_is_cut_off() -> None:
    b = machine(control_bytes_max=1200, pings_max=1000)
    ping = header(PING, SYN, 0, 1)
    b.receive(100 * ping)
    with pytest.raises(ControlFloodError, match="1212 bytes of answers"):
        b.receive(ping)
    reader = machine(control_bytes_max=1200, pings_max=1000)
    for _ in range(1000):
        reader.receive(ping)
        reader.data_to_send()


def test_pings_are_answered_so_many_a_second_and_then_are_a_flood() -> None:
    b = machine(pings_max=5)
    ping = header(PING, SYN, 0, 1)
    for second in range(3):
        b.receive(5 * ping)
        b.data_to_send()
        b.tick(float(second))
    b.receive(5 * ping)
    with pytest.raises(FrameFloodError, match="more than 5 pings in a second"):
        b.receive(ping)


def test_frames_that_carry_nothing_are_a_flood_however_they_are_named() -> None:
    b = machine(small_frames_max=100)
    b.receive(header(WINDOW_UPDATE, SYN, 1, 0))
    b.receive(50 * header(WINDOW_UPDATE, 0, 1, 1))
    b.receive(49 * header(WINDOW_UPDATE, RST, 7, 0))
    with pytest.raises(FrameFloodError, match="more than 100 frames with a body below 1024 bytes"):
        b.receive(header(WINDOW_UPDATE, 0, 99, 1))


def test_bodies_of_a_few_bytes_are_a_flood_and_full_ones_are_none() -> None:
    b = machine(small_frames_max=100)
    b.receive(header(WINDOW_UPDATE, SYN, 1, 0))
    b.receive(200 * data_frame(1, bytes(1024)))
    b.receive(99 * data_frame(1, b"x"))
    b.tick(0.0)
    b.receive(100 * data_frame(1, bytes(100)))
    with pytest.raises(FrameFloodError, match="more than 100 frames with a body below 1024 bytes"):
        b.receive(data_frame(1, b"x"))


def test_opening_and_resetting_streams_without_end_is_a_flood_too() -> None:
    b = machine(control_bytes_max=1200)
    pair = header(WINDOW_UPDATE, SYN, 1, 0) + header(WINDOW_UPDATE, RST, 1, 0)
    b.receive(100 * pair)
    with pytest.raises(ControlFloodError):
        b.receive(pair)
    assert b.statistics().streams_inbound == 0


def test_streams_opened_and_reset_as_fast_as_they_come_are_a_flood() -> None:
    b = machine(streams_opened_max=5)
    ids = iter(range(1, 1000, 2))
    for second in range(3):
        for id in (next(ids) for _ in range(5)):
            b.receive(header(WINDOW_UPDATE, SYN, id, 0) + header(WINDOW_UPDATE, RST, id, 0))
        b.data_to_send()
        b.tick(float(second))
    for id in (next(ids) for _ in range(5)):
        b.receive(header(WINDOW_UPDATE, SYN, id, 0))
    with pytest.raises(FrameFloodError, match="more than 5 streams opened in a second"):
        b.receive(header(WINDOW_UPDATE, SYN, next(ids), 0))


@pytest.mark.parametrize(
    "changes",
    [
        {"window_bytes_max": WINDOW - 1},
        {"window_bytes_max": 2**32},
        {"reserved_bytes_max": WINDOW - 1},
        {"keepalive_s": 30.0, "silence_s": 30.0},
    ],
)
def test_limits_that_cannot_work_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(MuxerLimitsError):
        MuxerLimits(**changes)  # type: ignore[arg-type]


def test_all_errors_of_peers_cost_them_score() -> None:
    assert all(error.penalty > 0 for error in ChannelProtocolError.__subclasses__())


def test_statistics_tell_what_has_happened() -> None:
    pair = Pair()
    ours, theirs = pair.open()
    pair.a.write(ours, bytes(1000))
    pair.pump()
    pair.b.read(theirs, 400)
    a, b = pair.a.statistics(), pair.b.statistics()
    assert (a.streams_outbound, b.streams_inbound) == (1, 1)
    assert (a.data_sent_bytes, b.data_received_bytes, b.buffered_bytes) == (1000, 1000, 600)
    assert (a.frames_sent, b.frames_received) == (2, 2)
    assert (b.reserved_bytes, a.unsent_bytes, a.control_bytes) == (WINDOW, 0, 0)
