"""A node as its supervisor sees it, through all of its processes."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

import trio

from p2pnode.client import NodeClient
from p2pnode.errors import P2PNodeError, UsageError
from p2pnode.node.status import NodeStatus
from testnet.launch.launcher import Process
from testnet.prepare import NodePlan
from testnet.supervise.summary import Cost

ENDING: Final = {
    int(number): number.name.removeprefix("SIG")
    for number in (
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGABRT,
        signal.SIGKILL,
        signal.SIGSEGV,
        signal.SIGTERM,
    )
}
"""Names of the signals that end a node, by number. It does not hear SIGINT, which a terminal sends
to everybody; after another one there would be no end to wait for."""


Task: TypeAlias = Callable[[], Awaitable[None]]
"""What a supervisor runs beside the rest."""


class UnknownNodeError(UsageError):
    """A request names a node that does not exist."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"no node {name!r}; there are: {', '.join(known)}")


class NotEndingError(UsageError):
    """A signal does not end a node."""

    def __init__(self, number: int) -> None:
        known = ", ".join(f"{name} ({n})" for n, name in ENDING.items())
        super().__init__(f"signal {number} does not end a node; these do: {known}")
        self.number = number


class WrongStateError(P2PNodeError):
    """A node or a load is not in the state that a request needs."""


class NotReadyError(P2PNodeError):
    """The nodes did not become ready in time."""


class NodeState(StrEnum):
    """What a node's process does."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    KILLED = "killed"
    """Ended by a request."""
    CRASHED = "crashed"
    """Ended by itself."""
    STOPPED = "stopped"
    """Ended with the testnet."""


@dataclass(slots=True, eq=False)
class NodeRun:
    """A node, through all of its processes."""

    plan: NodePlan
    client: NodeClient
    state: NodeState = NodeState.STOPPED
    process: Process | None = None
    starts: int = 0
    answers: bool = False
    """The current process has said that its API answers."""
    status: NodeStatus | None = None
    """As seen last."""
    cost: Cost = field(default_factory=Cost)
    crash: str = ""
    """How it ended by itself."""
    seen_s: float = 0.0
    """When it answered last, on Trio's clock; 0 for never."""
    rtts_ms: Mapping[str, float | None] = field(default_factory=dict)
    """By name of the nodes it is connected to: the round trip it measures, None before the first;
    as seen last."""
    pongs_s: Mapping[str, float] = field(default_factory=dict)
    """By name: when a ping was answered last, on Trio's clock."""
    links_version: int = -1
    """Which state of the links its process was told."""
    changed_s: float = 0.0
    """When the state became what it is, on Trio's clock; 0 before the first change."""
    looks: int = 0
    """How many statuses have come: the number of the newest."""

    def become(self, state: NodeState) -> None:
        """Change the state."""
        self.state = state
        self.changed_s = trio.current_time()

    @property
    def is_up(self) -> bool:
        """Its API should answer."""
        return self.state is NodeState.RUNNING and self.answers

    @property
    def ready(self) -> bool:
        """It follows the chain."""
        running = self.state is NodeState.RUNNING
        return running and self.status is not None and self.status.ready


def require(node: NodeRun, command: str, number: int = signal.SIGKILL) -> None:
    """Refuse what can't be done to a node in its state.

    Args:
        node: The node.
        command: kill, pause, resume or restart.
        number: Of the signal that kills.

    Raises:
        WrongStateError: It can't be done.
        NotEndingError: The signal ends no node.
    """
    if number not in ENDING:
        raise NotEndingError(number)
    if why_not := objection(command, node.plan.name, node.state):
        raise WrongStateError(why_not)


def objection(command: str, name: str, state: NodeState) -> str:
    """Return why something can't be done to a node in a state; empty when it can."""
    is_there = state in (NodeState.STARTING, NodeState.RUNNING, NodeState.PAUSED)
    match command:
        case "resume" if state is not NodeState.PAUSED:
            way = "" if is_there else f"; `testnet restart {name}` starts it"
            return f"{name} is {state}, not paused{way}"
        case "pause" if state is NodeState.PAUSED:
            return f"{name} is paused already"
        case "kill" | "pause" if not is_there:
            return f"{name} does not run ({state})"
    return ""


def running(node: NodeRun) -> Process:
    if node.process is None:
        raise WrongStateError(f"{node.plan.name} does not run ({node.state})")
    return node.process


def why_not_ready(node: NodeRun) -> str:
    if node.status is None:
        return "does not answer" if node.process is not None else "does not run"
    return ", ".join(node.status.not_ready_reasons) or "gives no reason"
