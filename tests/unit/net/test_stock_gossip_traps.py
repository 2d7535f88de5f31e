"""What libp2p's gossip does to a chain as it comes, shown beside ours.

When stock no longer falls for one of these, the reason for our own part of it is gone.
"""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import pytest
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub import gossipsub
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import RpcQueue
from trio.testing import MockClock

from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.net.config import NetworkConfig
from p2pnode.net.framing import OwnFrameTooLargeError
from p2pnode.net.libp2p.gossip import Gossip
from p2pnode.net.libp2p.host import make_host
from p2pnode.net.libp2p.out_queue import OutQueue
from p2pnode.net.libp2p.streams import decode_varint
from p2pnode.net.meters import Meters
from p2pnode.net.offences import Offence
from p2pnode.ports import Published, Verdict

BOTH = pytest.mark.parametrize("own", [True, False], ids=["own", "stock"])
CONFIG: Final = NetworkConfig(seed=bytes(32), chain=bytes(32))
TOPIC: Final = CONFIG.protocol("t")
ORIGIN: Final = SecretKey(hashlib.sha256(b"origin").digest())
PEERS: Final = [
    ID(peer_id_of(SecretKey(hashlib.sha256(b"%d" % n).digest()).public)) for n in range(6)
]


def signed(number: int, data: bytes = b"") -> rpc_pb2.Message:
    message = rpc_pb2.Message(
        data=data or b"%d" % number,
        topicIDs=[TOPIC],
        from_id=peer_id_of(ORIGIN.public),
        seqno=number.to_bytes(8, "big"),
    )
    message.signature = ORIGIN.sign(b"libp2p-pubsub:" + message.SerializeToString())
    return message


class Stock:
    """libp2p's pubsub, and neighbours whose queues can be looked into."""

    def __init__(self, peers_count: int, validate: Callable[[], bool], **changes: Any) -> None:
        host = new_host(key_pair=create_new_key_pair(bytes(32)))
        self.router = GossipSub([TProtocol(str(PROTOCOL_ID_V11))], 4, 3, 5, **changes)
        self.pubsub = Pubsub(host, self.router)
        self.pubsub.seen_messages.stop()  # a thread
        self.received: Any = None

        async def checked(forwarder: ID, message: rpc_pb2.Message) -> bool:
            await trio.sleep(0.05)
            return validate()

        self._validate = checked
        for peer in PEERS[:peers_count]:
            self.pubsub.peers[peer] = object()  # type: ignore[assignment]
            self.pubsub.peer_queues[peer] = RpcQueue()
            self.router.add_peer(peer, PROTOCOL_ID_V11)

    async def join(self) -> None:
        self.pubsub.set_topic_validator(TOPIC, self._validate, True)
        # What `subscribe` does, without the services around it.
        send, receive = trio.open_memory_channel[rpc_pb2.Message](
            32  # SUBSCRIPTION_CHANNEL_SIZE
        )
        self.pubsub.subscribed_topics_send[TOPIC] = send
        self.pubsub.subscribed_topics_receive[TOPIC] = receive  # type: ignore[assignment]
        self.received = receive
        await self.router.join(TOPIC)

    def subscribed(self, *peers: ID) -> None:
        self.pubsub.peer_topics.setdefault(TOPIC, set()).update(peers)

    def mesh(self) -> set[ID]:
        return self.router.mesh[TOPIC]

    async def hear(self, forwarder: ID, message: rpc_pb2.Message) -> None:
        await self.pubsub.push_msg(forwarder, message)

    async def publish(self, data: bytes) -> None:
        await self.pubsub.publish(TOPIC, data)

    def sent(self, peer: ID) -> list[rpc_pb2.RPC]:
        queue = self.pubsub.peer_queues[peer]._queue
        found = []
        while (rpc := queue.pop()) is not None:
            found.append(rpc)
        return found

    async def beat(self) -> None:
        await self.router.heartbeat()


