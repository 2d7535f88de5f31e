"""Settings of the network on libp2p; importable without libp2p."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from p2pnode.errors import ConfigError
from p2pnode.net.addresses import LISTEN_MAX, acceptable, join_address, split_address
from p2pnode.net.channel.limits import STREAMS_OPENED_MAX
from p2pnode.net.rates import Rate
from p2pnode.ports import Lane, PeerId
from p2pnode.types.record import ADDRESSES_MAX

_VERSIONS: Final = {"request/peers": 2}
"""Protocols whose version is not 1."""


class NetworkConfigError(ConfigError):
    """A setting of the network cannot be used."""


LANES_COUNT: Final = len(Lane)

RATES: Final[Mapping[str, Rate]] = {
    f"lane/{Lane.VOTE:d}": Rate(bytes_per_s=1 << 20, messages_per_s=500),
    f"lane/{Lane.PROPOSAL:d}": Rate(bytes_per_s=8 << 20, messages_per_s=500),
    f"lane/{Lane.BULK:d}": Rate(bytes_per_s=16 << 20, messages_per_s=1000),
    # Of a transaction every node decodes what it is sent: 2,000 a second take an eighth of a core.
    "gossip": Rate(bytes_per_s=512 << 10, messages_per_s=500),
    # Who catches up asks as fast as it is answered: slowed, but never blamed for it.
    "requests": Rate(bytes_per_s=32 << 20, messages_per_s=100, is_blamed=False),
}
"""Defaults, some 20 times what is seen of honest peers; the bytes of gossip, twice. In a simulation
of 7 validators at 1,000 transactions a second, the most that one peer sent another in any second
was 9 votes (1.8 KB), 5 proposals (1.9 KB), 41 frames of bulk (154 KB) and 26 published messages
(192 KB); the most it asked while catching up after a restart was 6 requests (133 KB answered)."""

STRANGERS: Final[Mapping[str, Rate]] = {
    f"lane/{Lane.BULK:d}": Rate(bytes_per_s=1 << 20, messages_per_s=250, is_blamed=False),
}
"""What takes their place for peers that are not known: what an entry node sends collators of its
clients' transactions is slowed beyond 4,000 a second."""


