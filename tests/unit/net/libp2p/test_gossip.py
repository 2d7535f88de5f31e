"""RPCs of gossip that no honest peer sends: each is the sender's fault, and named."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.net.config import RATES
from p2pnode.net.libp2p.gossip import MalformedRpcError, _authentic, _own_pace
from p2pnode.net.libp2p.router import SeenIds
from p2pnode.net.libp2p.streams import encode_varint
from p2pnode.net.rates import Meter
from p2pnode.ports import Verdict
from tests.fuzz.network import network_fuzz
from tests.unit.net.libp2p.fakes import stream_pair

BAD = b"\xff\xfe"
SUBSCRIPTION = b"\x0a\x06\x08\x01\x12\x02" + BAD
PUBLISHED = b"\x12\x04\x22\x02" + BAD
IHAVE = b"\x1a\x06\x0a\x04\x0a\x02" + BAD
GRAFT = b"\x1a\x06\x1a\x04\x0a\x02" + BAD
PRUNE = b"\x1a\x06\x22\x04\x0a\x02" + BAD


@pytest.mark.parametrize("rpc", [SUBSCRIPTION, PUBLISHED, IHAVE, GRAFT, PRUNE])
async def test_a_topic_that_is_no_utf8_is_the_senders_fault(
    rpc: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with network_fuzz(1) as fuzz:
        peer = fuzz.network._gossip._state.host.get_id()
        with pytest.raises(MalformedRpcError, match="UTF-8"):
            await fuzz.network._gossip._on_rpc(peer, rpc)


MEBIBYTE = (1 << 20) + (1 << 15)


def _field(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2]) + encode_varint(len(body)) + body


@pytest.mark.parametrize(
    "rpc",
    [
        b"\x0a\x00" * (MEBIBYTE // 2),
        b"\x12\x00" * (MEBIBYTE // 2),
        _field(3, b"\x0a\x00" * (MEBIBYTE // 2)),
        _field(3, b"\x1a\x00" * (MEBIBYTE // 2)),
        _field(3, _field(1, b"\x12\x00" * (MEBIBYTE // 2))),
        _field(3, b"\x1a\x00" * 20_000) * 2 + b"\x10",
    ],
    ids=["subscriptions", "messages", "offers", "grafts", "ids", "grafts and a broken end"],
)
async def test_an_rpc_of_half_a_million_parts_is_refused_before_any_is_made(
    rpc: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with network_fuzz(1) as fuzz:
        peer = fuzz.network._gossip._state.host.get_id()
        with pytest.raises(MalformedRpcError, match="more than 32768 parts"):
            await fuzz.network._gossip._on_rpc(peer, rpc)


async def test_a_large_rpc_of_few_parts_is_read(autojump_clock: trio.testing.MockClock) -> None:
    async with network_fuzz(1) as fuzz:
        gossip = fuzz.network._gossip
        (topic,) = gossip._topics
        rpc = rpc_pb2.RPC(publish=[_signed(SecretKey(bytes(32)), topic, bytes(1 << 20))])
        # All that another implementation may offer at a time.
        rpc.control.ihave.add(topicID=topic, messageIDs=[b"%046d" % n for n in range(5000)])
        peer = ID(peer_id_of(SecretKey(bytes(32)).public))
        assert await gossip._on_rpc(peer, rpc.SerializeToString()) == 2


async def test_an_origin_of_a_mebibyte_is_not_remembered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with network_fuzz(1) as fuzz:
        gossip = fuzz.network._gossip
        (topic,) = gossip._topics
        peer = ID(peer_id_of(SecretKey(bytes(32)).public))
        seen = gossip._delivered[peer] = SeenIds(100)
        origin = bytes(1 << 20)
        message = rpc_pb2.Message(topicIDs=[topic], from_id=origin, seqno=bytes(8))
        assert gossip._check(peer, message) is None
        assert not seen.has(origin + bytes(8))
        assert fuzz.network._score(peer.to_bytes()) == -10.0


async def test_empty_rpcs_are_paced_one_by_one(autojump_clock: trio.testing.MockClock) -> None:
    async with network_fuzz(1) as fuzz:
        gossip = fuzz.network._gossip
        stream, other = stream_pair()
        stream.peer = other.peer = peer_id_of(SecretKey(bytes(32)).public)
        await other.write(bytes(1 << 18))
        count = 0
        on_rpc = gossip._on_rpc

        async def counted(peer: ID, data: bytes) -> int:
            nonlocal count
            count += 1
            return await on_rpc(peer, data)

        gossip._on_rpc = counted  # type: ignore[method-assign]
        rate = fuzz.network._config.limits.rates["gossip"]
        burst = rate.messages_per_s * rate.burst_s
        with trio.move_on_after(0.5):
            await gossip.receive_from(stream)  # type: ignore[arg-type]
        assert burst <= count <= burst + rate.messages_per_s


def _signed(key: SecretKey, topic: str, data: bytes, number: int = 0) -> rpc_pb2.Message:
    message = rpc_pb2.Message(
        data=data,
        topicIDs=[topic],
        from_id=peer_id_of(key.public),
        seqno=number.to_bytes(8, "big"),
    )
    message.signature = key.sign(b"libp2p-pubsub:" + message.SerializeToString())
    return message


async def test_only_what_is_signed_is_forwarded() -> None:
    message = _signed(SecretKey(bytes(32)), "topic", b"data")
    raw = message.SerializeToString()
    padding = b"\xfa\x01\x80\x08" + bytes(1024)  # field 31: nobody knows it
    padded = rpc_pb2.Message.FromString(raw + padding)
    assert len(padded.SerializeToString()) > 1024
    assert _authentic(padded) == raw
    message.data = b"other"
    assert _authentic(message) is None


async def test_an_rpc_of_forgeries_is_not_read_on_after_the_ban(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with network_fuzz(1) as fuzz:
        network = fuzz.network
        gossip = network._gossip
        (topic,) = gossip._topics
        peer = peer_id_of(SecretKey(bytes(32)).public)
        forged = _signed(SecretKey(bytes(32)), topic, b"data")
        forged.signature = bytes(64)
        rpc = rpc_pb2.RPC(publish=[forged] * 1000)
        await gossip._on_rpc(ID(peer), rpc.SerializeToString())
        assert network._scores.banned(peer, trio.current_time())
        assert gossip.counters.invalid < 100


async def test_messages_of_a_banned_peer_are_dropped_and_cost_their_forwarders_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Who had itself banned by one node could otherwise have it ban all others."""
    async with network_fuzz(1) as fuzz:
        network = fuzz.network
        gossip = network._gossip
        (topic,) = gossip._topics
        forwarder = peer_id_of(SecretKey(bytes(32)).public)
        key = SecretKey(b"o" * 32)
        network.penalize(peer_id_of(key.public), 100, "what it published")
        for number in range(10_000):
            message = _signed(key, topic, b"%d" % number, number)
            assert gossip._check(ID(forwarder), message) is None
        assert network._score(forwarder) == 0.0
        assert gossip._check(ID(forwarder), message) is None
        assert gossip.counters.duplicates == 1
        # Of anybody else the same is judged: it is no frame of transactions.
        assert gossip._check(ID(forwarder), _signed(SecretKey(b"h" * 32), topic, b"data")) is None
        assert network._score(forwarder) < 0.0


