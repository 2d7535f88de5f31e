"""Publish and subscribe: /meshsub/1.1.0 on our own streams.

One task reads the RPCs of a peer, checks every message and forwards it before the next is read; so
no duplicate meets a validator while its first copy is with it, and a slow reader of `incoming`
stops the peers, not the memory. Errors of a validator are ours: the message is ignored and counted.
Errors of the bytes are the peer's: its stream is reset and its score falls. Neither leaves this
module.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio
from google.protobuf.message import DecodeError
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11
from libp2p.pubsub.pb import rpc_pb2

from p2pnode.crypto import SecretKey, peer_id_of, verify
from p2pnode.errors import LocalProtocolError, RemoteProtocolError
from p2pnode.net.config import NetworkConfig
from p2pnode.net.framing import OwnFrameTooLargeError
from p2pnode.net.libp2p.out_queue import OutQueue
from p2pnode.net.libp2p.router import LeanRouter, PubsubState, SeenIds
from p2pnode.net.libp2p.rpc_parts import has_more_parts
from p2pnode.net.libp2p.streams import NegotiationError, Stream, decode_varint, encode_varint
from p2pnode.net.meters import Meters
from p2pnode.net.offences import BROKEN_PROMISE, INVALID_MESSAGE, JUNK_SUBSCRIPTION, Offence
from p2pnode.net.promises import Promises
from p2pnode.net.rates import Meter, Rate
from p2pnode.net.scores import BAN_SCORE, LOW_SCORE
from p2pnode.ports import PeerId, Published, Verdict

_log = logging.getLogger("p2pnode.net")

_SIGNING_PREFIX: Final = b"libp2p-pubsub:"
_KEY_PREFIX: Final = peer_id_of(b"")
_ORIGIN_BYTES: Final = len(_KEY_PREFIX) + 32

_ENVELOPE_BYTES_MAX: Final = 1 << 16
"""What an RPC may hold besides a message of the largest size."""

_PUBLISH_PER_RPC_MAX: Final = 4096

_PARTS_PER_RPC_MAX: Final = 1 << 15
"""Messages, subscriptions, parts of control and ids of an RPC, all together: two bytes can stand
for one (rpc_parts.py). go-libp2p announces 5,000 ids at a time."""

_CHECKED_AT_ONCE: Final = 2
"""Messages of one RPC checked without a pause for others: a signature takes a tenth of a
millisecond, and each may hold 500 transactions."""

_OWN_SHARE: Final = 0.8
"""Of the rate we allow each peer, what we send to one: all nodes have the same limits."""

_FORGET_S: Final = 60.0

_DELIVERED_IDS_MAX: Final = 2048
"""Ids remembered of the messages one peer has sent: twice the same is of no use."""


class MalformedRpcError(RemoteProtocolError):
    """Bytes on a gossip stream are no RPC, or one beyond all measure."""

    penalty = 25.0


class TooManyTopicsError(LocalProtocolError):
    """This node subscribes to more topics than its limits say."""


@dataclass(slots=True)
class GossipCounters:
    """Totals since start."""

    published: int = 0
    received: int = 0
    duplicates: int = 0
    invalid: int = 0
    dropped: int = 0
    """RPCs that found a peer's queue full."""
    validator_errors: int = 0


Validate = Callable[[PeerId, bytes], Verdict]


