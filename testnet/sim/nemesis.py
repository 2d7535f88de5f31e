"""Kills and restarts over a run, one machine at a time: of four, a minority is one."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio

from p2pnode.ports import Lane
from p2pnode.types.messages import EngineItem, decode_frame
from testnet.sim.spec import SimSpec
from testnet.sim.world import CrashHere, Machine, World

CALM_S = 8.0
"""At the end of the run nobody is killed for so long."""

STEPS_MAX = 400
"""A crash between two steps strikes within so many steps of its machine."""


class Nemesis:
    """Kills machines at random times, or between random steps."""

    def __init__(
        self,
        world: World,
        spec: SimSpec,
        victims: list[Machine],
        start: Callable[[Machine], Awaitable[None]],
    ) -> None:
        """Take a world.

        Args:
            world: Its machines die.
            spec: How often, and how.
            victims: Who may die.
            start: Starts a machine again.
        """
        self._world = world
        self._spec = spec
        self._victims = victims
        self._start = start
        self._rng = random.Random(f"{world.seed}/nemesis")
        self.kills = 0
        self.crash_points: dict[str, int] = {}
        """Between which steps crashes struck."""

    async def run(self) -> None:
        """Kill and restart as often as the spec says."""
        rng = self._rng
        period = (self._spec.duration_s - CALM_S) / self._spec.kills
        for _ in range(self._spec.kills):
            await trio.sleep(rng.uniform(0.1, 0.4) * period)
            machine = self._victims[rng.randrange(len(self._victims))]
            steps = rng.randrange(1, STEPS_MAX)
            pause_s = rng.uniform(0.2, 0.5) * period
            if machine.node is None:
                continue
            if self._spec.crashes_at_effects:
                await self.crash_after(machine, steps)
            else:
                await self._world.kill(machine)
            self.kills += 1
            await trio.sleep(pause_s)
            await self._start(machine)

    async def crash_when_proposing(self, machine: Machine, patience_s: float = 15.0) -> None:
        """Crash a machine once its proposal has left for the first of its peers.

        A machine that does not propose in `patience_s` is killed.
        """
        proposed = False

        def tap(sender: bytes, receiver: bytes, lane: Lane, frame: bytes) -> None:
            nonlocal proposed
            proposed = proposed or (
                sender == machine.peer_id
                and any(isinstance(m, EngineItem) and m.payload for m in decode_frame(frame))
            )

        def before(of: Machine, where: str) -> None:
            if of is machine and proposed:
                self.crash_points[where] = self.crash_points.get(where, 0) + 1
                raise CrashHere

        assert machine.stopped is not None
        self._world.taps.append(tap)
        self._world.at_boundary = before
        with trio.move_on_after(patience_s):
            await machine.stopped.wait()
        self._world.at_boundary = None
        self._world.taps.remove(tap)
        if machine.node is not None:
            await self._world.kill(machine)
        self.kills += 1

    async def crash_after(self, machine: Machine, steps: int, patience_s: float = 5.0) -> None:
        """Crash a machine before its next step but `steps`.

        A step is an effect of its core, or a call to its store, log or network. A machine that
        does not get there in `patience_s` is killed.
        """
        left = steps

        def before(of: Machine, where: str) -> None:
            nonlocal left
            if of is machine:
                left -= 1
                if left == 0:
                    self.crash_points[where] = self.crash_points.get(where, 0) + 1
                    raise CrashHere

        assert machine.stopped is not None
        self._world.at_boundary = before
        with trio.move_on_after(patience_s):
            await machine.stopped.wait()
        self._world.at_boundary = None
        if machine.node is not None:
            await self._world.kill(machine)
