"""What tests of whole nodes share: judging a report, and common faults as scripts."""

from __future__ import annotations

from itertools import pairwise

import trio

from p2pnode.explain import Condition, LinkFacts, NodeFacts, Situation
from testnet.sim.report import SimReport
from testnet.sim.run import Run
from testnet.sim.world import Machine


def assert_ok(report: SimReport) -> SimReport:
    """Fail with the seed and every violation."""
    found = "\n".join(f"  {v.check}: {v.detail}" for v in report.violations)
    assert report.ok, f"seed {report.seed}:\n{found}"
    return report


async def kill_and_restart(run: Run, machine: Machine, at_s: float, dead_s: float) -> None:
    """Kill a machine at a time and start it again later."""
    await trio.sleep_until(at_s)
    await run.kill(machine)
    await trio.sleep(dead_s)
    await run.start(machine)


def pauses_s(run: Run, since_s: float, until_s: float) -> float:
    """Return the longest time without a new final height between two times."""
    times = [t for t in sorted(run.height_s.values()) if since_s <= t <= until_s]
    edges = [since_s, *times, until_s]
    return max(b - a for a, b in pairwise(edges))


def situation(run: Run, *, links: tuple[LinkFacts, ...] = ()) -> Situation:
    """Return what somebody who asks all machines knows of them."""
    nodes = []
    for machine in run.world.machines:
        if machine.node is None:
            dead = NodeFacts(machine.name, condition=Condition.KILLED, validator=machine.index)
            nodes.append(dead)
        else:
            nodes.append(NodeFacts(machine.name, machine.node.status()))
    return Situation(tuple(nodes), links)
