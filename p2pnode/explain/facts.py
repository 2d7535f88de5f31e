"""What an explanation is made from, and what it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from p2pnode.node.status import NodeStatus


class Condition(StrEnum):
    """What is known of a node's process."""

    ANSWERS = "answers"
    SILENT = "silent"
    """It was asked and did not answer."""
    PAUSED = "paused"
    KILLED = "killed"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node, and what it said about itself."""

    name: str
    status: NodeStatus | None = None
    """As it answered last; None when it never did."""
    condition: Condition = Condition.ANSWERS
    since_s: float | None = None
    """How long it has been in this condition; None when that is not known."""
    validator: int | None = None
    """Its index, where the caller knows it and no status says it."""


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """A link in one direction, as whoever made it knows it."""

    sender: str
    receiver: str
    cut_s: float | None = None
    """Cut for so long; None for not cut."""
    latency_ms: float | None = None
    """One way, on the average; None when that is not known."""


@dataclass(frozen=True, slots=True)
class Situation:
    """A network at one moment, as far as somebody knows it."""

    nodes: tuple[NodeFacts, ...] = ()
    """One: a node's own view. Several: as many as were asked."""
    links: tuple[LinkFacts, ...] = ()
    """Those of which anything is known."""


class Severity(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Blocks become final; something needs a look."""
    STALLED = "stalled"
    """Nothing becomes final here."""


class Kind(StrEnum):
    """What is the matter."""

    WELL = "well"
    IDLE = "idle"
    """Nothing to decide, and that is well."""
    UNKNOWN = "unknown"
    """No node says anything."""
    TOO_FEW = "too_few"
    """Fewer validators live, or are reached, than a quorum needs."""
    PARTITION = "partition"
    """Enough of them live, in groups that don't hear each other."""
    ISOLATED = "isolated"
    """Nodes that hear too few of the others, while the rest goes on."""
    DEGRADED = "degraded"
    """Validators are away; the rest is a quorum."""
    DISK = "disk"
    """A disk refuses writes."""
    SLOW_PROPOSER = "slow_proposer"
    """One proposer's payloads come after the timer."""
    SLOW_LINK = "slow_link"
    """Messages take longer than any timer waits."""
    PAYLOAD = "payload"
    """A payload, or a certificate in it, can't be had."""
    SYNCING = "syncing"
    OBSERVING = "observing"
    """A validator signs nothing until the next epoch, since its log is lost."""
    EXECUTION = "execution"
    """Blocks are final and not executed."""
    BEHIND = "behind"
    """Nodes are behind the others, though they are connected."""
    CLOCK = "clock"
    """A clock is wrong."""
    STALLED = "stalled"
    """Nothing is final for long, and nothing above is the reason."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A validator whose vote is missing, and why."""

    name: str
    reason: str = ""
    """In words with numbers, such as `2 views behind`; empty when nothing is known."""


@dataclass(frozen=True, slots=True)
class Votes:
    """The best that any node has towards a certificate in the newest view."""

    kind: str = ""
    power: int = 0
    quorum: int = 0
    power_total: int = 0


@dataclass(frozen=True, slots=True)
class Skip:
    """Why the last view was skipped."""

    view: int
    proposer: str
    reason: str
    """A `SkipReason`."""
    late_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is the matter, in numbers and names."""

    kind: Kind
    severity: Severity
    nodes: tuple[str, ...] = ()
    """The nodes that are the cause."""
    height: int = 0
    """Height being decided."""
    view: int = 0
    final_age_s: float | None = None
    """Since the newest block became final; None when none did since the start."""
    votes: Votes | None = None
    missing: tuple[Missing, ...] = ()
    unvoted_count: int = 0
    """Validators besides them that have not voted, for no reason of their own."""
    skip: Skip | None = None
    groups: tuple[tuple[str, ...], ...] = ()
    """Of a partition, the largest first."""
    detail: str = ""
    """The kind's own numbers, such as `No space left on device`."""
    alone: bool = False
    """One node's view: it can't tell dead from unreachable."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is the matter, as people read it."""

    kind: Kind
    severity: Severity
    sentence: str
    next_step: str
    """What to do; empty for nothing."""
    nodes: tuple[str, ...] = ()
    """The nodes that are the cause."""
    facts: Diagnosis = Diagnosis(Kind.UNKNOWN, Severity.WARNING)

    def to_json(self) -> dict[str, Any]:
        """Return it as commands print it; the facts stay inside."""
        return {
            "kind": self.kind.value,
            "severity": self.severity.value,
            "sentence": self.sentence,
            "next_step": self.next_step,
            "nodes": list(self.nodes),
        }
