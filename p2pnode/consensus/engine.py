"""The consensus plug: what an engine is, and what its host owes it.

An engine owns no socket, clock, random numbers, disk or private key. It orders payload *digests*;
the bytes behind them are the host's. The whole contract between the two:

H1  Events enter one at a time through `step`; `now_ns` never goes back; the same state, event and
    time give the same effects.
H2  Effects are carried out in list order. What came before a `Persist(sync=True)` must be on
    disk, itself included, before ANY later Send, Broadcast or Deliver of this or a later step
    takes effect; one fsync may cover many steps.
H3  The host signs. An outgoing `Draft` goes through the signer that guards against double signing
    (it uses only `slots` and `position`); the host appends the signed item to the same log as the
    Persist records and syncs it, sends it, and hands it back as an ordinary `Msg` of ours. Only
    incoming messages change an engine's state. A draft the signer refuses is dropped and never
    comes back.
H4  A `Msg` reaches `step` only after `interest` said NOW and every Claim of `claims` has been
    verified. A DEFERred item is kept, at most `EngineParameters.deferred_per_sender_max` a sender
    (the newest are dropped), and offered to `interest` again after every `Entered`.
H5  Events may be lost, repeated, delayed and reordered; timers may fire late, never early, and
    keys that were cancelled or replaced may still fire. Answers to Build, Check and Fetch may
    never come: pending is not no.
H6  After a crash: a new engine object, then `recover(now_ns, epoch, floor, records)` before any
    other event. `records` are, in the order in which they were written, the engine's own Persist
    records and the encoding (`encode_signed`) of every draft signed here, for this epoch. Records
    below the floor may be left out. The floor is the newest height whose proof is stored, or the
    last height of the epoch before. Events learned before the crash (Demand, Tune) are given
    again.

Anti-entropy is the host's part: it sends `summary()` on connect, every few seconds, when nothing
was delivered for a while, and to the hints of a Fetch that names certificates; a summary that
arrives enters as `Summary`, and the engine answers with the messages that the peer lacks.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Final, Protocol, TypeAlias

from p2pnode import codec, crypto
from p2pnode.errors import ConfigError, RemoteProtocolError
from p2pnode.types.genesis import genesis_hash

Digest: TypeAlias = bytes
"""SHA-256 digest, 32 bytes."""

Index: TypeAlias = int
"""Position in `Epoch.validators`."""

Pos: TypeAlias = tuple[int, ...]
"""Totally ordered inside one engine: (view,), (height, round), (round,)."""

Key: TypeAlias = Hashable
"""Name of a timer or of a question to the host; equal after equal histories."""

NS_PER_S: Final = 1_000_000_000

SIGNED_BYTES_MAX: Final = 4096
"""Largest encoding of a Signed: bodies hold digests and numbers only."""


class Interest(Enum):
    """What an engine wants done with an item whose signatures nobody has checked yet."""

    DROP = 0
    """Stale, already known, or outside the window: spend no signature check."""

    DEFER = 1
    """Inside the bounded future window: keep it (bounded per sender), offer it again later."""

    NOW = 2
    """Verify its claims and hand it in."""


class Lane(Enum):
    """What the transport should do with an item, and what overload may shed."""

    VOTE = 0
    """Small, direct to every validator, never behind BULK."""

    CERT = 1
    """Idempotent; any holder may resend."""

    PROPOSAL = 2
    """A vote that needs its payload body beside it; the host attaches it."""

    BULK = 3
    """Answers to a summary."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """The fixed frame of one engine object."""

    chain: Digest
    """Chain id; part of every signing domain."""

    number: int
    """Number of the epoch; part of every signing domain, so a signature of another epoch is worth
    nothing."""

    validators: tuple[tuple[bytes, int], ...]
    """(Ed25519 public key, voting power ≥ 1) by Index; fixed for the epoch."""

    me: Index | None
    """Our own index; None for an observer: the engine runs, never drafts."""

    first_height: int
    """First height of the epoch, at least 1."""

    last_height: int
    """Last height: nothing new is proposed after it, its payload is proposed again until final."""

    seed: bytes
    """Orders the proposers; engines have no random numbers."""

    def power_total(self) -> int:
        """Return the sum of all voting power."""
        return sum(power for _, power in self.validators)

    def quorum(self) -> int:
        """Return floor(2W/3)+1 of the total voting power W (protocol.md)."""
        return quorum_of(self.power_total())


def quorum_of(power_total: int) -> int:
    """Return the voting power that a certificate needs: floor(2W/3)+1 (protocol.md, "Quorum")."""
    return 2 * power_total // 3 + 1


@dataclass(frozen=True, slots=True)
class Floor:
    """The newest height known final; durable and monotone. An engine starts there and prunes
    below it.
    """

    height: int
    """Height; 0 is genesis."""

    digest: Digest
    """Digest of the payload final at `height`."""

    proof: bytes
    """The engine's proof of it; empty for genesis. The floor an epoch starts from may carry the
    proof of the epoch before."""


def genesis_floor(chain: Digest) -> Floor:
    """Return height 0 of a chain, final by definition.

    Args:
        chain: Chain id, 32 bytes.
    """
    return Floor(0, genesis_hash(chain), b"")


@dataclass(frozen=True, slots=True)
class EngineParameters:
    """Numbers that every engine takes; an engine ignores those it has no use for."""

    delta_ns: int = 100_000_000
    """Δ: the configured bound on one message delay; the adaptive Δ never goes below it."""

    delta_max_ns: int = 10 * NS_PER_S
    """Cap of the adaptive Δ."""

    block_interval_ns: int = 200_000_000
    """Least time between a payload's proposal and that of its child."""

    skip_ns: int = 4 * NS_PER_S
    """A proposer from whom nothing came for this long, while a quorum was heard, gets no time."""

    retry_ns: int = 1 * NS_PER_S
    """Least interval between repetitions of a nullify and of questions for missing certificates."""

    relay_after_ns: int | None = None
    """When a certificate is relayed to validators that have not shown it: None is Δ/4, 0 is at
    once to all."""

    window_views: int = 16
    """Views above the current one from which messages are deferred rather than dropped."""

    tail_views: int = 32
    """Views below the floor whose certificates are kept for stragglers."""

    certify: bool = False
    """Ask the host once more (`Check`) between a quorum of votes for a payload and its use."""

    deferred_per_sender_max: int = 64
    """DEFERred items that the host keeps per sender."""

    def __post_init__(self) -> None:
        for name in ("delta_ns", "retry_ns", "skip_ns", "window_views", "deferred_per_sender_max"):
            if getattr(self, name) < 1:
                raise EngineParameterError(name, getattr(self, name), "at least 1")
        for name in ("block_interval_ns", "tail_views"):
            if getattr(self, name) < 0:
                raise EngineParameterError(name, getattr(self, name), "at least 0")
        if self.delta_max_ns < self.delta_ns:
            raise EngineParameterError(
                "delta_max_ns", self.delta_max_ns, f"at least delta_ns {self.delta_ns}"
            )
        if self.relay_after_ns is not None and self.relay_after_ns < 0:
            raise EngineParameterError("relay_after_ns", self.relay_after_ns, "at least 0")


