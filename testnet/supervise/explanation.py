"""Why nothing is final in a testnet, or that all is well, and the commands that mend it."""

from __future__ import annotations

from typing import Any

import trio

from p2pnode.explain import Explanation, Kind, NodeFacts, Situation, explain
from p2pnode.telemetry.clock import wall_ms
from testnet.supervise.facts import link_facts, node_facts
from testnet.supervise.noderun import NodeRun, NodeState
from testnet.supervise.supervisor import Supervisor


def explain_json(supervisor: Supervisor) -> dict[str, Any]:
    """Return why nothing is final in a testnet, or that all is well."""
    found = explain(situation(supervisor))
    return {**found.to_json(), "commands": _commands(supervisor, found)}


def situation(supervisor: Supervisor) -> Situation:
    """Return what is known of a testnet now; asks no node."""
    now_s = trio.current_time()
    rows = supervisor.links.rows(wall_ms(), changed_only=True)
    nodes = tuple(_facts(node, now_s) for node in supervisor.nodes)
    return Situation(nodes, link_facts(rows))


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


def _commands(supervisor: Supervisor, found: Explanation) -> list[str]:
    """Return the commands that mend it, or show more."""
    states = {node.plan.name: node.state for node in supervisor.nodes}
    match found.kind:
        case Kind.WELL | Kind.IDLE:
            return []
        case Kind.PARTITION | Kind.ISOLATED if not found.facts.detail:
            return ["testnet heal --all"]
        case Kind.PARTITION | Kind.SLOW_LINK:
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
