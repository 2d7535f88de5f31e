"""Channels under a table of links, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from p2pnode.net.channel.errors import ChannelClosedError
from p2pnode.net.links.profile import LinkProfile, LinkProfileError
from p2pnode.net.links.schedule import PIECE_BYTES_MAX, QUEUE_BYTES_MAX
from p2pnode.net.links.shim import (
    HANDSHAKE_LEGS,
    LINKS_MAX,
    LinkState,
    LinkTable,
    LinkTableError,
    ShimmedChannel,
    links_from_json,
    links_to_json,
)

PEER = b"peer"
OTHER = b"other"
SLOW = LinkProfile(100, 100)


class Socket:
    """Notes what is sent and when."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, bytes]] = []
        self.closed = False

    async def receive(self, size_bytes_max: int) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise ChannelClosedError("closed")
        self.sent.append((trio.current_time(), data))

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


class World:
    def __init__(self, table: LinkTable) -> None:
        self.table = table
        self.socket = Socket()
        self.channel: ShimmedChannel = table.shim(PEER, self.socket)
        self.start_s = trio.current_time()

    def arrived(self) -> list[tuple[float, bytes]]:
        """Return (seconds since the start, data)."""
        return [(round(at - self.start_s, 3), data) for at, data in self.socket.sent]


@asynccontextmanager
async def world(states: dict[bytes, LinkState] | None = None) -> AsyncIterator[World]:
    table = LinkTable(states, draw=lambda: 0.5)
    async with trio.open_nursery() as nursery:
        await nursery.start(table.run)
        yield World(table)
        nursery.cancel_scope.cancel()


async def test_a_link_that_does_nothing_sends_by_the_channel_below(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world({OTHER: LinkState(SLOW)}) as w:
        # The very coroutine of the socket: nothing is awaited in between.
        sending = w.channel.send(b"x")
        assert sending.__qualname__ == "Socket.send"
        await sending
        assert w.arrived() == [(0.0, b"x")]


async def test_bytes_leave_late_and_in_order(autojump_clock: trio.testing.MockClock) -> None:
    async with world({PEER: LinkState(SLOW)}) as w:
        await w.channel.send(b"a")
        await trio.sleep(0.05)
        await w.channel.send(b"b")
        await trio.sleep(1.0)
        assert w.arrived() == [(0.1, b"a"), (0.15, b"b")]


async def test_a_cut_stalls_and_a_heal_delivers(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as w:
        await w.channel.send(b"before")
        w.table.set({PEER: LinkState(cut=True)})
        await w.channel.send(b"during")
        await trio.sleep(60.0)
        assert w.arrived() == [(0.0, b"before")]
        w.table.set({})
        await trio.sleep(0.001)
        assert w.arrived() == [(0.0, b"before"), (60.0, b"during")]
        # And the way is free again.
        await w.channel.send(b"after")
        await trio.sleep(0.001)
        assert [data for _, data in w.arrived()] == [b"before", b"during", b"after"]


async def test_a_cleared_link_keeps_order_until_the_late_bytes_have_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world({PEER: LinkState(SLOW)}) as w:
        await w.channel.send(b"late ")
        w.table.set({})
        await w.channel.send(b"early")
        await trio.sleep(1.0)
        assert b"".join(data for _, data in w.arrived()) == b"late early"
        sending = w.channel.send(b"x")
        assert sending.__qualname__ == "Socket.send"
        await sending


async def test_a_sender_waits_while_too_much_is_queued(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world({PEER: LinkState(cut=True)}) as w:
        with trio.move_on_after(10.0) as patience:
            await w.channel.send(bytes(QUEUE_BYTES_MAX + 3 * PIECE_BYTES_MAX))
        assert patience.cancelled_caught
        w.table.set({})
        await trio.sleep(1.0)
        sent = sum(len(data) for _, data in w.arrived())
        assert QUEUE_BYTES_MAX <= sent < QUEUE_BYTES_MAX + 2 * PIECE_BYTES_MAX


async def test_a_close_wakes_a_sender_and_drops_what_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world({PEER: LinkState(cut=True)}) as w:
        async with trio.open_nursery() as nursery:

            async def send_much() -> None:
                with pytest.raises(ChannelClosedError):
                    await w.channel.send(bytes(2 * QUEUE_BYTES_MAX))

            nursery.start_soon(send_much)
            await trio.sleep(1.0)
            await w.channel.aclose()
        assert w.socket.closed
        with pytest.raises(ChannelClosedError):
            await w.channel.send(b"x")
        w.table.set({})
        await trio.sleep(1.0)
        assert w.arrived() == []


async def test_a_broken_socket_is_told_to_the_next_sender(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world({PEER: LinkState(SLOW)}) as w:
        w.socket.closed = True
        await w.channel.send(b"lost with the connection")
        await trio.sleep(1.0)
        with pytest.raises(ChannelClosedError):
            await w.channel.send(b"x")


async def test_a_handshake_waits_for_the_healing_and_takes_its_trips(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world({PEER: LinkState(SLOW, cut=True)}) as w:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.table.pass_handshake, PEER)
            await trio.sleep(7.0)
            w.table.set({PEER: LinkState(SLOW)})
        assert trio.current_time() - w.start_s == pytest.approx(7.0 + HANDSHAKE_LEGS * 0.1)
        before_s = trio.current_time()
        await w.table.until_open(OTHER)
        assert trio.current_time() == before_s


def test_links_survive_json() -> None:
    states = {PEER: LinkState(SLOW, cut=True), OTHER: LinkState()}
    assert links_from_json(links_to_json(states)) == states


@pytest.mark.parametrize(
    "row", [{}, {"peer": "zz", "profile": None, "cut": True}, {"peer": "00", "profile": None}]
)
def test_a_row_that_is_no_link_is_refused(row: dict[str, object]) -> None:
    with pytest.raises(LinkTableError):
        links_from_json([row])
    with pytest.raises(LinkProfileError):
        links_from_json([{"peer": "00", "profile": {"loss": 2}, "cut": False}])


def test_a_table_has_a_limit() -> None:
    table = LinkTable()
    with pytest.raises(LinkTableError):
        table.set({n.to_bytes(4, "big"): LinkState(cut=True) for n in range(LINKS_MAX + 1)})
