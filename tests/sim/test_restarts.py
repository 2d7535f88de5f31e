"""Whole nodes are killed and start again (G2, G6, G8, G11, G12, G14)."""

from __future__ import annotations

import pytest
import trio

from testnet.sim.run import Run, SimSpec, run_seeded, sim_parameters
from tests.sim.scenes import assert_ok, kill_and_restart, pauses_s

SHORT = SimSpec(duration_s=20.0, loss=0.01)


@pytest.mark.parametrize("victim", range(4))
def test_one_of_four_dies_under_load_and_comes_back(victim: int) -> None:
    longest: list[float] = []

    async def script(run: Run) -> None:
        await kill_and_restart(run, run.world.machines[victim], 6.0, 5.0)
        await trio.sleep_until(18.0)
        longest.append(pauses_s(run, 3.0, 18.0))

    report = assert_ok(run_seeded(SHORT, 40 + victim, script=script))
    assert report.heights[0] == report.heights[1]
    assert longest[0] <= 2.0, f"a pause of {longest[0]:.2f} s"


def test_all_four_are_killed_at_once_and_the_chain_goes_on() -> None:
    heights: list[int] = []

    async def script(run: Run) -> None:
        await trio.sleep(8.0)
        for machine in run.world.machines:
            await run.kill(machine)
        heights.append(max(b.height for b in run.blocks))
        await trio.sleep(1.0)
        for machine in run.world.machines:
            await run.start(machine)
        await run.wait_for_height(heights[0] + 3, within_s=6.0)

    report = assert_ok(run_seeded(SHORT, 50, script=script))
    assert report.blocks > heights[0] + 10


def test_more_than_f_dead_stop_the_chain_and_a_quorum_back_goes_on() -> None:
    """G12: after the quorum is back, the next height within a few Δ."""
    delays: list[float] = []

    async def script(run: Run) -> None:
        await trio.sleep(6.0)
        first, second = run.world.machines[1], run.world.machines[3]
        await run.kill(first)
        await run.kill(second)
        await trio.sleep(1.0)
        height = run.height()
        await trio.sleep(8.0)
        assert run.height() == height, "two of four made blocks"
        await run.start(first)
        back_s = trio.current_time()
        await run.wait_for_height(height + 1, within_s=10.0)
        delays.append(trio.current_time() - back_s)
        await run.start(second)

    assert_ok(run_seeded(SHORT, 60, script=script))
    assert delays[0] < 4.0, f"{delays[0]:.2f} s until the next height"


def test_a_crash_at_each_of_the_first_steps_of_a_life() -> None:
    """G6, G8: before step 1, 2, 3 … of node0's lives: recovery, first messages, first votes.

    A step is an effect, or a call to store, log or network; what was not synced may be lost.
    """
    steps = 120

    async def script(run: Run) -> None:
        await trio.sleep(3.0)
        machine = run.world.machines[0]
        for step in range(1, steps + 1):
            await run.nemesis.crash_after(machine, step, patience_s=2.0)
            run.nemesis.kills += 1
            await trio.sleep(0.05)
            await run.start(machine)

    spec = SimSpec(duration_s=10.0, loss=0.01, load_tx_s=2.0)
    report = assert_ok(run_seeded(spec, 70, script=script))
    struck = report.crash_points
    assert sum(struck.values()) > 0.9 * steps
    assert {"Sign", "SendTo", "Put", "commit", "sync", "send"} <= set(struck), struck


def test_crashes_between_steps_in_the_middle_of_lives() -> None:
    """G6: at every kind of step of a validator that proposes, votes, stores and executes."""

    async def script(run: Run) -> None:
        await trio.sleep(2.0)
        for turn in range(24):
            machine = run.world.machines[turn % 4]
            await run.nemesis.crash_after(machine, 60 + 37 * turn % 211, patience_s=3.0)
            run.nemesis.kills += 1
            await trio.sleep(0.3)
            await run.start(machine)
            await trio.sleep(0.3)

    report = assert_ok(run_seeded(SimSpec(duration_s=10.0, loss=0.01), 73, script=script))
    assert sum(report.crash_points.values()) > 18


def test_a_straggler_comes_back_after_epochs_and_more_blocks_than_one_answer_holds() -> None:
    """G14: dead for more than 64 heights and several epochs."""
    lag: list[int] = []

    async def script(run: Run) -> None:
        machine = run.world.machines[2]
        await trio.sleep(4.0)
        await run.kill(machine)
        height = run.height()
        await run.wait_for_height(height + 75, within_s=60.0)
        await run.start(machine)
        back_s = trio.current_time()
        while machine.node is None or machine.node.core.pipeline.height < run.height():
            await trio.sleep(0.1)
            assert trio.current_time() < back_s + 10.0, "not level after 10 s"
        lag.append(run.height() - height)

    report = assert_ok(run_seeded(SimSpec(duration_s=10.0, loss=0.01), 80, script=script))
    assert lag[0] >= 75
    assert report.heights[0] == report.heights[1]


def test_a_straggler_catches_up_while_its_peers_are_killed() -> None:
    async def script(run: Run) -> None:
        machine, other = run.world.machines[2], run.world.machines[0]
        await trio.sleep(3.0)
        await run.kill(machine)
        await run.wait_for_height(run.height() + 70, within_s=60.0)
        await run.start(machine)
        await trio.sleep(0.2)
        await run.kill(other)
        await trio.sleep(2.0)
        await run.start(other)

    assert_ok(run_seeded(SimSpec(duration_s=10.0, loss=0.02), 81, script=script))


def test_a_validator_that_starts_late_catches_up_and_votes() -> None:
    signed: list[int] = []

    async def script(run: Run) -> None:
        await trio.sleep(29.0)
        node = run.world.machines[3].node
        assert node is not None
        assert not node.status().observing
        signed.append(node.core.ordering.host.statistics().drafts_signed)

    # Its log is new while the chain is under way: it observes to the end of an epoch first.
    spec = SimSpec(duration_s=30.0, late=((3, 12.0),), parameters=sim_parameters(epoch_blocks=10))
    report = assert_ok(run_seeded(spec, 90, script=script))
    assert report.heights[0] == report.heights[1]
    assert signed[0] > 10


def test_observers_without_a_key_follow() -> None:
    report = assert_ok(
        run_seeded(SimSpec(duration_s=25.0, observers=2, late=((5, 12.0),), loss=0.01), 91)
    )
    assert report.heights[0] == report.heights[1] > 30
