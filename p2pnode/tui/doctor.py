"""The doctor line: what is wrong with a node, and what to do next, in one sentence each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from p2pnode.node.status import NodeStatus
from p2pnode.tui.model import STALE_S, LinkState, Model
from p2pnode.tui.screens.common import count, number, span_s, validator_name

QUIET_S: Final = 10.0
"""Time without a block after which something may be wrong; an idle chain still has heartbeats."""
LATE_MS: Final = 250.0
DISK_BYTES_MIN: Final = 256 << 20
POOL_FULL: Final = 0.9


class Level(IntEnum):
    """How bad it is."""

    GOOD = 0
    WARN = 1
    BAD = 2


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
    if link.state is LinkState.LOST:
        text = (
            f"no connection to {link.url} for {span_s(model.now_s - link.since_s)}: {link.reason}"
        )
        return Verdict(Level.BAD, text, "does the node run? p2pnode run, or p2pnode service status")
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
    device = status.device
    if device.storage_error:
        text = f"the disk refuses writes: {device.storage_error}; nothing is signed"
        return Verdict(Level.BAD, text, "free some space, then restart the node")
    stall = _stall(status, age_s)
    if stall is not None:
        return stall
    if status.syncing:
        behind = max(0, status.best_height - status.height)
        text = f"catching up: height {count(status.height)} of {count(status.best_height)}"
        return Verdict(Level.WARN, f"{text}, {count(behind)} blocks to fetch", "wait")
    if not status.ready:
        reasons = "; ".join(status.not_ready_reasons) or "no reason known"
        return Verdict(Level.WARN, f"not ready: {reasons}", "p2pnode doctor")
    if status.observing:
        text = "signs nothing until the next epoch: its log of signatures was lost"
        return Verdict(Level.WARN, text, "nothing to do, or p2pnode log trust --help")
    return _machine(status)


def _stall(status: NodeStatus, age_s: float) -> Verdict | None:
    """Say why nothing becomes final, when nothing does."""
    consensus = status.consensus
    validators = consensus.validators
    age = status.last_block_age_s
    quiet_s = None if age is None else number(age) + age_s
    away = [row for row in validators if not row.connected]
    here = sum(row.power for row in validators if row.connected)
    if validators and here < consensus.quorum:
        names = ", ".join(validator_name(status, row.index) for row in away[:6])
        since = "" if quiet_s is None else f", last block {span_s(quiet_s)} ago"
        text = (
            f"{count(consensus.quorum)} of {count(consensus.power_total)} votes needed,"
            f" {count(here)} within reach: {names} away{since}"
        )
        return Verdict(Level.BAD, text, "start or reach them: nothing can become final")
    if status.peers_count == 0 and len(validators) != 1:
        return Verdict(Level.BAD, "connected to nobody", "check network.bootstrap: p2pnode doctor")
    if quiet_s is not None and quiet_s > QUIET_S and not status.syncing:
        if validators and not consensus.demand:
            return None
        best = max(consensus.votes, key=lambda kind: kind.power, default=None)
        votes = "no votes" if best is None else f"{count(best.power)} {best.kind} votes"
        text = (
            f"no block for {span_s(quiet_s)}: height {count(status.height + 1)}, view"
            f" {count(status.view)}, {votes}"
        )
        if consensus.waiting:
            text += f", waits for {consensus.waiting}"
        return Verdict(Level.BAD, text, "2 shows who is missing")
    return None


def _machine(status: NodeStatus) -> Verdict:
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
    away = [row.index for row in status.consensus.validators if not row.connected]
    if away:
        names = ", ".join(validator_name(status, index) for index in away[:6])
        text = f"{names} not connected; blocks go on"
        return Verdict(Level.WARN, text, "one more may stop them: look after it")
    if not status.consensus.validators:
        return Verdict(Level.GOOD, "all well")
    count_text = f"all {count(len(status.consensus.validators))} validators are connected"
    return Verdict(Level.GOOD, f"all well: {count_text}")
