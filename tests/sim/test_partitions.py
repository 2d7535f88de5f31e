"""Cuts between nodes, and clocks that disagree (G11, G12)."""

from __future__ import annotations

import pytest
import trio

from testnet.sim.run import Run, SimSpec, run_seeded
from tests.sim.scenes import assert_ok, pauses_s

SPEC = SimSpec(duration_s=25.0, loss=0.01, settle_s=20.0)


@pytest.mark.parametrize("alone", [0, 2])
def test_a_minority_cut_off_stops_nobody_and_comes_back(alone: int) -> None:
    grown: list[int] = []

    async def script(run: Run) -> None:
        await trio.sleep(5.0)
        run.world.isolate([run.world.machines[alone]])
        await trio.sleep(2.0)
        height = run.height()
        await trio.sleep(12.0)
        grown.append(run.height() - height)
        run.world.heal()

    assert_ok(run_seeded(SPEC, 30 + alone, script=script))
    assert grown[0] >= 8


def test_two_halves_stop_and_go_on_when_healed() -> None:
    delays: list[float] = []

    async def script(run: Run) -> None:
        await trio.sleep(5.0)
        run.world.isolate(run.world.machines[:2])
        await trio.sleep(1.0)
        height = run.height()
        await trio.sleep(14.0)
        assert run.height() == height, "a half made blocks"
        run.world.heal()
        healed_s = trio.current_time()
        await run.wait_for_height(height + 1, within_s=15.0)
        delays.append(trio.current_time() - healed_s)

    assert_ok(run_seeded(SPEC, 33, script=script))
    assert delays[0] < 5.0, f"{delays[0]:.2f} s until the next height"


def test_one_way_cuts_around_a_ring() -> None:
    """Each node hears only from its two other peers; nobody is isolated."""

    async def script(run: Run) -> None:
        await trio.sleep(4.0)
        machines = run.world.machines
        for i in range(4):
            run.world.hub.cut(machines[i].peer_id, machines[(i + 1) % 4].peer_id)
        await trio.sleep(6.0)
        run.world.heal()

    assert_ok(run_seeded(SPEC, 34, script=script))


def test_a_proposer_that_can_send_but_hears_nothing() -> None:
    grown: list[int] = []

    async def script(run: Run) -> None:
        await trio.sleep(4.0)
        deaf = run.world.machines[1]
        height = run.height()
        for other in run.world.machines:
            if other is not deaf:
                run.world.hub.cut(other.peer_id, deaf.peer_id)
        await trio.sleep(12.0)
        grown.append(run.height() - height)
        run.world.heal()

    assert_ok(run_seeded(SPEC, 35, script=script))
    assert grown[0] >= 8


HOUR_MS = 3_600_000


@pytest.mark.parametrize("skew_ms", [-HOUR_MS, -5_000, 400, 5_000, HOUR_MS])
def test_a_clock_that_is_wrong_on_one_node(skew_ms: int) -> None:
    """A payload from the future is judged later, never refused; a late clock changes nothing."""

    async def script(run: Run) -> None:
        await trio.sleep(3.0)
        run.world.machines[2].clock.skew_ms = skew_ms
        await trio.sleep(18.0)

    report = assert_ok(run_seeded(SPEC, 36, script=script))
    assert report.blocks >= 20


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, HOUR_MS])
def test_all_clocks_jump_by_an_hour_and_back(jump_ms: int) -> None:
    """What an NTP server gone wrong does to a whole site: blocks go on."""
    pauses: list[float] = []

    async def script(run: Run) -> None:
        await trio.sleep(5.0)
        for machine in run.world.machines:
            machine.clock.skew_ms = jump_ms
        await trio.sleep(8.0)
        for machine in run.world.machines:
            machine.clock.skew_ms = 0
        await trio.sleep(9.0)
        pauses.append(pauses_s(run, 2.0, 22.0))

    report = assert_ok(run_seeded(SPEC, 37, script=script))
    assert report.blocks >= 20
    assert pauses[0] < 5.0, f"{pauses[0]:.2f} s without a block"
