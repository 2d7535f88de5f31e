"""What became of a load: every transaction submitted is finalized, refused, or named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from p2pnode.telemetry.percentile import percentile

NAMED_MAX: Final = 200
"""Most transactions named one by one; the rest are counted."""

WINDOW_S: Final = 10
WINDOWS_MAX: Final = 120
"""A longer load has wider windows: whole multiples of WINDOW_S."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Two points of a distribution, in seconds."""

    p50: float
    p99: float


def percentiles(values: Sequence[float]) -> Percentiles | None:
    """Return the percentiles of values, None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return Percentiles(*(round(percentile(ordered, p), 4) for p in (50, 99)))


@dataclass(frozen=True, slots=True)
class Window:
    """How fast transactions of one part of a load became final."""

    from_s: int
    """When it begins, since the first submission."""
    count: int
    """Transactions submitted in it that are final now."""
    p50: float
    p99: float


def windows(started_ms: int, times_ms: Iterable[tuple[int, int]]) -> tuple[Window, ...]:
    """Return the windows of a load that have transactions.

    Args:
        started_ms: The first submission.
        times_ms: Submission and finalization of every transaction.
    """
    times = [((at - started_ms) // 1000, max(0, end - at) / 1000) for at, end in times_ms]
    last_s = max((at_s for at_s, _ in times), default=0)
    width_s = WINDOW_S * (1 + last_s // (WINDOW_S * WINDOWS_MAX))
    found: dict[int, list[float]] = {}
    for at_s, took_s in times:
        found.setdefault(at_s // width_s * width_s, []).append(took_s)
    return tuple(
        Window(from_s, len(took), both.p50, both.p99)
        for from_s, took in sorted(found.items())
        if (both := percentiles(took)) is not None
    )


@dataclass(frozen=True, slots=True)
class Named:
    """A submitted transaction that was not finalized, or was skipped."""

    id: str
    """Hex."""
    state: str
    """What its node said last; `unknown` when it knows nothing of it."""
    reason: str
    node: str
    """Where it was submitted last."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A load, at its end or on its way."""

    due: int
    """What the rate asked for: rate x time."""
    submitted: int
    """Distinct transactions that a node has answered for."""
    accepted: int
    finalized: int
    """In a finalized block, and not skipped."""
    executed: int
    failed: int
    skipped: int
    certified: int
    """Executed or failed under a certified result."""
    refused: dict[str, int] = field(default_factory=dict)
    """Reason to count; a transaction that was accepted later does not count."""
    skipped_from_trace: dict[str, int] = field(default_factory=dict)
    resubmitted: int = 0
    """Sent again, to another node, since the first one was lost."""
    finalization_s: Percentiles | None = None
    finalization_windows: tuple[Window, ...] = ()
    """The same over time: when was it slow?"""
    execution_s: Percentiles | None = None
    started_ms: int = 0
    """Wall clock of the first submission."""
    finalized_ms: int = 0
    """Wall clock of the last finalization."""
    repetitions: int = 0
    """Repetitions of the recording that were begun, from the first of all loads."""
    height_max: int = 0
    """Highest block with one of the transactions."""
    unfinished_count: int = 0
    """Accepted, and not finalized at the end."""
    named: tuple[Named, ...] = ()
    """Unfinished, skipped and void ones, at most NAMED_MAX."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> LoadReport:
        """Return the report that `to_json` wrote."""
        read = dict(body)
        for name in ("finalization_s", "execution_s"):
            read[name] = Percentiles(**body[name]) if body[name] else None
        read["finalization_windows"] = tuple(Window(**w) for w in body["finalization_windows"])
        read["named"] = tuple(Named(**entry) for entry in body["named"])
        return cls(**read)
