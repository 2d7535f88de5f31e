"""The matrix: 4 nodes, 60 virtual seconds, kills and loss; a few seeds here, the rest in chaos."""

from __future__ import annotations

import pytest

from testnet.sim.matrix import run_matrix
from testnet.sim.run import SimSpec, run_seeded
from tests.sim.scenes import assert_ok
from tests.sim.swarm import run_swarm

AT_TIMES = SimSpec(kills=4, loss=0.02)
AT_STEPS = SimSpec(kills=4, loss=0.02, crashes_at_effects=True)


@pytest.mark.parametrize("seed", range(3))
def test_kills_and_loss_break_no_invariant(seed: int) -> None:
    report = assert_ok(run_seeded(AT_TIMES, seed))
    assert report.kills >= 3
    assert report.finalized == report.submitted > 200


@pytest.mark.parametrize("seed", range(3))
def test_crashes_between_steps_and_loss_break_no_invariant(seed: int) -> None:
    report = assert_ok(run_seeded(AT_STEPS, seed))
    assert report.kills >= 3
    assert sum(report.crash_points.values()) >= 3


def test_several_processes_give_the_reports_of_one() -> None:
    spec = SimSpec(duration_s=5.0)
    apart = run_matrix(spec, [1, 2], jobs=2)
    assert [r.trace_hash for r in apart] == [r.trace_hash for r in run_matrix(spec, [1, 2], jobs=1)]


@pytest.mark.chaos
@pytest.mark.parametrize("first", range(0, 100, 10))
@pytest.mark.parametrize("spec", [AT_TIMES, AT_STEPS], ids=["times", "steps"])
def test_a_hundred_seeds(spec: SimSpec, first: int) -> None:
    for seed in range(1000 + first, 1010 + first):
        assert_ok(run_seeded(spec, seed))


@pytest.mark.parametrize("seed", [20, 76, 112, 171])
def test_random_networks_under_random_faults_break_no_invariant(seed: int) -> None:
    """Seeds that found something once."""
    assert_ok(run_swarm(seed))


@pytest.mark.chaos
@pytest.mark.parametrize("first", range(0, 200, 10))
def test_a_swarm_of_seeds(first: int) -> None:
    for seed in range(first, first + 10):
        assert_ok(run_swarm(seed))
