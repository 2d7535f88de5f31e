"""The same seed gives the same run, in every process (G10)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from testnet.sim.replay import Recorder, fresh_node, hash_of_effects, replay
from testnet.sim.run import Run, SimSpec, run_seeded
from testnet.sim.world import World
from tests.sim.scenes import assert_ok, kill_and_restart

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
from testnet.sim.command import main
code = main(["--seed", "7", "--for", "12s", "--kills", "1", "--loss", "0.02", "--json"])
loaded = [name for name in sys.modules if name.split(".")[0] == "libp2p"]
assert not loaded, loaded
sys.exit(code)
"""


def _summary(hash_seed: str) -> dict[str, object]:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    summary: dict[str, object] = json.loads(run.stdout.splitlines()[-1])
    return summary


def test_two_processes_under_two_hash_seeds_give_one_trace_and_never_load_libp2p() -> None:
    first, second = _summary("0"), _summary("4242")
    for name in ("cpu_s",):
        first.pop(name)
        second.pop(name)
    assert first == second
    assert len(str(first["trace_hash"])) == 64


def test_a_seed_repeats_in_one_process_and_another_seed_differs() -> None:
    spec = SimSpec(duration_s=10.0, loss=0.02, kills=1)
    hashes = [assert_ok(run_seeded(spec, seed)).trace_hash for seed in (3, 3, 4)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("seed", [5, 6])
def test_recorded_inputs_of_a_node_give_a_fresh_core_the_same_effects(seed: int) -> None:
    """Lock step: every input as its bytes, over two lives, against disks as they were."""
    recorders: list[Recorder] = []

    def prepare(world: World) -> None:
        recorders.append(Recorder(world, world.machines[1]))

    async def script(run: Run) -> None:
        await kill_and_restart(run, run.world.machines[1], 6.0, 2.0)

    spec = SimSpec(duration_s=16.0, loss=0.02)
    assert_ok(run_seeded(spec, seed, prepare, script))
    lives = recorders[0].lives
    assert len(lives) == 2
    for life in lives:
        assert len(life.effects) > 300
        assert replay(life) is None
    # The test can fail: one input left out, and the effects are others.
    del lives[0].inputs[len(lives[0].inputs) // 2]
    assert replay(lives[0]) is not None


def test_recovering_twice_gives_what_recovering_once_gives() -> None:
    """G8: the second recovery works on the disks that the first one left."""
    recorders: list[Recorder] = []

    def prepare(world: World) -> None:
        recorders.extend(Recorder(world, machine) for machine in world.machines)

    async def script(run: Run) -> None:
        await trio.sleep(7.3)
        for machine in run.world.machines:
            await run.kill(machine)
            await run.start(machine)

    assert_ok(run_seeded(SimSpec(duration_s=10.0, loss=0.01), 12, prepare, script))
    for recorder in recorders:
        life = recorder.lives[1]
        assert life.started is not None
        # `fresh_node` recovers on a copy of the disks that the recorded life had recovered on.
        again = hash_of_effects(fresh_node(life).core.start(*life.started))
        assert again == life.effects[0]
