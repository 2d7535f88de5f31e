"""One of four is Byzantine: safety and liveness hold, and offences are ordered as evidence."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import trio

from p2pnode.types.effects import Emit
from testnet.byzantine.puppet import NotATestChainError
from testnet.byzantine.registry import BEHAVIOURS, corrupt
from testnet.sim.run import Run, SimSpec, run_seeded, sim_parameters
from testnet.sim.world import Machine, World
from tests.sim.scenes import assert_ok

OFFENDERS = {
    "batch-equivocator",
    "double-voter",
    "equivocator",
    "flooder",
    "result-equivocator",
    "twins",
}
"""Who signs what no correct node signs both of, where somebody honest sees both."""

MAY_OFFEND = {"nuller"}
"""Who does so only when it happens to be asked twice."""


@pytest.mark.parametrize("name", sorted(BEHAVIOURS))
def test_one_of_four_is_byzantine(name: str) -> None:
    seed = 1 + sum(name.encode()) % 50
    culprit = seed % 4
    spec = SimSpec(duration_s=12.0, byzantine=(culprit,), loss=0.01, settle_s=25.0)
    report = assert_ok(run_seeded(spec, seed, corrupt(culprit, name)))
    assert report.blocks >= 12, f"{report.blocks} blocks"
    assert report.finalized == report.submitted > 20
    if name in OFFENDERS:
        assert report.evidence.get(culprit, 0) >= 1
    elif name not in MAY_OFFEND:
        assert report.evidence == {}


@pytest.mark.parametrize("seed", [0, 1])
def test_two_of_seven_are_byzantine_in_different_ways(seed: int) -> None:
    rng = random.Random(seed)
    culprits = rng.sample(range(7), 2)
    names = rng.sample(sorted(BEHAVIOURS), 2)
    spec = SimSpec(
        validators=7,
        duration_s=12.0,
        byzantine=tuple(culprits),
        loss=0.01,
        parameters=sim_parameters(epoch_blocks=8),
        settle_s=25.0,
    )

    def prepare(world: World) -> None:
        for culprit, name in zip(culprits, names, strict=True):
            corrupt(culprit, name)(world)

    report = assert_ok(run_seeded(spec, seed, prepare))
    assert report.blocks >= 10, (names, report.blocks)


def test_a_flood_of_future_views_leaves_little_in_memory() -> None:
    """G9: `held()`, and what waits for its view to come."""
    most = [0, 0]

    async def script(run: Run) -> None:
        while trio.current_time() < 12.0:
            await trio.sleep(0.5)
            for machine in run.alive:
                assert machine.node is not None
                host = machine.node.core.ordering.host
                waiting = sum(len(queue) for queue in host._deferred.values())
                most[0] = max(most[0], host.statistics().held)
                most[1] = max(most[1], waiting)

    spec = SimSpec(duration_s=12.0, byzantine=(1,))
    quiet = run_seeded(replace(spec, byzantine=()), 5)
    assert_ok(run_seeded(spec, 5, corrupt(1, "flooder"), script))
    assert most[1] <= 2000
    assert most[0] <= 5 * max(quiet.held_max, 60), most


def test_junk_in_a_batch_is_skipped_without_a_fee_and_the_rest_executes() -> None:
    skipped: list[int] = []

    async def script(run: Run) -> None:
        await trio.sleep(11.0)
        node = run.alive[0].node
        assert node is not None
        counters = node.status().counters
        skipped.append(counters["transactions_skipped"])
        assert counters["batches_void"] == 0

    spec = SimSpec(duration_s=12.0, byzantine=(2,))
    assert_ok(run_seeded(spec, 3, corrupt(2, "junk-packer"), script))
    assert skipped[0] > 10


def test_void_batches_are_refused_by_everybody_and_cost_their_collator_its_peers() -> None:
    banned: list[int] = []

    async def script(run: Run) -> None:
        await trio.sleep(11.0)
        for machine in run.alive:
            assert machine.node is not None
            assert machine.node.status().counters["batches_void"] == 0
            peers = [p.id for p in machine.node.peers() if p.validator == 2]
            banned.append(not peers)

    spec = SimSpec(duration_s=12.0, byzantine=(2,))
    assert_ok(run_seeded(spec, 4, corrupt(2, "void-packer"), script))
    assert all(banned)


def test_a_lying_peer_brings_a_straggler_no_false_block() -> None:
    """The liar claims to be far ahead, so it is asked first."""
    reasons: list[str] = []

    def prepare(world: World) -> None:
        corrupt(3, "liar")(world)

        def noted(machine: Machine, event: Emit) -> None:
            if event.event == "blocks_synced":
                reasons.append(machine.name)

        world.on_event.append(noted)

    async def script(run: Run) -> None:
        await trio.sleep(4.0)
        await run.kill(run.world.machines[0])
        await run.wait_for_height(run.height() + 2)
        # Two honest ones and the liar go on; then the straggler asks.
        await trio.sleep(12.0)
        await run.start(run.world.machines[0])
        await trio.sleep(6.0)

    spec = SimSpec(duration_s=12.0, byzantine=(3,))
    assert_ok(run_seeded(spec, 6, prepare, script))
    assert "node0" in reasons


def test_twins_of_more_than_a_third_fork_the_chain_and_are_named() -> None:
    """G13: a disagreement is seen, at least f+1 culprits are named, and nobody else.

    Validators 1 and 2 run twice, one pair on each side of a partition; each side has a quorum.
    """
    named: dict[int, None] = {}

    def prepare(world: World) -> None:
        for index in (1, 2):
            corrupt(index, "twins")(world)

        def noted(machine: Machine, event: Emit) -> None:
            culprit = event.data.get("culprit")
            if event.event == "offence" and machine.index in (0, 3) and isinstance(culprit, int):
                named[culprit] = None

        world.on_event.append(noted)

    async def script(run: Run) -> None:
        machines = run.world.machines
        await trio.sleep(2.0)
        # machines: 0 honest, 1, 2 culprits, 3 honest, 4, 5 their twins
        run.world.isolate([machines[0], machines[1], machines[2]])
        await trio.sleep(5.0)
        run.world.heal()
        await trio.sleep(5.0)

    spec = SimSpec(duration_s=12.0, byzantine=(1, 2), load_tx_s=2.0)
    report = run_seeded(spec, 9, prepare, script)
    assert report.broken(("agreement",)), "the twins failed to fork the chain"
    assert not report.broken(("only the guilty are accused",))
    assert sorted(named) == [1, 2]


def test_adversaries_refuse_a_chain_that_is_not_for_tests() -> None:
    run = Run(SimSpec(), 1)
    object.__setattr__(run.world.genesis, "name", "main")
    with pytest.raises(NotATestChainError, match="'main'"):
        corrupt(0, "nuller")(run.world)


@pytest.mark.chaos
@pytest.mark.parametrize("name", sorted(BEHAVIOURS))
def test_a_behaviour_over_many_seeds(name: str) -> None:
    for seed in range(300, 310):
        culprit = seed % 4
        spec = SimSpec(
            duration_s=20.0,
            byzantine=(culprit,),
            loss=0.03,
            parameters=sim_parameters(epoch_blocks=6),
            settle_s=30.0,
        )
        assert_ok(run_seeded(spec, seed, corrupt(culprit, name)))
