"""Random networks under random faults: everything at once, decided by the seed."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio

from p2pnode.net.links.profile import LinkProfile
from testnet.byzantine.registry import BEHAVIOURS, corrupt
from testnet.sim.report import SimReport
from testnet.sim.run import Run, SimSpec, run_seeded, sim_parameters
from testnet.sim.world import Machine, World


def random_spec(rng: random.Random) -> SimSpec:
    """Return a network: size, weights, links, load, epochs, and who is Byzantine."""
    validators = rng.choice([4, 4, 4, 5, 7])
    low_ms = rng.choice([1.0, 20.0, 60.0])
    byzantine: tuple[int, ...] = ()
    if rng.random() < 0.3:
        byzantine = (rng.randrange(validators),)
    powers: tuple[int, ...] = ()
    if rng.random() < 0.2 and not byzantine:
        powers = tuple(rng.randrange(1, 6) for _ in range(validators))
    return SimSpec(
        validators=validators,
        observers=rng.choice([0, 0, 1]),
        duration_s=25.0,
        load_tx_s=rng.choice([0.5, 5.0, 30.0]),
        latency_ms=(low_ms, low_ms * rng.choice([1.0, 4.0])),
        loss=rng.choice([0.0, 0.01, 0.05]),
        duplicate=rng.choice([0.0, 0.2]),
        byzantine=byzantine,
        powers=powers,
        parameters=sim_parameters(
            epoch_blocks=rng.choice([4, 8, 20]),
            block_interval_ms=rng.choice([50, 200, 500]),
            delta_ms=rng.choice([50, 250]),
        ),
        settle_s=90.0,
    )


def random_faults(rng: random.Random) -> Callable[[Run], Awaitable[None]]:
    """Return a script of faults; all of them are undone at its end."""

    async def script(run: Run) -> None:
        tolerated = (len(run.world.genesis.validators) - 1) // 3 - len(run.spec.byzantine)
        victims = [m for m in run.alive if m.validator_key is not None]
        while trio.current_time() < run.spec.duration_s:
            await trio.sleep(rng.uniform(0.2, 2.5))
            await _fault(run, rng, victims, tolerated)
        run.world.heal()
        run.world.hub.set_links(LinkProfile(*run.spec.latency_ms, loss=run.spec.loss))
        for machine in run.world.machines:
            machine.clock.skew_ms = 0

    return script


async def _fault(run: Run, rng: random.Random, victims: list[Machine], tolerated: int) -> None:
    machine = rng.choice(victims)
    dead = [m for m in victims if m.node is None]
    match rng.choice(["kill", "crash", "back", "all", "cut", "heal", "skew", "slow", "wipe"]):
        case "kill" if _has_signed(machine):
            await run.kill(machine)
        case "crash" if _has_signed(machine):
            await run.nemesis.crash_after(machine, rng.randrange(1, 300), patience_s=1.0)
            run.nemesis.kills += 1
        case "back" if dead:
            await run.start(rng.choice(dead))
        case "all" if rng.random() < 0.3 and all(map(_has_signed, victims)):
            for each in victims:
                await run.kill(each)
            for each in victims:
                await run.start(each)
        case "cut":
            other = rng.choice(run.world.machines)
            if other is not machine:
                run.world.hub.cut(machine.peer_id, other.peer_id)
        case "heal":
            run.world.heal()
        case "skew":
            machine.clock.skew_ms = rng.randrange(-2000, 2000)
        case "slow":
            high_ms = rng.choice([run.spec.latency_ms[1], 300.0, 900.0])
            run.world.hub.set_links(LinkProfile(high_ms / 2, high_ms, loss=run.spec.loss))
        case "wipe" if len(dead) == 1 and tolerated > 0 and _may_forget(run, victims, dead[0]):
            run.world.wipe(dead[0], store=rng.random() < 0.5)
            await run.start(dead[0])
        case _:
            pass


def _has_signed(machine: Machine) -> bool:
    """Tell whether a machine runs and may die: its log remembers something.

    One that never signed would come back as a newcomer, and observe if the chain is under way.
    """
    node = machine.node
    if node is None:
        return False
    return machine.lives > 1 or node.core.ordering.host.statistics().drafts_signed > 0


def _may_forget(run: Run, victims: list[Machine], dead: Machine) -> bool:
    """Tell whether a dead validator may lose its log.

    It observes to the end of the epoch: were more power to do so than may fail, the epoch might
    never end. Before the chain is under way nothing could tell it that it has forgotten.
    """
    powers = [v.power for v in run.world.genesis.validators]
    if powers[dead.index] > sum(powers) - (2 * sum(powers) // 3 + 1):
        return False
    observing = any(m.node is not None and m.node.status().observing for m in victims)
    return run.height() > 3 and not observing


def run_swarm(seed: int) -> SimReport:
    """Run one seed of the swarm."""
    rng = random.Random(f"swarm {seed}")
    spec = random_spec(rng)
    names = [rng.choice(sorted(BEHAVIOURS)) for _ in spec.byzantine]

    def prepare(world: World) -> None:
        for index, name in zip(spec.byzantine, names, strict=True):
            corrupt(index, name)(world)

    return run_seeded(spec, seed, prepare, random_faults(rng))
