"""Our channel and muxer with those of libp2p as peer, in both roles."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from libp2p.io.exceptions import ConnectionClosedError, IOException
from libp2p.security.exceptions import HandshakeFailure
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamReset
from trio.testing import MockClock, wait_all_tasks_blocked

from p2pnode.net.libp2p.channel import HANDSHAKE_BYTES_MAX, YamuxStream
from tests.unit.net.channel.stock import IDS, MemoryConnection, connections, noise, sessions
from tests.unit.net.channel.wires import wires

ROLES = pytest.mark.parametrize(
    ("dialler_is_own", "listener_is_own"),
    [(True, False), (False, True), (True, True)],
    ids=["own dials stock", "stock dials own", "own dials own"],
)


def run(body: Callable[[], Awaitable[None]]) -> None:
    """Run an example of hypothesis, which knows no fixtures of Trio."""
    clock = MockClock(autojump_threshold=0)

    async def bounded() -> None:
        with trio.fail_after(600):
            await body()

    trio.run(bounded, clock=clock)


async def read_exactly(source: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await source.read(min(size - len(data), 1 << 18))
    return data


@ROLES
@settings(max_examples=15)
@given(
    sizes=st.lists(st.sampled_from([1, 100, 65_519, 65_520, 200_000]), max_size=6),
    # Stock takes a record that comes in more than 100 pieces for the end of the connection.
    buffer_bytes=st.sampled_from([1000, 3000, 100_000]),
)
def test_records_of_any_size_pass_both_ways(
    dialler_is_own: bool, listener_is_own: bool, sizes: list[int], buffer_bytes: int
) -> None:
    async def body() -> None:
        async with sessions(dialler_is_own, listener_is_own, buffer_bytes=buffer_bytes) as ends:
            assert [end.get_remote_peer() for end in ends] == [IDS[1], IDS[0]]
            messages = [random.Random(size).randbytes(size) for size in sizes]

            async def write(end: Any) -> None:
                for message in messages:
                    await end.write(message)

            async def read(end: Any) -> None:
                for message in messages:
                    assert await read_exactly(end, len(message)) == message

            async with trio.open_nursery() as nursery:
                for end in ends:
                    nursery.start_soon(write, end)
                    nursery.start_soon(read, end)

    run(body)


@ROLES
@settings(max_examples=15)
@given(
    streams=st.lists(
        st.tuples(
            st.booleans(),
            st.lists(st.sampled_from([1, 1000, 70_000, 400_000]), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_streams_of_both_sides_carry_data_there_and_back_and_end(
    dialler_is_own: bool, listener_is_own: bool, streams: list[tuple[bool, list[int]]]
) -> None:
    async def body() -> None:
        async with connections(dialler_is_own, listener_is_own) as ends:

            async def answer(side: Any) -> None:
                async with trio.open_nursery() as nursery:
                    while True:
                        nursery.start_soon(echo, await side.accept_stream())

            async def echo(stream: Any) -> None:
                # Half-close: it is the asker's end that ends this.
                data = b""
                try:
                    while True:
                        data += await stream.read(1 << 16)
                except MuxedStreamEOF:
                    pass
                await stream.write(data)
                await stream.close()

            async def ask(side: Any, sizes: list[int]) -> None:
                stream = await side.open_stream()
                sent = b""
                for size in sizes:
                    message = random.Random(size).randbytes(size)
                    await stream.write(message)
                    sent += message
                await stream.close()
                assert await read_exactly(stream, len(sent)) == sent
                with pytest.raises(MuxedStreamEOF):
                    await stream.read(1)

            async with trio.open_nursery() as servers:
                for side in ends:
                    servers.start_soon(answer, side)
                async with trio.open_nursery() as askers:
                    for by_dialler, sizes in streams:
                        askers.start_soon(ask, ends[0 if by_dialler else 1], sizes)
                servers.cancel_scope.cancel()

    run(body)


@ROLES
async def test_a_reset_reaches_the_other_side(dialler_is_own: bool, listener_is_own: bool) -> None:
    async with connections(dialler_is_own, listener_is_own) as ends:
        for opener, accepter in (ends, ends[::-1]):
            ours = await opener.open_stream()
            theirs = await accepter.accept_stream()
            await ours.write(b"x")
            assert await theirs.read(1) == b"x"
            await theirs.reset()
            await wait_all_tasks_blocked(0.01)
            # Stock forgets the stream with the reset, and then takes it for finished.
            is_own = isinstance(ours, YamuxStream)
            with pytest.raises(MuxedStreamReset if is_own else (MuxedStreamReset, MuxedStreamEOF)):
                await ours.read(1)


async def test_stock_answers_our_pings_and_we_answer_its(autojump_clock: MockClock) -> None:
    async with connections(True, False) as (own, stock):
        assert await own.ping() == 0.0
        await trio.sleep(2)
        await wait_all_tasks_blocked()
        assert own.statistics().yamux.frames_sent >= 2
        assert stock._ping_event.is_set()


async def test_a_go_away_of_either_side_ends_the_other(autojump_clock: MockClock) -> None:
    for leaver in (0, 1):
        async with connections(True, False) as ends:
            await ends[leaver].close()
            with trio.fail_after(5):
                await ends[1 - leaver].event_closed.wait()


# --- handshake ----------------------------------------------------------------


@ROLES
async def test_a_peer_under_another_id_is_refused(
    dialler_is_own: bool, listener_is_own: bool
) -> None:
    wire_a, wire_b = wires()

    async def listen() -> None:
        raw = MemoryConnection(wire_b, is_initiator=False)
        with pytest.raises((HandshakeFailure, IOException)):
            await noise(listener_is_own, 1).secure_inbound(raw)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        raw = MemoryConnection(wire_a, is_initiator=True)
        with pytest.raises(HandshakeFailure):
            await noise(dialler_is_own, 0).secure_outbound(raw, IDS[0])
        await wire_a.aclose()


@pytest.mark.parametrize("size", [10_000, 65_535])
async def test_a_handshake_that_is_too_long_is_refused_before_it_comes(size: int) -> None:
    wire_a, wire_b = wires()
    await wire_a.send(size.to_bytes(2, "big"))
    with pytest.raises(HandshakeFailure, match=f"at most {HANDSHAKE_BYTES_MAX}"):
        await noise(True, 1).secure_inbound(MemoryConnection(wire_b, is_initiator=False))


async def test_a_handshake_that_takes_too_long_is_given_up(autojump_clock: MockClock) -> None:
    wire_a, wire_b = wires()
    await wire_a.send(b"\x00")
    with pytest.raises(HandshakeFailure, match="within 5 s"):
        await noise(True, 1).secure_inbound(MemoryConnection(wire_b, is_initiator=False))
    assert trio.current_time() <= 6


async def test_a_peer_that_hangs_up_in_the_handshake_is_an_error_at_once() -> None:
    wire_a, wire_b = wires()
    await wire_a.aclose()
    with pytest.raises(HandshakeFailure):
        await noise(True, 1).secure_inbound(MemoryConnection(wire_b, is_initiator=False))


@given(junk=st.lists(st.binary(max_size=200), max_size=4))
@settings(max_examples=60)
def test_junk_in_the_handshake_is_nothing_but_a_failed_handshake(junk: list[bytes]) -> None:
    async def body() -> None:
        wire_a, wire_b = wires()
        for message in junk:
            await wire_a.send(len(message).to_bytes(2, "big") + message)
        with pytest.raises(HandshakeFailure):
            await noise(True, 1).secure_inbound(MemoryConnection(wire_b, is_initiator=False))

    run(body)


async def test_the_end_of_a_session_is_the_error_libp2p_expects() -> None:
    async with sessions(True, True) as (ours, theirs):
        await theirs.close()
        with pytest.raises(ConnectionClosedError):
            await ours.read(1)
        with pytest.raises(ConnectionClosedError):
            await ours.write(b"x")
