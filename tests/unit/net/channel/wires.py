"""Wires in memory for the Trio shells: bounded, closable, and able to hang."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from p2pnode.net.channel.errors import ChannelClosedError
from p2pnode.net.channel.limits import MuxerLimits
from p2pnode.net.channel.muxer import Muxer


class Wire:
    """One end of a connection; what is sent waits in the other end's bounded buffer."""

    def __init__(self, buffer_bytes: int) -> None:
        self._buffer_bytes = buffer_bytes
        self._incoming = bytearray()
        self._changed = trio.lowlevel.ParkingLot()
        self._closed = False
        self.peer: Wire = self
        self.is_stopped = False
        """Takes nothing from the buffer, like a peer that is suspended."""

    async def receive(self, size_bytes_max: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._incoming or self.is_stopped:
            if self._closed or (self.peer._closed and not self.is_stopped):
                raise ChannelClosedError("the wire is closed")
            await self._changed.park()
        data = bytes(self._incoming[:size_bytes_max])
        del self._incoming[:size_bytes_max]
        self.peer._changed.unpark_all()
        return data

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        while data:
            if self._closed or self.peer._closed:
                raise ChannelClosedError("the wire is closed")
            room = self._buffer_bytes - len(self.peer._incoming)
            if room <= 0:
                await self._changed.park()
                continue
            self.peer._incoming += data[:room]
            data = data[room:]
            self.peer._changed.unpark_all()

    async def read(self) -> bytes:
        return await self.receive(1 << 16)

    async def write(self, data: bytes) -> None:
        # As a secure channel does it.
        with trio.CancelScope(shield=True):
            await self.send(data)

    async def aclose(self) -> None:
        self._closed = True
        self._changed.unpark_all()
        self.peer._changed.unpark_all()

    @property
    def is_closed(self) -> bool:
        return self._closed


def wires(buffer_bytes: int = 1 << 16) -> tuple[Wire, Wire]:
    """Return the two ends of a connection."""
    a, b = Wire(buffer_bytes), Wire(buffer_bytes)
    a.peer, b.peer = b, a
    return a, b


@asynccontextmanager
async def muxers(
    *, buffer_bytes: int = 1 << 16, **limits: Any
) -> AsyncIterator[tuple[Muxer, Muxer, Wire, Wire]]:
    """Run two muxers on a wire."""
    wire_a, wire_b = wires(buffer_bytes)
    a = Muxer(wire_a, is_initiator=True, limits=MuxerLimits(**limits))
    b = Muxer(wire_b, is_initiator=False, limits=MuxerLimits(**limits))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.run)
        nursery.start_soon(b.run)
        yield a, b, wire_a, wire_b
        nursery.cancel_scope.cancel()
