"""A host of the relay trial, run in a namespace by test_relay_trial.py.

Reads commands, a line each, and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from libp2p import new_host
from libp2p.abc import INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.relay.circuit_v2.config import RelayConfig, RelayRole
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as CircuitPeerId
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID, CircuitV2Protocol
from libp2p.relay.circuit_v2.resources import RelayLimits
from libp2p.relay.circuit_v2.transport import CircuitV2Transport
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from p2pnode.net.config import NetworkConfig
from p2pnode.net.libp2p.host import make_host

ECHO: Final = TProtocol("/trial/echo/1")
ROLES: Final = {"source": 1, "relay": 2, "target": 3}
PORT: Final = 4001
CHUNK: Final = 16 << 10


def key_of(number: int) -> Any:
    return create_new_key_pair(bytes([number]) * 32)


def id_of(number: int) -> ID:
    return ID.from_pubkey(key_of(number).public_key)


async def echo(stream: INetStream) -> None:
    try:
        while data := await stream.read(CHUNK):
            await stream.write(data)
    except Exception as error:
        print(f"the echo ended: {error!r}", file=sys.stderr)


def own_host(role: str) -> Any:
    """Return a host with our swarm, channel and muxer, open to handlers as stock ones are."""

    async def on_stream(stream: Any) -> None:
        await host._swarm_stream_handler(stream)

    config = NetworkConfig(seed=bytes([ROLES[role]]) * 32, chain=bytes(32))
    host, _ = make_host(config, on_stream)
    return host


class Peer:
    """One host, and what can be asked of it."""

    def __init__(self, stack: str, role: str, relay_ip: str, limits: RelayLimits) -> None:
        self.host = own_host(role) if stack == "own" else new_host(key_pair=key_of(ROLES[role]))
        self.protocol = CircuitV2Protocol(self.host, limits, allow_hop=role == "relay")
        # The role CLIENT makes every dial reserve, too; what reserves here is `reserve`.
        config = RelayConfig(roles=RelayRole.STOP)
        self.transport = CircuitV2Transport(self.host, self.protocol, config)
        self.relay_id = id_of(ROLES["relay"])
        self.relay_address = f"/ip4/{relay_ip}/tcp/{PORT}/p2p/{self.relay_id}"
        self.host.set_stream_handler(ECHO, echo)
        self.streams: list[INetStream] = []

    async def connect(self) -> None:
        where = Multiaddr(self.relay_address.rpartition("/p2p/")[0])
        await self.host.connect(PeerInfo(self.relay_id, [where]))

    async def reserve(self, nursery: trio.Nursery) -> object:
        stream = await self.host.new_stream(self.relay_id, [PROTOCOL_ID])
        return {"reserved": await self.transport.reserve(stream, self.relay_id, nursery)}

    async def reserve_for(self, first: int, count: int) -> object:
        """Ask for reservations in the names of peers that do not exist."""
        answers = []
        for number in range(first, first + count):
            # A stream each: the relay's handler ends with its first error.
            stream = await self.host.new_stream(self.relay_id, [PROTOCOL_ID])
            peer = CircuitPeerId(id=id_of(number).to_bytes())
            await write_delimited_msg(stream, HopMessage(type=HopMessage.RESERVE, peer=peer))
            answer = await read_delimited_msg(stream, HopMessage)
            answers.append(int(answer.status))
            await stream.reset()
        return {"statuses": answers}

    async def dial(self) -> object:
        target = id_of(ROLES["target"])
        where = Multiaddr(f"{self.relay_address}/p2p-circuit/p2p/{target}")
        await self.transport.dial(where)
        return {"dialled": True}

    async def open(self) -> object:
        self.streams.append(await self.host.new_stream(id_of(ROLES["target"]), [ECHO]))
        return {"opened": len(self.streams)}

    async def send(self, size_bytes: int) -> object:
        """Send so much through the last stream, and read it back."""
        stream = self.streams[-1]
        returned = 0

        async def read_all() -> None:
            nonlocal returned
            while returned < size_bytes:
                data = await stream.read(CHUNK)
                if not data:
                    raise EOFError
                returned += len(data)

        before_s = trio.current_time()
        try:
            with trio.fail_after(120):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read_all)
                    for start in range(0, size_bytes, CHUNK):
                        await stream.write(bytes(min(CHUNK, size_bytes - start)))
        except Exception as error:
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            return {"returned": returned, "error": repr(error)[:200]}
        return {"returned": returned, "error": "", "took_s": trio.current_time() - before_s}

    def state(self) -> object:
        used = resource.getrusage(resource.RUSAGE_SELF)
        reservations = self.protocol.resource_manager._reservations
        return {
            "cpu_s": used.ru_utime + used.ru_stime,
            "rss_kib": used.ru_maxrss,
            "reservations": len(reservations),
            "circuits": sum(r.active_connections for r in reservations.values()),
            "relays": len(self.protocol._active_relays),
        }


async def main(stack: str, role: str, relay_ip: str, limits: RelayLimits) -> None:
    peer = Peer(stack, role, relay_ip, limits)
    listen = [Multiaddr(f"/ip4/0.0.0.0/tcp/{PORT}")]
    async with (
        peer.host.run(listen_addrs=listen),
        background_trio_service(peer.protocol),
        trio.open_nursery() as nursery,
    ):
        await peer.protocol.event_started.wait()
        commands: dict[str, Callable[..., Awaitable[object]]] = {
            "reserve": lambda: peer.reserve(nursery),
            "reserve_for": lambda first, count: peer.reserve_for(int(first), int(count)),
            "dial": peer.dial,
            "open": peer.open,
            "send": lambda size: peer.send(int(size)),
        }
        if role != "relay":
            await peer.connect()
        print(json.dumps({"ready": True}), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            name, *words = line.split()
            try:
                if name == "state":
                    answer = peer.state()
                else:
                    with trio.fail_after(150):
                        answer = await commands[name](*words)
            except Exception as error:
                answer = {"error": repr(error)[:300]}
            print(json.dumps(answer), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    numbers = [int(word) for word in sys.argv[4:]]
    trio.run(main, *sys.argv[1:4], RelayLimits(*numbers))
