"""Networks of other sizes, weights, epochs and engines."""

from __future__ import annotations

import pytest
import trio

from testnet.sim.run import Run, SimSpec, run_seeded, sim_parameters
from tests.sim.scenes import assert_ok, kill_and_restart


@pytest.mark.parametrize("engine", ["solo", "simplex"])
def test_one_validator_alone(engine: str) -> None:
    async def script(run: Run) -> None:
        await kill_and_restart(run, run.world.machines[0], 8.0, 1.0)

    spec = SimSpec(validators=1, observers=1, engine=engine, duration_s=20.0)
    report = assert_ok(run_seeded(spec, 20, script=script))
    assert report.blocks > 25


@pytest.mark.parametrize("engine", ["solo", "simplex"])
def test_a_validator_alone_crashes_at_each_of_its_first_steps(engine: str) -> None:
    """Nobody else has the payload that it signed."""

    async def script(run: Run) -> None:
        await trio.sleep(2.0)
        for step in range(1, 60):
            await run.nemesis.crash_after(run.world.machines[0], step, patience_s=2.0)
            await run.start(run.world.machines[0])

    spec = SimSpec(validators=1, engine=engine, duration_s=5.0, load_tx_s=2.0)
    assert_ok(run_seeded(spec, 21, script=script))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_few_validators(count: int) -> None:
    report = assert_ok(run_seeded(SimSpec(validators=count, duration_s=15.0, loss=0.01), 22))
    assert report.blocks > 20


def test_seven_validators_with_two_killed() -> None:
    async def script(run: Run) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_and_restart, run, run.world.machines[1], 4.0, 5.0)
            nursery.start_soon(kill_and_restart, run, run.world.machines[6], 5.0, 6.0)

    report = assert_ok(
        run_seeded(SimSpec(validators=7, duration_s=16.0, loss=0.01), 23, script=script)
    )
    assert report.blocks > 20


def test_unequal_weights_count_by_power_not_by_heads() -> None:
    """Powers 4, 3, 2, 1: a quorum is 7, so the last three (6) are none, the first two (7) are."""
    heights: list[int] = []

    async def script(run: Run) -> None:
        machines = run.world.machines
        await trio.sleep(5.0)
        await run.kill(machines[2])
        await run.kill(machines[3])
        await trio.sleep(1.0)
        start = run.height()
        await trio.sleep(8.0)
        heights.append(run.height() - start)
        await run.start(machines[2])
        await run.start(machines[3])
        await trio.sleep(3.0)
        await run.kill(machines[0])
        await trio.sleep(1.0)
        start = run.height()
        await trio.sleep(5.0)
        heights.append(run.height() - start)
        await run.start(machines[0])

    spec = SimSpec(duration_s=20.0, powers=(4, 3, 2, 1), loss=0.01)
    assert_ok(run_seeded(spec, 24, script=script))
    assert heights[0] >= 3
    assert heights[1] == 0


@pytest.mark.parametrize("seed", [25, 26])
def test_short_epochs_under_loss_and_kills(seed: int) -> None:
    spec = SimSpec(duration_s=30.0, loss=0.05, kills=3, parameters=sim_parameters(epoch_blocks=4))
    report = assert_ok(run_seeded(spec, seed))
    assert report.blocks > 30


def test_a_tenth_of_all_messages_lost_and_many_duplicates() -> None:
    """G15: loss, duplicates and reordering change nothing final."""
    spec = SimSpec(duration_s=20.0, loss=0.1, duplicate=0.3, settle_s=25.0)
    report = assert_ok(run_seeded(spec, 27))
    assert report.blocks > 10
