"""Mutants of everything libp2p hands to the network: streams, from their first line to their last.

A network that does not listen gets its streams from here, each opened by a hostile peer that takes
a fresh identity whenever it is banned. Behind it are the handlers of a node: its store's server,
and its judgement of published messages.
"""

from __future__ import annotations

import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.rcmgr import Direction

from p2pnode import codec
from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.gossip.topics import transaction_topic
from p2pnode.gossip.validation import judge_transactions
from p2pnode.net.libp2p import Libp2pNetwork, NetworkConfig
from p2pnode.net.libp2p.router import MESHSUB
from p2pnode.net.libp2p.session import Session
from p2pnode.net.libp2p.streams import Traffic, encode_varint
from p2pnode.node.serve import StoreServer
from p2pnode.ports import FrameReceived, Published, RequestFailedError, Verdict
from p2pnode.types.record import NodeRecord, Scope, sign_record
from tests.cluster import Cluster, S
from tests.fuzz import shapes
from tests.fuzz.mutate import Mutator, Tree, close_tree, open_tree
from tests.fuzz.tally import Tally

WALL_MS = 1_700_000_000_000
HELLO = b"/multistream/1.0.0\n"
SHAPES: dict[str, Callable[[bytes], bool]] = {
    "ping": lambda body: True,
    "peers": lambda body: shapes.passes(shapes.RECORDS, body),
    "blocks": lambda body: shapes.passes(shapes.BLOCKS_REQUEST, body, size_bytes_max=64),
    "fetch": lambda body: shapes.passes(shapes.NAMES, body, size_bytes_max=8192),
}
ANSWERS: dict[str, Callable[[bytes], bool]] = {
    "ping": lambda body: True,
    "peers": lambda body: shapes.passes(shapes.RECORDS, body),
}
HANDLERS = (
    "multistream lines",
    "lane frames",
    "gossip RPC",
    "ipfs ping",
    *(f"request {name}" for name in SHAPES),
    *(f"reply {name}" for name in ANSWERS),
)
BLAMELESS = ("request ping", "reply ping", "ipfs ping")
"""Handlers to which nothing but the lines and frames around it can be wrong."""


class FakeConnection:
    """A connection as streams and sessions see it."""

    def __init__(self, peer: bytes) -> None:
        self.peer_id = ID(peer)
        self.ready = trio.Event()
        self.ready.set()
        self.muxed_conn = self
        self.secured_conn = self
        self.raw_connection = self
        self.direction = Direction.INBOUND
        self.event_closed = trio.Event()
        self.is_closed = False
        self.is_initiator = False
        self.stream = self
        self.socket = self
        self.script: list[bytes] = []
        """What the next stream that the node opens will read."""
        self.ip = "127.0.0.1"

    async def close(self) -> None:
        self.is_closed = True
        self.event_closed.set()

    async def new_stream(self) -> FakeNetStream:
        return FakeNetStream(self, self.script)

    def getpeername(self) -> tuple[str, int]:
        return self.ip, 4001

    def get_remote_address(self) -> tuple[str, int]:
        return self.ip, 4001


