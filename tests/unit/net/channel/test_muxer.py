"""The Trio shell: nothing deadlocks, nothing tears, everything ends."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from p2pnode.net.channel.errors import (
    ChannelClosedError,
    SilentPeerError,
    StreamClosedError,
    StreamEndedError,
    StreamFinishedError,
    StreamResetError,
    TooManyStreamsError,
    WindowExceededError,
)
from p2pnode.net.channel.frames import GO_AWAY, INITIAL_WINDOW_BYTES, SYN, WINDOW_UPDATE, header
from p2pnode.net.channel.limits import MuxerLimits
from p2pnode.net.channel.muxer import ACCEPT_MAX, SEND_BYTES, MuxedStream, Muxer
from tests.unit.net.channel.machines import frames
from tests.unit.net.channel.wires import muxers, wires

READ = 1 << 20


async def read_exactly(stream: MuxedStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.read(size - len(data))
    return data


async def read_to_end(stream: MuxedStream) -> bytes:
    data = b""
    while True:
        try:
            data += await stream.read(READ)
        except StreamFinishedError:
            return data


async def open_pair(a: Muxer, b: Muxer) -> tuple[MuxedStream, MuxedStream]:
    return await a.open_stream(), await b.accept_stream()


async def test_a_message_arrives_and_its_answer_comes_back() -> None:
    async with muxers() as (a, b, _, _):
        ours, theirs = await open_pair(a, b)
        assert ours.stream_id == theirs.stream_id == 1
        await ours.write(b"question")
        assert await theirs.read(READ) == b"question"
        await theirs.write(b"answer")
        assert await ours.read(3) == b"ans"
        assert await ours.read(READ) == b"wer"


async def test_megabytes_pass_through_small_buffers_both_ways_at_once() -> None:
    data = random.Random(1).randbytes(3_000_000)
    async with muxers(buffer_bytes=5000) as (a, b, _, _):
        ours, theirs = await open_pair(a, b)
        got = {}

        async def move(name: str, source: MuxedStream, sink: MuxedStream) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(source.write, data)
                got[name] = await read_exactly(sink, len(data))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(move, "there", ours, theirs)
            nursery.start_soon(move, "back", theirs, ours)
        assert got == {"there": data, "back": data}


async def test_each_direction_ends_for_itself() -> None:
    async with muxers() as (a, b, _, _):
        ours, theirs = await open_pair(a, b)
        await ours.write(b"all")
        ours.finish()
        assert await read_to_end(theirs) == b"all"
        with pytest.raises(StreamClosedError):
            await ours.write(b"more")
        await theirs.write(b"and back")
        theirs.finish()
        assert await read_to_end(ours) == b"and back"


async def test_a_reset_wakes_readers_and_writers_of_both_sides() -> None:
    async with muxers() as (a, b, _, _), trio.open_nursery() as nursery:
        ours, theirs = await open_pair(a, b)
        ended = []

        async def expect_reset(call: Callable[[], Awaitable[Any]]) -> None:
            with pytest.raises(StreamResetError):
                await call()
            ended.append(call)

        nursery.start_soon(expect_reset, lambda: ours.read(READ))
        nursery.start_soon(expect_reset, lambda: ours.write(bytes(INITIAL_WINDOW_BYTES * 2)))
        await wait_all_tasks_blocked()
        nursery.start_soon(expect_reset, lambda: ours.write(b"its turn never comes"))
        await wait_all_tasks_blocked()
        back, forth = await open_pair(b, a)
        nursery.start_soon(expect_reset, lambda: forth.read(READ))
        nursery.start_soon(expect_reset, lambda: forth.write(bytes(INITIAL_WINDOW_BYTES * 2)))
        await wait_all_tasks_blocked()
        ours.reset()
        back.reset()
        await wait_all_tasks_blocked()
        assert len(ended) == 5
        with pytest.raises(StreamResetError):
            await theirs.read(READ)


async def test_messages_of_several_writers_do_not_mix() -> None:
    async with muxers(buffer_bytes=3000) as (a, b, _, _), trio.open_nursery() as nursery:
        ours, theirs = await open_pair(a, b)
        size = 100_000
        for letter in b"abcdef":
            nursery.start_soon(ours.write, bytes([letter]) * size)
        data = await read_exactly(theirs, 6 * size)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert all(len(set(piece)) == 1 for piece in pieces)
        assert sorted(piece[0] for piece in pieces) == list(b"abcdef")


async def test_writers_are_served_in_the_order_they_came() -> None:
    async with muxers() as (a, b, _, _), trio.open_nursery() as nursery:
        ours, theirs = await open_pair(a, b)
        await ours.write(bytes(INITIAL_WINDOW_BYTES))
        await wait_all_tasks_blocked()  # the window is used up
        await ours.write(b"x" * SEND_BYTES)
        for letter in (b"1" * SEND_BYTES, b"2", b"3"):
            nursery.start_soon(ours.write, letter)
            await wait_all_tasks_blocked()
        await read_exactly(theirs, INITIAL_WINDOW_BYTES + SEND_BYTES)
        assert await read_exactly(theirs, SEND_BYTES + 2) == b"1" * SEND_BYTES + b"23"


async def test_a_writer_waits_for_its_reader_and_others_go_on(autojump_clock: MockClock) -> None:
    async with muxers() as (a, b, _, _), trio.open_nursery() as nursery:
        stuck, _ = await open_pair(a, b)
        ours, theirs = await open_pair(a, b)
        outcome = []

        async def write_too_much() -> None:
            try:
                await stuck.write(bytes(10 * INITIAL_WINDOW_BYTES))
            except StreamResetError:
                outcome.append(trio.current_time())

        nursery.start_soon(write_too_much)
        for _ in range(20):
            await trio.sleep(1)
            await ours.write(b"x")
            assert await theirs.read(READ) == b"x"
        assert not outcome
        await trio.sleep(20)
        assert 30 <= outcome[0] <= 32
        assert a.statistics().yamux.stalls == 1


async def test_neither_side_waits_for_the_other_when_both_open_streams_under_load(
    autojump_clock: MockClock,
) -> None:
    # Stock Yamux answers in its reader, through the same lock and socket as the data: with full
    # buffers in both directions, both readers wait for one another for ever.
    async with muxers(buffer_bytes=4000) as (a, b, _, _):
        done = []

        async def serve(side: Muxer) -> None:
            async with trio.open_nursery() as nursery:
                while True:
                    nursery.start_soon(sink, await side.accept_stream())

        async def sink(stream: MuxedStream) -> None:
            assert len(await read_to_end(stream)) == 400_000
            stream.finish()

        async def source(side: Muxer) -> None:
            for _ in range(5):
                stream = await side.open_stream()
                for _ in range(4):
                    await stream.write(bytes(100_000))
                stream.finish()
                assert await read_to_end(stream) == b""
                done.append(side)

        with trio.fail_after(60):
            async with trio.open_nursery() as servers:
                for side in (a, b):
                    servers.start_soon(serve, side)
                async with trio.open_nursery() as nursery:
                    for side in (a, b):
                        for _ in range(6):
                            nursery.start_soon(source, side)
                servers.cancel_scope.cancel()
        assert len(done) == 60


# --- cancellation -------------------------------------------------------------


async def test_a_cancelled_read_loses_nothing(autojump_clock: MockClock) -> None:
    chance = random.Random(5)
    async with muxers(buffer_bytes=700) as (a, b, _, _), trio.open_nursery() as nursery:
        ours, theirs = await open_pair(a, b)
        sent = b"".join(number.to_bytes(4, "big") for number in range(30_000))

        async def write() -> None:
            for at in range(0, len(sent), 600):
                await ours.write(sent[at : at + 600])
                await trio.sleep(chance.random() / 100)

        nursery.start_soon(write)
        got, cancelled = b"", 0
        while len(got) < len(sent):
            with trio.move_on_after(chance.random() / 100) as scope:
                got += await theirs.read(1000)
            cancelled += scope.cancelled_caught
        assert got == sent
        assert cancelled > 20


async def test_a_cancelled_write_sends_all_of_a_message_or_nothing(
    autojump_clock: MockClock,
) -> None:
    chance = random.Random(6)
    async with muxers(buffer_bytes=2000) as (a, b, _, _), trio.open_nursery() as nursery:
        ours, theirs = await open_pair(a, b)
        cancelled = []

        async def write_some(name: int) -> None:
            for number in range(40):
                size = chance.choice((10, 1000, 100_000, 300_000))
                message = b"".join(
                    (size.to_bytes(4, "big"), bytes([name, number]), bytes([name]) * size)
                )
                with trio.move_on_after(chance.random() / 50) as scope:
                    await ours.write(message)
                if scope.cancelled_caught:
                    cancelled.append((name, number))

        whole = []
        all_read = trio.Event()

        async def read() -> None:
            while True:
                head = await read_exactly(theirs, 6)
                body = await read_exactly(theirs, int.from_bytes(head[:4], "big"))
                assert body == bytes([head[4]]) * len(body)
                whole.append((head[4], head[5]))
                if head[4] == 99:
                    all_read.set()
                await trio.sleep(chance.random() / 30)

        nursery.start_soon(read)
        async with trio.open_nursery() as writers:
            for name in range(3):
                writers.start_soon(write_some, name)
        await ours.write(bytes([0, 0, 0, 0, 99, 99]))
        with trio.move_on_after(3600):
            await all_read.wait()
        every = {(name, number) for name in range(3) for number in range(40)}
        assert every - set(cancelled) <= set(whole)
        assert len(set(whole)) == len(whole)
        assert len(cancelled) > 10
        nursery.cancel_scope.cancel()


async def cancel_at(point: int, call: Callable[[], Awaitable[Any]]) -> bool:
    """Run a call and cancel it after so many turns of the scheduler; tell whether it was."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def count_and_cancel() -> None:
                for _ in range(point):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            nursery.start_soon(count_and_cancel)
            await call()
            nursery.cancel_scope.cancel()
    return scope.cancelled_caught