@dataclass(frozen=True, slots=True)
class NetworkLimits:
    """Bounds in front of libp2p's own; what exceeds them is refused or costs the peer its score."""

    frame_bytes_max: int = 1 << 20
    """Largest frame of a lane."""
    lane_frames_max: int = 1024
    """Frames that wait in the queue of one (peer, lane)."""
    lane_bytes_max: int = 8 << 20
    """Bytes that wait in the queue of one (peer, lane)."""
    request_bytes_max: int = 1 << 20
    """Largest body of a request."""
    answer_bytes_max: int = 4 << 20
    """Largest answer."""
    requests_at_a_time_max: int = 8
    """Requests of one peer answered at a time; further ones wait their turn."""
    publish_bytes_max: int = 1 << 20
    """Largest published message."""
    topics_max: int = 64
    """Topics this node subscribes to, and topics remembered of a peer."""
    gossip_queue_max: int = 512
    """Gossip messages that wait for one peer."""
    gossip_bytes_max: int = 8 << 20
    """Bytes of gossip messages that wait for one peer."""
    incoming_max: int = 128
    """Items that wait in `Network.incoming`."""
    streams_per_peer_max: int = 64
    """Streams one peer may hold open towards us."""
    streams_per_s: float = 50.0
    """Streams a peer may open in a second, in the long run; further ones wait, and count as open
    meanwhile."""
    streams_burst_max: int = 200
    """Streams a peer may open at once after silence."""
    streams_opened_max: int = STREAMS_OPENED_MAX
    """Streams a peer may open within a second, however soon it resets them; more end its
    connection, with a ban."""
    windows_bytes_max: int = 32 << 20
    """Windows of all streams of a connection: the most that is held unread of a peer."""
    unfinished_bytes_max: int = 16 << 20
    """Frames a peer has begun and not finished, over all streams."""
    rates: Mapping[str, Rate] = field(default_factory=lambda: dict(RATES))
    """What a peer may send of each kind of traffic: lane/0 to lane/2, gossip and requests."""
    strangers: Mapping[str, Rate] = field(default_factory=lambda: dict(STRANGERS))
    """What a peer that is not known (see `known`) may send, where that differs."""
    excess_grace_s: float = 5.0
    """How long a peer may be slowed without a break before each further second costs score."""
    useless_per_s: float = 20.0
    """Useless gossip a peer may send in a second: an honest one repeats itself at reconnections."""
    useless_burst_max: int = 2000
    """Useless gossip forgiven at once."""
    refused_per_s: float = 10.0
    """Requests of a peer that may be refused in a second."""
    refused_burst_max: int = 200
    """Refused requests forgiven at once."""
    promises_max: int = 32
    """Messages a peer may offer, be asked for and not send; then it is asked for none."""
    promises_per_s: float = 0.2
    """How many of these are forgotten in a second; what they cost heals faster."""
    inbound_max: int = 128
    """Connections others dialled."""
    inbound_reserved_share: float = 0.25
    """Share of them kept free for known peers: bootstrap peers, wanted ones and validators."""
    inbound_per_address_max: int = 16
    """Connections of unknown peers from one IP address (IPv6: one /64)."""
    handshakes_max: int = 64
    """Connections in their handshake."""
    handshakes_per_address_max: int = 8
    """Of these, from one IP address."""
    handshakes_per_s: float = 10.0
    """Handshakes begun in a second from one IP address, in the long run."""
    handshakes_burst_max: int = 64
    """Handshakes begun at once from one IP address after silence."""
    network_addresses_max: int = 2
    """As how many addresses a whole network (IPv4: a /24, IPv6: a /48) counts when it begins
    handshakes. Addresses that the world cannot reach have no network around them."""
    connections_max: int = 256
    """All connections."""
    address_points_max: float = 300.0
    """Points unknown peers of one IP address may lose together until unknown peers from there are
    refused, for as long as a ban lasts and twice as long each time. Who takes a new identity after
    each offence is stopped by nothing else."""
    address_points_per_s: float = 0.1
    """How fast these points are forgotten."""
    address_ban_max_s: float = 3600.0
    """How long strangers of an address are refused at most: it may be that of many, most of whom
    have done nothing."""
    book_peers_max: int = 1024
    """Peers whose addresses are remembered."""
    exchange_peers_max: int = 64
    """Peers told and heard of in one exchange."""
    book_told_by_one_max: int = 256
    """Of those, peers remembered on the word of one other."""
    records_told_max: int = 16
    """Records of itself and others that a peer may tell unasked, at a time."""

    def __post_init__(self) -> None:
        if missing := [name for name in RATES if name not in self.rates]:
            raise NetworkConfigError(f"no rate for {', '.join(missing)}")
        if not 0 <= self.inbound_reserved_share <= 1:
            raise NetworkConfigError(f"{self.inbound_reserved_share} is no share of connections")

    @property
    def inbound_reserved_max(self) -> int:
        """Connections kept free for known peers."""
        return int(self.inbound_max * self.inbound_reserved_share)

    @property
    def peer_bytes_max(self) -> int:
        """The most one peer can make this node hold: what it sends, and what waits for it.

        Without the answers we asked it for: four at a time of each protocol, each of
        `answer_bytes_max`.
        """
        answering = self.requests_at_a_time_max * (self.request_bytes_max + self.answer_bytes_max)
        waiting = LANES_COUNT * self.lane_bytes_max + self.gossip_bytes_max
        return self.windows_bytes_max + self.unfinished_bytes_max + answering + waiting


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
    listen: tuple[str, ...] = ()
    """Multiaddrs to listen on in place of `host` and `port`: /ip4/…/tcp/… and /ip6/…/tcp/…."""
    announce: tuple[str, ...] = ()
    """Multiaddrs told to everybody besides those listened on: the outside of a NAT."""
    lan: bool = False
    """Find peers on the local network, and be found there, by multicast DNS."""
    roles: int = 0
    """What the node does, bits of `Role`, for its record."""
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
    """How long a peer is refused whose score reached -100; twice as long each time."""
    ban_max_s: float = 86_400.0
    """How long at most."""
    known: tuple[PeerId, ...] = ()
    """Validators: never refused for the address they come from; see also `set_known`."""
    network_key: bytes = field(default=b"", repr=False)
    """Pre-shared key of a private network, 32 bytes (net/network_key.py); empty: an open one."""
    allow: tuple[PeerId, ...] = ()
    """The only peers to connect with, in both directions; empty: any."""
    limit_loopback: bool = False
    """Hold addresses on the loopback to the limits per address, too: on one machine, all nodes of a
    test network share one."""
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
        if len(self.listen) > LISTEN_MAX:
            raise NetworkConfigError(f"{len(self.listen)} addresses to listen on, {LISTEN_MAX} max")
        for address in self.listen:
            if split_address(address) is None:
                raise NetworkConfigError(
                    f"{address!r} cannot be listened on: /ip4/<address>/tcp/<port> or"
                    " /ip6/<address>/tcp/<port> expected"
                )
        if len(self.announce) > ADDRESSES_MAX:
            raise NetworkConfigError(
                f"{len(self.announce)} addresses to announce, {ADDRESSES_MAX} max"
            )
        for address in self.announce:
            if not acceptable(address.partition("/p2p/")[0]):
                raise NetworkConfigError(
                    f"{address!r} cannot be announced: nobody would dial it; an IP address and a"
                    " TCP port expected, as in /ip4/203.0.113.7/tcp/4001"
                )

    @property
    def listening(self) -> tuple[str, ...]:
        """The multiaddrs to listen on."""
        return self.listen or (join_address(self.host, self.port),)

    @property
    def announced(self) -> tuple[str, ...]:
        """What is announced, without /p2p/."""
        return tuple(address.partition("/p2p/")[0] for address in self.announce)

    def protocol(self, name: str) -> str:
        """Return the libp2p protocol id of one of ours, e.g. `/p2pnode/<chain>/lane/0/1`."""
        return f"/p2pnode/{self.chain.hex()[:16]}/{name}/{_VERSIONS.get(name, 1)}"
