"""The run summary: one object that says what a run did, what it cost, and what was violated.

Names are stable; what does not exist in a run is null. `judge` is pure: it gets facts that the
supervisor gathered and finds violations; it asks no node.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any, Final

from p2pnode.cli.exit_codes import ExitCode
from p2pnode.node.answers import BlockStatus
from p2pnode.node.status import NodeStatus
from testnet.checks.chain import SeenBlock, check_agreement, check_conservation, check_order
from testnet.checks.violation import Violation
from testnet.load.report import LoadReport, Percentiles, percentiles
from testnet.spec import TestnetSpec

ROOTS_KEPT: Final = 4096
"""State roots remembered for comparison, the newest ones."""

SAFETY: Final = ("agreement", "contiguous_heights", "parent_links", "state_roots", "conservation")
"""Checks whose violation is one of safety."""

LIVENESS: Final = ("accepted_finalized", "chain_grows")
"""Checks whose violation is one of liveness."""

_CHECK_NAMES: Final = {
    "agreement": "agreement",
    "contiguous heights": "contiguous_heights",
    "parent links": "parent_links",
    "conservation": "conservation",
}


@dataclass(slots=True)
class Cost:
    """What a node used through all of its processes, since the testnet was ready."""

    _before_s: float = 0.0
    _current_s: float = 0.0
    _start_s: float = 0.0
    _bytes_before: int = 0
    _bytes_current: int = 0
    _bytes_start: int = 0
    memory_bytes_max: int = 0

    def begin(self) -> None:
        """Count from now on."""
        self._start_s = self._before_s + self._current_s
        self._bytes_start = self._bytes_before + self._bytes_current
        self.memory_bytes_max = 0

    def new_process(self) -> None:
        """Another process begins at zero."""
        self._before_s += self._current_s
        self._bytes_before += self._bytes_current
        self._current_s = 0.0
        self._bytes_current = 0

    def measured(self, cpu_s: float, memory_bytes: int) -> None:
        """Note the CPU seconds of the current process since its start, and its memory now."""
        self._current_s = cpu_s
        self.memory_bytes_max = max(self.memory_bytes_max, memory_bytes)

    def sent(self, total_bytes: int) -> None:
        """Note the bytes that the current process has sent since its start."""
        self._bytes_current = total_bytes

    @property
    def cpu_s(self) -> float:
        """CPU seconds, user and system, all threads."""
        return self._before_s + self._current_s - self._start_s

    @property
    def sent_bytes(self) -> int:
        """Bytes sent to peers."""
        return self._bytes_before + self._bytes_current - self._bytes_start


class StateSeen:
    """Compares state roots as they are seen, and keeps the newest of each shard."""

    def __init__(self) -> None:
        """Start empty."""
        self._roots: dict[tuple[int, int], tuple[str, str, int]] = {}
        self.violations: dict[Violation, None] = {}

    def status(self, node: str, status: NodeStatus) -> None:
        """Compare a node's roots with what others showed for the same heights."""
        for uid, root in status.state_roots.items():
            at = (uid, root.height)
            first, known, count = self._roots.get(at, (node, root.root, 0))
            if known != root.root:
                detail = f"shard {uid} height {root.height}: {first} {known[:12]}, "
                detail += f"{node} {root.root[:12]}"
                self.violations[Violation("state_roots", detail)] = None
            self._roots[at] = (first, known, count + (first != node))
        while len(self._roots) > ROOTS_KEPT:
            del self._roots[next(iter(self._roots))]

    def shared(self) -> dict[int, tuple[int, str]]:
        """Return each shard's highest height that two nodes showed, and the root there."""
        found: dict[int, tuple[int, str]] = {}
        for (uid, height), (_, root, count) in self._roots.items():
            if count and height >= found.get(uid, (0, ""))[0]:
                found[uid] = (height, root)
        return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class NodeAtEnd:
    """A node at the end."""

    name: str
    status: NodeStatus | None
    """None for a node that does not answer."""
    blocks: tuple[BlockStatus, ...]
    """Its chain, ascending."""
    supply: Mapping[int, int] | None
    """Asset to all that exists of it, as the node counts; None when it could not be asked."""
    cost: Cost
    crash: str = ""
    """How it ended by itself; empty when it did not."""