async def test_a_write_cancelled_at_any_turn_is_whole_or_absent() -> None:
    message = random.Random(3).randbytes(150_000)
    outcomes = set()
    for point in range(60):
        async with muxers(buffer_bytes=20_000) as (a, b, _, _):
            ours, theirs = await open_pair(a, b)
            await ours.write(b"-" * SEND_BYTES)
            async with trio.open_nursery() as nursery:
                got: list[bytes] = []

                async def collect(got: list[bytes] = got, theirs: MuxedStream = theirs) -> None:
                    got.append(await read_to_end(theirs))

                nursery.start_soon(collect)
                await cancel_at(point, lambda ours=ours: ours.write(message))  # type: ignore[misc]
                ours.finish()
            tail = got[0].replace(b"-" * SEND_BYTES, b"", 1)
            assert tail in (b"", message)
            outcomes.add(tail)
    assert outcomes == {b"", message}


async def test_accepting_or_opening_cancelled_at_any_turn_loses_no_stream() -> None:
    for point in range(6):
        async with muxers() as (a, b, _, _):
            accepted = []

            async def accept(b: Muxer = b, accepted: list[MuxedStream] = accepted) -> None:
                accepted.append(await b.accept_stream())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_at, point, accept)
                ours = await a.open_stream()
                await ours.write(b"hi")
            stream = accepted[0] if accepted else await b.accept_stream()
            assert await stream.read(READ) == b"hi"
            before = a.statistics().yamux.streams_opened
            opened: list[MuxedStream] = []

            async def open_one(a: Muxer = a, opened: list[MuxedStream] = opened) -> None:
                opened.append(await a.open_stream())

            await cancel_at(point, open_one)
            assert a.statistics().yamux.streams_opened - before == len(opened)


