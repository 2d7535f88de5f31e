"""The libp2p host: TCP, Noise, Yamux, and a swarm that no peer can stop.

Traps of libp2p 0.8.1 closed here:

* An exception in a stream handler, in its negotiation or in the muxer ends the swarm, and with it
  the process. Here it ends the stream or the connection.
* The slot of an inbound connection is kept for ever: after `max_connections` of them, over any
  time, the node accepts no more. Here it is given back when the connection ends.
* Listening on a port that another process listens on succeeds (SO_REUSEPORT). Here it is an error.
* Closing a connection writes to it first and waits for ever on one that hangs. `abort` closes the
  socket.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import trio
from libp2p.abc import IMuxedConn, INetConn, IRawConnection, ISecureConn
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.net_stream import NetStream
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from p2pnode.errors import ConfigError
from p2pnode.net.addresses import ip_of, join_address, split_address
from p2pnode.net.channel.limits import MuxerLimits
from p2pnode.net.config import NetworkConfig
from p2pnode.net.libp2p.channel import OwnMuxers, OwnNoise
from p2pnode.net.libp2p.protected import PrivateTcp, protect
from p2pnode.net.links.shim import LinkTable

_log = logging.getLogger("p2pnode.net")

HANDSHAKE_TIMEOUT_S: Final = 5.0
"""Time an inbound connection may take until it is encrypted and multiplexed."""

StreamHandler = Callable[[NetStream], Awaitable[None]]


class ListenError(ConfigError):
    """The configured address cannot be listened on."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {host} port {port}: {reason}")
        self.host = host
        self.port = port


class StockNoise(NoiseTransport):
    """libp2p's own Noise, for comparison: it remembers the socket below, for `abort`."""

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        session = await super().secure_inbound(conn)
        session.raw_connection = conn  # type: ignore[attr-defined]
        return session

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        session = await super().secure_outbound(conn, peer_id)
        session.raw_connection = conn  # type: ignore[attr-defined]
        return session


class _NoAutoConnector(AutoConnector):
    """Does not connect to whoever is known, which libp2p does up to its high watermark."""

    async def maybe_connect(self) -> None: ...

    def record_disconnect(self, peer_id: ID) -> None:
        """Remember nothing of peers that come and go."""


class Gate(Protocol):
    """Lets connections begin their handshake; each `begin` that returned True is ended once."""

    def begin(self, ip: str) -> bool:
        """Judge a connection from an address."""

    def end(self, ip: str) -> None:
        """Note that its handshake is over."""


class SafeSwarm(Swarm):
    """A swarm in which an error ends one connection instead of everything.

    A muxed connection gets an event `ready`: set when its peer has been announced, or when it ends.
    """

    links: LinkTable | None = None
    """Faults of the links, where there is a table of them."""

    gate: Gate | None = None
    """Judges connections before their handshake."""

    network_key: bytes = b""
    """Key that all connections are under, 32 bytes; empty for a network that is open."""

    async def dial_addr(
        self, addr: Multiaddr, peer_id: ID, source: tuple[str, int] | None = None
    ) -> INetConn:
        if self.links is not None:
            # Nothing answers over a cut link: the dial waits for the healing, or times out.
            await self.links.until_open(peer_id.to_bytes())
        return await super().dial_addr(addr, peer_id, source)

    def set_inbound_max(self, inbound_max: int) -> None:
        """Bound the connections others dialled, those in their handshake included."""
        self._inbound_limiter = trio.CapacityLimiter(inbound_max)
        self._in_handshake: dict[object, str] = {}

    def connect_to_nobody(self) -> None:
        """Leave dialling to us."""
        self.auto_connector = _NoAutoConnector(self)

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        start = muxed_conn.start
        ready = trio.Event()

        async def guarded_start() -> None:
            try:
                await start()
            except Exception as error:  # noqa: BLE001 - libp2p's tasks: it costs one connection
                _log.info("a muxer failed: %r", error)
                await _close_socket(muxed_conn)
            finally:
                ready.set()

        muxed_conn.start = guarded_start  # type: ignore[method-assign]
        muxed_conn.ready = ready  # type: ignore[attr-defined]
        return await super().add_conn(muxed_conn, direction)

    async def upgrade_inbound_raw_conn(
        self, raw_conn: IRawConnection, maddr: Multiaddr
    ) -> IMuxedConn:
        muxed_conn: Any = await super().upgrade_inbound_raw_conn(raw_conn, maddr)
        self._end_handshake(getattr(raw_conn, "stream", None))
        # Stock then waits for the end of the swarm, holding the inbound slot. The exception makes
        # it close what is left of the connection and give the slot back.
        await muxed_conn.event_closed.wait()
        raise SwarmException("the inbound connection has ended")

    async def _handle_inbound_connection(
        self, read_write_closer: ReadWriteCloser, maddr: Multiaddr
    ) -> None:
        ip = ip_of(_address_of(read_write_closer))
        if self.gate is not None:
            if not self.gate.begin(ip):
                await read_write_closer.close()
                return
            self._in_handshake[read_write_closer] = ip
        if self.network_key:
            protect(read_write_closer, self.network_key)
        try:
            await super()._handle_inbound_connection(read_write_closer, maddr)
        finally:
            self._end_handshake(read_write_closer)

    def _end_handshake(self, stream: object) -> None:
        ip = self._in_handshake.pop(stream, None)
        if ip is not None and self.gate is not None:
            self.gate.end(ip)

    async def shut(self) -> None:
        """Close listeners and sockets at once, without a word to the peers."""
        with trio.CancelScope(shield=True):
            for connection in self.get_connections():
                await abort(connection)
            for listener in list(self.listeners.values()):
                await listener.close()


