"""What a stranger may do to a node over real sockets, each with its bound."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psutil
import pytest
import trio
from libp2p.peer.id import ID

from p2pnode.net.config import RATES, NetworkLimits
from p2pnode.net.libp2p import Libp2pNetwork
from p2pnode.net.rates import Rate
from p2pnode.ports import FrameReceived, Lane, PeerConnected
from p2pnode.sync import catchup
from tests.e2e.net.hostile import Relay
from tests.e2e.net.libp2p_helpers import CHAIN, address_of, network
from tests.hostile.stranger import ATTACKS, Stranger, line
from tests.unit.net.network_contract import accept, running, take, until

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Close what stock libp2p leaves to the garbage collector here, not in somebody else's test."""
    yield
    gc.collect()


GROWTH_BYTES_MAX = 256 << 20
"""Of this process, in which the attacker lives, too."""

FROM_THE_BOX = NetworkLimits()

QUICK = NetworkLimits(
    # Small, so that a test need not flood for long.
    rates={**RATES, "gossip": Rate(1_000_000, 50, burst_s=1)},
    excess_grace_s=1.0,
)


async def long_answer(peer: bytes, body: bytes) -> bytes:
    return bytes(1 << 20)


async def echo(peer: bytes, body: bytes) -> bytes:
    return body


def port_of(ours: Libp2pNetwork) -> int:
    return int(ours.address.split("/")[4])


def stranger_of(ours: Libp2pNetwork, seed: int = 1) -> Stranger:
    return Stranger("127.0.0.1", port_of(ours), str(ID(ours.peer_id)), CHAIN, seed)


@asynccontextmanager
async def attacked(
    limits: NetworkLimits = FROM_THE_BOX, *, limit_loopback: bool = False
) -> AsyncIterator[tuple[Libp2pNetwork, Libp2pNetwork]]:
    """Run a node to be attacked, connected to an honest one that still gets through at the end."""
    gc.collect()
    before_bytes = psutil.Process().memory_info().rss
    ours = network(0, limits=limits, limit_loopback=limit_loopback)
    for topic in ("tx/0", "head"):
        ours.subscribe(topic, accept)
    ours.serve("echo", echo)
    ours.serve(catchup.PROTOCOL, long_answer)
    async with trio.open_nursery() as nursery:
        await nursery.start(ours.run)
        honest = network(1, bootstrap=(ours.address,))
        await nursery.start(honest.run)
        await take(honest, PeerConnected, 1)
        nursery.start_soon(drain, ours)
        yield ours, honest
        await gets_through(honest, ours)
        (row,) = [p for p in ours.peers() if p.peer == honest.peer_id]
        assert row.score > -10, row.reasons
        assert ours.libp2p_statistics().stream_errors == 0
        assert psutil.Process().memory_info().rss - before_bytes < GROWTH_BYTES_MAX
        nursery.cancel_scope.cancel()


async def drain(node: Libp2pNetwork) -> None:
    async for _ in node.incoming:
        pass


async def gets_through(honest: Libp2pNetwork, ours: Libp2pNetwork) -> None:
    for _ in range(5):
        assert await honest.request(ours.peer_id, "echo", b"x", timeout_s=5) == b"x"
        assert honest.send(ours.peer_id, Lane.VOTE, b"vote")


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("muxer pings", "pings in a second"),
        ("empty records", "records of less than 1024 bytes"),
        ("idle streams", "more streams at a time"),
        ("rapid resets", "more streams at a time"),
        ("oversize frames", "frame of 4294967295 bytes"),
        ("forged gossip", "not valid"),
        ("gossip flood", "faster than allowed"),
        ("subscriptions", "subscription beyond"),
    ],
)
async def test_stranger_is_banned_and_the_reason_is_told(attack: str, reason: str) -> None:
    async with attacked(QUICK) as (ours, honest), trio.open_nursery() as nursery:
        nursery.start_soon(ATTACKS[attack], stranger_of(ours))
        with trio.fail_after(30):
            await until(lambda: len(ours.banned()) > 0)
        await gets_through(honest, ours)
        banned = ours.banned()[0]
        assert any(reason in d.reason for d in banned.reasons), banned.reasons
        assert 0 < banned.left_s <= 300
        assert ours.statistics().bans_count >= 1
        nursery.cancel_scope.cancel()


async def test_stranger_that_changes_its_name_after_each_offence_is_known_by_its_address() -> None:
    async with (
        attacked(NetworkLimits(address_points_max=60), limit_loopback=True) as (ours, _),
        trio.open_nursery() as nursery,
    ):
        attacker = stranger_of(ours)
        nursery.start_soon(ATTACKS["junk gossip"], attacker)
        await until(lambda: ours.statistics().refusals["address_banned"] >= 2)
        assert attacker.identities >= 3
        assert ours.banned() == ()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "attack",
    [
        "slow handshakes",
        "junk on sockets",
        "zero windows",
        "requests",
        "junk frames",
        "empty messages",
        "empty gossip",
    ],
)
async def test_honest_traffic_goes_on_beside(attack: str) -> None:
    async with attacked() as (ours, honest), trio.open_nursery() as nursery:
        nursery.start_soon(ATTACKS[attack], stranger_of(ours))
        for _ in range(5):
            await trio.sleep(0.5)
            await gets_through(honest, ours)
        newcomer = network(2, bootstrap=(ours.address,))
        await nursery.start(newcomer.run)
        await take(newcomer, PeerConnected, 1)
        nursery.cancel_scope.cancel()


