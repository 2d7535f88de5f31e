"""What a node's core is told (inputs) and what it asks of the shell (effects).

The core is a pure function of its inputs: every one of them passes `Core.handle`, which can be
recorded and replayed. The shell carries effects out in order; nothing ordered after a `Sign`, or
after an `Append` with `sync`, leaves the node before the log and the store are durable up to there.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias


class Lane(IntEnum):
    """Traffic classes between two peers; a lower one never waits behind a higher one."""

    VOTE = 0
    """Votes and certificates: small, urgent, shed last."""
    PROPOSAL = 1
    """Payload bodies, "stored" answers, result signatures, statements."""
    BULK = 2
    """Batches, transaction frames, catch-up."""


@dataclass(frozen=True, slots=True)
class Write:
    """One change of a store; `value` None deletes the key."""

    table: str
    key: bytes
    value: bytes | None


# --- inputs: shell -> core ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FrameIn:
    """A peer sent a frame."""

    peer: bytes
    frame: bytes


@dataclass(frozen=True, slots=True)
class TopicIn:
    """A published message arrived."""

    topic: str
    origin: bytes
    """Who published it, whoever forwarded it."""
    data: bytes


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A peer can be reached."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class PeerDown:
    """A peer can't be reached any more."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer's time has come."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Answer to Sign; None when the signer refused."""

    ticket: int
    signature: bytes | None


@dataclass(frozen=True, slots=True)
class VerifiedIn:
    """Answer to Verify, one truth value a check."""

    ticket: int
    ok: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class AnswerIn:
    """Answer to Request; None when it failed."""

    ticket: int
    body: bytes | None


@dataclass(frozen=True, slots=True)
class SubmitIn:
    """A client of this node submits transactions."""

    ticket: int
    """Named by the shell; `Reply` carries it back."""
    raws: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RttIn:
    """Measured round trip to the slowest of the nearest quorum of validators."""

    rtt_ns: int


Input: TypeAlias = (
    FrameIn
    | TopicIn
    | PeerUp
    | PeerDown
    | TimerFired
    | SignedIn
    | VerifiedIn
    | AnswerIn
    | SubmitIn
    | RttIn
)


# --- effects: core -> shell -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendTo:
    """Send one message to each of some peers."""

    peers: tuple[bytes, ...]
    lane: Lane
    message: bytes


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish on a topic."""

    topic: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign a body unless a slot of it is taken by another value; `SignedIn` answers."""

    ticket: int
    kind: str
    epoch: int
    body: bytes
    slots: Mapping[Hashable, bytes]
    position: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Append:
    """Append a record to the log."""

    record: bytes
    sync: bool


@dataclass(frozen=True, slots=True)
class Put:
    """Write to the store, atomically."""

    writes: tuple[Write, ...]


@dataclass(frozen=True, slots=True)
class Forget:
    """Signatures of a kind below a position are not needed any more (the floor moved)."""

    kind: str
    epoch: int
    below: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Observe:
    """Sign nothing up to and including an epoch: this node may have signed in it and forgotten."""

    until_epoch: int


@dataclass(frozen=True, slots=True)
class Verify:
    """Check (public key, message, signature) triples; `VerifiedIn` answers."""

    ticket: int
    checks: tuple[tuple[bytes, bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """Ask a peer; `AnswerIn` answers."""

    ticket: int
    peer: bytes
    protocol: str
    body: bytes
    timeout_ns: int


@dataclass(frozen=True, slots=True)
class ArmTimer:
    """Fire `key` at a time; replaces an earlier one of the same key."""

    key: Hashable
    at_ns: int


@dataclass(frozen=True, slots=True)
class DisarmTimer:
    """Forget a timer."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer to SubmitIn: for each transaction None or the refusal."""

    ticket: int
    outcomes: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Penalize:
    """A peer misbehaved."""

    peer: bytes
    points: float
    reason: str


@dataclass(frozen=True, slots=True)
class Emit:
    """Something happened that people, metrics and subscribers want to know."""

    event: str
    data: Mapping[str, object]


Effect: TypeAlias = (
    SendTo
    | Publish
    | Sign
    | Append
    | Put
    | Forget
    | Observe
    | Verify
    | Request
    | ArmTimer
    | DisarmTimer
    | Reply
    | Penalize
    | Emit
)
