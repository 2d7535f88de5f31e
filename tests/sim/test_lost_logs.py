"""What a validator signed is forgotten: deleted, restored from a copy, cut. It never signs twice.

The votes on the wire are compared over all lives (`one vote of a kind`, `not both nullify and
finalize`), so forgetting shows, whatever the log says.
"""

from __future__ import annotations

import random

import pytest
import trio

from p2pnode.store.memory import MemoryFile, MemoryLog
from p2pnode.store.wal_format import LogDamagedError
from testnet.sim.run import Run, SimSpec, run_seeded, sim_parameters
from testnet.sim.world import Machine
from tests.sim.scenes import assert_ok

SPEC = SimSpec(duration_s=30.0, loss=0.01, parameters=sim_parameters(epoch_blocks=16))


async def _observes_then_signs(run: Run, machine: Machine) -> None:
    """Check that a started node signs nothing until the next epoch begins, and then does."""
    await trio.sleep(0.5)
    node = machine.node
    assert node is not None
    status = node.status()
    assert status.observing
    epoch = status.epoch
    while node.status().epoch == epoch:
        assert node.core.ordering.host.statistics().drafts_signed == 0
        await trio.sleep(0.2)
    height = run.height()
    await run.wait_for_height(height + 6)
    assert not node.status().observing
    assert node.core.ordering.host.statistics().drafts_signed > 0


def test_a_deleted_log_means_observing_until_the_next_epoch() -> None:
    async def script(run: Run) -> None:
        machine = run.world.machines[1]
        await run.wait_for_height(6)
        await run.kill(machine)
        run.world.wipe(machine, store=False)
        await run.start(machine)
        await _observes_then_signs(run, machine)

    assert_ok(run_seeded(SPEC, 100, script=script))


def test_a_wiped_machine_catches_up_and_signs_in_a_later_epoch() -> None:
    async def script(run: Run) -> None:
        machine = run.world.machines[1]
        await run.wait_for_height(22)
        await run.kill(machine)
        run.world.wipe(machine, store=True)
        await run.start(machine)
        await trio.sleep(20.0)
        assert machine.node is not None
        assert machine.node.core.ordering.host.statistics().drafts_signed > 0

    report = assert_ok(run_seeded(SPEC, 101, script=script))
    assert report.heights[0] == report.heights[1]


def test_an_older_copy_of_the_log_is_noticed_by_the_stores_mark() -> None:
    async def script(run: Run) -> None:
        machine = run.world.machines[2]
        await run.wait_for_height(3)
        await run.kill(machine)
        old = MemoryLog(MemoryFile(machine.log.file.load()))
        await run.start(machine)
        await run.wait_for_height(9)
        await run.kill(machine)
        machine.log = old
        await run.start(machine)
        await _observes_then_signs(run, machine)

    assert_ok(run_seeded(SPEC, 102, script=script))


def test_a_log_cut_anywhere_is_refused_or_harmless() -> None:
    """Cut at sampled bytes: the log is refused loudly; repaired, the node observes."""
    refused: list[int] = []
    rng = random.Random("cuts")

    async def script(run: Run) -> None:
        machine = run.world.machines[3]
        await run.wait_for_height(4)
        for _ in range(25):
            await run.kill(machine)
            content = machine.log.file.load()
            used = len(content.rstrip(b"\x00"))
            cut = rng.choice([rng.randrange(len(content)), rng.randrange(used), used - 8])
            try:
                machine.log = MemoryLog(MemoryFile(content[:cut]))
            except LogDamagedError:
                # `p2pnode log repair` keeps what it can and marks the log; here nothing is kept.
                refused.append(cut)
                run.world.wipe(machine, store=False)
                machine.log_lost = True
            await run.start(machine)
            await trio.sleep(1.5)

    spec = SimSpec(duration_s=10.0, parameters=sim_parameters(epoch_blocks=4), settle_s=25.0)
    assert_ok(run_seeded(spec, 103, script=script))
    assert len(refused) == 25


def test_a_log_whose_last_records_were_never_synced_recovers() -> None:
    """Zeros where the unsynced tail was: a torn tail, not damage."""

    async def script(run: Run) -> None:
        machine = run.world.machines[0]
        for _ in range(12):
            await run.wait_for_height(run.height() + 1)
            await run.kill(machine)
            await run.start(machine)

    assert_ok(run_seeded(SimSpec(duration_s=12.0), 104, script=script))


@pytest.mark.parametrize("seed", range(105, 109))
def test_a_machine_wiped_again_and_again_never_signs_twice(seed: int) -> None:
    """Without store and log nothing tells a node that it ever lived, but its peers."""
    rng = random.Random(seed)

    async def script(run: Run) -> None:
        machine = run.world.machines[1]
        for _ in range(10):
            await trio.sleep(rng.uniform(0.5, 4.0))
            await run.nemesis.crash_after(machine, rng.randrange(1, 300), patience_s=2.0)
            if rng.random() < 0.5:
                run.world.wipe(machine, store=rng.random() < 0.7)
            await run.start(machine)

    spec = SimSpec(
        duration_s=10.0, loss=0.02, parameters=sim_parameters(epoch_blocks=8), settle_s=25.0
    )
    assert_ok(run_seeded(spec, seed, script=script))