async def test_thousand_connections_from_one_address_leave_room_for_others() -> None:
    async with (
        attacked(limit_loopback=True) as (ours, honest),
        trio.open_nursery() as nursery,
    ):
        attacker = stranger_of(ours)
        nursery.start_soon(ATTACKS["flood of connections"], attacker)
        await until(lambda: attacker.sent.get("connections", 0) >= 1000)
        relay = Relay(port_of(ours), source_ip="127.0.0.2")
        await nursery.start(relay.run)
        newcomer = network(2, bootstrap=(address_of(0, relay.port),))
        await nursery.start(newcomer.run)
        await take(newcomer, PeerConnected, 1)
        await until(lambda: newcomer.peers()[0].rtt_s is not None)
        await gets_through(newcomer, ours)
        await gets_through(honest, ours)
        refusals = ours.statistics().refusals
        assert refusals["handshakes_of_address"] + refusals["rate_of_address"] > 900
        assert len(ours.peers()) == 2
        nursery.cancel_scope.cancel()


async def test_newcomer_from_elsewhere_gets_a_slot_of_a_crowd() -> None:
    limits = NetworkLimits(inbound_max=4, inbound_reserved_share=0)
    async with (
        attacked(limits, limit_loopback=True) as (ours, honest),
        trio.open_nursery() as nursery,
    ):
        crowd = [network(number, dial_backoff_min_s=30.0) for number in (3, 4, 5)]
        for number, each in enumerate(crowd, 2):
            await nursery.start(each.run)
            each.set_wanted({ours.peer_id: [ours.address]})
            await until(lambda count=number: len(ours.peers()) == count)
        relay = Relay(port_of(ours), source_ip="127.0.0.2")
        await nursery.start(relay.run)
        newcomer = network(2, bootstrap=(address_of(0, relay.port),))
        await nursery.start(newcomer.run)
        await take(newcomer, PeerConnected, 1)
        await until(lambda: newcomer.peers()[0].rtt_s is not None)
        await gets_through(newcomer, ours)
        await until(lambda: len(ours.peers()) == 4)
        inside = {peer.peer for peer in ours.peers()}
        assert crowd[-1].peer_id not in inside
        assert {honest.peer_id, newcomer.peer_id} < inside
        assert ours.statistics().refusals["crowded_out"] == 1
        nursery.cancel_scope.cancel()


async def test_peer_that_never_reads_holds_no_more_than_its_queues() -> None:
    limits = NetworkLimits(lane_bytes_max=1 << 20)
    async with attacked(limits) as (ours, honest), line(stranger_of(ours)) as found:
        await until(lambda: len(ours.peers()) == 2)
        (peer,) = [p.peer for p in ours.peers() if p.peer != honest.peer_id]
        sent = refused = 0
        with trio.fail_after(20):
            while refused < 20:
                if ours.send(peer, Lane.BULK, bytes(64 << 10)):
                    sent += 1
                else:
                    refused += 1
                await trio.sleep(0.01)
        assert found.connection is not None
        assert sent * (64 << 10) <= (1 << 20) + (2 << 20)
        await gets_through(honest, ours)


async def test_stream_that_says_its_protocol_too_slowly_is_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("p2pnode.net.libp2p.inbound.NEGOTIATION_TIMEOUT_S", 0.5)
    async with attacked() as (ours, _), line(stranger_of(ours)) as found:
        streams = [await found.connection.new_stream() for _ in range(32)]
        ended = 0
        with trio.fail_after(10):
            for stream in streams:
                await stream.muxed_stream.write(b"\x13/mult")
            for stream in streams:
                try:
                    while await stream.muxed_stream.read(4096):
                        pass
                except Exception:
                    ended += 1
        assert ended == 32


async def test_banned_peer_is_forgiven_and_the_second_ban_is_longer() -> None:
    ours = network(0, ban_s=0.5)
    other = network(1, dial_backoff_max_s=0.2)
    async with running([ours]) as _, trio.open_nursery() as nursery:
        await nursery.start(other.run)
        other.set_wanted({ours.peer_id: [ours.address]})
        for bans, longest_s in ((1, 0.5), (2, 1.0)):
            await until(lambda: len(ours.peers()) == 1)
            ours.ban(other.peer_id, "a test")
            (banned,) = ours.banned()
            assert (banned.bans_count, banned.peer) == (bans, other.peer_id)
            assert longest_s / 2 <= banned.left_s <= longest_s
            assert banned.reasons[0].reason == "a test"
            await until(lambda: not ours.peers())
        await until(lambda: len(ours.peers()) == 1)
        assert ours.send(other.peer_id, Lane.VOTE, b"welcome back")
        await take(other, FrameReceived, 1)
        nursery.cancel_scope.cancel()


async def test_only_those_allowed_connect_in_both_directions() -> None:
    friend, stranger = network(1), network(2)
    ours = network(0, allow=(friend.peer_id,))
    async with trio.open_nursery() as nursery:
        for each in (ours, friend, stranger):
            await nursery.start(each.run)
        stranger.set_wanted({ours.peer_id: [ours.address]})
        await until(lambda: ours.statistics().refusals["not_allowed"] >= 1)
        ours.set_wanted({friend.peer_id: [friend.address], stranger.peer_id: [stranger.address]})
        await take(ours, PeerConnected, 1)
        await trio.sleep(0.5)
        assert [p.peer for p in ours.peers()] == [friend.peer_id]
        nursery.cancel_scope.cancel()
