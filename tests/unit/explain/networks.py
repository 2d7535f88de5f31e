"""Networks in words: statuses of n validators, all well, and what is changed about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from p2pnode.explain import NodeFacts
from p2pnode.node.status import ConsensusStatus, NodeStatus, ValidatorSeen
from tests.unit.node.statuses import STATUS


def node(index: int, count: int = 4, **changes: Any) -> NodeStatus:
    """Return the status of a validator that is well; names of `consensus` go there."""
    inner = {k: v for k, v in changes.items() if k in ConsensusStatus.__dataclass_fields__}
    outer = {k: v for k, v in changes.items() if k not in inner or k in ("height", "view")}
    consensus = ConsensusStatus(
        height=812,
        view=3,
        proposer=1,
        demand=True,
        demand_s=0.5,
        delta_s=0.1,
        delta_max_s=10.0,
        quorum=2 * count // 3 + 1,
        power_total=count,
        validators=tuple(
            ValidatorSeen(i, 1, f"node{i}", own=i == index, connected=True, heard_s=0.1)
            for i in range(count)
        ),
    )
    height = outer.pop("height", 811)
    status = replace(
        STATUS,
        name=f"node{index}",
        height=height,
        finalized_height=height,
        executed_height=height,
        best_height=811,
        last_block_age_s=0.4,
        consensus=replace(consensus, **inner),
    )
    return replace(status, **outer)


def stalled(index: int, count: int = 4, **changes: Any) -> NodeStatus:
    """Return the status of a validator for which nothing is final for 20 s."""
    return node(index, count, **{"last_block_age_s": 20.0, "demand_s": 19.0, **changes})


def unheard(status: NodeStatus, indices: Sequence[int], heard_s: float = 30.0) -> NodeStatus:
    """Return a status that does not hear some validators any more."""
    seen = tuple(
        replace(v, connected=False, heard_s=heard_s) if v.index in indices else v
        for v in status.consensus.validators
    )
    return replace(status, consensus=replace(status.consensus, validators=seen))


def facts(*statuses: NodeStatus) -> tuple[NodeFacts, ...]:
    return tuple(NodeFacts(status.name, status) for status in statuses)
