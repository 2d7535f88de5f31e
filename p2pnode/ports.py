"""Ports: what a node asks of the world, and promises its adapters keep.

Each port has at least two implementations: the real one and the simulator's. The docstrings are the
contract; tests in tests/unit/net and tests/unit/store hold every implementation to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

import trio

from p2pnode.errors import P2PNodeError
from p2pnode.types.effects import Lane as Lane
from p2pnode.types.effects import Write as Write

PeerId: TypeAlias = bytes
"""libp2p peer id (multihash bytes); opaque outside net/."""


class Verdict(Enum):
    """What a validator of published messages decides."""

    ACCEPT = 0
    """Deliver and forward."""
    IGNORE = 1
    """Neither deliver nor forward; the sender is not to blame."""
    REJECT = 2
    """As IGNORE, and the forwarder loses score."""
    KEEP = 3
    """Deliver, but do not forward."""


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """A peer sent us a frame."""

    peer: PeerId
    lane: Lane
    frame: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """A message of a topic we subscribed to, accepted by its validator."""

    topic: str
    peer: PeerId
    """Who forwarded it to us."""
    origin: PeerId
    """Who published it; the network has checked its signature."""
    data: bytes


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A connection to a peer stands; frames can be sent."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class PeerLost:
    """The last connection to a peer is gone."""

    peer: PeerId
    reason: str


Incoming: TypeAlias = FrameReceived | Published | PeerConnected | PeerLost


@dataclass(frozen=True, slots=True)
class Deduction:
    """Points a peer has lost."""

    reason: str
    """Why, in words; some are a peer's own."""
    points: float
    """How many, over all repetitions in a row."""
    age_s: float
    """How long ago, the last time."""


@dataclass(frozen=True, slots=True)
class BannedPeer:
    """A peer that is refused for a while."""

    peer: PeerId
    left_s: float
    """Until it is forgiven."""
    bans_count: int
    """Bans lately, this one too; each lasts twice as long as the one before."""
    reasons: tuple[Deduction, ...]
    """Why, newest first."""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A connected peer as this node sees it."""

    peer: PeerId
    rtt_s: float | None
    """Median of the last pings, None before the first."""
    inbound: bool
    address: str
    score: float
    """0 is neutral, -100 is a ban."""
    reasons: tuple[Deduction, ...] = ()
    """The last points it has lost, newest first."""
    rtt_age_s: float | None = None
    """Seconds since the last ping that was answered, None before it."""


@dataclass(frozen=True, slots=True)
class NetworkStatistics:
    """Totals since start."""

    peers_count: int
    frames_sent: int
    frames_received: int
    frames_dropped: int
    """Frames not sent because a queue was full or the peer not connected."""
    messages_published: int
    messages_received: int
    """Published messages delivered to us, without duplicates."""
    messages_invalid: int
    bytes_sent: int
    bytes_received: int
    dials_failed: int
    """Failed dial attempts."""
    bans_count: int = 0
    """Peers banned."""
    refusals: Mapping[str, int] = field(default_factory=dict)
    """What was refused (connections, streams, records), by kind; the kinds are few and fixed."""
    offences: Mapping[str, int] = field(default_factory=dict)
    """Times peers lost points, by kind; the kinds are few and fixed."""


class RequestFailedError(P2PNodeError):
    """A request got no answer: the peer is gone, refused, or took too long."""


class Network(Protocol):
    """Moves frames, requests and published messages between peers.

    `send` is at most once; frames of one (peer, lane) arrive in the order sent, or not at all.
    Published messages may arrive never, or once, in any order. `incoming` yields everything that
    arrives; whoever stops reading it stops the peers from sending, lane by lane.
    """

    @property
    def peer_id(self) -> PeerId:
        """This node's own id."""

    @property
    def incoming(self) -> trio.MemoryReceiveChannel[Incoming]:
        """Everything that arrives, in order per (peer, lane)."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started once it listens."""

    def send(self, peer: PeerId, lane: Lane, frame: bytes) -> bool:
        """Queue a frame without waiting.

        Returns:
            False when it was dropped: peer not connected, or its queue for the lane full (a full
            VOTE queue drops its oldest frame instead).
        """

    async def request(self, peer: PeerId, protocol: str, body: bytes, *, timeout_s: float) -> bytes:
        """Ask a peer and return its answer.

        Raises:
            RequestFailedError: No connection, no such protocol there, an error there, or no answer
            in
                `timeout_s`.
        """

    def serve(self, protocol: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]]) -> None:
        """Answer requests of a protocol; before `run`. Its P2PNodeErrors fail the request."""

    def subscribe(self, topic: str, validate: Callable[[PeerId, bytes], Verdict]) -> None:
        """Join a topic; before `run`. `validate` runs before delivery and forwarding, fast."""

    def publish(self, topic: str, data: bytes) -> None:
        """Send a message to everyone on a topic, without waiting; not delivered to ourselves."""

    def peers(self) -> tuple[PeerStatus, ...]:
        """Connected peers, ascending by id."""

    def banned(self) -> tuple[BannedPeer, ...]:
        """Peers refused for a while, ascending by id."""

    def penalize(self, peer: PeerId, points: float, reason: str) -> None:
        """Lower a peer's score; at -100 it is disconnected and refused for a while."""

    def statistics(self) -> NetworkStatistics:
        """Totals since start."""


class Clock(Protocol):
    """Time; the simulator's is virtual."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""


class Store(Protocol):
    """A node's durable tables: ordered byte keys to byte values.

    `commit` is atomic: after a crash all of its writes are there or none, and no later commit
    survives an earlier one that did not. A commit is durable when a `commit(sync=True)` that
    started with or after it has returned.
    """

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a value, or None."""

    def scan(
        self, table: str, *, start: bytes = b"", stop: bytes | None = None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return at most `limit` pairs with start ≤ key < stop, ascending."""

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        """Return the pair with the greatest key, or None."""

    def commit(self, writes: Sequence[Write], *, sync: bool) -> None:
        """Apply writes atomically."""

    def close(self) -> None:
        """Release the files; further calls are errors."""


class Log(Protocol):
    """An append-only log of records, the memory of what this node signed.

    Records appended before a `sync` that returned survive any crash of process or machine.
    """

    def records(self) -> list[bytes]:
        """Return all records, oldest first."""

    def append(self, record: bytes) -> None:
        """Add a record; in memory or in the operating system until `sync`."""

    def sync(self) -> None:
        """Make every appended record durable; blocks, so the shell calls it in a worker thread."""

    def rewrite(self, records: Sequence[bytes]) -> None:
        """Replace the whole log atomically and durably (compaction)."""

    def close(self) -> None:
        """Release the file."""


class Verifier(Protocol):
    """Checks Ed25519 signatures away from the event loop."""

    async def verify(self, checks: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
        """Check (public key, message, signature) triples; one answer each, in order."""
