"""Settings of the network on libp2p; importable without libp2p."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from p2pnode.errors import ConfigError


class NetworkConfigError(ConfigError):
    """A setting of the network cannot be used."""


@dataclass(frozen=True, slots=True)
class NetworkLimits:
    """Bounds in front of libp2p's own; what exceeds them is refused or costs the peer its score."""

    frame_bytes_max: int = 1 << 20
    """Largest frame of a lane."""
    lane_frames_max: int = 1024
    """Frames that wait in the queue of one (peer, lane)."""
    lane_bytes_max: int = 16 << 20
    """Bytes that wait in the queue of one (peer, lane)."""
    request_bytes_max: int = 1 << 20
    """Largest body of a request."""
    answer_bytes_max: int = 4 << 20
    """Largest answer."""
    publish_bytes_max: int = 1 << 20
    """Largest published message."""
    topics_max: int = 64
    """Topics this node subscribes to, and topics remembered of a peer."""
    gossip_queue_max: int = 512
    """Gossip messages that wait for one peer."""
    incoming_max: int = 128
    """Items that wait in `Network.incoming`."""
    inbound_max: int = 128
    """Connections others dialled, those in their handshake included."""
    connections_max: int = 256
    """All connections."""
    streams_per_peer_max: int = 64
    """Streams one peer may hold open towards us."""
    book_peers_max: int = 1024
    """Peers whose addresses are remembered."""
    exchange_peers_max: int = 64
    """Peers told and heard of in one exchange."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Who this node is on the network, where it listens and whom it looks for."""

    seed: bytes = field(repr=False)
    """Secret seed of the node's Ed25519 key, 32 bytes; the peer id follows from it."""
    chain: bytes
    """Chain id, 32 bytes; part of every protocol id, so that chains do not mix."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 0
    """TCP port to listen on; 0 takes a free one."""
    announce: tuple[str, ...] = ()
    """Multiaddrs told to others in place of the one listened on (behind a NAT, or a name)."""
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs with /p2p/ of peers always kept connected."""
    peers_wanted: int = 8
    """Peers are looked for as long as fewer are connected."""
    degree: int = 4
    """Neighbours a published message is forwarded to."""
    heartbeat_s: float = 1.0
    """Time between two repairs of the gossip meshes."""
    ping_interval_s: float = 2.5
    """Time between two pings of a peer, and until one counts as missed."""
    ping_misses_max: int = 3
    """Pings missed in a row until the connection is closed."""
    dial_backoff_min_s: float = 0.2
    """Pause after the first failed dial; doubles with each further one."""
    dial_backoff_max_s: float = 5.0
    """Longest pause between dials of a peer."""
    dial_timeout_s: float = 5.0
    """Time for a connection to be made, handshake included."""
    exchange_interval_s: float = 10.0
    """Time between two peer exchanges while peers are wanting."""
    ban_s: float = 300.0
    """How long a peer is refused whose score reached -100."""
    own_channel: bool = True
    """Take our own Noise records and Yamux in place of libp2p's; the wire is the same."""
    limits: NetworkLimits = field(default_factory=NetworkLimits)
    """Bounds on what others can make this node hold."""

    def __post_init__(self) -> None:
        if len(self.seed) != 32:
            raise NetworkConfigError(f"the seed has {len(self.seed)} bytes instead of 32")
        if len(self.chain) != 32:
            raise NetworkConfigError(f"the chain id has {len(self.chain)} bytes instead of 32")
        if not 0 <= self.port <= 65535:
            raise NetworkConfigError(f"port {self.port} is not between 0 and 65535")
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            raise NetworkConfigError(f"{self.host!r} is no IP address to listen on") from None

    def protocol(self, name: str) -> str:
        """Return the libp2p protocol id of one of ours, e.g. `/p2pnode/<chain>/lane/0/1`."""
        return f"/p2pnode/{self.chain.hex()[:16]}/{name}/1"