class FakeNetStream:
    """A stream whose other end has written everything beforehand, and closed."""

    def __init__(self, connection: FakeConnection, pieces: Sequence[bytes]) -> None:
        self.muxed_stream = self
        self.muxed_conn = connection
        self.conn = connection
        self.stream_id = 1
        self.written = bytearray()
        self._pieces = [piece for piece in pieces if piece]
        self._rest = b""

    async def read(self, n: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._rest and self._pieces:
            self._rest = self._pieces.pop(0)
        if n is None or n < 0:
            n = len(self._rest)
        data, self._rest = self._rest[:n], self._rest[n:]
        return data

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.written += data

    async def reset(self) -> None:
        self._pieces.clear()

    async def close(self) -> None: ...


class NetworkFuzz:
    """One run against one network."""

    def __init__(
        self, rng: random.Random, network: Libp2pNetwork, nursery: trio.Nursery, wall_ms: int
    ) -> None:
        self.rng = rng
        self._wall_ms = wall_ms
        self.network = network
        self.tally = Tally()
        self._nursery = nursery
        self._mutator = Mutator(rng)
        self._key = SecretKey(rng.randbytes(32))
        self._connection = FakeConnection(b"")
        self._delivered = 0
        self._frames, self._published = _samples(self._mutator)
        self._sequence = 0
        self._config = network._config
        self._appear()

    def _appear(self) -> None:
        """Come as somebody new."""
        if self._connection.peer_id.to_bytes() in self.network._sessions:
            del self.network._sessions[self._connection.peer_id.to_bytes()]
        self._key = SecretKey(self.rng.randbytes(32))
        self._connection = FakeConnection(peer_id_of(self._key.public))
        self._session = Session(
            self._connection,
            self._config,
            gossip=self.network._gossip,
            lane_counters=self.network._lane_counters,
            traffic=Traffic(),
            penalize=self.network.penalize,
            blame=self.network._blame,
        )
        self._session._nursery = self._nursery
        self.network._sessions[self.peer] = self._session

    @property
    def peer(self) -> bytes:
        return self._connection.peer_id.to_bytes()

    async def throw(self, kind: str, mutants: int) -> None:
        """Throw mutants of a kind.

        Args:
            kind: One of `HANDLERS`.
            mutants: How many.
        """
        action: Callable[[], Awaitable[bool]]
        match kind.split(" ", 1):
            case ["request", name]:
                action = partial(self._request, name)
            case ["reply", name]:
                action = partial(self._reply, name)
            case _:
                action = {
                    "multistream lines": self._lines,
                    "lane frames": self._lane,
                    "gossip RPC": self._rpc,
                    "ipfs ping": partial(self._plain, "/ipfs/ping/1.0.0"),
                }[kind]
        for _ in range(mutants):
            score = self._score()
            passed = await action()
            self._drain()
            now = self._score()
            self.tally.count(passed=passed, penalized=now < score)
            assert self.network.libp2p_statistics().stream_errors == 0, "a stream failed"
            assert self.network.libp2p_statistics().handler_errors == 0, "a handler failed"
            assert self.network.libp2p_statistics().validator_errors == 0, "a validator failed"
            if now <= -100:
                self.tally.bans += 1
                self._appear()

    async def judge(self) -> None:
        """Send what an honest peer does, and see it taken."""
        self._appear()
        lane = self._config.protocol("lane/0")
        frame = self.rng.choice(self._frames)
        self._drain()
        await self._open(lane, [_framed(frame)])
        assert self._take(FrameReceived) == [frame], "an honest frame was not delivered"
        data = self.rng.choice(self._published)
        rpc = rpc_pb2.RPC(publish=[self._message(data, self._topic())])
        await self._open(MESHSUB, [_delimited(rpc.SerializeToString())])
        assert self._take(Published) == [data], "an honest message was not delivered"
        stream = await self._open(self._config.protocol("request/ping"), [_framed(b"honest")])
        assert stream.written.endswith(b"\0honest"), "an honest request was not answered"
        assert self._score() == 0.0

    # --- the network's side ----------------------------------------------------------------------

    def _score(self) -> float:
        return self.network._scores.score(self.peer, trio.current_time())

    def _drain(self) -> None:
        self._take(object)

    def _take(self, kind: type) -> list[bytes]:
        found = []
        while True:
            try:
                item = self.network.incoming.receive_nowait()
            except trio.WouldBlock:
                return found
            if isinstance(item, kind) and isinstance(item, FrameReceived):
                found.append(item.frame)
            elif isinstance(item, kind) and isinstance(item, Published):
                found.append(item.data)

    async def _open(self, protocol: str, pieces: Sequence[bytes]) -> FakeNetStream:
        stream = FakeNetStream(
            self._connection, [_line(HELLO) + _line(protocol.encode() + b"\n"), *pieces]
        )
        await self.network._inbound.on_stream(stream)
        return stream

    def _cut(self, data: bytes) -> list[bytes]:
        """Cut into pieces, as TCP may."""
        if len(data) < 2 or self.rng.random() < 0.7:
            return [data]
        at = self.rng.randrange(1, len(data))
        return [data[:at], data[at:]]

    # --- mutants ---------------------------------------------------------------------------------

    async def _lines(self) -> bool:
        rng = self.rng
        names = [name.decode() for name in self.network._inbound.handlers]
        lines = [HELLO] * (rng.random() < 0.9)
        for _ in range(rng.randrange(1, 12)):
            name = rng.choice(names).encode() + b"\n"
            lines.append(
                rng.choice((name, name, name[:-1], self._mutator.bytes_of(name), b"na\n", b"ls\n"))
            )
        data = b""
        for line in lines:
            length = encode_varint(len(line))
            if rng.random() < 0.05:
                length = encode_varint(rng.choice((0, 1, 255, 256, 257, 1 << 20, 1 << 63)))
            data += length + line
        if rng.random() < 0.1:
            data = self._mutator.bytes_of(data)
        stream = FakeNetStream(self._connection, self._cut(data))
        await self.network._inbound.on_stream(stream)
        # Past the decoder: the first line is the right one, and a second line is whole.
        start = len(_line(HELLO))
        size = data[start] if len(data) > start else 255
        return (
            data.startswith(_line(HELLO))
            and 0 < size < 128
            and data[start + size : start + size + 1] == b"\n"
        )

    async def _lane(self) -> bool:
        rng = self.rng
        frames = []
        for _ in range(rng.randrange(1, 4)):
            frame = rng.choice(self._frames)
            frames.append(self._mutator.bytes_of(frame) if rng.random() < 0.5 else frame)
        data = b"".join(map(_framed, frames))
        chance = rng.random()
        if chance < 0.2:
            data = self._mutator.bytes_of(data)
        elif chance < 0.4:
            bad = rng.choice((1 << 20, (1 << 20) + 1, 1 << 31, (1 << 32) - 1))
            data += struct.pack(">I", bad) + frames[0]
        await self._open(self._config.protocol(f"lane/{rng.randrange(4)}"), self._cut(data))
        return bool(self._take(FrameReceived))

    def _topic(self) -> str:
        return self._config.protocol(transaction_topic(0))

    def _message(self, data: bytes, topic: str) -> rpc_pb2.Message:
        self._sequence += 1
        message = rpc_pb2.Message(
            data=data, topicIDs=[topic], from_id=self.peer, seqno=self._sequence.to_bytes(8, "big")
        )
        message.signature = self._key.sign(b"libp2p-pubsub:" + message.SerializeToString())
        return message

    async def _rpc(self) -> bool:
        rng = self.rng
        rpc = rpc_pb2.RPC()
        topics = [self._topic(), self._topic(), self._topic()[:-1] + "2", "", "x" * 300, "é"]
        for _ in range(rng.choice((0, 1, 1, 3, 200))):
            rpc.subscriptions.add(subscribe=rng.random() < 0.7, topicid=rng.choice(topics))
        for _ in range(rng.choice((0, 1, 1, 2))):
            rpc.publish.append(self._mutant_message(rng.choice(topics)))
        if rng.random() < 0.5:
            self._control(rpc.control, topics)
        if rng.random() < 0.05:
            rpc.senderRecord = rng.randbytes(50)
        data = rpc.SerializeToString()
        if rng.random() < 0.3:
            data = self._mutator.bytes_of(data)
        framed = _delimited(data)
        if rng.random() < 0.05:
            framed = encode_varint(rng.choice((0, 1 << 21, 1 << 40))) + data
        await self._open(MESHSUB, self._cut(framed))
        try:
            rpc_pb2.RPC().ParseFromString(data)
        except Exception:  # protobuf's own word; whatever it raises
            return False
        return framed == _delimited(data)

    def _mutant_message(self, topic: str) -> rpc_pb2.Message:
        rng = self.rng
        data = rng.choice(self._published)
        if rng.random() < 0.5:
            tree = self._mutator.change(open_tree(codec.decode(data, size_bytes_max=1 << 20)))
            data = codec.encode(close_tree(tree))
        message = self._message(data, topic)
        match rng.randrange(10):
            case 0:
                message.seqno = rng.randbytes(rng.randrange(12))
            case 1:
                message.from_id = self._mutator.bytes_of(message.from_id)
            case 2:
                message.topicIDs.append(topic)
            case 3:
                message.signature = self._mutator.bytes_of(message.signature)
            case 4:
                message.key = rng.randbytes(36)
            case 5:
                message.ClearField(
                    rng.choice(("from_id", "seqno", "data", "signature", "topicIDs"))
                )
        return message

    def _control(self, control: Any, topics: list[str]) -> None:
        rng = self.rng
        seen = [
            self.peer + n.to_bytes(8, "big")
            for n in range(max(0, self._sequence - 9), self._sequence)
        ]

        def ids() -> list[bytes]:
            known = (*seen, b"", rng.randbytes(46), bytes(200))
            return [rng.choice(known) for _ in range(rng.choice((0, 1, 3, 600)))]

        for _ in range(rng.choice((0, 1, 300))):
            match rng.randrange(5):
                case 0:
                    control.ihave.add(topicID=rng.choice(topics), messageIDs=ids())
                case 1:
                    control.iwant.add(messageIDs=ids())
                case 2:
                    control.graft.add(topicID=rng.choice(topics))
                case 3:
                    prune = control.prune.add(topicID=rng.choice(topics))
                    prune.backoff = rng.choice((0, 1, 1 << 31, (1 << 64) - 1))
                    prune.peers.add(peerID=rng.randbytes(38), signedPeerRecord=rng.randbytes(20))
                case 4:
                    control.idontwant.add(messageIDs=ids())

    async def _plain(self, protocol: str) -> bool:
        data = self._mutator.bytes_of(self.rng.randbytes(self.rng.choice((0, 32, 64, 65))))
        stream = await self._open(protocol, self._cut(data))
        return len(stream.written) > 2 * len(HELLO)

    async def _request(self, name: str) -> bool:
        body, tree = b"", self._body(name)
        chance = self.rng.random()
        if chance < 0.2:
            body = self._mutator.bytes_of(codec.encode(close_tree(tree)))
        else:
            if chance < 0.9:
                tree = self._mutator.change(tree, self.rng.choice((1, 1, 2)))
            body = codec.encode(close_tree(tree))
        data = _framed(body)
        broken = self.rng.random() < 0.1
        if broken:
            data = self.rng.choice(
                (data[:-1], b"\xff" * 4 + body, data[:3], struct.pack(">I", 1 << 21))
            )
        await self._open(self._config.protocol(f"request/{name}"), self._cut(data))
        return not broken and SHAPES[name](body)

    def _body(self, name: str) -> Tree:
        rng = self.rng
        match name:
            case "peers" | "peers reply":
                return [open_tree(self._record()) for _ in range(rng.randrange(4))]
            case "blocks":
                return [rng.randrange(100), rng.randrange(65)]
            case "fetch":
                return [
                    bytes([rng.randrange(5)]) + rng.randbytes(32) for _ in range(rng.randrange(9))
                ]
        return [rng.randbytes(8)]

    def _record(self) -> bytes:
        """Return a record of our own or of a stranger, signed: true but for what it says."""
        rng = self.rng
        key = self._key if rng.random() < 0.5 else SecretKey(rng.randbytes(32))
        ip = rng.choice(("127.0.0.1", "10.0.0.1", "8.8.8.8", "0.0.0.0", "224.0.0.1"))
        port = rng.choice((1, 4001, 65535))
        sequence = self._wall_ms + rng.choice((0, 0, -1, 1, -(10**8), 10**8, 10**12))
        record = NodeRecord(
            key.public, rng.choice(list(Scope)), sequence, 0, (f"/ip4/{ip}/tcp/{port}",)
        )
        chain = self._config.chain if rng.random() < 0.8 else rng.randbytes(32)
        return sign_record(key, chain, record).raw

    async def _reply(self, name: str) -> bool:
        """Answer a request of the node's with a mutant."""
        rng = self.rng
        tree = self._body(f"{name} reply")
        if rng.random() < 0.8:
            tree = self._mutator.change(tree, rng.choice((1, 1, 2)))
        body = codec.encode(close_tree(tree))
        if rng.random() < 0.15:
            body = self._mutator.bytes_of(body)
        sign = rng.choice((b"\0",) * 12 + (b"\1", b"\2", b""))
        data = _framed(sign + body)
        whole = sign == b"\0"
        if rng.random() < 0.1:
            whole = False
            data = rng.choice((data + data, data[:-1], b"\xff" * 4, _framed(b"\1" + b"\xff" * 300)))
        protocol = self._config.protocol(f"request/{name}").encode() + b"\n"
        self._connection.script = [_line(HELLO) + _line(protocol), data]
        self._session._pools.clear()
        # A nursery for each: the task that keeps a good stream for the next request ends with it.
        async with trio.open_nursery() as nursery:
            self._session._nursery = nursery
            if name == "peers":
                await self.network._exchange.ask(self._session)
            else:
                with suppress(RequestFailedError):
                    await self._session.ask(name, b"", 1.0)
            nursery.cancel_scope.cancel()
        return whole and ANSWERS[name](body)


@asynccontextmanager
async def network_fuzz(
    seed: int, chain: bytes | None = None, wall_ms: int = WALL_MS
) -> AsyncIterator[NetworkFuzz]:
    """Set up a network that does not listen.

    Args:
        seed: Decides everything.
        chain: The chain id in the names of protocols; without it, one of its own.
        wall_ms: The time, by which records are new or old.
    """
    rng = random.Random(f"fuzz/network/{seed}")
    network = Libp2pNetwork(NetworkConfig(seed=rng.randbytes(32), chain=chain or rng.randbytes(32)))
    StoreServer(_store(), lambda: int(trio.current_time() * 1e9)).attach(network)
    async with trio.open_nursery() as nursery:
        network._nursery = nursery
        network._inbound.begin(nursery)
        network._exchange._wall_ms = lambda: wall_ms
        network._exchange.listens_on(["/ip4/127.0.0.1/tcp/4000"])
        await network._gossip.subscribe(transaction_topic(0), _judge)
        yield NetworkFuzz(rng, network, nursery, wall_ms)
        nursery.cancel_scope.cancel()


def _judge(_peer: bytes, data: bytes) -> Verdict:
    return Verdict(int(judge_transactions(data, len)))


_CLUSTERS: list[tuple[Cluster, list[bytes], list[bytes]]] = []


def _run_cluster() -> tuple[Cluster, list[bytes], list[bytes]]:
    """Run a chain for a while, once a process; return it, its frames and published messages."""
    if not _CLUSTERS:
        from p2pnode.types import effects as fx

        cluster = Cluster(seed=3)
        frames: list[bytes] = []
        published: list[bytes] = []

        def gather(shell: object, given: fx.Input) -> None:
            if isinstance(given, fx.FrameIn) and len(frames) < 300:
                frames.append(given.frame)
            elif isinstance(given, fx.TopicIn) and len(published) < 100:
                published.append(given.data)

        cluster.on_input = gather
        for step in range(20):
            cluster.shells[step % 4].submit(cluster.transfer(step % 8))
            cluster.run(S // 4)
        _CLUSTERS.append((cluster, frames, published))
    return _CLUSTERS[0]


def _samples(mutator: Mutator) -> tuple[list[bytes], list[bytes]]:
    _, frames, published = _run_cluster()
    for frame in frames:
        mutator.learn(open_tree(codec.decode(frame, size_bytes_max=1 << 20)))
    return frames, published


def _store() -> Any:
    return _run_cluster()[0].shells[0].store


def _line(text: bytes) -> bytes:
    return encode_varint(len(text)) + text


def _framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def _delimited(data: bytes) -> bytes:
    return encode_varint(len(data)) + data