class Gossip:
    """Topics, their validators, and the streams of peers that take part."""

    def __init__(
        self,
        host: BasicHost,
        config: NetworkConfig,
        *,
        deliver: Callable[[Published], Awaitable[None]],
        meters: Meters,
        blame: Callable[[PeerId, Offence, float, str], None],
        score: Callable[[PeerId], float],
    ) -> None:
        """Make it without topics.

        Args:
            host: The libp2p host.
            config: Identity, degree and limits.
            deliver: Takes messages accepted, and may wait.
            meters: Say when a peer has to wait because it is too fast.
            blame: Lowers the score of who sent what it should not have.
            score: The score of a peer, 0 to -100.
        """
        self._config = config
        self._limits = config.limits
        self._key = SecretKey(config.seed)
        self._own = peer_id_of(self._key.public)
        self._deliver = deliver
        self._meters = meters
        self._blame = blame
        self._score = score
        self._state = PubsubState(host)
        self._promises = Promises(lambda peer: meters.of(peer).promises, random.SystemRandom())
        self._router = LeanRouter(
            self._state,
            config.degree,
            lambda peer: score(peer.to_bytes()) > LOW_SCORE,
            self._promises,
        )
        self._topics: dict[str, tuple[str, Validate]] = {}
        self._inbound: dict[PeerId, Stream] = {}
        self._delivered: dict[ID, SeenIds] = {}
        self._topics_of: dict[ID, dict[str, None]] = {}
        """What `PubsubState.peer_topics` says, by peer."""
        self._read: dict[PeerId, None] = {}
        """Peers all of whose bytes were read and acted on."""
        # libp2p counts from the seconds of the start: after a restart, busy nodes would repeat
        # numbers that others still remember, and their messages would count as duplicates.
        self._sequence = time.time_ns()
        self.counters = GossipCounters()

    # --- our own messages -------------------------------------------------

    async def subscribe(self, topic: str, validate: Validate) -> None:
        """Join a topic before any peer is connected."""
        if len(self._topics) >= self._limits.topics_max:
            raise TooManyTopicsError(f"more than {self._limits.topics_max} topics")
        wire_topic = self._config.protocol(topic)
        self._topics[wire_topic] = (topic, validate)
        await self._router.join(wire_topic)

    def publish(self, topic: str, data: bytes) -> None:
        """Sign a message and queue it for our neighbours.

        Raises:
            OwnFrameTooLargeError: It is above the limit.
        """
        if len(data) > self._limits.publish_bytes_max:
            raise OwnFrameTooLargeError("message", len(data), self._limits.publish_bytes_max)
        self._sequence += 1
        message = rpc_pb2.Message(
            data=data,
            topicIDs=[self._config.protocol(topic)],
            from_id=self._own,
            seqno=self._sequence.to_bytes(8, "big"),
        )
        message.signature = self._key.sign(_SIGNING_PREFIX + message.SerializeToString())
        message_id = message.from_id + message.seqno
        self._state.seen_messages.add(message_id)
        self._router.forward(message.topicIDs[0], message_id, message.SerializeToString())
        self.counters.published += 1

    # --- tasks ------------------------------------------------------------

    async def run(self) -> None:
        """Keep the meshes in repair and forget what is old."""
        forget_s = trio.current_time() + _FORGET_S
        while True:
            await trio.sleep(self._config.heartbeat_s)
            try:
                self._router.beat()
            except Exception:  # noqa: BLE001 - libp2p's upkeep, on strangers' data
                # libp2p's upkeep runs on what peers sent; a fault there must not end the node.
                _log.exception("a heartbeat of the gossip meshes failed")
            for peer in self._promises.beat(self._read.__contains__):
                self._blame(peer, BROKEN_PROMISE, 1.0, "")
            if trio.current_time() >= forget_s:
                forget_s = trio.current_time() + _FORGET_S
                self._state.seen_messages.age()

    async def send_to(self, stream: Stream) -> None:
        """Write to a peer until the stream breaks; one task a peer.

        Raises:
            StreamBrokenError: The end.
        """
        peer = ID(stream.peer)
        pace = _own_pace(self._limits.rates["gossip"])
        queue = OutQueue(
            self._limits.gossip_queue_max, self._count_drop, bytes_max=self._limits.gossip_bytes_max
        )
        hello = rpc_pb2.RPC()
        for topic in self._topics:
            hello.subscriptions.add(subscribe=True, topicid=topic)
        encoded = hello.SerializeToString()
        queue.push_control(encode_varint(len(encoded)) + encoded)
        self._state.peers[peer] = stream
        self._state.queues[peer] = queue
        self._router.add_peer(peer, PROTOCOL_ID_V11)
        try:
            for topic in list(self._topics_of.get(peer, ())):
                await self._welcome(peer, topic)
            while True:
                data = await queue.pop()
                await stream.write(data)
                if pause_s := pace.spend(
                    len(data), queue.popped_count, trio.current_time()
                ).pause_s:
                    await trio.sleep(pause_s)
        finally:
            # A second connection may have taken over.
            if self._state.queues.get(peer) is queue:
                del self._state.queues[peer], self._state.peers[peer]
                self._router.remove_peer(peer)

    def _count_drop(self) -> None:
        self.counters.dropped += 1

    async def receive_from(self, stream: Stream) -> None:
        """Read a peer's RPCs until the stream breaks; one task a stream.

        Raises:
            StreamBrokenError: The end.
            RemoteProtocolError: The peer sends nonsense.
        """
        peer = ID(stream.peer)
        size_bytes_max = self._limits.publish_bytes_max + _ENVELOPE_BYTES_MAX
        buffer = bytearray()
        unfinished = self._meters.of(stream.peer).unfinished
        self._inbound[stream.peer] = stream
        self._delivered[peer] = SeenIds(_DELIVERED_IDS_MAX)
        held_bytes = 0
        try:
            while True:
                self._read[stream.peer] = None
                data = await stream.read()
                self._read.pop(stream.peer, None)
                buffer += data
                at = 0
                while True:
                    size, start = decode_varint(buffer, at, value_max=size_bytes_max)
                    if not start or len(buffer) - start < size:
                        break
                    parts = await self._on_rpc(peer, bytes(buffer[start : start + size]))
                    at = start + size
                    # After each, not after all that has come: a read may hold 262,144 empty RPCs.
                    if pause_s := self._spend(stream.peer, size, parts):
                        await trio.sleep(pause_s)
                if at:
                    del buffer[:at]
                before_bytes, held_bytes = held_bytes, len(buffer)
                unfinished.change(before_bytes, held_bytes)
        finally:
            unfinished.change(held_bytes, 0)
            self._read.pop(stream.peer, None)
            if self._inbound.get(stream.peer) is stream:
                del self._inbound[stream.peer], self._delivered[peer]
                self._promises.forget(stream.peer)
                # Ours, too: a peer may be in a mesh by a graft alone.
                for topic in [*self._topics_of.get(peer, ()), *self._topics]:
                    self._unsubscribed(peer, topic)

    # --- what peers send --------------------------------------------------

    def _spend(self, peer: PeerId, size_bytes: int, messages_count: int) -> float:
        return self._meters.spend(peer, "gossip", size_bytes, messages_count, trio.current_time())

    async def _on_rpc(self, peer: ID, data: bytes) -> int:
        """Act on an RPC; returns how many messages' worth of work it was."""
        rpc = rpc_pb2.RPC()
        try:
            if has_more_parts(data, _PARTS_PER_RPC_MAX):
                raise MalformedRpcError(f"more than {_PARTS_PER_RPC_MAX} parts in one RPC")
            rpc.ParseFromString(data)
        except (DecodeError, UnicodeDecodeError, ValueError, NegotiationError) as error:
            raise MalformedRpcError(f"no RPC: {error}") from None
        subscriptions = rpc.subscriptions
        if len(subscriptions) > 2 * self._limits.topics_max:
            raise MalformedRpcError(f"{len(subscriptions)} subscriptions in one RPC")
        if len(rpc.publish) > _PUBLISH_PER_RPC_MAX:
            raise MalformedRpcError(f"{len(rpc.publish)} messages in one RPC")
        _check_texts(rpc)
        for subscription in subscriptions:
            if subscription.subscribe:
                await self._subscribed(peer, subscription.topicid)
            else:
                self._unsubscribed(peer, subscription.topicid)
        for count, message in enumerate(rpc.publish):
            if count % _CHECKED_AT_ONCE == _CHECKED_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
                if self._score(peer.to_bytes()) <= BAN_SCORE:
                    break
            published = self._check(peer, message)
            if published is not None:
                await self._deliver(published)
        parts = len(subscriptions) + len(rpc.publish)
        if rpc.HasField("control"):
            control = rpc.control
            parts += len(control.ihave) + len(control.iwant)
            parts += len(control.graft) + len(control.prune)
            useless = await self._router.handle_control(control, peer)
            self._useless(peer, useless, "control")
        return max(1, parts)

    def _useless(self, peer: ID, count: int, what: str) -> None:
        self._meters.useless(peer.to_bytes(), count, what, trio.current_time())

    def _check(self, forwarder: ID, message: rpc_pb2.Message) -> Published | None:
        """Forward a message if it deserves it, and return it then."""
        counters = self.counters
        topics = message.topicIDs
        if len(topics) != 1 or len(message.seqno) != 8:
            self._refuse(forwarder, "a message without one topic and a sequence number")
            return None
        known = self._topics.get(topics[0])
        if known is None:
            self._useless(forwarder, 1, "a topic nobody asked for")
            return None
        if len(message.from_id) != _ORIGIN_BYTES:
            # Before its id is remembered, of which a mebibyte of origin would be a part.
            self._refuse(forwarder, "a message whose origin is no peer id with an Ed25519 key")
            return None
        message_id = message.from_id + message.seqno
        seen = self._state.seen_messages
        delivered = self._delivered.get(forwarder)
        if delivered is not None:
            if delivered.has(message_id):
                self._useless(forwarder, 1, "the same message again")
            delivered.add(message_id)
        if seen.has(message_id) or message.from_id == self._own:
            counters.duplicates += 1
            return None
        if len(message.data) > self._limits.publish_bytes_max:
            self._refuse(forwarder, f"a message of {len(message.data)} bytes")
            return None
        encoded = _authentic(message)
        if encoded is None:
            # Not marked as seen: anyone may have put a wrong signature under an honest id.
            self._refuse(forwarder, "a message with a wrong signature")
            return None
        seen.add(message_id)
        self._promises.kept(message_id, trio.current_time())
        if self._score(message.from_id) <= BAN_SCORE:
            # Nobody's fault: its forwarder need not know yet what we know of the origin, and who is
            # banned here only could otherwise have us ban all who are not.
            counters.invalid += 1
            return None
        topic, validate = known
        peer = forwarder.to_bytes()
        try:
            verdict = validate(peer, message.data)
        except Exception:  # noqa: BLE001 - the caller's code, on strangers' data
            counters.validator_errors += 1
            _log.exception("the validator of %s failed", topic)
            verdict = Verdict.IGNORE
        if verdict is Verdict.REJECT:
            self._refuse(forwarder, f"a message of {topic} that is not valid")
        if verdict not in (Verdict.ACCEPT, Verdict.KEEP):
            return None
        if verdict is Verdict.ACCEPT:
            self._router.forward(
                topics[0],
                message_id,
                encoded,
                source=peer,
                exclude=(forwarder, ID(message.from_id)),
            )
        counters.received += 1
        return Published(topic, peer, message.from_id, message.data)

    def _refuse(self, forwarder: ID, reason: str) -> None:
        self.counters.invalid += 1
        self._blame(forwarder.to_bytes(), INVALID_MESSAGE, 1.0, reason)

    async def _subscribed(self, peer: ID, topic: str) -> None:
        # Topics of other chains concern nobody here, and are not remembered.
        prefix = self._config.protocol("")[:-2]
        if not topic.startswith(prefix) or len(topic) > len(prefix) + 128:
            self._useless(peer, 1, "a topic of another network")
            return
        topics = self._topics_of.get(peer, {})
        if topic in topics:
            return
        if len(topics) >= self._limits.topics_max:
            self._blame(peer.to_bytes(), JUNK_SUBSCRIPTION, 1.0, f"{len(topics) + 1} topics")
            return
        self._topics_of.setdefault(peer, {})[topic] = None
        self._state.peer_topics.setdefault(topic, set()).add(peer)
        if peer in self._state.queues:
            await self._welcome(peer, topic)

    async def _welcome(self, peer: ID, topic: str) -> None:
        """Take a peer into the mesh of a topic if there is room, and tell it what it missed."""
        if self._router.mesh.get(topic) is not None:
            await self._router.on_peer_subscribed(peer, topic)
        self._router.replay(peer, topic)

    def _unsubscribed(self, peer: ID, topic: str) -> None:
        topics = self._topics_of.get(peer, {})
        if topic in topics:
            del topics[topic]
            if not topics:
                del self._topics_of[peer]
            peers = self._state.peer_topics[topic]
            peers.discard(peer)
            if not peers:
                del self._state.peer_topics[topic]
        mesh = self._router.mesh.get(topic)
        if mesh is not None:
            mesh.discard(peer)


