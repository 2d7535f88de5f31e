"""A hostile peer that is nobody: it has no key of the chain, only a socket and bad intentions.

Unlike the adversaries of testnet/byzantine, which make a validator misbehave, a stranger attacks
from outside, as anyone can. It takes a new identity whenever it has lost its connection. An attack
runs until cancelled, does as much harm as it knows, and never minds how the node answers.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import trio
import trio.lowlevel
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from p2pnode import codec
from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.gossip.frames import encode_frame
from p2pnode.gossip.topics import transaction_topic
from p2pnode.net.channel import frames
from p2pnode.net.config import NetworkConfig
from p2pnode.net.framing import frame
from p2pnode.net.libp2p.host import abort, make_host
from p2pnode.net.libp2p.router import MESHSUB
from p2pnode.net.libp2p.streams import Stream, Traffic, encode_varint, open_raw, open_stream
from p2pnode.ports import Lane
from p2pnode.sync import catchup, fetcher
from p2pnode.types.messages import Transactions, encode_message, join_frame
from p2pnode.types.transaction import Transfer, sign_transaction

CONNECTIONS: Final = 1000
"""Of a flood, from one address."""

DIAL_TIMEOUT_S: Final = 5.0
PAUSE_S: Final = 0.5
"""Between two tries to connect: a refusal is no reason to stop."""


@dataclass(slots=True)
class Stranger:
    """Who attacks whom, and what came of it."""

    host: str
    port: int
    peer: str
    """The victim's peer id (base58)."""
    chain: bytes
    seed: int = 1
    identities: int = 0
    """Identities taken so far."""
    connections: int = 0
    """Handshakes that went through."""
    sent: dict[str, int] = field(default_factory=dict)
    """Attack to what it sent: messages, streams, bytes or connections."""

    def count(self, what: str, number: int = 1) -> None:
        self.sent[what] = self.sent.get(what, 0) + number

    def fresh(self) -> NetworkConfig:
        """Return the settings of an identity not used before."""
        self.identities += 1
        seed = hashlib.sha256(b"stranger %d %d" % (self.seed, self.identities)).digest()
        return NetworkConfig(seed=seed, chain=self.chain)


@dataclass(slots=True)
class Line:
    """A connection to the victim, under one identity."""

    config: NetworkConfig
    connection: Any
    """libp2p's, of which every part may be misused."""

    async def open(self, protocol: str) -> Stream:
        """Open a stream for one of our own protocols, or for another's by its whole name."""
        name = protocol if protocol.startswith("/") else self.config.protocol(protocol)
        return await open_stream(self.connection, name, Traffic())

    async def raw_frames(self, data: bytes) -> None:
        """Write under the muxer."""
        await self.connection.muxed_conn.secured_conn.channel.write(data)


OnLine: TypeAlias = Callable[[Stranger, Line], Awaitable[None]]
Attack: TypeAlias = Callable[[Stranger], Awaitable[None]]


@asynccontextmanager
async def line(stranger: Stranger) -> AsyncIterator[Line]:
    """Connect as somebody new."""

    async def ignore(stream: Any) -> None:
        """Leave what the victim opens and sends unread."""

    config = stranger.fresh()
    _, swarm = make_host(config, ignore)
    async with background_trio_service(swarm):
        try:
            with trio.fail_after(DIAL_TIMEOUT_S):
                found = await swarm.dial_addr(
                    Multiaddr(f"/ip4/{stranger.host}/tcp/{stranger.port}"),
                    ID.from_string(stranger.peer),
                )
            stranger.connections += 1
            yield Line(config, found)
            await abort(found)
        finally:
            await swarm.shut()


def on_lines(act: OnLine) -> Attack:
    """Return an attack that does one thing on a connection, again and again as somebody new."""

    async def attack(stranger: Stranger) -> None:
        while True:
            try:
                async with line(stranger) as found:
                    await act(stranger, found)
            except* Exception:
                # Banned, refused, cut off: whatever libp2p calls it, it was to be expected.
                stranger.count("ends")
            await trio.sleep(PAUSE_S)

    return attack


# --- below the handshake ------------------------------------------------------------------------


async def flood_of_connections(stranger: Stranger) -> None:
    """Hold 1,000 connections and say nothing on them; those closed are opened again."""
    limiter = trio.CapacityLimiter(64)

    async def hold() -> None:
        while True:
            try:
                async with limiter:
                    stream = await trio.open_tcp_stream(stranger.host, stranger.port)
                async with stream:
                    stranger.count("connections")
                    while await stream.receive_some(4096):
                        pass
            except (OSError, trio.BrokenResourceError):
                stranger.count("connections refused")
            await trio.sleep(PAUSE_S)

    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS):
            nursery.start_soon(hold)


