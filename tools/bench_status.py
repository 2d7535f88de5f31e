"""What a look at a node costs: CPU of `Node.status()`, of its JSON, and of an explanation.

    .venv/bin/python tools/bench_status.py

Seven validators in the simulator, under load for 30 virtual seconds, then asked 2,000 times. CPU
seconds of this process, best of five.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import trio

from p2pnode.explain import NodeFacts, Situation, explain, explain_node
from p2pnode.node.jsonform import to_json
from p2pnode.node.status import NodeStatus
from testnet.sim.run import Run, SimSpec, run_seeded

TIMES = 400
ROUNDS = 5
VALIDATORS = 7


def cost_ms(act: Callable[[], object]) -> float:
    """Return the CPU milliseconds of one call, the best of some rounds."""
    found = []
    for _ in range(ROUNDS):
        begin_s = time.process_time()
        for _ in range(TIMES):
            act()
        found.append((time.process_time() - begin_s) / TIMES * 1000)
    return min(found)


async def script(run: Run) -> None:
    """Let the network run, then ask."""
    await trio.sleep(29.0)
    nodes = [m.node for m in run.world.machines if m.node is not None]
    statuses = [node.status() for node in nodes]
    situation = Situation(tuple(NodeFacts(s.name, s) for s in statuses))
    text = json.dumps(to_json(NodeStatus, statuses[0]))
    print(f"status()             {cost_ms(nodes[0].status):.3f} ms")
    print(f"  as JSON            {cost_ms(lambda: to_json(NodeStatus, statuses[0])):.3f} ms more")
    print(f"  its text           {len(text)} bytes")
    print(f"explain_node         {cost_ms(lambda: explain_node(statuses[0])):.3f} ms")
    print(f"explain, {len(statuses)} nodes     {cost_ms(lambda: explain(situation)):.3f} ms")


if __name__ == "__main__":
    run_seeded(SimSpec(validators=VALIDATORS, duration_s=30.0, load_tx_s=20.0), 1, script=script)