def remote_address(muxed_conn: Any) -> str:
    """Return the multiaddr a connection comes from or goes to; empty when there is none."""
    return _address_of(muxed_conn.secured_conn.raw_connection.stream)


def remote_ip(muxed_conn: Any) -> str:
    """Return the IP address of the other end of a connection; empty when there is none."""
    return ip_of(remote_address(muxed_conn))


def _address_of(stream: Any) -> str:
    # libp2p knows no remote address over IPv6: it expects a socket's to be two values.
    try:
        host, port, *_ = stream.stream.socket.getpeername()
    except (AttributeError, OSError, ValueError):
        return ""
    return join_address(str(host), port)


async def abort(connection: Any) -> None:
    """Close the socket of a connection, whatever its tasks hang in; they then clean up."""
    await _close_socket(connection.muxed_conn)


async def _close_socket(muxed_conn: Any) -> None:
    try:
        with trio.CancelScope(shield=True):
            await muxed_conn.secured_conn.raw_connection.close()
    except Exception as error:  # noqa: BLE001 - libp2p raises anything on closing
        _log.info("a socket could not be closed: %r", error)


def make_key_pair(seed: bytes) -> KeyPair:
    """Return libp2p's form of the Ed25519 key pair of a 32-byte seed."""
    return create_new_key_pair(seed)


def make_host(
    config: NetworkConfig, on_stream: StreamHandler, links: LinkTable | None = None
) -> tuple[BasicHost, SafeSwarm]:
    """Build a host that does not run yet.

    Args:
        config: Identity and limits.
        on_stream: Gets every stream a peer opens; must not raise.
        links: Faults of the links; only our own channel has them.

    Returns:
        The host, and its swarm.
    """
    key_pair = make_key_pair(config.seed)
    peer_id = ID.from_pubkey(key_pair.public_key)
    peerstore = PeerStore()
    peerstore.add_key_pair(peer_id, key_pair)
    swarm = SafeSwarm(
        peer_id,
        peerstore,
        _make_upgrader(config, key_pair, links),
        transports=[PrivateTcp(config.network_key) if config.network_key else TCP()],
        # Dialling, its retries and the number of connections are ours (dialler.py).
        retry_config=RetryConfig(max_retries=0),
        connection_config=ConnectionConfig(
            max_connections=config.limits.connections_max,
            min_connections=0,
            low_watermark=0,
            high_watermark=config.limits.connections_max,
            max_connections_per_peer=8,
            inbound_upgrade_timeout=HANDSHAKE_TIMEOUT_S,
            outbound_upgrade_timeout=HANDSHAKE_TIMEOUT_S,
        ),
    )
    swarm.links = links
    swarm.network_key = config.network_key
    # Those in their handshake have slots of their own: they must not keep out who is known.
    swarm.set_inbound_max(config.limits.inbound_max + config.limits.handshakes_max)
    swarm.connect_to_nobody()
    host = BasicHost(network=swarm, disable_identify_address_discovery=True)
    # The host asks every peer to identify itself, in tasks of Trio's own nursery whose errors end
    # the process. We need nothing of it; others that ask us are answered by identify.py.
    swarm.notifees.clear()
    host.multiselect.handlers.clear()
    swarm.set_stream_handler(on_stream)  # type: ignore[arg-type]
    return host, swarm


def _make_upgrader(
    config: NetworkConfig, key_pair: KeyPair, links: LinkTable | None
) -> TransportUpgrader:
    noise_key = create_new_x25519_key_pair().private_key
    noise: NoiseTransport
    if config.own_channel:
        noise = OwnNoise(key_pair, noise_privkey=noise_key)
        noise.links = links
    else:
        noise = StockNoise(key_pair, noise_privkey=noise_key)
    upgrader = TransportUpgrader(
        secure_transports_by_protocol={NOISE: noise},
        muxer_transports_by_protocol={TProtocol(YAMUX): Yamux},
    )
    if config.own_channel:
        # Those above the limit of a peer are to be seen, for they cost score; many more are not.
        streams_max = 2 * config.limits.streams_per_peer_max
        upgrader.muxer_multistream = OwnMuxers(
            MuxerLimits(
                streams_inbound_max=streams_max,
                streams_opened_max=config.limits.streams_opened_max,
                reserved_bytes_max=config.limits.windows_bytes_max,
            )
        )
    return upgrader


def check_port_is_free(host: str, port: int) -> None:
    """Refuse a port that someone listens on, which libp2p would share silently.

    Raises:
        ListenError: The port is taken, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Else [::] is taken by our own 0.0.0.0.
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ListenError(host, port, error.strerror or str(error)) from None


def check_ports_are_free(addresses: Sequence[str]) -> None:
    """Refuse to listen on multiaddrs if somebody listens on one of them.

    Raises:
        ListenError: A port is taken, or an address is not ours.
    """
    for address in addresses:
        check_port_is_free(*_host_and_port(address))


async def listen(swarm: SafeSwarm, addresses: Sequence[str]) -> tuple[str, ...]:
    """Start listening on all of the addresses.

    Returns:
        The multiaddrs listened on, their ports resolved.

    Raises:
        ListenError: It cannot, on one of them.
    """
    check_ports_are_free(addresses)
    found = []
    for address in addresses:
        if not await swarm.listen(Multiaddr(address)):
            raise ListenError(*_host_and_port(address), "the transport refused")
        (bound, *_) = swarm.listeners[str(Multiaddr(address))].get_addrs()
        found.append(str(bound))
    return tuple(found)


def _host_and_port(address: str) -> tuple[str, int]:
    split = split_address(address)
    assert split is not None, address
    return str(split[0]), split[1]
