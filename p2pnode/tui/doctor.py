"""The doctor line: what is wrong, and what to do next. Of the network `explain` says it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from p2pnode.explain import Severity, explain_node
from p2pnode.node.status import NodeStatus
from p2pnode.tui.chrome import STALE_S
from p2pnode.tui.model import LinkState, Model
from p2pnode.tui.screens.common import count, number, span_s

LATE_MS: Final = 250.0
DISK_BYTES_MIN: Final = 256 << 20
POOL_FULL: Final = 0.9


class Level(IntEnum):
    """How bad it is."""

    GOOD = 0
    WARN = 1
    BAD = 2


LEVELS: Final = {
    Severity.OK: Level.GOOD,
    Severity.WARNING: Level.WARN,
    Severity.STALLED: Level.BAD,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the doctor says."""

    level: Level
    text: str
    hint: str = ""
    """What to do; empty when there is nothing."""


def doctor(model: Model) -> Verdict:
    """Return the most serious thing that is wrong."""
    link = model.link
    status = model.status
    if link.state is not LinkState.LIVE and link.reason:
        text = f"no connection to {link.url} for {span_s(model.now_s - link.since_s)}"
        hint = "does the node run? p2pnode run, or p2pnode service status"
        return Verdict(Level.BAD, f"{text}: {link.reason}", hint)
    if status is None:
        return Verdict(Level.WARN, f"calling {link.url}")
    if model.ui.paused is None and model.age_s > STALE_S:
        text = f"the node has said nothing for {span_s(model.age_s)}"
        return Verdict(Level.WARN, text, "its machine may be overloaded: top")
    return examine(status, model.age_s)


def examine(status: NodeStatus, age_s: float = 0.0) -> Verdict:
    """Return the most serious thing that is wrong with a node, by its status alone.

    Args:
        status: What the node says.
        age_s: How old that is.
    """
    if status.last_block_age_s is not None:
        aged_s = number(status.last_block_age_s) + age_s
        status = replace(status, last_block_age_s=aged_s)
    found = explain_node(status)
    if found.severity is not Severity.OK:
        return Verdict(LEVELS[found.severity], found.sentence, found.next_step)
    if not status.ready:
        reasons = "; ".join(status.not_ready_reasons) or "no reason known"
        return Verdict(Level.WARN, f"not ready: {reasons}", "p2pnode doctor")
    return _machine(status) or Verdict(Level.GOOD, found.sentence, found.next_step)


def _machine(status: NodeStatus) -> Verdict | None:
    """Return what is wrong with the machine or with the node's own limits."""
    device = status.device
    if device.throttled:
        text = f"the processor is slowed down: {device.throttled}"
        return Verdict(Level.WARN, text, "look at power supply and cooling")
    if device.lateness_p99_ms is not None and number(device.lateness_p99_ms) > LATE_MS:
        text = f"tasks run up to {number(device.lateness_p99_ms):.0f} ms late"
        return Verdict(Level.WARN, text, "the machine is too busy for this load")
    if device.disk_free_bytes is not None and device.disk_free_bytes < DISK_BYTES_MIN:
        text = f"only {device.disk_free_bytes >> 20} MiB of disk are free"
        return Verdict(Level.WARN, text, "free some space, or lower store.retention_heights")
    pool = status.mempool
    if pool.transactions_max and pool.transactions_count > POOL_FULL * pool.transactions_max:
        text = f"the mempool is full: {count(pool.transactions_count)} transactions"
        return Verdict(Level.WARN, text, "new ones are refused until blocks take some")
    return None
