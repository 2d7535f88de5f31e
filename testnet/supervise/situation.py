"""A testnet as `p2pnode.explain` wants it: what the nodes say, and what their supervisor knows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import trio

from p2pnode.explain import Explanation, Kind, LinkFacts, NodeFacts, Situation, explain
from testnet.supervise.facts import node_facts
from testnet.supervise.noderun import NodeRun, NodeState
from testnet.supervise.supervisor import Supervisor


def situation(supervisor: Supervisor) -> Situation:
    """Return what is known of a testnet now; asks no node."""
    now_s = trio.current_time()
    rows = supervisor.links.rows(time.time_ns() // 1_000_000, changed_only=True)
    nodes = tuple(_facts(node, now_s) for node in supervisor.nodes)
    return Situation(nodes, link_facts(rows))


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


def _facts(node: NodeRun, now_s: float) -> NodeFacts:
    return node_facts(
        node.plan.name,
        node.state.value,
        node.status,
        now_s=now_s,
        changed_s=node.changed_s,
        seen_s=node.seen_s,
        validator=node.plan.index if "validator" in node.plan.roles else None,
    )


def explain_json(supervisor: Supervisor) -> dict[str, Any]:
    """Return why nothing is final in a testnet, or that all is well."""
    found = explain(situation(supervisor))
    return {
        "kind": found.kind.value,
        "severity": found.severity.value,
        "sentence": found.sentence,
        "next_step": found.next_step,
        "nodes": list(found.nodes),
        "commands": _commands(supervisor, found),
    }


def _commands(supervisor: Supervisor, found: Explanation) -> list[str]:
    """Return the commands that mend it, or show more."""
    states = {node.plan.name: node.state for node in supervisor.nodes}
    match found.kind:
        case Kind.WELL | Kind.IDLE:
            return []
        case Kind.PARTITION | Kind.ISOLATED:
            return ["testnet heal --all"]
        case Kind.SLOW_LINK:
            return ["testnet link --all --clear"]
        case Kind.DISK:
            return [f"testnet restart {' '.join(found.nodes)}"]
        case Kind.TOO_FEW | Kind.DEGRADED | Kind.UNKNOWN:
            paused = [n for n in found.nodes if states.get(n) is NodeState.PAUSED]
            ended = [n for n in found.nodes if n not in paused and n in states]
            return [
                f"testnet {verb} {' '.join(names)}"
                for verb, names in (("resume", paused), ("restart", ended))
                if names
            ]
        case _:
            named = [n for n in found.nodes if n in states]
            return [f"testnet logs -f --node {named[0]}" if named else "testnet logs -f"]