async def slow_handshakes(stranger: Stranger) -> None:
    """Send the first lines of the handshake a byte a second, on 32 connections."""

    async def drip() -> None:
        while True:
            try:
                async with await trio.open_tcp_stream(stranger.host, stranger.port) as stream:
                    for byte in b"\x13/multistream/1.0.0\n\x07/noise\n" + bytes(4096):
                        await stream.send_all(bytes([byte]))
                        stranger.count("dripped bytes")
                        await trio.sleep(1.0)
            except (OSError, trio.BrokenResourceError):
                await trio.sleep(PAUSE_S)

    async with trio.open_nursery() as nursery:
        for _ in range(32):
            nursery.start_soon(drip)


async def junk_on_sockets(stranger: Stranger) -> None:
    """Send random bytes in place of a handshake."""
    while True:
        try:
            async with await trio.open_tcp_stream(stranger.host, stranger.port) as stream:
                for _ in range(64):
                    await stream.send_all(os.urandom(4096))
                    stranger.count("junk bytes", 4096)
        except (OSError, trio.BrokenResourceError):
            pass
        await trio.sleep(0.05)


# --- on the muxer -------------------------------------------------------------------------------


async def _pings(stranger: Stranger, found: Line) -> None:
    """Ping below the streams as fast as the socket takes it."""
    ping = frames.HEADER.pack(0, frames.PING, frames.SYN, 0, 7)
    while True:
        await found.raw_frames(ping * 1000)
        stranger.count("muxer pings", 1000)


async def _empty_records(stranger: Stranger, found: Line) -> None:
    """Seal records that carry nothing, which no layer above the channel ever sees."""
    channel = found.connection.muxed_conn.secured_conn.channel
    while True:
        async with channel._writing:
            await channel._raw.send(b"".join(channel._sealer.seal(b"") for _ in range(2000)))
        stranger.count("empty records", 2000)


async def _streams(stranger: Stranger, found: Line) -> None:
    """Open streams that ask for nothing, as many as the victim takes."""
    while True:
        await open_raw(found.connection, Traffic())
        stranger.count("idle streams")
        await trio.lowlevel.checkpoint()


async def _rapid_resets(stranger: Stranger, found: Line) -> None:
    """Open a stream and reset it, thousands of times a second."""
    while True:
        stream = await open_raw(found.connection, Traffic())
        await stream.reset()
        stranger.count("streams reset")


async def _zero_windows(stranger: Stranger, found: Line) -> None:
    """Ask for the largest answers on many streams and read none of them."""
    for _ in range(48):
        stream = await found.open(f"request/{catchup.PROTOCOL}")
        for _ in range(32):
            await stream.write(frame(codec.encode([1, 64])))
            stranger.count("answers not read")
    await trio.sleep(20)


# --- on our protocols ---------------------------------------------------------------------------


async def _oversize_frames(stranger: Stranger, found: Line) -> None:
    """Announce a frame of 4 GiB on every lane."""
    for lane in Lane:
        stream = await found.open(f"lane/{lane:d}")
        await stream.write(b"\xff\xff\xff\xff" + bytes(65536))
        stranger.count("oversize frames")
    await trio.sleep(1)


async def _junk_frames(stranger: Stranger, found: Line) -> None:
    """Send frames that are no messages on the lane of votes."""
    stream = await found.open(f"lane/{Lane.VOTE:d}")
    rng = random.Random(stranger.identities)
    while True:
        shape: list[Any] = [rng.randrange(12), rng.randbytes(rng.randrange(200)), rng.randrange(99)]
        await stream.write(frame(codec.encode([codec.encode(shape)])))
        stranger.count("junk frames")


async def _empty_messages(stranger: Stranger, found: Line) -> None:
    """Send frames of 12 KB with 4,096 messages that hold nothing."""
    stream = await found.open(f"lane/{Lane.BULK:d}")
    full = frame(join_frame([encode_message(Transactions(()))] * 4096))
    while True:
        await stream.write(full)
        stranger.count("frames of empty messages")


async def _requests(stranger: Stranger, found: Line) -> None:
    """Ask for blocks and bodies without end, and read the answers."""
    protocols = (catchup.PROTOCOL, fetcher.PROTOCOL, "ping", "peers")

    async def ask(protocol: str) -> None:
        stream = await found.open(f"request/{protocol}")
        body = codec.encode([1, 64]) if protocol == catchup.PROTOCOL else codec.encode([])
        while True:
            await stream.write(frame(body))
            await stream.read()
            stranger.count("requests")

    async with trio.open_nursery() as nursery:
        for protocol in protocols * 8:
            nursery.start_soon(ask, protocol)


async def _junk_gossip(stranger: Stranger, found: Line) -> None:
    """Send bytes that are no RPC."""
    stream = await found.open(MESHSUB)
    while True:
        await stream.write(b"\x05\x0a\xff\xff\xff\xff")
        stranger.count("junk rpcs")


