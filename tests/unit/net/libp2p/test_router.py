"""Gossip: what is remembered, queued, forwarded and asked for."""

from __future__ import annotations

import hashlib
import random
import time

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11
from libp2p.pubsub.pb import rpc_pb2
from trio.testing import MockClock

from p2pnode.net.config import NetworkConfig
from p2pnode.net.libp2p.host import make_host
from p2pnode.net.libp2p.out_queue import OWN, OutQueue
from p2pnode.net.libp2p.router import (
    LeanRouter,
    MessageHistory,
    PubsubState,
    SeenIds,
)
from p2pnode.net.libp2p.streams import decode_varint
from p2pnode.net.promises import Promises
from p2pnode.net.rates import TokenBucket

TOPIC = "/p2pnode/0/t/1"


def rpcs_of(queue: OutQueue) -> list[rpc_pb2.RPC]:
    found = []
    for encoded in [queue.take() for _ in range(len(queue))]:
        size, start = decode_varint(encoded, value_max=1 << 21)
        assert len(encoded) == start + size
        found.append(rpc_pb2.RPC.FromString(encoded[start:]))
    return found


def messages_of(queue: OutQueue) -> list[bytes]:
    return [m.data for rpc in rpcs_of(queue) for m in rpc.publish]


class Mesh:
    """A router with peers whose queues can be looked into."""

    def __init__(self, peers_count: int, degree: int = 4) -> None:
        async def on_stream(stream: object) -> None: ...

        host, _ = make_host(NetworkConfig(seed=bytes(32), chain=bytes(32)), on_stream)
        self.state = PubsubState(host)
        self.dropped = 0
        self.promises = Promises(lambda peer: TokenBucket(1.0, 1000.0), random.Random(1))
        self.router = LeanRouter(self.state, degree, lambda peer: True, self.promises)
        self.router.mesh[TOPIC] = set()
        self.peers = [ID(b"peer %d" % n) for n in range(peers_count)]
        for peer in self.peers:
            self.state.queues[peer] = OutQueue(100, self.count_drop)
            self.state.peers[peer] = peer
            self.router.add_peer(peer, PROTOCOL_ID_V11)
            self.state.peer_topics.setdefault(TOPIC, set()).add(peer)

    def count_drop(self) -> None:
        self.dropped += 1

    def forward(self, number: int, *, source: bytes = OWN, exclude: tuple[ID, ...] = ()) -> bytes:
        message = rpc_pb2.Message(data=b"%d" % number, topicIDs=[TOPIC], from_id=b"o", seqno=b"1")
        message_id = hashlib.sha256(b"%d" % number).digest()
        self.router.forward(
            TOPIC,
            message_id,
            message.SerializeToString(),
            source=source,
            exclude=exclude,
        )
        return message_id

    def holders(self) -> list[ID]:
        return [p for p in self.peers if messages_of(self.state.queues[p])]


@given(st.lists(st.integers(0, 60), max_size=300))
def test_recent_ids_are_remembered_and_their_number_is_bounded(numbers: list[int]) -> None:
    seen = SeenIds(ids_max=20)
    for number in numbers:
        seen.add(b"%d" % number)
        assert len(seen._young) + len(seen._old) <= 20
    for number in numbers[-9:]:
        assert seen.has(b"%d" % number)


def test_ids_are_forgotten_after_two_generations() -> None:
    seen = SeenIds()
    seen.add(b"x")
    seen.age()
    assert seen.has(b"x")
    seen.age()
    assert not seen.has(b"x")


def test_history_forgets_and_answers_a_peer_three_times_only() -> None:
    history = MessageHistory()
    peer = ID(b"p")
    history.put(b"1", "t", b"rpc 1")
    history.put(b"2", "other", b"rpc 2")
    assert history.recent("t") == [b"1"]
    assert [history.take(peer, b"1") for _ in range(4)] == [b"rpc 1"] * 3 + [None]
    assert history.take(ID(b"q"), b"1") == b"rpc 1"
    for _ in range(MessageHistory.ANNOUNCED):
        history.shift()
    assert history.recent("t") == []
    assert history.take(ID(b"r"), b"1") == b"rpc 1"
    for _ in range(MessageHistory.WINDOWS):
        history.shift()
    assert history.take(ID(b"s"), b"1") is None
    assert history._sent == {}


def test_history_is_bounded_in_bytes() -> None:
    history = MessageHistory(bytes_max=100)
    for number in range(20):
        history.put(b"%d" % number, "t", bytes(30))
    assert len(history.recent("t")) == 3


def test_message_goes_to_the_mesh_and_not_back() -> None:
    mesh = Mesh(6)
    mesh.router.mesh[TOPIC] = set(mesh.peers[:4])
    mesh.forward(1, source=b"somebody", exclude=(mesh.peers[0],))
    assert mesh.holders() == mesh.peers[1:4]


def test_own_message_makes_up_for_an_unfinished_mesh() -> None:
    mesh = Mesh(10)
    mesh.router.mesh[TOPIC] = {mesh.peers[0]}
    mesh.forward(1)
    holders = mesh.holders()
    assert len(holders) == 4
    assert mesh.peers[0] in holders
    mesh = Mesh(2)
    mesh.forward(1)
    assert len(mesh.holders()) == 2


def test_message_on_a_topic_we_do_not_join_still_finds_its_subscribers() -> None:
    mesh = Mesh(3)
    del mesh.router.mesh[TOPIC]
    mesh.forward(1)
    assert len(mesh.holders()) == 3


