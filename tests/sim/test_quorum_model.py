"""The arithmetic that tells what a fault does to the quorum, against whole nodes."""

from __future__ import annotations

from itertools import combinations

import pytest
import trio

from testnet.sim.run import Run, SimSpec, run_seeded
from testnet.supervise.quorum import Topology, reach

STAR = [(1, 2), (1, 3), (2, 3)]
LINE = [(0, 2), (0, 3), (1, 3)]
RING_OF_5 = [(a, b) for a, b in combinations(range(5), 2) if (b - a) % 5 not in (1, 4)]
HALVES = [(0, 2), (0, 3), (1, 2), (1, 3)]
BOWTIE_OF_5 = [(0, 3), (0, 4), (1, 3), (1, 4)]


@pytest.mark.parametrize(
    ("count", "cut", "one_way", "powers"),
    [
        pytest.param(4, STAR, False, (), id="a star: one collects for all"),
        pytest.param(4, LINE, False, (), id="a line: the inner ones collect"),
        pytest.param(4, [(0, 1), (0, 2)], True, (), id="cut one way only"),
        pytest.param(4, HALVES, False, (), id="halves"),
        pytest.param(5, RING_OF_5, False, (), id="a ring of 5: connected, but nobody collects"),
        pytest.param(5, BOWTIE_OF_5, False, (), id="two triangles that share a node"),
        pytest.param(4, STAR, False, (1, 1, 4, 1), id="a star round a light one, and a heavy leaf"),
    ],
)
def test_blocks_become_final_iff_the_arithmetic_says_so(
    count: int, cut: list[tuple[int, int]], one_way: bool, powers: tuple[int, ...]
) -> None:
    grown: list[int] = []

    async def script(run: Run) -> None:
        machines = run.world.machines
        await trio.sleep(4.0)
        for a, b in cut:
            run.world.hub.cut(machines[a].peer_id, machines[b].peer_id)
            if not one_way:
                run.world.hub.cut(machines[b].peer_id, machines[a].peer_id)
        # One-way cuts count once the connection is given up.
        await trio.sleep(10.0)
        height = run.height()
        await trio.sleep(20.0)
        grown.append(run.height() - height)
        run.world.heal()

    spec = SimSpec(validators=count, powers=powers, duration_s=36.0, settle_s=20.0)
    report = run_seeded(spec, 51, script=script)
    names = [f"node{i}" for i in range(count)]
    pairs = {(names[a], names[b]) for a, b in cut}
    pairs |= set() if one_way else {(b, a) for a, b in pairs}
    topology = Topology(dict(zip(names, powers or (1,) * count, strict=True)), cut=frozenset(pairs))
    expected = reach(topology).is_final
    print(f"expected {expected}, grew by {grown[0]}")
    assert (grown[0] > 0) == expected
    assert report.ok, report.violations