# --- ends ---------------------------------------------------------------------


async def test_closing_sends_what_waits_and_says_go_away() -> None:
    async with muxers(buffer_bytes=3000) as (a, b, wire_a, wire_b):
        ours, theirs = await open_pair(a, b)
        await ours.write(b"x" * 60_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.aclose)
            assert await read_exactly(theirs, 60_000) == b"x" * 60_000
            with pytest.raises(StreamEndedError):
                await theirs.read(READ)
        assert wire_a.is_closed
        await wait_all_tasks_blocked()
        assert b.is_closed
        assert wire_b.is_closed
        await a.aclose()


async def test_closing_does_not_wait_for_a_peer_that_does_not_read(
    autojump_clock: MockClock,
) -> None:
    async with muxers(buffer_bytes=3000) as (a, b, wire_a, wire_b):
        ours, _ = await open_pair(a, b)
        wire_b.is_stopped = True
        await ours.write(b"x" * 60_000)
        began_s = trio.current_time()
        await a.aclose()
        assert trio.current_time() - began_s <= 1.0
        assert wire_a.is_closed


@pytest.mark.parametrize("way", ["close", "wire", "cancel", "go away"])
async def test_the_end_of_the_connection_wakes_everyone(way: str) -> None:
    wire_a, wire_b = wires()
    a = Muxer(wire_a, is_initiator=True)
    ended = []

    async def expect_end(call: Callable[[], Awaitable[Any]]) -> None:
        with pytest.raises(StreamEndedError):
            await call()
        ended.append(call)

    async with trio.open_nursery() as nursery:
        running = trio.CancelScope()

        async def run() -> None:
            with running:
                await a.run()

        nursery.start_soon(run)
        stream = await a.open_stream()
        nursery.start_soon(expect_end, lambda: stream.read(READ))
        nursery.start_soon(expect_end, lambda: stream.write(bytes(INITIAL_WINDOW_BYTES * 2)))
        await wait_all_tasks_blocked()
        nursery.start_soon(expect_end, lambda: stream.write(b"in turn"))
        nursery.start_soon(expect_end, a.accept_stream)
        nursery.start_soon(expect_end, a.ping)
        await wait_all_tasks_blocked()
        match way:
            case "close":
                with trio.CancelScope() as scope:
                    scope.cancel()  # without its second of grace
                    await a.aclose()
            case "wire":
                await wire_b.aclose()
            case "cancel":
                running.cancel()
            case "go away":
                await wire_b.send(header(GO_AWAY, 0, 0, 0))
        await wait_all_tasks_blocked()
        assert len(ended) == 5
    assert a.is_closed
    assert wire_a.is_closed
    for call in (a.open_stream, a.accept_stream, a.ping):
        with pytest.raises(ChannelClosedError):
            await call()