def _own_pace(theirs: Rate) -> Meter:
    """Return what keeps us within what a peer allows.

    We forward what several others send. Without this, three strangers who keep to their own rates
    would make us exceed ours, and our neighbours ban us for it.
    """
    own = Rate(
        _OWN_SHARE * theirs.bytes_per_s, _OWN_SHARE * theirs.messages_per_s, theirs.burst_s / 2
    )
    return Meter(own, grace_s=0.0)


def _check_texts(rpc: rpc_pb2.RPC) -> None:
    """Refuse topics that are no UTF-8: protobuf gives them as bytes and takes none of them back.

    Raises:
        MalformedRpcError: There is one.
    """
    control = rpc.control
    topics: list[object] = [s.topicid for s in rpc.subscriptions]
    for message in rpc.publish:
        # Of several, however many, nobody looks at one: such a message is refused.
        topics += message.topicIDs[:1]
    for part in (control.ihave, control.graft, control.prune):
        topics += [entry.topicID for entry in part]
    for topic in topics:
        if not isinstance(topic, str):
            raise MalformedRpcError(f"a topic that is no UTF-8: {topic!r:.80}")


def _authentic(message: rpc_pb2.Message) -> bytes | None:
    """Return what is forwarded of a message if its signature holds: what is signed, and no more.

    Fields nobody knows would pass through protobuf, and could make a message of 200 bytes one of a
    megabyte on every link, under the name of who signed it.
    """
    # Only ids that contain their Ed25519 key: the other kind brings the key along, in a form libp2p
    # decodes without care.
    origin = message.from_id
    if len(origin) != _ORIGIN_BYTES or not origin.startswith(_KEY_PREFIX):
        return None
    signed = rpc_pb2.Message(
        data=message.data, topicIDs=message.topicIDs, from_id=origin, seqno=message.seqno
    )
    payload = _SIGNING_PREFIX + signed.SerializeToString()
    if not verify(origin[len(_KEY_PREFIX) :], payload, message.signature):
        return None
    signed.signature = message.signature
    return signed.SerializeToString()