def test_what_one_neighbour_forwards_does_not_wait_for_the_flood_of_another() -> None:
    mesh = Mesh(1)
    for number in range(90):
        mesh.forward(number, source=b"flooder")
    mesh.forward(1000, source=b"neighbour")
    assert messages_of(mesh.state.queues[mesh.peers[0]]).index(b"1000") < 15


async def test_heartbeat_fills_a_mesh_and_empties_one_too_large() -> None:
    mesh = Mesh(10)
    mesh.router.beat()
    assert len(mesh.router.mesh[TOPIC]) == 4
    grafted = [p for p in mesh.peers if any(r.control.graft for r in rpcs_of(mesh.state.queues[p]))]
    assert set(grafted) == mesh.router.mesh[TOPIC]
    mesh.router.mesh[TOPIC] = set(mesh.peers)
    mesh.router.beat()
    assert len(mesh.router.mesh[TOPIC]) == 4


async def test_peer_outside_the_mesh_is_told_and_can_ask() -> None:
    mesh = Mesh(6)
    mesh.router.mesh[TOPIC] = set(mesh.peers[:4])
    message_id = mesh.forward(1)
    mesh.router.beat()
    outsider = next(
        p for p in mesh.peers[4:] if any(r.control.ihave for r in rpcs_of(mesh.state.queues[p]))
    )
    control = rpc_pb2.ControlMessage()
    control.iwant.add(messageIDs=[message_id])
    for _ in range(5):
        await mesh.router.handle_control(control, outsider)
    assert messages_of(mesh.state.queues[outsider]) == [b"1"] * 3


async def test_message_unknown_here_is_asked_for_once_a_heartbeat() -> None:
    mesh = Mesh(3)
    control = rpc_pb2.ControlMessage()
    control.ihave.add(topicID=TOPIC, messageIDs=[b"new", b"old"])
    mesh.state.seen_messages.add(b"old")
    for peer in mesh.peers:
        await mesh.router.handle_control(control, peer)
    asked = [
        list(w.messageIDs)
        for p in mesh.peers
        for r in rpcs_of(mesh.state.queues[p])
        for w in r.control.iwant
    ]
    assert asked == [[b"new"]]
    mesh.router.beat()
    await mesh.router.handle_control(control, mesh.peers[1])
    assert any(r.control.iwant for r in rpcs_of(mesh.state.queues[mesh.peers[1]]))


async def test_ids_that_one_peer_makes_up_do_not_keep_us_from_asking_another() -> None:
    mesh = Mesh(2)
    for part in range(20):
        control = rpc_pb2.ControlMessage()
        control.ihave.add(topicID=TOPIC, messageIDs=[b"%d %d" % (part, n) for n in range(500)])
        await mesh.router.handle_control(control, mesh.peers[0])
    asked = sum(
        len(w.messageIDs)
        for r in rpcs_of(mesh.state.queues[mesh.peers[0]])
        for w in r.control.iwant
    )
    assert asked == 500
    control = rpc_pb2.ControlMessage()
    control.ihave.add(topicID=TOPIC, messageIDs=[b"real"])
    await mesh.router.handle_control(control, mesh.peers[1])
    (rpc,) = [r for r in rpcs_of(mesh.state.queues[mesh.peers[1]]) if r.control.iwant]
    assert list(rpc.control.iwant[0].messageIDs) == [b"real"]


async def test_control_for_topics_of_strangers_leaves_nothing_behind() -> None:
    mesh = Mesh(1)
    control = rpc_pb2.ControlMessage()
    for number in range(300):
        control.prune.add(topicID=f"x{number}", backoff=2**63)
        control.ihave.add(topicID=f"x{number}", messageIDs=[b"%d" % number])
    control.prune.add(topicID=TOPIC, backoff=2**63)
    await mesh.router.handle_control(control, mesh.peers[0])
    assert list(mesh.router.back_off) in ([], [TOPIC])
    assert len(mesh.router.ihave_message_limits) == 0
    assert not any(r.control.iwant for r in rpcs_of(mesh.state.queues[mesh.peers[0]]))


async def test_backoff_a_peer_asks_for_is_bounded() -> None:
    mesh = Mesh(1)
    control = rpc_pb2.ControlMessage()
    prune = control.prune.add(topicID=TOPIC, backoff=2**63)
    prune.peers.add(peerID=b"junk", signedPeerRecord=b"junk")
    await mesh.router.handle_control(control, mesh.peers[0])
    assert mesh.router.back_off[TOPIC][mesh.peers[0]] < 2**40


async def test_back_offs_of_peers_that_come_and_go_are_forgotten(
    autojump_clock: MockClock,
) -> None:
    mesh = Mesh(0)
    for number in range(1000):
        prune = rpc_pb2.ControlMessage()
        prune.prune.add(topicID=TOPIC, backoff=3600)
        await mesh.router.handle_control(prune, ID(b"visitor %d" % number))
    assert len(mesh.router.back_off[TOPIC]) == 1000
    await trio.sleep(61)
    mesh.router.beat()
    assert len(mesh.router.back_off[TOPIC]) == 0


async def test_a_clock_that_is_put_back_keeps_no_peer_out_of_the_mesh(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = Mesh(1)
    (peer,) = mesh.peers
    control = rpc_pb2.ControlMessage()
    control.prune.add(topicID=TOPIC, backoff=5)
    await mesh.router.handle_control(control, peer)
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s - 3600)
    graft = rpc_pb2.ControlMessage()
    graft.graft.add(topicID=TOPIC)
    await mesh.router.handle_control(graft, peer)
    assert peer not in mesh.router.mesh[TOPIC]
    await trio.sleep(11)
    await mesh.router.handle_control(graft, peer)
    assert peer in mesh.router.mesh[TOPIC]
