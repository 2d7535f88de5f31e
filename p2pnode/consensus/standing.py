"""Where an engine stands: what it tells people, and nobody else.

An engine may have one method more than the contract asks, `standing(now_ns) -> Standing`. It
changes nothing, and nothing is decided by what it says: engines without it work, and their surfaces
show less.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable

from p2pnode.consensus.epoch import Digest, Index

VIEWS_MAX: Final = 48
"""Most recent views that an engine tells of."""


class ViewOutcome(StrEnum):
    """What became of a view."""

    OPEN = "open"
    """Neither notarized nor skipped yet."""
    NOTARIZED = "notarized"
    """A quorum voted for its payload; not final yet."""
    FINAL = "final"
    """Its payload is final, by its own votes or by a later one's."""
    SKIPPED = "skipped"
    """A quorum gave it up."""


class SkipReason(StrEnum):
    """Why this node gave a view up, as far as it knows."""

    SILENT = "silent"
    """Nothing came from the proposer."""
    LATE = "late"
    """Its proposal came after the timer; `late_ms` says by how much."""
    UNAVAILABLE = "unavailable"
    """The proposal came, its payload or a batch in it could not be had or was refused."""
    VOTES = "votes"
    """The proposal was voted for, the votes of too few others came in time."""
    OTHERS = "others"
    """Others gave it up; this node had no part in it."""


@dataclass(frozen=True, slots=True)
class VoteCount:
    """The votes of one kind in one view, as this node has them."""

    kind: str
    """The engine's word, such as `notarize`, `nullify`, `finalize`."""
    signers: tuple[int, ...]
    """Indices in the validator set, ascending."""
    power: int
    """Their voting power."""


@dataclass(frozen=True, slots=True)
class ViewRow:
    """A recent view."""

    view: int
    proposer: int | None
    outcome: ViewOutcome
    height: int | None = None
    """Height of its payload; None while it has none."""
    voters: tuple[int, ...] = ()
    """Validators whose vote of any kind in this view came here, ascending."""
    skip: SkipReason | None = None
    """Why it was skipped; None unless it was."""
    late_ms: int | None = None
    """How long after this node's timer the proposal came; None when it came in time or never."""
    duration_ms: int | None = None
    """From entering the view to leaving it; None while open."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """How far a validator is known to be."""

    view: int | None = None
    height: int | None = None
    """Newest height whose payload it is known to have."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An engine at one moment; times on the clock that `step` is given."""

    view: int = 0
    proposer: Index | None = None
    entered_ns: int | None = None
    """When it entered the view; None when it doesn't say."""
    proposal_seen: bool = False
    """The view's proposal has come."""
    checking: Digest | None = None
    """Payload whose Check the host has not answered."""
    timer_ns: int | None = None
    """Length of the timer after which the view is given up; None when none runs."""
    timer_at_ns: int | None = None
    """When it fires."""
    delta_ns: int | None = None
    """The message delay it assumes."""
    delta_max_ns: int | None = None
    """The most it will ever assume."""
    votes: tuple[VoteCount, ...] = ()
    """Of the current view."""
    recent: tuple[ViewRow, ...] = ()
    """The last views, oldest first; the last of them is the current one."""
    whereabouts: tuple[Whereabouts, ...] = ()
    """Of the epoch's validators, in their order; empty when it doesn't say."""


@runtime_checkable
class Stands(Protocol):
    """An engine that tells where it stands."""

    def standing(self, now_ns: int) -> Standing:
        """Return where it stands; changes nothing."""


def standing_of(engine: object, now_ns: int) -> Standing:
    """Return where any engine stands; the little that is known of one that doesn't tell."""
    return engine.standing(now_ns) if isinstance(engine, Stands) else Standing()