@dataclass(frozen=True, slots=True)
class Facts:
    """A run, as the supervisor saw it."""

    spec: TestnetSpec
    issued: Mapping[int, int]
    """Asset to what genesis issued."""
    ready_s: float | None
    duration_s: float
    """From ready to the end of the load, or of the run."""
    nodes: Sequence[NodeAtEnd]
    load: LoadReport | None
    seen: StateSeen
    interrupted: bool = False
    profile: Mapping[str, float] | None = None
    """CPU seconds by part, all nodes; None when nobody looked."""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """The summary, and the exit code it stands for."""

    summary: dict[str, Any]
    exit: ExitCode


def judge(facts: Facts) -> Judged:
    """Return the run summary, its violations included."""
    violations = list(facts.seen.violations)
    violations += _chain_violations(facts.nodes)
    supplies = {n.name: n.supply for n in facts.nodes if n.supply is not None}
    violations += check_conservation(facts.issued, supplies)
    violations += _load_violations(facts)
    found = [Violation(_CHECK_NAMES.get(v.check, v.check), v.detail) for v in violations]
    checks = _checks(facts, found, supplies)
    crashes = [f"{node.name} {node.crash}" for node in facts.nodes if node.crash]
    code = _exit(facts, found, checks, crashes)
    load = facts.load
    statuses = [node.status for node in facts.nodes if node.status is not None]
    heights = [status.height for status in statuses]
    blocks = max((node.blocks for node in facts.nodes), key=len, default=())
    finalized = load.finalized if load is not None else 0
    summary: dict[str, Any] = {
        "name": facts.spec.name,
        "seed": facts.spec.seed,
        "engine": facts.spec.engine,
        "validators": facts.spec.validators,
        "light": facts.spec.light,
        "shards": facts.spec.shards,
        "scheme": facts.spec.scheme,
        "commit": _commit(),
        "ready_s": _rounded(facts.ready_s),
        "duration_s": _rounded(facts.duration_s),
        "exit": int(code),
        "height": {"min": min(heights), "max": max(heights)} if heights else None,
        "views": _views(statuses),
        "trace_hash": None,
        "transactions": _transactions(load),
        "throughput_tx_s": _throughput(facts),
        "finalization_s": _both(load.finalization_s if load is not None else None),
        "finalization_windows": [asdict(w) for w in load.finalization_windows] if load else [],
        "execution_s": _both(load.execution_s if load is not None else None),
        "consensus_s": _both(_consensus(facts.nodes)),
        "cpu_s": _cpu(facts, finalized),
        "memory_bytes_max": {n.name: n.cost.memory_bytes_max for n in facts.nodes},
        "bytes_sent": _bytes_sent(facts, finalized),
        "availability": None,
        "state_roots": _state_roots(facts, found),
        "balances_conserved": _conserved(facts, supplies) if supplies else None,
        "checks": checks,
        "violations": [asdict(violation) for violation in found],
        "crashes": crashes,
        "pause_s_max": _longest_pause_s(blocks, load),
        "files": dict(facts.files),
    }
    return Judged(summary, code)


# --- checks -------------------------------------------------------------------------------------


def _chain_violations(nodes: Sequence[NodeAtEnd]) -> list[Violation]:
    seen = [
        SeenBlock(node.name, 1, b.height, bytes.fromhex(b.hash), bytes.fromhex(b.parent))
        for node in nodes
        for b in node.blocks
    ]
    return check_agreement(seen) + check_order(seen)


def _load_violations(facts: Facts) -> list[Violation]:
    found = []
    load = facts.load
    if load is not None and load.unfinished_count and not facts.interrupted:
        first = load.named[0]
        found.append(
            Violation(
                "accepted_finalized",
                f"{load.unfinished_count} of {load.accepted} accepted transactions were not "
                f"finalized, such as {first.id[:16]}… at {first.node}: {first.state}",
            )
        )
    heights = [n.status.height for n in facts.nodes if n.status is not None]
    if load is not None and load.accepted and max(heights, default=0) == 0:
        found.append(Violation("chain_grows", "no block is final"))
    return found


def _checks(
    facts: Facts, found: Sequence[Violation], supplies: Mapping[str, Mapping[int, int]]
) -> dict[str, str]:
    violated = [violation.check for violation in found]
    chains = [node for node in facts.nodes if node.blocks]
    known = {
        "agreement": len(chains) > 1 or len(chains) == len(facts.nodes),
        "contiguous_heights": bool(chains),
        "parent_links": bool(chains),
        "state_roots": bool(facts.seen.shared()) or len(facts.nodes) == 1,
        "conservation": bool(supplies),
    }
    if facts.load is not None:
        known |= {"accepted_finalized": not facts.interrupted, "chain_grows": True}
    return {
        name: "violation" if name in violated else "pass" if sure else "inconclusive"
        for name, sure in known.items()
    }


