"""Events: what the host tells an engine, one at a time (H1); any may be lost or late (H5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.consensus.epoch import Digest, Floor, Index, Key
from p2pnode.consensus.items import Item


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