async def test_ever_new_origins_wash_away_neither_scores_nor_bans(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with network_fuzz(1) as fuzz:
        network = fuzz.network
        banned, seen = (peer_id_of(SecretKey(bytes([n]) * 32).public) for n in (1, 2))
        network._scores.penalize(banned, 100, trio.current_time(), "a flood")
        network._scores.penalize(seen, 50, trio.current_time(), "half a flood")
        for number in range(20_000):
            network.penalize(b"origin %d" % number, 100, "forgeries")
        assert network._score(banned) == -100.0
        assert network._score(seen) == -50.0
        assert network._score(b"origin 19999") == -100.0
        assert len(network.banned()) == 1


async def test_what_is_kept_is_delivered_with_its_origin_and_not_forwarded(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with network_fuzz(1) as fuzz:
        gossip = fuzz.network._gossip
        forwarded: list[bytes] = []

        def forward(_topic: str, _id: bytes, message: bytes, **_: object) -> None:
            forwarded.append(message)

        monkeypatch.setattr(gossip._router, "forward", forward)
        (topic,) = gossip._topics
        name, _ = gossip._topics[topic]
        forwarder = peer_id_of(SecretKey(bytes(32)).public)
        for seed, verdict in ((b"k", Verdict.KEEP), (b"a", Verdict.ACCEPT)):
            gossip._topics[topic] = name, lambda *_, verdict=verdict: verdict
            key = SecretKey(seed * 32)
            published = gossip._check(ID(forwarder), _signed(key, topic, b"data"))
            assert published is not None
            assert (published.peer, published.origin) == (forwarder, peer_id_of(key.public))
        assert [rpc_pb2.Message.FromString(m).from_id for m in forwarded] == [
            peer_id_of(SecretKey(b"a" * 32).public)
        ]


def test_who_forwards_for_many_keeps_within_what_a_peer_allows() -> None:
    allowed = RATES["gossip"]
    own, theirs = _own_pace(allowed), Meter(allowed, grace_s=5)
    now_s = 0.0
    while now_s < 60:
        # As many as wait go in one write, whatever the rate.
        pause_s = own.spend(64_000, 40, now_s).pause_s
        assert theirs.spend(64_000, 40, now_s).pause_s == 0.0
        now_s += pause_s


async def test_peer_that_was_grafted_without_a_subscription_leaves_the_mesh_with_its_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with network_fuzz(1) as fuzz:
        gossip = fuzz.network._gossip
        (topic,) = gossip._topics
        stream, _ = stream_pair()
        stream.peer = peer_id_of(SecretKey(bytes(32)).public)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gossip.send_to, stream)
            await trio.testing.wait_all_tasks_blocked()
            gossip._router.mesh[topic].add(ID(stream.peer))
            with trio.move_on_after(5):
                await gossip.receive_from(stream)  # type: ignore[arg-type]
            assert ID(stream.peer) not in gossip._router.mesh[topic]
            nursery.cancel_scope.cancel()


class _Unscanned(dict[str, set[ID]]):
    """Topics of all peers, which nobody may go through."""

    def _refuse(self) -> Any:
        raise AssertionError("all topics were scanned")

    __iter__ = keys = values = items = _refuse  # type: ignore[assignment]


async def test_subscription_costs_the_same_however_many_topics_others_have(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with network_fuzz(1) as fuzz:
        gossip = fuzz.network._gossip
        topics = gossip._state.peer_topics = _Unscanned()
        prefix = fuzz.network._config.protocol("")[:-2]
        stream, other = stream_pair()
        stream.peer = peer_id_of(SecretKey(bytes(32)).public)
        rpc = rpc_pb2.RPC()
        for number in range(70):
            rpc.subscriptions.add(subscribe=True, topicid=f"{prefix}/{number}")
        for _ in range(2):
            rpc.subscriptions.add(subscribe=False, topicid=f"{prefix}/3")
        rpc.subscriptions.add(subscribe=True, topicid=f"{prefix}/100")
        encoded = rpc.SerializeToString()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gossip.send_to, stream)
            with trio.move_on_after(5):
                await other.write(encode_varint(len(encoded)) + encoded)
                await gossip.receive_from(stream)  # type: ignore[arg-type]
            nursery.cancel_scope.cancel()
        assert len(topics) == 0
        assert gossip._topics_of == {}
        (reason,) = fuzz.network._scores.reasons(stream.peer, trio.current_time())
        assert (reason.reason, reason.points) == ("a subscription beyond the limit (65 topics)", 12)


async def test_what_waits_for_a_peer_leaves_at_our_pace(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with network_fuzz(1) as fuzz:
        gossip = fuzz.network._gossip
        stream, _ = stream_pair()
        stream.peer = peer_id_of(SecretKey(bytes(32)).public)
        sent = 0

        async def write(data: bytes) -> None:
            nonlocal sent
            await trio.lowlevel.checkpoint()
            sent += data.count(b"message")

        stream.write = write  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gossip.send_to, stream)
            await trio.testing.wait_all_tasks_blocked()
            queue = gossip._state.queues[ID(stream.peer)]
            for _ in range(100):
                for _ in range(100):
                    queue.push(b"message")
                await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
        assert sent <= 0.8 * RATES["gossip"].messages_per_s * (10 + 2) + 512
        assert sent >= 0.7 * RATES["gossip"].messages_per_s * 10
