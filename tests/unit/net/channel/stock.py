"""Connections of libp2p in memory, to be secured and multiplexed by its code or by ours."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.abc import IRawConnection
from libp2p.connection_types import ConnectionType
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport as StockNoise
from libp2p.stream_muxer.yamux.yamux import Yamux as StockYamux
from multiaddr import Multiaddr

from p2pnode.net.channel.errors import ChannelClosedError
from p2pnode.net.libp2p.channel import OwnNoise, YamuxConnection
from tests.unit.net.channel.wires import Wire, wires

KEYS = [create_new_key_pair(hashlib.sha256(b"%d" % i).digest()) for i in range(2)]
IDS = [ID.from_pubkey(key.public_key) for key in KEYS]


class MemoryConnection(IRawConnection):
    """A wire as libp2p's transports show theirs."""

    def __init__(self, wire: Wire, *, is_initiator: bool) -> None:
        self.wire = wire
        self.is_initiator = is_initiator

    async def read(self, n: int | None = None) -> bytes:
        try:
            return await self.wire.receive(1 << 16 if n is None else n)
        except ChannelClosedError:
            return b""

    async def write(self, data: bytes) -> None:
        try:
            await self.wire.send(data)
        except ChannelClosedError as error:
            raise RawConnError from error

    async def close(self) -> None:
        await self.wire.aclose()

    def get_remote_address(self) -> tuple[str, int] | None:
        return None

    def get_transport_addresses(self) -> list[Multiaddr]:
        return []

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT


def noise(own: bool, index: int) -> Any:
    kind = OwnNoise if own else StockNoise
    return kind(KEYS[index], noise_privkey=create_new_x25519_key_pair().private_key)


@asynccontextmanager
async def sessions(
    dialler_is_own: bool, listener_is_own: bool, *, buffer_bytes: int = 1 << 16
) -> AsyncIterator[tuple[Any, Any]]:
    """Secure a connection in memory; the first session is the dialler's."""
    wire_a, wire_b = wires(buffer_bytes)
    found: dict[str, Any] = {}

    async def listen() -> None:
        raw = MemoryConnection(wire_b, is_initiator=False)
        found["listener"] = await noise(listener_is_own, 1).secure_inbound(raw)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        raw = MemoryConnection(wire_a, is_initiator=True)
        dialler = await noise(dialler_is_own, 0).secure_outbound(raw, IDS[1])
    yield dialler, found["listener"]
    await wire_a.aclose()
    await wire_b.aclose()


@asynccontextmanager
async def connections(
    dialler_is_own: bool, listener_is_own: bool, *, buffer_bytes: int = 1 << 16
) -> AsyncIterator[tuple[Any, Any]]:
    """Multiplex a connection in memory, secured by each side's Noise."""
    async with sessions(dialler_is_own, listener_is_own, buffer_bytes=buffer_bytes) as ends:
        kinds = [
            YamuxConnection if own else StockYamux for own in (dialler_is_own, listener_is_own)
        ]
        muxed: list[Any] = [
            kind(session, IDS[1 - i])  # type: ignore[operator]
            for i, (kind, session) in enumerate(zip(kinds, ends, strict=True))
        ]
        async with trio.open_nursery() as nursery:
            for conn in muxed:
                nursery.start_soon(conn.start)
            for conn in muxed:
                await conn.event_started.wait()
            yield muxed[0], muxed[1]
            nursery.cancel_scope.cancel()
