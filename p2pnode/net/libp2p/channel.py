"""Our secure channel and muxer behind libp2p's interfaces.

libp2p does the handshake, which is rare and whose code is not ours to write twice; everything after
it is p2pnode/net/channel. Errors become the ones libp2p's own code expects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from libp2p.abc import IMuxedConn, IMuxedStream, IRawConnection, ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.peer.id import ID
from libp2p.security.base_session import BaseSession
from libp2p.security.noise.exceptions import NoiseFailure
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from multiaddr import Multiaddr

from p2pnode.errors import P2PNodeError
from p2pnode.net.channel.errors import (
    ChannelClosedError,
    HandshakeTooLongError,
    StreamFinishedError,
    StreamResetError,
)
from p2pnode.net.channel.limits import MuxerLimits
from p2pnode.net.channel.muxer import ByteChannel, MuxedStream, Muxer, MuxerStatistics
from p2pnode.net.channel.noise import Opener, Sealer
from p2pnode.net.channel.secure import RECEIVE_BYTES_MAX, RawChannel, SecureChannel
from p2pnode.net.links.shim import LinkTable

HANDSHAKE_TIMEOUT_S: Final = 5.0
"""Time for the handshake's three messages."""

HANDSHAKE_BYTES_MAX: Final = 4096
"""Most a peer may send for it; an Ed25519 identity needs about 200, one of RSA about 1,200."""

ON_CLOSE_TIMEOUT_S: Final = 2.0


class OwnNoise(NoiseTransport):
    """Noise XX of libp2p, with a bounded handshake and our records after it."""

    links: LinkTable | None = None
    """Faults of the links, where there is a table of them."""

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        return await self._secure(conn, super().secure_inbound)

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        inherited = super().secure_outbound

        async def handshake(bounded: Any) -> ISecureConn:
            return await inherited(bounded, peer_id)

        return await self._secure(conn, handshake)

    async def _secure(
        self, conn: IRawConnection, handshake: Callable[[Any], Awaitable[Any]]
    ) -> ISecureConn:
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT_S):
                session = Session(await handshake(_BoundedConnection(conn)), conn, self.links)
                if self.links is not None:
                    await self.links.pass_handshake(session.remote_peer.to_bytes())
                return session
        except trio.TooSlowError:
            raise NoiseFailure(f"no handshake within {HANDSHAKE_TIMEOUT_S:g} s") from None
        except NoiseFailure:
            raise
        except Exception as error:
            # Protobuf, cryptography and noise raise errors of their own about what a peer sends.
            raise NoiseFailure(f"handshake: {error!r}") from error


class _BoundedConnection:
    """A connection of which only so much may be read; the handshake asks for exact sizes."""

    def __init__(self, conn: IRawConnection) -> None:
        self._conn = conn
        self._read_bytes = 0

    async def read(self, n: int | None = None) -> bytes:
        size = self._read_bytes + (n or 0)
        if n is None or size > HANDSHAKE_BYTES_MAX:
            raise HandshakeTooLongError(size, HANDSHAKE_BYTES_MAX)
        data = await self._conn.read(n)
        if n and not data:
            raise ConnectionClosedError("closed during the handshake")
        self._read_bytes += len(data)
        return data

    async def write(self, data: bytes) -> None:
        await self._conn.write(data)

    async def close(self) -> None:
        await self._conn.close()


