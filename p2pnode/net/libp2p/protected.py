"""Connections of a private network: the sockets below libp2p, under the pre-shared key.

A protected socket stands where libp2p keeps Trio's, so that everything above, our own channel
included, reads and writes through it.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Final

import trio
from libp2p.abc import IRawConnection
from libp2p.io.trio import TrioTCPStream
from libp2p.transport.tcp.tcp import TCP
from multiaddr import Multiaddr

from p2pnode.net.network_key import NONCE_BYTES, KeyStream

_log = logging.getLogger("p2pnode.net")

HELLO: Final = b"\x13/multistream/1.0.0\n"
"""What every libp2p connection begins with; anything else was sealed with another key, or none."""

_HELLO_SURE: Final = 16
"""So much of it in clear is no nonce by chance."""


class ProtectedSocket:
    """A socket whose bytes pass under a pre-shared key, as libp2p uses a trio.SocketStream."""

    def __init__(self, stream: trio.SocketStream, key: bytes) -> None:
        """Take over a connection of which nothing was read or written.

        Args:
            stream: The connection.
            key: Pre-shared, 32 bytes.
        """
        self.socket = stream.socket
        self._stream = stream
        self._key = key
        self._sealing: KeyStream | None = None
        self._opening: KeyStream | None = None
        self._nonce = b""
        self._hello = HELLO

    async def send_all(self, data: bytes) -> None:
        """Seal and send all of it; cancelled in the middle, the connection is of no more use."""
        head = b""
        if self._sealing is None:
            head = os.urandom(NONCE_BYTES)
            self._sealing = KeyStream(self._key, head)
        await self._stream.send_all(head + self._sealing.apply(data))

    async def receive_some(self, size_bytes_max: int | None = None) -> bytes:
        """Return what has come, opened; empty at the end, and from a peer without our key."""
        while self._opening is None:
            piece = await self._stream.receive_some(NONCE_BYTES - len(self._nonce))
            if not piece:
                return b""
            self._nonce += piece
            if self._nonce.startswith(HELLO[:_HELLO_SURE]):
                return await self._refuse("no network key")
            if len(self._nonce) == NONCE_BYTES:
                self._opening = KeyStream(self._key, self._nonce)
        data = self._opening.apply(bytes(await self._stream.receive_some(size_bytes_max)))
        if self._hello and data:
            expected, self._hello = self._hello[: len(data)], self._hello[len(data) :]
            if data[: len(expected)] != expected:
                return await self._refuse("another network key")
        return data

    async def _refuse(self, what: str) -> bytes:
        _log.warning("a peer at %s has %s", self._address(), what)
        await self.aclose()
        return b""

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    def _address(self) -> str:
        try:
            return str(self.socket.getpeername()[0])
        except OSError:
            return "an address that is gone"


def protect(stream: Any, key: bytes) -> None:
    """Put a connection that libp2p has just accepted or dialled under a key."""
    assert isinstance(stream, TrioTCPStream), stream
    stream.stream = ProtectedSocket(stream.stream, key)  # type: ignore[assignment]


class PrivateTcp(TCP):
    """TCP that dials under a pre-shared key; what is accepted, the swarm protects."""

    def __init__(self, key: bytes) -> None:
        """Dial under a key of 32 bytes."""
        super().__init__()
        self._key = key

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        connection: Any = await super().dial(maddr)
        protect(connection.stream, self._key)
        found: IRawConnection = connection
        return found
