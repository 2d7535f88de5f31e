"""Lanes: order, bounds, and what is lost when a stream breaks."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from p2pnode.net.config import NetworkLimits
from p2pnode.net.framing import FrameDecoder, FrameTooLargeError, frame
from p2pnode.net.libp2p.lanes import LaneCounters, LaneReceiver, LaneSender
from p2pnode.net.libp2p.streams import ProtocolRefusedError, StreamBrokenError
from p2pnode.ports import FrameReceived, Lane
from tests.unit.net.libp2p.fakes import FakeStream, free_meters, stream_pair

SMALL = NetworkLimits(lane_frames_max=8, lane_bytes_max=100, frame_bytes_max=50)


class Wire:
    """Opens the streams of a sender and keeps both ends of each."""

    def __init__(self) -> None:
        self.near: list[FakeStream] = []
        self.far: list[FakeStream] = []
        self.refusals = 0

    async def open(self) -> FakeStream:
        await trio.lowlevel.checkpoint()
        if self.refusals:
            self.refusals -= 1
            raise ProtocolRefusedError("/lane/1")
        near, far = stream_pair()
        self.near.append(near)
        self.far.append(far)
        return near

    def sender(self, lane: Lane, limits: NetworkLimits = SMALL) -> tuple[LaneSender, LaneCounters]:
        counters = LaneCounters()
        return LaneSender(lane, self.open, limits, counters), counters  # type: ignore[arg-type]


def payloads(stream: FakeStream) -> list[bytes]:
    return FrameDecoder(1 << 20).feed(b"".join(stream.writes))


async def test_queued_frames_go_out_in_one_write() -> None:
    wire = Wire()
    sender, counters = wire.sender(Lane.PROPOSAL, NetworkLimits())
    async with trio.open_nursery() as nursery:
        for number in range(500):
            assert sender.push(b"%d" % number)
        nursery.start_soon(sender.run)
        await trio.testing.wait_all_tasks_blocked()
        assert len(wire.near[0].writes) == 1
        assert payloads(wire.near[0]) == [b"%d" % n for n in range(500)]
        assert counters.sent == 500
        sender.push(b"one more")
        await trio.testing.wait_all_tasks_blocked()
        assert len(wire.near) == 1
        assert len(wire.near[0].writes) == 2
        nursery.cancel_scope.cancel()


def test_full_queue_of_votes_drops_the_oldest() -> None:
    sender, counters = Wire().sender(Lane.VOTE)
    assert all(sender.push(b"%d" % n) for n in range(20))
    assert [f[4:] for f in sender._frames] == [b"%d" % n for n in range(12, 20)]
    assert counters.dropped == 12


@pytest.mark.parametrize("lane", [Lane.PROPOSAL, Lane.BULK])
def test_full_queues_of_other_lanes_refuse_what_comes(lane: Lane) -> None:
    sender, counters = Wire().sender(lane)
    assert [sender.push(b"%d" % n) for n in range(20)] == [True] * 8 + [False] * 12
    assert [f[4:] for f in sender._frames] == [b"%d" % n for n in range(8)]
    assert counters.dropped == 12


def test_bytes_of_a_queue_are_bounded_but_a_frame_alone_always_fits() -> None:
    sender, _ = Wire().sender(Lane.BULK)
    assert sender.push(bytes(40))
    assert sender.push(bytes(40))
    assert not sender.push(bytes(40))
    votes, counters = Wire().sender(Lane.VOTE)
    assert all(votes.push(bytes(40)) for _ in range(5))
    assert len(votes._frames) == 2
    assert counters.dropped == 3
    alone, _ = Wire().sender(Lane.BULK)
    assert alone.push(bytes(1000))


async def test_broken_stream_is_reopened_and_only_what_was_on_it_is_lost(
    autojump_clock: MockClock,
) -> None:
    wire = Wire()
    sender, counters = wire.sender(Lane.PROPOSAL)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.run)
        sender.push(b"first")
        await trio.testing.wait_all_tasks_blocked()
        await wire.near[0].reset()
        sender.push(b"lost")
        await trio.testing.wait_all_tasks_blocked()
        sender.push(b"second")
        await trio.sleep(1)
        assert payloads(wire.near[1]) == [b"second"]
        assert (counters.sent, counters.dropped) == (2, 1)
        nursery.cancel_scope.cancel()


async def test_peer_without_the_lane_is_asked_again_later(autojump_clock: MockClock) -> None:
    wire = Wire()
    wire.refusals = 3
    sender, _ = wire.sender(Lane.PROPOSAL)
    async with trio.open_nursery() as nursery:
        sender.push(b"x")
        nursery.start_soon(sender.run)
        await trio.sleep(1)
        assert payloads(wire.near[0]) == [b"x"]
        nursery.cancel_scope.cancel()


def test_newer_connection_takes_queued_frames_over_in_order() -> None:
    older, _ = Wire().sender(Lane.PROPOSAL)
    newer, _ = Wire().sender(Lane.PROPOSAL)
    for number in range(3):
        older.push(b"%d" % number)
    newer.push(b"3")
    newer.take_over(older)
    assert [f[4:] for f in newer._frames] == [b"0", b"1", b"2", b"3"]
    assert not older._frames
    assert newer._size_bytes == 4 * 5


async def test_receiver_listens_to_the_newest_stream_only() -> None:
    got: list[bytes] = []

    async def deliver(frame_received: FrameReceived) -> None:
        await trio.lowlevel.checkpoint()
        got.append(frame_received.frame)

    receiver = LaneReceiver(SMALL, LaneCounters(), deliver, free_meters(SMALL))
    older_near, older = stream_pair()
    newer_near, newer = stream_pair()

    async def receive(stream: FakeStream) -> None:
        with pytest.raises(StreamBrokenError):
            await receiver.receive_from(stream, Lane.VOTE)  # type: ignore[arg-type]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, older)
        await older_near.write(frame(b"1"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(receive, newer)
        await newer_near.write(frame(b"2"))
        await trio.testing.wait_all_tasks_blocked()
        assert older.was_reset
        assert got == [b"1", b"2"]
        await newer.reset()


async def test_slow_reader_stops_the_stream() -> None:
    send, receive = trio.open_memory_channel[FrameReceived](1)
    counters = LaneCounters()
    receiver = LaneReceiver(SMALL, counters, send.send, free_meters(SMALL))
    near, far = stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiver.receive_from, far, Lane.BULK)
        for number in range(10):
            await near.write(frame(b"%d" % number))
        await trio.testing.wait_all_tasks_blocked()
        assert counters.received == 2  # one delivered, one in hand
        for number in range(10):
            assert (await receive.receive()).frame == b"%d" % number
        nursery.cancel_scope.cancel()


async def test_frame_above_the_limit_ends_the_stream() -> None:
    async def deliver(frame_received: FrameReceived) -> None:
        raise AssertionError

    receiver = LaneReceiver(SMALL, LaneCounters(), deliver, free_meters(SMALL))
    near, far = stream_pair()
    await near.write(frame(bytes(51)))
    with pytest.raises(FrameTooLargeError):
        await receiver.receive_from(far, Lane.VOTE)  # type: ignore[arg-type]