class Session(BaseSession):
    """A connection after the handshake, as libp2p sees it."""

    def __init__(self, stock: Any, conn: IRawConnection, links: LinkTable | None = None) -> None:
        """Take the keys out of a stock session that has not been used.

        Args:
            stock: The session.
            conn: What it runs on.
            links: Faults of the links; ours is below the records, so that bytes are what is late.
        """
        super().__init__(
            local_peer=stock.local_peer,
            local_private_key=stock.local_private_key,
            remote_peer=stock.remote_peer,
            remote_permanent_pubkey=stock.remote_permanent_pubkey,
            is_initiator=stock.is_initiator,
        )
        keys = stock.conn.noise_state.noise_protocol
        seal, open_ = keys.cipher_state_encrypt, keys.cipher_state_decrypt
        self.raw_connection: Any = conn
        """The socket below, for `host.abort`."""
        raw = _raw_channel(conn)
        if links is not None:
            raw = links.shim(stock.remote_peer.to_bytes(), raw)
        self.channel = SecureChannel(
            raw,
            Sealer(bytes(seal.k), number=seal.n),
            Opener(bytes(open_.k), number=open_.n),
        )

    async def read(self, n: int | None = None) -> bytes:
        if n == 0:
            return b""
        try:
            return await self.channel.read(n)
        except P2PNodeError as error:
            raise ConnectionClosedError(str(error)) from error

    async def write(self, data: bytes) -> None:
        try:
            await self.channel.write(data)
        except P2PNodeError as error:
            raise ConnectionClosedError(str(error)) from error

    async def close(self) -> None:
        await self.channel.aclose()

    def get_remote_address(self) -> tuple[str, int] | None:
        address: tuple[str, int] | None = self.raw_connection.get_remote_address()
        return address

    def get_transport_addresses(self) -> list[Multiaddr]:
        addresses: list[Multiaddr] = self.raw_connection.get_transport_addresses()
        return addresses

    def get_connection_type(self) -> ConnectionType:
        kind: ConnectionType = self.raw_connection.get_connection_type()
        return kind


class _SocketChannel:
    """A TCP socket without the layers above it, each of which takes a lock for every call."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def receive(self, size_bytes_max: int) -> bytes:
        try:
            data = await self._stream.receive_some(size_bytes_max)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ChannelClosedError(f"{error!r}") from error
        if not data:
            raise ChannelClosedError("the peer has closed the connection")
        return bytes(data)

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ChannelClosedError(f"{error!r}") from error

    async def aclose(self) -> None:
        await self._stream.aclose()


class _LibraryChannel:
    """Any connection of libp2p, raw or secured by its own code."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    async def receive(self, size_bytes_max: int) -> bytes:
        try:
            data: bytes = await self._conn.read(size_bytes_max)
        except Exception as error:
            # Every transport has its own; none of them leaves anything to be done.
            raise ChannelClosedError(f"{error!r}") from error
        if not data:
            raise ChannelClosedError("the peer has closed the connection")
        return data

    async def read(self) -> bytes:
        return await self.receive(RECEIVE_BYTES_MAX)

    async def send(self, data: bytes) -> None:
        try:
            await self._conn.write(data)
        except Exception as error:
            raise ChannelClosedError(f"{error!r}") from error

    async def write(self, data: bytes) -> None:
        with trio.CancelScope(shield=True):
            await self.send(data)

    async def aclose(self) -> None:
        try:
            with trio.CancelScope(shield=True):
                await self._conn.close()
        except Exception as error:  # noqa: BLE001 - libp2p raises anything on closing
            # It is of no more use, whatever state it is in.
            del error


def _raw_channel(conn: Any) -> RawChannel:
    inner = getattr(conn, "stream", None)
    if isinstance(inner, TrioTCPStream):
        return _SocketChannel(inner.stream)
    return _LibraryChannel(conn)


def _byte_channel(secured: Any) -> ByteChannel:
    return secured.channel if isinstance(secured, Session) else _LibraryChannel(secured)


class YamuxStream(IMuxedStream):
    """A stream of ours as libp2p sees it."""

    def __init__(self, conn: YamuxConnection, inner: MuxedStream) -> None:
        self.conn = conn
        self.muxed_conn = conn
        self.stream_id = inner.stream_id
        self._inner = inner

    async def read(self, n: int | None = None) -> bytes:
        try:
            return await self._inner.read(RECEIVE_BYTES_MAX if n is None or n < 0 else n)
        except StreamFinishedError as error:
            raise MuxedStreamEOF(str(error)) from error
        except StreamResetError as error:
            raise MuxedStreamReset(str(error)) from error

    async def write(self, data: bytes) -> None:
        try:
            await self._inner.write(data)
        except StreamResetError as error:
            raise MuxedStreamReset(str(error)) from error
        except P2PNodeError as error:
            raise MuxedStreamError(str(error)) from error

    async def close(self) -> None:
        self._inner.finish()
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        self._inner.reset()
        await trio.lowlevel.checkpoint()

    def set_deadline(self, ttl: int) -> None:
        raise NotImplementedError("cancel scopes do it: no call loses or tears anything")

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.conn.get_remote_address()

    async def __aenter__(self) -> YamuxStream:
        return self


