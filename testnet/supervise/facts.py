"""What a supervisor knows, as `p2pnode.explain` wants it; one rule for all who ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from p2pnode.explain import Condition, LinkFacts, NodeFacts
from p2pnode.node.status import NodeStatus

SILENT_S: Final = 5.0
"""A running node whose last status is older than this does not answer."""

_CONDITIONS: Final[Mapping[str, Condition]] = {
    "paused": Condition.PAUSED,
    "killed": Condition.KILLED,
    "stopped": Condition.KILLED,
    "crashed": Condition.CRASHED,
    "starting": Condition.SILENT,
}


def node_facts(
    name: str,
    state: str,
    status: NodeStatus | None,
    *,
    now_s: float,
    changed_s: float,
    seen_s: float,
    validator: int | None,
) -> NodeFacts:
    """Return a node as far as its supervisor knows it.

    Args:
        name: Its name.
        state: As `NodeState` says it.
        status: What it answered last.
        now_s: The time, on the clock of the next two.
        changed_s: When it came into its state; 0 when that is not known.
        seen_s: When it answered last; 0 when it never did.
        validator: Its index.
    """
    condition = _CONDITIONS.get(state, Condition.ANSWERS)
    since_s = now_s - changed_s if changed_s else None
    if condition is Condition.ANSWERS and (status is None or now_s - seen_s > SILENT_S):
        condition = Condition.SILENT
        since_s = now_s - seen_s if seen_s else since_s
    return NodeFacts(name, status, condition, since_s, validator)


def link_facts(rows: Iterable[Mapping[str, Any]]) -> tuple[LinkFacts, ...]:
    """Return what is known of links, from their rows in JSON.

    Args:
        rows: `from`, `to`, `cut_s` (None for not cut), and `numbers` of its profile or None.
    """
    found = []
    for row in rows:
        numbers = row["numbers"]
        latency_ms = None
        if numbers is not None:
            latency_ms = (numbers["latency_ms_min"] + numbers["latency_ms_max"]) / 2
        found.append(LinkFacts(row["from"], row["to"], row["cut_s"], latency_ms))
    return tuple(found)