class EngineParameterError(ConfigError):
    """A parameter of the consensus engine is out of range."""

    def __init__(self, name: str, value: int, wanted: str) -> None:
        super().__init__(f"engine parameter {name} is {value}, must be {wanted}")
        self.name = name
        self.value = value


@dataclass(frozen=True, slots=True)
class Draft:
    """An unsigned vote."""

    body: bytes
    """Canonical encoding, the engine's own; identical votes have identical bytes."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A vote with its signature over the host's signing hash of the body."""

    sender: Index
    """Who signed."""

    body: bytes
    """As in Draft."""

    sig: bytes
    """Ed25519 signature, 64 bytes."""


Item: TypeAlias = Signed | bytes
"""What travels between engines: a signed vote, or a certificate as bytes."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement to verify: key `signer` signed `body`. Signatures nested in certificates come
    out this way too.
    """

    signer: Index
    body: bytes
    sig: bytes


def encode_signed(item: Signed) -> bytes:
    """Return the canonical encoding `[sender, body, sig]` of a signed vote, as it travels and as
    the log keeps it.
    """
    return codec.encode((item.sender, item.body, item.sig))


def decode_signed(data: bytes) -> Signed:
    """Decode what `encode_signed` made.

    Raises:
        RemoteProtocolError: Not such an encoding.
    """
    sender, body, sig = codec.array(
        codec.decode(data, size_bytes_max=SIGNED_BYTES_MAX), "signed vote", length=3
    )
    return Signed(
        codec.unsigned(sender, "sender", value_max=(1 << 16) - 1),
        codec.octets(body, "body"),
        codec.octets(sig, "signature", length=crypto.SIGNATURE_BYTES),
    )


