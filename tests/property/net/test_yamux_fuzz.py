"""Nothing a peer sends, bytes or frames, does more than end the connection by an error of ours."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.net.channel.errors import ChannelProtocolError, StreamEndedError
from p2pnode.net.channel.events import StreamOpened, StreamState
from p2pnode.net.channel.frames import HEADER, INITIAL_WINDOW_BYTES
from p2pnode.net.channel.limits import MuxerLimits
from p2pnode.net.channel.yamux import Yamux

LIMITS = MuxerLimits(
    streams_inbound_max=4,
    reserved_bytes_max=6 * INITIAL_WINDOW_BYTES,
    control_bytes_max=4096,
    # Held by tests/unit/net/channel/test_yamux_rules.py; here small frames are to cost memory.
    small_frames_max=1 << 20,
)

flags = st.integers(0, 15) | st.sampled_from([0, 1, 2, 4, 8, 0xFFFF])
ids = st.sampled_from([0, 1, 2, 3, 5, 7, 9, 11, 2**32 - 1])
lengths = st.sampled_from([0, 1, 100, 1000, 2**18, 2**18 + 1, 2**31, 2**32 - 1]) | st.integers(
    0, 50
)


@st.composite
def frame(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4]))
    length = draw(lengths)
    version = draw(st.sampled_from([0] * 30 + [1, 255]))
    body = bytes(min(length, draw(st.sampled_from([10**9, 10**9, 3])))) if kind == 0 else b""
    header = HEADER.pack(version, kind, draw(flags), draw(ids), length)
    return header + body[: 2**18 + 1]


class Victim:
    """A machine whose program reads a little, resets a little, and sends what there is."""

    def __init__(self, *, sends: bool) -> None:
        self.yamux = Yamux(is_initiator=False, limits=LIMITS)
        self.streams: list[StreamState] = [self.yamux.open()]
        self.sends = sends

    def receive(self, data: bytes, choice: int) -> bool:
        """Return whether the connection lives on."""
        try:
            events = self.yamux.receive(data)
        except ChannelProtocolError:
            assert self.yamux.is_closed
            return False
        self.streams += [e.stream for e in events if isinstance(e, StreamOpened)]
        statistics = self.yamux.statistics()
        assert statistics.buffered_bytes <= statistics.reserved_bytes <= LIMITS.reserved_bytes_max
        assert statistics.streams_inbound <= LIMITS.streams_inbound_max
        assert statistics.control_bytes <= LIMITS.control_bytes_max + 12 * len(self.streams)
        stream = self.streams[choice % len(self.streams)]
        try:
            match choice % 5:
                case 0:
                    self.yamux.read(stream, 1 << 20)
                case 1:
                    self.yamux.reset(stream)
                case 2:
                    self.yamux.write(stream, b"answer")
        except StreamEndedError:
            pass
        if self.sends:
            self.yamux.data_to_send()
        return not self.yamux.is_closed


@given(
    pieces=st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 100)), max_size=30),
    sends=st.booleans(),
)
def test_junk_raises_nothing_but_our_errors(pieces: list[tuple[bytes, int]], sends: bool) -> None:
    victim = Victim(sends=sends)
    for data, choice in pieces:
        if not victim.receive(data, choice):
            return


@settings(max_examples=300)
@given(
    pieces=st.lists(st.tuples(frame(), st.integers(0, 100)), max_size=40),
    sends=st.booleans(),
    cut=st.integers(1, 20_000),
)
def test_frames_that_make_no_sense_raise_nothing_but_our_errors(
    pieces: list[tuple[bytes, int]], sends: bool, cut: int
) -> None:
    victim = Victim(sends=sends)
    for data, choice in pieces:
        for at in range(0, len(data), cut):
            if not victim.receive(data[at : at + cut], choice):
                return


def test_a_peer_that_fills_everything_it_may_costs_no_more_than_the_limit() -> None:
    victim = Victim(sends=True)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for stream_id in range(1, 200, 2):
            # Windows in the smallest frames, so that a cost per frame would show.
            frames = HEADER.pack(0, 1, 1, stream_id, 0) + 2000 * (
                HEADER.pack(0, 0, 0, stream_id, 2) + b"xx"
            )
            victim.receive(frames, 3)
            victim.receive(HEADER.pack(0, 0, 0, stream_id, 2**18 - 4000) + bytes(2**18 - 4000), 3)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert victim.yamux.statistics().buffered_bytes == 4 * INITIAL_WINDOW_BYTES
    assert after - before < 2 * LIMITS.reserved_bytes_max
