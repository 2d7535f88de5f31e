"""Two machines whatever the wire and the programs do: every stream arrives whole and in order."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.net.channel.errors import (
    StreamEndedError,
    StreamFinishedError,
    TooManyStreamsError,
)
from p2pnode.net.channel.events import Event, StreamOpened, StreamReset, StreamState
from p2pnode.net.channel.frames import INITIAL_WINDOW_BYTES
from p2pnode.net.channel.limits import MuxerLimits
from p2pnode.net.channel.yamux import Yamux

SIZES = (0, 1, 11, 12, 13, 500, 5_000, 70_000, 300_000)
RESERVED_BYTES_MAX = 12 * INITIAL_WINDOW_BYTES


class Side:
    """A machine, its end of the wire, and what its program has written and read."""

    def __init__(self, *, is_initiator: bool) -> None:
        self.yamux = Yamux(
            is_initiator=is_initiator,
            limits=MuxerLimits(
                streams_inbound_max=8,
                streams_outbound_max=8,
                reserved_bytes_max=RESERVED_BYTES_MAX,
                window_bytes_max=2 * INITIAL_WINDOW_BYTES,
            ),
        )
        self.wire = bytearray()
        """Sent by the other side and not yet received."""
        self.streams: list[StreamState] = []
        self.written: dict[int, bytearray] = {}
        self.read: dict[int, bytearray] = {}
        self.finished_reading: set[int] = set()
        self.reset: set[int] = set()

    def add(self, stream: StreamState) -> None:
        self.streams.append(stream)
        self.written[stream.stream_id] = bytearray()
        self.read[stream.stream_id] = bytearray()

    def take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, StreamOpened):
                self.add(event.stream)
            elif isinstance(event, StreamReset):
                self.reset.add(event.stream.stream_id)

    def read_some(self, stream: StreamState, size: int) -> bool:
        try:
            data = self.yamux.read(stream, size)
        except StreamFinishedError:
            self.finished_reading.add(stream.stream_id)
            return False
        except StreamEndedError:
            return False
        self.read[stream.stream_id] += data
        return bool(data)


class World:
    """Two sides and a scheduler that wishes them ill."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.sides = (Side(is_initiator=True), Side(is_initiator=False))
        self.salt = 0

    def other(self, side: Side) -> Side:
        return self.sides[side is self.sides[0]]

    def act(self, action: str) -> None:
        side = self.random.choice(self.sides)
        stream = self.random.choice(side.streams) if side.streams else None
        match action:
            case "open":
                try:
                    side.add(side.yamux.open())
                except TooManyStreamsError:
                    assert side.yamux.statistics().streams_outbound == 8 or (
                        side.yamux.statistics().reserved_bytes + INITIAL_WINDOW_BYTES
                        > RESERVED_BYTES_MAX
                    )
            case "send":
                self.other(side).wire += side.yamux.data_to_send(
                    self.random.choice((1, 700, 140_000))
                )
            case "receive":
                size = self.random.choice((1, 5, 12, 13, 1000, 10**6))
                data = bytes(side.wire[:size])
                del side.wire[:size]
                side.take(side.yamux.receive(data))
                self.check(side)
            case "write" if stream and not stream.is_finishing and not stream.is_reset:
                self.salt += 1
                data = random.Random(self.salt).randbytes(self.random.choice(SIZES))
                side.yamux.write(stream, data)
                side.written[stream.stream_id] += data
            case "read" if stream:
                side.read_some(stream, self.random.choice((1, 100, 10**6)))
            case "finish" if stream:
                side.yamux.finish(stream)
            case "reset" if stream and self.random.random() < 0.2:
                side.yamux.reset(stream)
                side.reset.add(stream.stream_id)

    def check(self, side: Side) -> None:
        statistics = side.yamux.statistics()
        assert statistics.buffered_bytes <= statistics.reserved_bytes <= RESERVED_BYTES_MAX

    def drain(self) -> None:
        """Let everything arrive and be read."""
        moved = True
        while moved:
            moved = False
            for side in self.sides:
                while side.yamux.has_output:
                    self.other(side).wire += side.yamux.data_to_send()
                    moved = True
            for side in self.sides:
                data, side.wire = bytes(side.wire), bytearray()
                side.take(side.yamux.receive(data))
                moved = moved or bool(data)
                for stream in side.streams:
                    while side.read_some(stream, 10**6):
                        moved = True
            for side in self.sides:
                self.check(side)


ACTIONS = ["open", *["send", "receive", "write", "read"] * 4, "finish", "reset"]


@settings(max_examples=150)
@given(
    actions=st.lists(st.sampled_from(ACTIONS), min_size=20, max_size=250),
    seed=st.integers(0, 2**32),
)
def test_streams_arrive_whole_and_in_order_whatever_the_scheduler_does(
    actions: list[str], seed: int
) -> None:
    world = World(seed)
    for action in actions:
        world.act(action)
    world.drain()
    for side in world.sides:
        other = world.other(side)
        for stream in side.streams:
            number = stream.stream_id
            if number not in other.written:
                assert stream.is_reset  # refused
                continue
            was_reset = number in side.reset or number in other.reset
            got, sent = bytes(other.read[number]), bytes(side.written[number])
            assert sent.startswith(got)
            assert was_reset or got == sent
            if stream.is_finishing and not was_reset:
                assert number in other.finished_reading
            if number in other.finished_reading:
                assert got == sent
        statistics = side.yamux.statistics()
        assert statistics.unsent_bytes == statistics.control_bytes == statistics.buffered_bytes == 0
        open_streams = [s for s in side.streams if not s.is_gone]
        assert statistics.streams_inbound + statistics.streams_outbound == len(open_streams)