class MalformedItemError(RemoteProtocolError):
    """A vote, certificate or summary that no correct node makes."""


# --- events: host -> engine ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Msg:
    """A verified vote or certificate (H4); our own votes come back this way (H3)."""

    sender: Index | None
    """Who sent it to us, not who signed it; None when unknown or not a validator."""

    item: Item


@dataclass(frozen=True, slots=True)
class Fired:
    """A timer fired; late is allowed, early is not."""

    key: Key


@dataclass(frozen=True, slots=True)
class Built:
    """Answer to Build."""

    ctx: Key
    """Of the Build answered; an answer to an old one is ignored."""

    payload: Digest | None
    """Digest to propose; None: nothing now, which leaves the question open."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Answer to Check."""

    ctx: Key
    ok: bool
    """Deterministic across honest nodes: depends on the payload, its place and the epoch only."""


@dataclass(frozen=True, slots=True)
class Available:
    """The body of a payload that was fetched is on disk; a Check of it follows its own way."""

    payload: Digest


@dataclass(frozen=True, slots=True)
class Synced:
    """Block sync got further than the engine; the host verified the floor's proof."""

    floor: Floor


@dataclass(frozen=True, slots=True)
class Summary:
    """A peer's `summary()`; the engine answers with what the peer lacks."""

    peer: Index
    blob: bytes


@dataclass(frozen=True, slots=True)
class Demand:
    """A level: is there anything to propose that is not yet delivered, or is a heartbeat due?"""

    pending: bool


@dataclass(frozen=True, slots=True)
class Tune:
    """A measured bound on message delay (2 x RTT); moves the floor of the adaptive Δ only."""

    delta_ns: int


Event: TypeAlias = Msg | Fired | Built | Checked | Available | Synced | Summary | Demand | Tune