async def _empty_gossip(stranger: Stranger, found: Line) -> None:
    """Send RPCs of 400,000 offers of nothing."""
    stream = await found.open(MESHSUB)
    control = b"\x0a\x00" * 400_000
    body = b"\x1a" + encode_varint(len(control)) + control
    while True:
        await stream.write(encode_varint(len(body)) + body)
        stranger.count("empty RPCs")


async def _forged_gossip(stranger: Stranger, found: Line) -> None:
    """Send messages whose signature is wrong."""
    stream = await found.open(MESHSUB)
    topic = found.config.protocol(transaction_topic(0))
    while True:
        message = rpc_pb2.Message(
            data=os.urandom(1000),
            topicIDs=[topic],
            from_id=peer_id_of(SecretKey(os.urandom(32)).public),
            seqno=os.urandom(8),
            signature=os.urandom(64),
        )
        await stream.write(_rpc(message))
        stranger.count("forged messages")


def _gossip_flood(make: Callable[[NetworkConfig], list[bytes]]) -> OnLine:
    """Publish frames of such transactions, in messages of right signature, without a pause."""

    async def flood(stranger: Stranger, found: Line) -> None:
        stream = await found.open(MESHSUB)
        key = SecretKey(found.config.seed)
        topic = found.config.protocol(transaction_topic(0))
        number = 0
        while True:
            number += 1
            message = rpc_pb2.Message(
                data=encode_frame(make(found.config)),
                topicIDs=[topic],
                from_id=peer_id_of(key.public),
                seqno=number.to_bytes(8, "big"),
            )
            message.signature = key.sign(b"libp2p-pubsub:" + message.SerializeToString())
            await stream.write(_rpc(message))
            stranger.count("flooded messages")

    return flood


def _bulk_flood(make: Callable[[NetworkConfig], list[bytes]]) -> OnLine:
    """Send frames of such transactions as an entry node does, without a pause."""

    async def flood(stranger: Stranger, found: Line) -> None:
        stream = await found.open(f"lane/{Lane.BULK:d}")
        while True:
            message = encode_message(Transactions(tuple(make(found.config))))
            await stream.write(frame(join_frame([message])))
            stranger.count("flooded frames")

    return flood


def _junk(config: NetworkConfig) -> list[bytes]:
    """Return what is no transaction."""
    return [os.urandom(250) for _ in range(40)]


def _forged(config: NetworkConfig) -> list[bytes]:
    """Return transactions that nobody signed."""
    return [raw[:-64] + os.urandom(64) for raw in _unfunded(config, 40, signed=1)]


def _unfunded(config: NetworkConfig, count: int = 40, signed: int = 40) -> list[bytes]:
    """Return transactions that their sender cannot pay for.

    Args:
        config: Names the chain.
        count: How many.
        signed: Different ones; the rest are copies.
    """
    found = [
        sign_transaction(
            SecretKey(os.urandom(32)),
            config.chain,
            nonce=0,
            last_valid_height=1 << 20,
            fee_limit=1000,
            actions=(Transfer(0, bytes(32), 1),),
        ).raw
        for _ in range(signed)
    ]
    return [found[i % signed] for i in range(count)]


async def _subscriptions(stranger: Stranger, found: Line) -> None:
    """Subscribe to and leave topics of the chain that nobody has."""
    stream = await found.open(MESHSUB)
    number = 0
    while True:
        rpc = rpc_pb2.RPC()
        for _ in range(100):
            number += 1
            topic = found.config.protocol(f"tx/{number}")
            rpc.subscriptions.add(subscribe=True, topicid=topic)
        body = rpc.SerializeToString()
        await stream.write(encode_varint(len(body)) + body)
        stranger.count("subscriptions", 100)


def _rpc(message: rpc_pb2.Message) -> bytes:
    body = rpc_pb2.RPC(publish=[message]).SerializeToString()
    return encode_varint(len(body)) + body


ATTACKS: Final[dict[str, Attack]] = {
    "flood of connections": flood_of_connections,
    "slow handshakes": slow_handshakes,
    "junk on sockets": junk_on_sockets,
    "muxer pings": on_lines(_pings),
    "empty records": on_lines(_empty_records),
    "idle streams": on_lines(_streams),
    "rapid resets": on_lines(_rapid_resets),
    "zero windows": on_lines(_zero_windows),
    "oversize frames": on_lines(_oversize_frames),
    "junk frames": on_lines(_junk_frames),
    "empty messages": on_lines(_empty_messages),
    "requests": on_lines(_requests),
    "junk gossip": on_lines(_junk_gossip),
    "empty gossip": on_lines(_empty_gossip),
    "forged gossip": on_lines(_forged_gossip),
    "gossip flood": on_lines(_gossip_flood(_junk)),
    "forged transactions": on_lines(_gossip_flood(_forged)),
    "unfunded transactions": on_lines(_gossip_flood(_unfunded)),
    "bulk flood": on_lines(_bulk_flood(_unfunded)),
    "subscriptions": on_lines(_subscriptions),
}
"""Every attack, by name."""