class Ours:
    """The same of ours."""

    def __init__(self, peers_count: int, validate: Callable[[], bool]) -> None:
        async def on_stream(stream: object) -> None: ...

        host, _ = make_host(CONFIG, on_stream)
        self._send, self.received = trio.open_memory_channel[Published](32)
        self.faults: list[str] = []
        self.gossip = Gossip(
            host,
            CONFIG,
            deliver=self._send.send,
            meters=Meters(CONFIG.limits, self._on_fault),
            blame=self._on_fault,
            score=lambda peer: 0.0,
        )
        self._validate = validate
        self.router, self._state = self.gossip._router, self.gossip._state
        for peer in PEERS[:peers_count]:
            self._state.peers[peer] = peer
            self._state.queues[peer] = OutQueue(
                CONFIG.limits.gossip_queue_max, self.gossip._count_drop
            )
            self.router.add_peer(peer, PROTOCOL_ID_V11)

    def _on_fault(self, peer: bytes, offence: Offence, factor: float, detail: str) -> None:
        self.faults.append(f"{offence}: {detail}")

    async def join(self) -> None:
        def checked(peer: bytes, data: bytes) -> Verdict:
            return Verdict.ACCEPT if self._validate() else Verdict.REJECT

        await self.gossip.subscribe("t", checked)

    def subscribed(self, *peers: ID) -> None:
        self._state.peer_topics.setdefault(TOPIC, set()).update(peers)

    def mesh(self) -> set[ID]:
        return self.router.mesh[TOPIC]

    async def hear(self, forwarder: ID, message: rpc_pb2.Message) -> None:
        await self.gossip._on_rpc(forwarder, rpc_pb2.RPC(publish=[message]).SerializeToString())

    async def publish(self, data: bytes) -> None:
        self.gossip.publish("t", data)

    def sent(self, peer: ID) -> list[rpc_pb2.RPC]:
        found, queue = [], self._state.queues[peer]
        while len(queue):
            rpc = queue.take()
            size, start = decode_varint(rpc, value_max=1 << 22)
            found.append(rpc_pb2.RPC.FromString(rpc[start : start + size]))
        return found

    async def beat(self) -> None:
        await self.gossip.run()


Side = Stock | Ours


async def made(
    own: bool, peers_count: int = 4, *, validate: Callable[[], bool] = lambda: True, **changes: Any
) -> Side:
    """Return a node in the middle of neighbours that are on its topic.

    Args:
        own: Ours, or stock.
        peers_count: How many neighbours.
        validate: The verdict on any message.
        changes: Of what stock does as it comes, to get past one trap to the next.
    """
    side: Side = Ours(peers_count, validate) if own else Stock(peers_count, validate, **changes)
    side.subscribed(*PEERS[:peers_count])
    await side.join()
    for peer in PEERS[:peers_count]:
        side.sent(peer)
    return side


def data_of(rpcs: list[rpc_pb2.RPC]) -> list[bytes]:
    return [message.data for rpc in rpcs for message in rpc.publish]


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> MockClock:
    """Let libp2p's router, which asks the machine, see the test's time."""
    clock = SimpleNamespace(time=lambda: 1e9 + autojump_clock.current_time())
    monkeypatch.setattr(gossipsub, "time", clock)
    return autojump_clock


@BOTH
async def test_a_hundred_messages_in_a_second_are_forwarded(
    own: bool, wall_clock: MockClock
) -> None:
    side = await made(own)
    forwarded = []
    for number in range(1, 101):
        with trio.move_on_after(0.01):
            await trio.sleep_forever()
        if isinstance(side, Stock):
            await side.router.publish(PEERS[0], signed(number))
        else:
            await side.hear(PEERS[0], signed(number))
            await side.received.receive()
        forwarded += [data for peer in PEERS[1:4] for data in data_of(side.sent(peer))]
    if isinstance(side, Stock):
        assert len(set(forwarded)) <= 20
        assert side.router.scorer is not None
        assert side.router.scorer.behavior_penalty[PEERS[0]] > 100  # and the honest one pays
    else:
        assert len(set(forwarded)) == 100
        assert side.faults == []