# --- effects: engine -> host, ordered -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Persist:
    """Append a record to the log."""

    record: bytes
    sync: bool = True
    """True: a barrier before everything later (H2). False: may be lost in a crash."""


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send to every validator but us; a Draft is signed first and also comes back to us."""

    item: Draft | Signed | bytes
    lane: Lane


@dataclass(frozen=True, slots=True)
class Send:
    """Send to some validators; a Draft is signed first and also comes back to us."""

    to: tuple[Index, ...]
    item: Draft | Signed | bytes
    lane: Lane


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Arm a timer; a timer of the same key is replaced."""

    key: Key
    after_ns: int


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Disarm a timer; it may fire all the same (H5)."""

    key: Key


@dataclass(frozen=True, slots=True)
class Build:
    """We propose now: which payload? A newer Build replaces an older one."""

    ctx: Key
    parent: Digest
    """Payload to build on."""

    height: int
    """Height of the payload to build."""

    not_before_ns: int
    """Pacing: answer no sooner, or at once when more than 64 certificates wait."""

    may_be_empty: bool
    """The parent was not final when asked. Until it is, an empty payload helps: under Demand the
    host answers even with nothing new to list. When False (or once the parent is delivered),
    answer only with something new, or at a heartbeat."""


@dataclass(frozen=True, slots=True)
class Check:
    """May we vote for this payload? Answer when its body is on disk, verified and served; else
    later or never.
    """

    ctx: Key
    payload: Digest
    parent: Digest
    proposer: Index
    height: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Something is missing here."""

    payloads: tuple[Digest, ...]
    """Bodies to fetch; `Available` answers."""

    certs: tuple[Pos, ...]
    """Certificates missing; the host sends `summary()`, which names them, to the hints."""

    hints: tuple[Index, ...]
    """Who should have it."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """A height is final. Heights come in order, each once per life of the engine object."""

    height: int
    payloads: tuple[Digest, ...]
    """What becomes final with this height, in order; one for a chain engine."""

    anchor: Digest
    """The payload that gives the height its digest."""

    proposer: Index
    """Who proposed the anchor."""

    view: Pos
    """Where it was proposed; for display."""

    proof: bytes | None
    """Statically verifiable proof; None for an ancestor, which its descendant's proof and the
    parent links prove."""


@dataclass(frozen=True, slots=True)
class Certified:
    """The proof of a height delivered without one; in a DAG it comes later than Deliver."""

    height: int
    proof: bytes


@dataclass(frozen=True, slots=True)
class Offence:
    """Two signed votes of one signer that `slots` alone shows to conflict."""

    culprit: Index
    a: Signed
    b: Signed


@dataclass(frozen=True, slots=True)
class Behind:
    """Others finalized more than we can follow by votes: start block sync."""

    height_at_least: int
    hints: tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class Entered:
    """The engine moved on: DEFERred items may be wanted now (H4), and the status line has a new
    number.
    """

    at: Pos
    proposer: Index | None = None
    """Who proposes there, for display; None in an engine without proposers."""


@dataclass(frozen=True, slots=True)
class Report:
    """For metrics and people; never semantics."""

    kind: str
    data: Mapping[str, object] = field(default_factory=dict)


Effect: TypeAlias = (
    Persist
    | Broadcast
    | Send
    | SetTimer
    | CancelTimer
    | Build
    | Check
    | Fetch
    | Deliver
    | Certified
    | Offence
    | Behind
    | Entered
    | Report
)


class Engine(Protocol):
    """A consensus engine; the module's docstring is the contract.

    The static methods work without an engine running: light clients, block sync, evidence and the
    signer use them. One object serves one epoch.
    """

    name: ClassVar[str]
    """Name of the entry point; part of the signing domain."""

    version: ClassVar[int]
    """Changes with the meaning of a body; part of the signing domain."""

    def __init__(self, parameters: EngineParameters) -> None: ...

    @staticmethod
    def tolerance(power_total: int) -> tuple[int, int]:
        """Return (voting power that may be faulty, quorum): 3f+1 and 5f+1 engines differ."""
        ...

    @staticmethod
    def slots(body: bytes) -> Mapping[Key, bytes]:
        """Return what a body commits its signer to: same key with another value, same signer, is
        an offence.

        Raises:
            RemoteProtocolError: Not a body of this engine.
        """
        ...

    @staticmethod
    def position(body: bytes) -> Pos:
        """Return where a body belongs, to prune the signer's table below the floor."""
        ...

    @staticmethod
    def claims(item: Item, epoch: Epoch) -> Sequence[Claim]:
        """List every signature inside an item, nested ones too.

        Raises:
            RemoteProtocolError: The item is malformed, has a signer out of range or twice, or too
                little or too much voting power for its kind.
        """
        ...

    @staticmethod
    def verify_proof(proof: bytes, epoch: Epoch, height: int, digest: Digest) -> Sequence[Claim]:
        """Return the claims which, all verified, make `digest` final at `height`.

        Raises:
            RemoteProtocolError: The proof is malformed, lacks a quorum, or is of something else.
        """
        ...

    def recover(
        self, now_ns: int, epoch: Epoch, floor: Floor, records: Iterable[bytes]
    ) -> list[Effect]:
        """Start the epoch, for the first time or after a crash (H6); called once, before anything
        else.
        """
        ...

    def interest(self, item: Item) -> Interest:
        """Tell what to do with an item before any signature is checked; cheap, changes nothing,
        never raises.
        """
        ...

    def step(self, now_ns: int, event: Event) -> list[Effect]:
        """Take one event. What a peer wrote (an item that passed H4, any summary) never makes it
        raise.
        """
        ...

    def summary(self) -> bytes:
        """Return, in under 1 kB, what we have and lack."""
        ...

    def held(self) -> int:
        """Return how many objects are retained; bounded whatever arrives."""
        ...

    def fingerprint(self) -> Digest:
        """Return a hash of the whole state, for lock-step replay."""
        ...
