"""What somebody who watches a testnet gets, again and again: all that the supervisor knows.

Nothing is asked of the nodes for it: the supervisor looks at them once a second anyway. A status
that the watcher has already is not sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from p2pnode.node.jsonform import to_json
from p2pnode.node.status import NodeStatus
from p2pnode.telemetry.clock import wall_ms
from testnet.supervise.linkrequests import isolated, rtts_of
from testnet.supervise.noderun import NodeRun
from testnet.supervise.supervisor import Supervisor

Json = dict[str, Any]


def watch_json(supervisor: Supervisor, seen: Mapping[str, int]) -> Json:
    """Return a testnet for a watcher.

    Args:
        supervisor: Of the testnet.
        seen: By node's name, the number of the newest status that the watcher has.
    """
    powers = supervisor.topology().powers
    load = supervisor.load
    return {
        "name": supervisor.spec.name,
        "seed": supervisor.spec.seed,
        "engine": supervisor.spec.engine,
        "ready": supervisor.ready.is_set(),
        "load": {
            "running": load.runs,
            "rate_tx_s": load.rate_tx_s,
            **(load.progress or {}),
        },
        "links": supervisor.links.rows(wall_ms(), changed_only=True),
        "isolated": isolated(supervisor),
        "nodes": [
            _node(node, powers.get(node.plan.name), seen.get(node.plan.name, 0))
            for node in supervisor.nodes
        ],
    }


def _node(node: NodeRun, power: int | None, seen: int) -> Json:
    known: Json = {
        "name": node.plan.name,
        "roles": list(node.plan.roles),
        "validator": node.plan.index if power is not None else None,
        "power": power,
        "state": node.state.value,
        "state_s": trio.current_time() - node.changed_s,
        "rpc": node.plan.rpc,
        "p2p": node.plan.p2p,
        "pid": node.process.pid if node.process is not None else None,
        "starts": node.starts,
        "crash": node.crash,
        "rtt_ms": rtts_of(node),
        "looks": node.looks,
        "look_age_s": trio.current_time() - node.seen_s,
    }
    if node.status is not None and node.looks != seen:
        known["status"] = to_json(NodeStatus, node.status)
    return known
