"""Effects: what an engine has its host do, in the order of their list (H2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from p2pnode.consensus.epoch import Digest, Index, Key, Pos
from p2pnode.consensus.items import Draft, Signed, TrafficClass


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
    traffic: TrafficClass


@dataclass(frozen=True, slots=True)
class Send:
    """Send to some validators; a Draft is signed first and also comes back to us."""

    to: tuple[Index, ...]
    item: Draft | Signed | bytes
    traffic: TrafficClass


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