async def test_what_came_before_the_end_can_still_be_read() -> None:
    async with muxers() as (a, b, _, wire_b):
        ours, theirs = await open_pair(a, b)
        await theirs.write(b"last words")
        await wait_all_tasks_blocked()
        await wire_b.aclose()
        await wait_all_tasks_blocked()
        assert a.is_closed
        assert await ours.read(READ) == b"last words"
        with pytest.raises(StreamResetError):
            await ours.read(READ)


async def test_a_write_that_finds_the_connection_closed_does_not_hide_what_came_before() -> None:
    wire_a, wire_b = wires()
    a = Muxer(wire_a, is_initiator=True)
    answer = header(0, 0, 1, 6) + b"answer"
    await wire_b.send(answer)
    await wire_b.aclose()
    stream = await a.open_stream()
    await stream.write(b"question")
    await a.run()
    assert await stream.read(READ) == b"answer"


# --- hostile peers ------------------------------------------------------------


async def test_a_peer_that_ignores_its_window_is_told_and_cut_off() -> None:
    wire_a, wire_b = wires(1 << 20)
    a = Muxer(wire_a, is_initiator=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.run)
        await wire_b.send(header(0, SYN, 1, INITIAL_WINDOW_BYTES) + bytes(INITIAL_WINDOW_BYTES))
        await wire_b.send(header(0, 0, 1, 1) + b"x")
        await wait_all_tasks_blocked()
    assert isinstance(a.failure, WindowExceededError)
    assert wire_a.is_closed
    assert frames(bytes(wire_b._incoming))[-1] == (GO_AWAY, 0, 0, 1, b"")


async def test_streams_nobody_accepts_are_bounded() -> None:
    wire_a, wire_b = wires(1 << 20)
    limits = MuxerLimits(streams_inbound_max=10_000, reserved_bytes_max=1 << 40)
    a = Muxer(wire_a, is_initiator=False, limits=limits)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.run)
        for number in range(ACCEPT_MAX + 50):
            await wire_b.send(header(WINDOW_UPDATE, SYN, 2 * number + 1, 0))
        await wait_all_tasks_blocked()
        assert a.statistics().waiting_to_be_accepted == ACCEPT_MAX
        assert a.statistics().yamux.resets_sent == 50
        nursery.cancel_scope.cancel()


async def test_streams_above_our_own_limit_are_refused_without_waiting() -> None:
    async with muxers(streams_outbound_max=2) as (a, _, _, _):
        await a.open_stream()
        await a.open_stream()
        with pytest.raises(TooManyStreamsError):
            await a.open_stream()


async def test_a_hung_peer_is_noticed_and_named(autojump_clock: MockClock) -> None:
    wire_a, _ = wires()
    a = Muxer(wire_a, is_initiator=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.run)
        stream = await a.open_stream()
        with pytest.raises(StreamResetError):
            await stream.read(READ)
    assert trio.current_time() <= 33
    assert isinstance(a.failure, SilentPeerError)
    assert wire_a.is_closed


async def test_an_idle_connection_is_closed_in_good_order(autojump_clock: MockClock) -> None:
    async with muxers(idle_s=60.0) as (a, b, _, _):
        stream, _ = await open_pair(a, b)
        await trio.sleep(200)
        assert not a.is_closed
        stream.reset()
        await trio.sleep(70)
        assert a.is_closed
        assert b.is_closed
        assert a.failure is None
        assert b.failure is None


async def test_a_ping_measures_the_way_there_and_back(autojump_clock: MockClock) -> None:
    async with muxers() as (a, b, _, _):
        assert await a.ping() == 0.0
        assert a.statistics().yamux.pings_answered == 1
        assert b.statistics().yamux.pings_sent == 0
