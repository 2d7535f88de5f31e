"""What every implementation of ports.Network has to do, as checks over a factory of networks.

A test module of an implementation gives `CONTRACT` to parametrize and calls `await check(make)`,
where `make(n)` returns n networks that are not running yet, and that find and connect to one
another once they are. Every check runs them itself; with a MockClock the time limits cost nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias, TypeVar

import pytest
import trio

from p2pnode.errors import P2PNodeError
from p2pnode.ports import (
    FrameReceived,
    Incoming,
    Lane,
    Network,
    PeerConnected,
    PeerLost,
    Published,
    RequestFailedError,
    Verdict,
)

Factory: TypeAlias = Callable[[int], Awaitable[Sequence[Network]]]
Check: TypeAlias = Callable[[Factory], Awaitable[None]]
_T = TypeVar("_T", bound=Incoming)

WITHIN_S: Final = 20.0
"""A check fails when something it waits for takes longer."""


class Running:
    """Networks under test, each of which can be stopped."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.networks = networks
        self._scopes = [trio.CancelScope() for _ in networks]

    async def start(self, nursery: trio.Nursery) -> None:
        for index in range(len(self.networks)):
            await nursery.start(self._run, index)

    async def _run(
        self, index: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with self._scopes[index]:
            await self.networks[index].run(task_status=task_status)

    def stop(self, index: int) -> None:
        """End one network as a crash of its process would."""
        self._scopes[index].cancel()

    def stop_all(self) -> None:
        for scope in self._scopes:
            scope.cancel()


@asynccontextmanager
async def running(networks: Sequence[Network]) -> AsyncIterator[Running]:
    """Run networks and wait until each is connected to all others."""
    runner = Running(networks)
    async with trio.open_nursery() as nursery:
        await runner.start(nursery)
        with trio.fail_after(WITHIN_S):
            for network in networks:
                await take(network, PeerConnected, len(networks) - 1)
        yield runner
        runner.stop_all()


async def take(network: Network, kind: type[_T], count: int) -> list[_T]:
    """Read `incoming` until `count` of a kind have come; the rest is thrown away."""
    found: list[_T] = []
    with trio.fail_after(WITHIN_S):
        while len(found) < count:
            item = await network.incoming.receive()
            if isinstance(item, kind):
                found.append(item)
    return found


async def quiet(network: Network, kind: type[Incoming], for_s: float) -> list[Incoming]:
    """Return what of a kind arrives within a while."""
    found: list[Incoming] = []
    with trio.move_on_after(for_s):
        while True:
            item = await network.incoming.receive()
            if isinstance(item, kind):
                found.append(item)
    return found


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something nobody announces has become true."""
    with trio.fail_after(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await trio.sleep(0.02)


def accept(peer: bytes, data: bytes) -> Verdict:
    return Verdict.ACCEPT


async def frames_of_a_lane_arrive_in_the_order_sent(make: Factory) -> None:
    networks = await make(2)
    a, b = networks
    async with running(networks):
        for number in range(100):
            for lane in Lane:
                assert a.send(b.peer_id, lane, b"%d" % number + b"x" * (number * 7))
        frames = await take(b, FrameReceived, 300)
        for lane in Lane:
            got = [int(f.frame.rstrip(b"x")) for f in frames if f.lane is lane]
            assert got == list(range(100)), lane
        assert all(f.peer == a.peer_id for f in frames)
        assert a.statistics().frames_sent == 300
        assert b.statistics().frames_received == 300


async def an_empty_and_a_large_frame_arrive_whole(make: Factory) -> None:
    networks = await make(2)
    a, b = networks
    large = bytes(range(256)) * 4000
    async with running(networks):
        assert a.send(b.peer_id, Lane.BULK, b"")
        assert a.send(b.peer_id, Lane.BULK, large)
        frames = await take(b, FrameReceived, 2)
        assert [f.frame for f in frames] == [b"", large]


async def a_frame_to_a_stranger_is_dropped_and_counted(make: Factory) -> None:
    networks = await make(2)
    async with running(networks):
        assert not networks[0].send(b"\x00$" + b"s" * 36, Lane.VOTE, b"hello")
        assert networks[0].statistics().frames_dropped == 1


async def a_request_is_answered_by_its_protocol(make: Factory) -> None:
    networks = await make(2)
    a, b = networks

    async def echo(peer: bytes, body: bytes) -> bytes:
        assert peer == a.peer_id
        return b"echo:" + body

    b.serve("echo", echo)
    async with running(networks):
        answers: dict[int, bytes] = {}

        async def ask(number: int) -> None:
            answers[number] = await a.request(b.peer_id, "echo", b"%d" % number, timeout_s=WITHIN_S)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
        assert answers == {n: b"echo:%d" % n for n in range(20)}
        assert await a.request(b.peer_id, "echo", b"", timeout_s=WITHIN_S) == b"echo:"


async def a_request_that_cannot_be_answered_fails(make: Factory) -> None:
    networks = await make(2)
    a, b = networks

    async def refuse(peer: bytes, body: bytes) -> bytes:
        raise P2PNodeError("not for you")

    async def crash(peer: bytes, body: bytes) -> bytes:
        raise KeyError("a bug in a handler")

    async def never(peer: bytes, body: bytes) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def echo(peer: bytes, body: bytes) -> bytes:
        return body

    b.serve("refuse", refuse)
    b.serve("crash", crash)
    b.serve("never", never)
    b.serve("echo", echo)
    async with running(networks):
        for protocol in ("refuse", "crash", "no such protocol"):
            with pytest.raises(RequestFailedError):
                await a.request(b.peer_id, protocol, b"", timeout_s=WITHIN_S)
        before_s = trio.current_time()
        with pytest.raises(RequestFailedError):
            await a.request(b.peer_id, "never", b"", timeout_s=0.3)
        assert 0.25 < trio.current_time() - before_s < 2.0
        with pytest.raises(RequestFailedError):
            await a.request(b"\x00$" + b"s" * 36, "echo", b"", timeout_s=WITHIN_S)
        assert await a.request(b.peer_id, "echo", b"on", timeout_s=WITHIN_S) == b"on"


async def a_published_message_reaches_every_other_node_once(make: Factory) -> None:
    networks = await make(4)
    for network in networks:
        network.subscribe("t", accept)
    async with running(networks):
        await trio.sleep(2.0)  # subscriptions travel, meshes form
        for number in range(20):
            networks[number % 4].publish("t", b"%d" % number)
        for index, network in enumerate(networks):
            others = [b"%d" % n for n in range(20) if n % 4 != index]
            got = await take(network, Published, len(others))
            assert sorted(m.data for m in got) == sorted(others)
            assert {m.topic for m in got} == {"t"}
            assert all(m.origin == networks[int(m.data) % 4].peer_id for m in got)
        for network in networks:
            assert await quiet(network, Published, 0.5) == []
            assert network.statistics().messages_published == 5
            assert network.statistics().messages_received == 15


async def what_a_validator_does_not_accept_is_not_delivered(make: Factory) -> None:
    networks = await make(3)

    def choosy(peer: bytes, data: bytes) -> Verdict:
        if data == b"crash":
            raise KeyError("a bug in a validator")
        return {b"bad": Verdict.REJECT, b"dull": Verdict.IGNORE}.get(data, Verdict.ACCEPT)

    networks[0].subscribe("t", accept)
    networks[1].subscribe("t", choosy)
    networks[2].subscribe("t", choosy)
    async with running(networks):
        await trio.sleep(2.0)
        for data in (b"bad", b"dull", b"crash", b"good"):
            networks[0].publish("t", data)
        for network in networks[1:]:
            assert [m.data for m in await take(network, Published, 1)] == [b"good"]
            assert await quiet(network, Published, 0.5) == []
            assert network.statistics().messages_invalid >= 1
            # Rejecting costs the forwarder; ignoring, and our own bugs, cost nobody.
            scores = {p.peer: p.score for p in network.peers()}
            assert -100 < scores[networks[0].peer_id] < 0


async def peers_are_listed_ascending(make: Factory) -> None:
    networks = await make(3)
    async with running(networks):
        for network in networks:
            listed = [p.peer for p in network.peers()]
            assert listed == sorted(n.peer_id for n in networks if n is not network)
            assert network.statistics().peers_count == 2


async def the_loss_of_a_peer_is_reported(make: Factory) -> None:
    networks = await make(3)
    async with running(networks) as runner:
        runner.stop(2)
        for network in networks[:2]:
            (lost,) = await take(network, PeerLost, 1)
            assert lost.peer == networks[2].peer_id
            await until(lambda network=network: len(network.peers()) == 1)
            assert not network.send(networks[2].peer_id, Lane.VOTE, b"anyone there?")


async def a_peer_with_a_score_of_minus_100_is_disconnected_and_refused(make: Factory) -> None:
    networks = await make(2)
    a, b = networks
    async with running(networks):
        a.penalize(b.peer_id, 60.0, "a small thing")
        assert -61 < a.peers()[0].score < -55
        a.penalize(b.peer_id, 60.0, "one more")
        for network in networks:
            await take(network, PeerLost, 1)
        assert await quiet(a, PeerConnected, 2.0) == []
        assert a.peers() == ()
        assert not a.send(b.peer_id, Lane.VOTE, b"still there?")


CONTRACT: Final[tuple[Check, ...]] = (
    frames_of_a_lane_arrive_in_the_order_sent,
    an_empty_and_a_large_frame_arrive_whole,
    a_frame_to_a_stranger_is_dropped_and_counted,
    a_request_is_answered_by_its_protocol,
    a_request_that_cannot_be_answered_fails,
    a_published_message_reaches_every_other_node_once,
    what_a_validator_does_not_accept_is_not_delivered,
    peers_are_listed_ascending,
    the_loss_of_a_peer_is_reported,
    a_peer_with_a_score_of_minus_100_is_disconnected_and_refused,
)
