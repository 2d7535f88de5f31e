"""What is run against each mutant: a few seeded runs, each chosen to put some rules to the test.

    python tests/mutants/probes.py NAME …

prints a JSON object, probe to the checks violated; run in a copy of the source tree.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])

import trio

from p2pnode.net.links.profile import LinkProfile
from p2pnode.store.memory import MemoryFile, MemoryLog
from testnet.byzantine.registry import corrupt
from testnet.sim.report import SimReport
from testnet.sim.run import Run, SimSpec, run_seeded, sim_parameters

QUICK = SimSpec(duration_s=12.0, loss=0.01)


def plain() -> SimReport:
    """Load and loss, nothing else."""
    return run_seeded(QUICK, 1)


def kills() -> SimReport:
    """Kills under load, with loss and short epochs."""
    spec = SimSpec(duration_s=25.0, loss=0.05, kills=4, parameters=sim_parameters(epoch_blocks=6))
    return run_seeded(spec, 2)


def slow() -> SimReport:
    """Timeouts as short as the delays: views are nullified while they are being notarized."""
    spec = SimSpec(
        duration_s=40.0,
        loss=0.05,
        parameters=sim_parameters(delta_ms=30),
        settle_s=40.0,
    )
    return run_seeded(spec, 1)


def crashes() -> SimReport:
    """Crashes at the first steps of lives, and in their middle."""

    async def script(run: Run) -> None:
        await trio.sleep(2.0)
        for turn in range(60):
            machine = run.world.machines[turn % 2]
            steps = turn + 1 if turn % 3 else 30 + 17 * turn % 160
            await run.nemesis.crash_after(machine, steps, patience_s=2.0)
            await trio.sleep(0.05)
            await run.start(machine)

    return run_seeded(SimSpec(duration_s=5.0, loss=0.01), 4, script=script)


def proposers_die() -> SimReport:
    """Each validator dies twice with its proposal half sent, and is back at once."""

    async def script(run: Run) -> None:
        await trio.sleep(2.0)
        for turn in range(8):
            machine = run.world.machines[turn % 4]
            await run.nemesis.crash_when_proposing(machine)
            await run.start(machine)
            await trio.sleep(1.0)

    return run_seeded(SimSpec(duration_s=5.0), 4, script=script)


def crashes_alone() -> SimReport:
    """One validator crashes at the first steps of its lives."""

    async def script(run: Run) -> None:
        await trio.sleep(2.0)
        for step in range(1, 50):
            await run.nemesis.crash_after(run.world.machines[0], step, patience_s=2.0)
            await run.start(run.world.machines[0])

    spec = SimSpec(validators=1, engine="solo", duration_s=5.0, load_tx_s=2.0)
    return run_seeded(spec, 21, script=script)


def old_log() -> SimReport:
    """A validator dies with its proposal half sent; an older copy of its log is put in place."""

    async def script(run: Run) -> None:
        for turn in range(8):
            machine = run.world.machines[turn % 4]
            await run.kill(machine)
            old = machine.log.file.load()
            await run.start(machine)
            await run.wait_for_height(run.height() + 3)
            await trio.sleep(0.15)
            await run.nemesis.crash_when_proposing(machine)
            machine.log = MemoryLog(MemoryFile(old))
            await run.start(machine)
            await run.wait_for_height(run.height() + 17)  # it observes to the end of an epoch

    spec = SimSpec(duration_s=8.0, loss=0.01, parameters=sim_parameters(epoch_blocks=16))
    return run_seeded(spec, 5, script=script)


def straggler_and_liar() -> SimReport:
    """A node comes back; the nearest peer, furthest ahead by its own account, lies."""

    async def script(run: Run) -> None:
        straggler, liar = run.world.machines[0].peer_id, run.world.machines[3].peer_id
        for ends in ((straggler, liar), (liar, straggler)):
            run.world.hub.set_link(*ends, LinkProfile(1.0, 1.0))
        await trio.sleep(3.0)
        await run.kill(run.world.machines[0])
        await trio.sleep(10.0)
        await run.start(run.world.machines[0])
        await trio.sleep(5.0)

    spec = SimSpec(duration_s=8.0, byzantine=(3,))
    return run_seeded(spec, 6, corrupt(3, "liar"), script)


def hurried_skipper() -> SimReport:
    """Proposals follow so fast that their parents are notarized, not final; one of four skips."""
    spec = SimSpec(
        duration_s=15.0,
        byzantine=(1,),
        load_tx_s=30.0,
        parameters=sim_parameters(block_interval_ms=1, batch_wait_ms=5),
        settle_s=25.0,
    )
    return run_seeded(spec, 8, corrupt(1, "skipper"))


def against(name: str, culprit: int = 0, *, seed: int = 7) -> Callable[[], SimReport]:
    """Return a run in which one of four is Byzantine."""

    def probe() -> SimReport:
        spec = SimSpec(duration_s=12.0, byzantine=(culprit,), loss=0.01, settle_s=25.0)
        return run_seeded(spec, seed, corrupt(culprit, name))

    return probe


PROBES: Final[Mapping[str, Callable[[], SimReport]]] = {
    "plain": plain,
    "kills": kills,
    "slow": slow,
    "crashes": crashes,
    "crashes-alone": crashes_alone,
    "proposers-die": proposers_die,
    "hurried-skipper": hurried_skipper,
    "old-log": old_log,
    "straggler-and-liar": straggler_and_liar,
    **{
        name: against(name)
        for name in (
            "bad-payload",
            "double-voter",
            "equivocator",
            "flooder",
            "forger",
            "framer",
            "junk-packer",
            "relister",
            "result-equivocator",
            "void-packer",
        )
    },
}


def run_probe(name: str) -> dict[str, str]:
    """Return the checks that a probe violates, each with its first detail."""
    found: dict[str, str] = {}
    for violation in PROBES[name]().violations:
        found.setdefault(violation.check, violation.detail)
    return found


def main(names: list[str]) -> int:
    """Run probes until one is violated."""
    found = {}
    for name in names:
        found[name] = run_probe(name)
        if found[name]:
            break
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
