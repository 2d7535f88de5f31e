"""Streams of a connection, without the traps of libp2p's own.

What the code around has to know of stock streams:

* A cancelled read or write loses data or leaves half a record on the wire, which kills the whole
  connection. So no cancel scope is put around stream I/O while the connection lives; who gives up
  waiting calls `reset`, and the task in `read` or `write` gets StreamBrokenError.
* Two tasks that write to one stream interleave: one writer a stream.
* Any error of any layer below may come out of any call, KeyError included. It becomes
  StreamBrokenError here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Final

import trio
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.stream.net_stream import NetStream

from p2pnode.errors import RemoteProtocolError
from p2pnode.ports import PeerId

READ_BYTES: Final = 1 << 18
"""Asked of the muxer at a time; its first window is as large."""

_MULTISTREAM: Final = b"/multistream/1.0.0"
_NOT_AVAILABLE: Final = b"na"

LINE_BYTES_MAX: Final = 256
"""Longest line of multistream-select accepted, newline included."""

_PROPOSALS_MAX: Final = 8
"""Protocols one stream may ask for before it is reset."""


class StreamBrokenError(Exception):
    """The stream has ended or its connection is gone; nothing more can be done with it."""


class ProtocolRefusedError(Exception):
    """The peer does not speak the protocol."""


class NegotiationError(RemoteProtocolError):
    """A peer does not follow multistream-select."""

    penalty = 20.0


@dataclass(slots=True)
class Traffic:
    """Bytes moved by all streams."""

    sent_bytes: int = 0
    received_bytes: int = 0


class Stream:
    """One stream: read in pieces by one task, written by one task, reset by any."""

    __slots__ = ("_leftover", "_muxed", "_traffic", "_waiting", "net_stream", "peer", "protocol")
    _muxed: Any
    """The stream of the muxer below; stock Yamux, or what takes its place."""

    def __init__(self, net_stream: NetStream, traffic: Traffic) -> None:
        """Take over a stream that no one else uses.

        Args:
            net_stream: The stream.
            traffic: Where to count bytes.
        """
        # NetStream's own read and write add two locks and a state machine; its muxed stream does
        # all of the work.
        self.net_stream: Any = net_stream
        self._muxed = self.net_stream.muxed_stream
        self._traffic = traffic
        self._leftover = b""
        # Stock Yamux keeps the events of waiting readers here.
        self._waiting: dict[int, trio.Event] = getattr(self._muxed.conn, "stream_events", {})
        self.peer: PeerId = self._muxed.conn.peer_id.to_bytes()
        self.protocol = ""

    async def read(self) -> bytes:
        """Wait for data and return some, at least one byte.

        Raises:
            StreamBrokenError: The end, for whatever reason.
        """
        if self._leftover:
            leftover, self._leftover = self._leftover, b""
            return leftover
        try:
            data: bytes = await self._muxed.read(READ_BYTES)
        except Exception as error:
            self._waiting.pop(self._muxed.stream_id, None)
            raise StreamBrokenError(f"read: {error!r}") from error
        if not data:
            raise StreamBrokenError("read: the end")
        self._traffic.received_bytes += len(data)
        return data

    def unread(self, data: bytes) -> None:
        """Give back data that was read too far; the next `read` returns it."""
        self._leftover = data + self._leftover

    async def write(self, data: bytes) -> None:
        """Write all of the data; returns when it is handed to the operating system.

        Raises:
            StreamBrokenError: The stream is gone, or the peer has not read for 5 s.
        """
        try:
            await self._muxed.write(data)
        except Exception as error:
            raise StreamBrokenError(f"write: {error!r}") from error
        self._traffic.sent_bytes += len(data)

    async def announced(self) -> None:
        """Wait until the peer is known to the node; what it sends comes after that."""
        await self._muxed.conn.ready.wait()

    async def finish(self) -> None:
        """Say that nothing more will be written; what was is still delivered.

        Raises:
            StreamBrokenError: The stream is gone.
        """
        try:
            await self.net_stream.close()
        except Exception as error:
            raise StreamBrokenError(f"close: {error!r}") from error

    async def reset(self) -> None:
        """End the stream at once and wake its reader and writer; never raises, may be repeated."""
        # Stock `reset` forgets the event a local reader waits for: that reader would wait for ever.
        wake = self._waiting.get(self._muxed.stream_id)
        try:
            with trio.CancelScope(shield=True):
                await self.net_stream.reset()
        except Exception as error:  # noqa: BLE001 - libp2p raises anything on resetting
            # Nothing is left to do for a stream that cannot even be reset.
            del error
        finally:
            if wake is not None:
                wake.set()

    def reset_soon(self, nursery: trio.Nursery) -> None:
        """Reset from code that must not wait."""
        nursery.start_soon(self.reset)


async def open_stream(connection: SwarmConn, protocol: str, traffic: Traffic) -> Stream:
    """Open a stream for a protocol, in one round trip.

    Waits as long as the peer takes: the liveness of the connection is watched elsewhere, and ends
    it.

    Raises:
        StreamBrokenError: The connection or the stream is gone.
        ProtocolRefusedError: The peer does not speak the protocol.
        NegotiationError: The peer answers nonsense.
    """
    stream = await open_raw(connection, traffic)
    await propose(stream, protocol)
    return stream


async def open_raw(connection: SwarmConn, traffic: Traffic) -> Stream:
    """Open a stream no protocol of which is agreed on yet."""
    try:
        return Stream(await connection.new_stream(), traffic)
    except Exception as error:
        raise StreamBrokenError(f"open: {error!r}") from error


async def propose(stream: Stream, protocol: str) -> None:
    """Agree on the protocol of a stream we opened; it is reset when that fails."""
    name = protocol.encode()
    try:
        # Both lines at once: the peer answers both, and our first data can follow without waiting.
        await stream.write(_line(_MULTISTREAM) + _line(name))
        if await _read_line(stream) != _MULTISTREAM:
            raise NegotiationError("not multistream-select")
        answer = await _read_line(stream)
        if answer == _NOT_AVAILABLE:
            raise ProtocolRefusedError(protocol)
        if answer != name:
            raise NegotiationError(f"{protocol} was answered by another protocol")
    except BaseException:
        await stream.reset()
        raise
    stream.protocol = protocol


async def agree(stream: Stream, protocols: Container[bytes]) -> bytes:
    """Agree on the protocol of a stream a peer opened.

    Names are compared as bytes, never decoded: libp2p's decoding lets any peer end the process.

    Returns:
        One of `protocols`.

    Raises:
        StreamBrokenError: The stream has ended.
        NegotiationError: The peer asks for nonsense, or for too many protocols.
    """
    await stream.write(_line(_MULTISTREAM))
    if await _read_line(stream) != _MULTISTREAM:
        raise NegotiationError("not multistream-select")
    for _ in range(_PROPOSALS_MAX):
        name = await _read_line(stream)
        if name in protocols:
            await stream.write(_line(name))
            return name
        await stream.write(_line(_NOT_AVAILABLE))
    raise NegotiationError(f"{_PROPOSALS_MAX} protocols asked for, none spoken here")


def _line(text: bytes) -> bytes:
    return encode_varint(len(text) + 1) + text + b"\n"


async def _read_line(stream: Stream) -> bytes:
    data = b""
    while True:
        data += await stream.read()
        length, start = decode_varint(data, value_max=LINE_BYTES_MAX)
        if start and len(data) >= start + length:
            break
    line, rest = data[start : start + length], data[start + length :]
    if rest:
        stream.unread(rest)
    if not line.endswith(b"\n"):
        raise NegotiationError("a line without its end")
    return line[:-1]


def encode_varint(value: int) -> bytes:
    """Encode an unsigned integer as protobuf does."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_varint(data: bytes | bytearray, at: int = 0, *, value_max: int) -> tuple[int, int]:
    """Decode an unsigned integer.

    Returns:
        The value and the position after it; position 0 when the data ends within it.

    Raises:
        NegotiationError: The value is above the maximum.
    """
    value = shift = 0
    for position in range(at, len(data)):
        byte = data[position]
        value |= (byte & 127) << shift
        if value > value_max or shift > 63:
            raise NegotiationError(f"a length above {value_max}")
        if byte < 128:
            return value, position + 1
        shift += 7
    return 0, 0