def _exit(
    facts: Facts, found: Sequence[Violation], checks: Mapping[str, str], crashes: Sequence[str]
) -> ExitCode:
    if any(checks.get(name) == "violation" for name in SAFETY):
        return ExitCode.SAFETY_VIOLATED
    if facts.interrupted:
        return ExitCode.INTERRUPTED
    if crashes:
        return ExitCode.NODE_CRASHED
    if found:
        return ExitCode.NO_LIVENESS
    return ExitCode.OK


# --- parts --------------------------------------------------------------------------------------


def _transactions(load: LoadReport | None) -> dict[str, Any] | None:
    if load is None:
        return None
    return {
        "due": load.due,
        "submitted": load.submitted,
        "accepted": load.accepted,
        "finalized": load.finalized,
        "executed": load.executed,
        "failed": load.failed,
        "skipped": load.skipped,
        "certified": load.certified,
        "unfinished": load.unfinished_count,
        "refused": load.refused,
        "skipped_from_trace": load.skipped_from_trace,
        "resubmitted": load.resubmitted,
        "named": [asdict(named) for named in load.named],
    }


def _throughput(facts: Facts) -> float | None:
    load = facts.load
    if load is None or not load.finalized:
        return None
    last_s = (load.finalized_ms - load.started_ms) / 1000
    return round(load.finalized / max(facts.duration_s, last_s, 0.001), 1)


def _views(statuses: Sequence[NodeStatus]) -> dict[str, int] | None:
    """Return the views of the newest epoch's engine at the node that is furthest."""
    if not statuses:
        return None
    entered = max(status.counters.get("views_entered", status.view) for status in statuses)
    skipped = max(status.counters.get("views_skipped", 0) for status in statuses)
    return {"total": entered, "skipped": skipped}


def _consensus(nodes: Sequence[NodeAtEnd]) -> Percentiles | None:
    """Return the times from a proposal to its finality, for each block at the median node.

    A node that was away sees old blocks late: that says nothing of consensus.
    """
    by_height: dict[int, list[float]] = {}
    for node in nodes:
        for block in node.blocks:
            if block.finalized_time_ms is not None:
                late_s = max(0, block.finalized_time_ms - block.time_ms) / 1000
                by_height.setdefault(block.height, []).append(late_s)
    return percentiles([median_low(times) for times in by_height.values()])


def _cpu(facts: Facts, finalized: int) -> dict[str, Any]:
    per_node = {node.name: round(node.cost.cpu_s, 3) for node in facts.nodes}
    total = sum(per_node.values())
    found: dict[str, Any] = {
        "total": round(total, 3),
        "per_transaction": round(total / finalized, 6) if finalized else None,
        "per_node": per_node,
    }
    if facts.profile is not None:
        found["parts"] = {name: round(spent, 3) for name, spent in facts.profile.items()}
    return found


def _bytes_sent(facts: Facts, finalized: int) -> dict[str, Any]:
    total = sum(node.cost.sent_bytes for node in facts.nodes)
    return {"total": total, "per_transaction": round(total / finalized) if finalized else None}


def _state_roots(facts: Facts, found: Sequence[Violation]) -> dict[str, Any] | None:
    unequal = any(violation.check == "state_roots" for violation in found)
    shared = facts.seen.shared()
    return {
        str(uid): {"height": height, "root": root, "equal": not unequal}
        for uid, (height, root) in shared.items()
    } or None


def _conserved(facts: Facts, supplies: Mapping[str, Mapping[int, int]]) -> dict[str, bool]:
    assets = sorted({*facts.issued, *(asset for s in supplies.values() for asset in s)})
    return {
        str(asset): all(s.get(asset, 0) == facts.issued.get(asset, 0) for s in supplies.values())
        for asset in assets
    }


def _longest_pause_s(blocks: Sequence[BlockStatus], load: LoadReport | None) -> float | None:
    """Return the longest time between two final blocks while the load was on."""
    if load is None or not load.finalized:
        return None
    times = [b.finalized_time_ms for b in blocks if b.finalized_time_ms is not None]
    inside = [t for t in times if load.started_ms <= t <= load.finalized_ms]
    marks = [load.started_ms, *sorted(inside)]
    return round(max((b - a for a, b in pairwise(marks)), default=0) / 1000, 3)


def _both(found: Percentiles | None) -> dict[str, float] | None:
    return asdict(found) if found is not None else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _commit() -> str | None:
    """Return the commit of the program, where it runs from a repository."""
    try:
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            timeout=2,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
