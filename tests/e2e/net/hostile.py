"""A hostile peer, a plain libp2p host, and a stock victim to show what the traps do to it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from p2pnode.net.libp2p.streams import encode_varint

MESHSUB = TProtocol("/meshsub/1.1.0")


def key_pair(name: bytes) -> Any:
    return create_new_key_pair(hashlib.sha256(name).digest())


class Hostile:
    """A peer that sends what no honest one would."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.victim: ID = ID(b"")

    async def connect(self, address: str) -> None:
        where, _, name = address.partition("/p2p/")
        self.victim = ID.from_string(name)
        await self.host.get_network().dial_addr(Multiaddr(where), self.victim)

    async def raw_stream(self) -> Any:
        return await self.host.get_network().new_stream(self.victim)

    async def stream(self, protocol: str) -> Any:
        return await self.host.new_stream(self.victim, [TProtocol(protocol)])

    async def send(self, protocol: str, data: bytes) -> Any:
        stream = await self.stream(protocol)
        await stream.write(data)
        return stream

    async def send_rpc(self, rpc: rpc_pb2.RPC) -> Any:
        encoded = rpc.SerializeToString()
        return await self.send(MESHSUB, encode_varint(len(encoded)) + encoded)

    @property
    def connections_count(self) -> int:
        return len(self.host.get_network().get_connections(self.victim))


@asynccontextmanager
async def hostile_peer(name: bytes = b"hostile") -> AsyncIterator[Hostile]:
    host = new_host(key_pair=key_pair(name))
    async with host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield Hostile(host)
        # Left to itself, libp2p leaves its sockets to the garbage collector.
        await host.close()


@dataclass
class Victim:
    """A stock libp2p host with a stock Pubsub."""

    host: Any
    pubsub: Any
    validate: Any = None
    errors: list[BaseException] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.host.get_addrs()[0])

    @property
    def is_alive(self) -> bool:
        return bool(self.host.get_network().manager.is_running and self.pubsub.manager.is_running)


@asynccontextmanager
async def stock_victim(
    topic: str, *, validate: Any = None, connections: ConnectionConfig | None = None
) -> AsyncIterator[Victim]:
    """Run libp2p as it comes; errors that end its services are collected, not raised."""
    host = new_host(key_pair=key_pair(b"victim"), connection_config=connections)
    router = GossipSub([MESHSUB], 4, 3, 5, heartbeat_interval=1, spam_protection_enabled=False)
    victim = Victim(host, Pubsub(host, router))
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(
                host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")])
            )
            await stack.enter_async_context(background_trio_service(victim.pubsub))
            await stack.enter_async_context(background_trio_service(router))
            await victim.pubsub.wait_until_ready()
            await victim.pubsub.subscribe(topic)
            if validate is not None:
                victim.pubsub.set_topic_validator(topic, validate, False)
            victim.pubsub.seen_messages.stop()
            yield victim
    except* trio.Cancelled:
        raise
    except* Exception as group:
        victim.errors.append(group)


class Relay:
    """A TCP relay that reaches its target from another address of the loopback."""

    def __init__(self, port: int, *, source_ip: str) -> None:
        self._to_port = port
        self._source_ip = source_ip
        self.port = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._relay, [listener])

    async def _relay(self, near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream("127.0.0.1", self._to_port, local_address=self._source_ip)
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, near, far)
            await self._copy(far, near)
            nursery.cancel_scope.cancel()

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            while data := await source.receive_some(65536):
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