class YamuxConnection(IMuxedConn):
    """The muxer as libp2p sees it."""

    def __init__(
        self,
        conn: ISecureConn,
        peer_id: ID,
        is_initiator: bool | None = None,
        on_close: Callable[[], Awaitable[Any]] | None = None,
        limits: MuxerLimits | None = None,
    ) -> None:
        """Begin on a secured connection; `start` runs it.

        Args:
            conn: Ours or of libp2p.
            peer_id: Whose it is.
            is_initiator: Whether we dialled; the connection knows it, too.
            on_close: Awaited once when it has ended.
            limits: Bounds.
        """
        self.secured_conn: Any = conn
        self.peer_id = peer_id
        self.on_close = on_close
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self._is_initiator = conn.is_initiator if is_initiator is None else is_initiator
        self._muxer = Muxer(_byte_channel(conn), is_initiator=self._is_initiator, limits=limits)

    @property
    def is_initiator(self) -> bool:
        return self._is_initiator

    @property
    def is_established(self) -> bool:
        return self.event_started.is_set() and not self._muxer.is_closed

    @property
    def is_closed(self) -> bool:
        return self.event_closed.is_set()

    @property
    def failure(self) -> P2PNodeError | None:
        """What the peer did wrong, when that has ended the connection."""
        return self._muxer.failure

    async def start(self) -> None:
        self.event_started.set()
        try:
            await self._muxer.run()
        finally:
            self.event_closed.set()
            on_close, self.on_close = self.on_close, None
            if on_close is not None:
                # libp2p must hear of it even if everything is being cancelled.
                with trio.move_on_after(ON_CLOSE_TIMEOUT_S) as scope:
                    scope.shield = True
                    await on_close()

    async def close(self) -> None:
        await self._muxer.aclose()
        self.event_closed.set()

    async def open_stream(self) -> IMuxedStream:
        try:
            return YamuxStream(self, await self._muxer.open_stream())
        except P2PNodeError as error:
            raise MuxedConnUnavailable(str(error)) from error

    async def accept_stream(self) -> IMuxedStream:
        try:
            return YamuxStream(self, await self._muxer.accept_stream())
        except ChannelClosedError as error:
            raise MuxedConnUnavailable(str(error)) from error

    async def ping(self) -> float:
        """Return the round-trip time to the peer's muxer, in seconds.

        Raises:
            ChannelClosedError: The connection has ended.
        """
        return await self._muxer.ping()

    def statistics(self) -> MuxerStatistics:
        """Return state and totals of the muxer."""
        return self._muxer.statistics()

    def get_remote_address(self) -> tuple[str, int] | None:
        address: tuple[str, int] | None = self.secured_conn.get_remote_address()
        return address

    def get_transport_addresses(self) -> list[Multiaddr]:
        addresses: list[Multiaddr] = self.secured_conn.get_transport_addresses()
        return addresses

    def get_connection_type(self) -> ConnectionType:
        kind: ConnectionType = self.secured_conn.get_connection_type()
        return kind


class OwnMuxers(MuxerMultistream):
    """Negotiates the muxer, and takes ours where libp2p's names its own."""

    def __init__(self, limits: MuxerLimits | None = None) -> None:
        """Offer Yamux only.

        Args:
            limits: Of every connection.
        """
        super().__init__({TProtocol(YAMUX): YamuxConnection})
        self._limits = limits

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        muxed = YamuxConnection(conn, peer_id, limits=self._limits)
        return self._annotate_connection(muxed, conn, protocol)
