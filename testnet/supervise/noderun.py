"""A node as its supervisor sees it, through all of its processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import trio

from p2pnode.client import NodeClient
from p2pnode.errors import P2PNodeError
from p2pnode.node.status import NodeStatus
from testnet.launch.launcher import Process
from testnet.prepare import NodePlan
from testnet.supervise.summary import Cost


class UnknownNodeError(P2PNodeError):
    """A request names a node that does not exist."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"no node {name!r}; there are: {', '.join(known)}")


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
    def ready(self) -> bool:
        """It follows the chain."""
        running = self.state is NodeState.RUNNING
        return running and self.status is not None and self.status.ready


def running(node: NodeRun) -> Process:
    if node.process is None:
        raise WrongStateError(f"{node.plan.name} does not run ({node.state})")
    return node.process


def why_not_ready(node: NodeRun) -> str:
    if node.status is None:
        return "does not answer" if node.process is not None else "does not run"
    return ", ".join(node.status.not_ready_reasons) or "gives no reason"