async def repaired(side: Side, after_s: float) -> bool:
    """Tell whether neighbours lost after a while are made up for within 5 s."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.beat)
        await trio.sleep(after_s)
        before = len(side.mesh())
        lost = sorted(side.mesh(), key=lambda peer: peer.to_bytes())[:2]
        side.mesh().difference_update(lost)
        side.router.pubsub.peer_topics[TOPIC].difference_update(lost)  # type: ignore[union-attr]
        side.subscribed(*(peer for peer in PEERS if peer not in lost))
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    return len(side.mesh()) >= before


@BOTH
async def test_a_neighbour_that_is_lost_is_made_up_for_soon(
    own: bool, wall_clock: MockClock
) -> None:
    assert await repaired(await made(own, 6), 0.5) == own  # stock: at the next beat, in 2 minutes


@BOTH
async def test_repair_is_as_quick_where_neighbours_are_few(
    own: bool, wall_clock: MockClock
) -> None:
    side = await made(own, 6, heartbeat_interval=1)
    # A mesh of one of four is poor health, to which stock adapts by beats of 30 s and more.
    side.router.pubsub.peer_topics[TOPIC].intersection_update(PEERS[:1])  # type: ignore[union-attr]
    side.mesh().intersection_update(PEERS[:1])
    side.subscribed(PEERS[0])
    if isinstance(side, Stock):
        assert side.router.scorer is not None
        for peer in PEERS:
            side.router.scorer.penalize_behavior(peer, 5.0)
    side.mesh().add(PEERS[0])
    assert await repaired(side, 100) == own


@BOTH
async def test_a_peer_that_is_pruned_may_come_back_soon(own: bool) -> None:
    side = await made(own)
    await side.router.emit_prune(TOPIC, PEERS[0], False, False)
    (rpc,) = side.sent(PEERS[0])
    (prune,) = rpc.control.prune
    # A small network whose nodes may not meet for a minute falls into islands.
    assert prune.backoff == (5 if own else 60)


@BOTH
async def test_a_burst_of_a_hundred_messages_is_queued_whole(own: bool) -> None:
    side = await made(own, spam_protection_enabled=False)
    for number in range(100):
        if isinstance(side, Stock):
            await side.router.publish(side.pubsub.my_id, signed(number))
        else:
            await side.publish(b"%d" % number)
    sent = data_of(side.sent(PEERS[0]))
    assert len(sent) == (100 if own else 32)
    if isinstance(side, Ours):
        # There is an end to it, and what is dropped is counted; stock has told nobody.
        for peer in PEERS[1:4]:
            side.sent(peer)
        for number in range(1000):
            await side.publish(b"%d" % number)
        assert side.gossip.counters.dropped == 4 * (1000 - CONFIG.limits.gossip_queue_max)


@BOTH
async def test_a_reader_that_is_slow_gets_every_message(
    own: bool, autojump_clock: MockClock
) -> None:
    side = await made(own, spam_protection_enabled=False)
    got = 0
    async with trio.open_nursery() as nursery:

        async def arrive() -> None:
            for number in range(1, 101):
                await side.hear(PEERS[0], signed(number))

        nursery.start_soon(arrive)
        await trio.sleep(10)
        with trio.move_on_after(10):
            while True:
                await side.received.receive()
                got += 1
        nursery.cancel_scope.cancel()
    assert got == (100 if own else 32)


@BOTH
async def test_a_message_from_three_forwarders_at_once_is_validated_once(
    own: bool, autojump_clock: MockClock
) -> None:
    validations = 0

    def count() -> bool:
        nonlocal validations
        validations += 1
        return True

    side = await made(own, validate=count)
    async with trio.open_nursery() as nursery:
        for peer in PEERS[:3]:
            nursery.start_soon(side.hear, peer, signed(1))
    delivered = side.received.statistics().current_buffer_used
    assert (validations, delivered) == ((1, 1) if own else (3, 3))


@BOTH
async def test_a_message_too_large_to_be_sent_is_an_error(own: bool) -> None:
    side = await made(own)
    failed = False
    try:
        if isinstance(side, Stock):
            # Its validators are not at issue.
            side.pubsub.remove_topic_validator(TOPIC)
        await side.publish(bytes(2 << 20))
    except OwnFrameTooLargeError:
        failed = True
    assert failed == own
    assert side.sent(PEERS[0]) == []


@BOTH
async def test_a_neighbour_on_other_topics_costs_no_memory(own: bool) -> None:
    side = await made(own, 1, spam_protection_enabled=False)
    side.router.pubsub.peer_topics[TOPIC].clear()  # type: ignore[union-attr]
    side.router.pubsub.peer_topics["another"] = {PEERS[0]}  # type: ignore[union-attr]
    side.mesh().clear()
    for number in range(150):
        if isinstance(side, Stock):
            await side.router.publish(side.pubsub.my_id, signed(number, bytes(10_000)))
        else:
            await side.publish(bytes(10_000))
    kept = sum(rpc.ByteSize() for _, rpc in side.router._pending_messages.get(PEERS[0], []))
    if own:
        assert kept == 0
    else:
        assert kept > 100 * 10_000


@BOTH
async def test_nothing_grows_with_the_number_of_messages(own: bool) -> None:
    side = await made(own, spam_protection_enabled=False)
    for number in range(1, 1201):
        if isinstance(side, Stock):
            await side.router.publish(PEERS[0], signed(number))
        else:
            await side.hear(PEERS[0], signed(number))
            await side.received.receive()
        for peer in PEERS[:4]:
            side.sent(peer)
    deliveries = len(side.router.recent_message_deliveries.get(TOPIC, []))
    whole = len(side.router.equivocation_detection)
    side.router._periodic_security_cleanup()
    if own:
        assert (deliveries, whole) == (0, 0)
    else:
        assert (deliveries, whole) == (1200, 1200)
        # The upkeep drops some of the whole messages, and none of the times, ever.
        assert len(side.router.recent_message_deliveries[TOPIC]) == 1200
        assert len(side.router.equivocation_detection) == 500


@BOTH
async def test_the_senders_addresses_are_not_signed_into_every_message(own: bool) -> None:
    side = await made(own)
    if isinstance(side, Stock):
        await side.router.publish(side.pubsub.my_id, signed(1))
    else:
        await side.publish(b"x")
    records = [rpc.HasField("senderRecord") for rpc in side.sent(PEERS[0])]
    assert records == [not own]


@BOTH
async def test_a_large_invalid_message_is_not_written_out_as_text(
    own: bool, autojump_clock: MockClock
) -> None:
    side = await made(own, validate=lambda: False)
    message = signed(1, b"\xff" * 1_000_000)
    tracemalloc.start()
    try:
        await side.hear(PEERS[0], message)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # As text, each byte takes four; as bytes, one and a few copies.
    print(f"{peak_bytes} bytes")
    if own:
        assert peak_bytes < 5_000_000
    else:
        assert peak_bytes > 8_000_000


@BOTH
async def test_a_mesh_of_neighbours_behind_one_address_is_left_as_it_is(
    own: bool, wall_clock: MockClock
) -> None:
    # Stock wants three different IPs, and takes in peers beyond its degree to get them.
    side = await made(own, 6, heartbeat_interval=1)
    side.mesh().clear()
    side.mesh().update(PEERS[:4])
    if isinstance(side, Stock):
        assert side.router.scorer is not None
        addresses = ["10.0.0.1"] * 4 + ["10.0.0.2", "10.0.0.3"]
        side.router.scorer.ip_by_peer.update(zip(PEERS, addresses, strict=True))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.beat)
        await trio.sleep(2.5)
        nursery.cancel_scope.cancel()
    assert (side.mesh() == set(PEERS[:4])) == own
