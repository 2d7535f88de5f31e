"""Every handler that others' bytes reach, by name, and one way to throw mutants at it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import trio
import trio.testing

from tests.fuzz import api, channel, core, network
from tests.fuzz.tally import Tally, resident_bytes

HANDLERS = (
    *(f"core {name}" for name in core.HANDLERS),
    *(f"net {name}" for name in network.HANDLERS),
    *(f"channel {name}" for name in channel.HANDLERS),
    *api.HANDLERS,
)
BLAMELESS = (
    *(f"core {name}" for name in core.BLAMELESS),
    *(f"net {name}" for name in network.BLAMELESS),
)
"""Handlers whose mutants cost nobody score: what is wrong there is a client's, or judged before."""


def throw(handler: str, mutants: int, seed: int) -> Tally:
    """Throw mutants at one handler, and then see an honest use of it succeed.

    Args:
        handler: One of `HANDLERS`.
        mutants: How many.
        seed: Decides everything.

    Raises:
        AssertionError: Something was taken, kept or answered that should not have been.
    """
    surface, _, kind = handler.partition(" ")
    started_s = time.process_time()
    if surface == "core":
        tally = _core(kind, mutants, seed)
    else:
        run = {"net": _network, "channel": _channel}.get(surface, _api)
        tally = trio.run(
            run,
            handler if run is _api else kind,
            mutants,
            seed,
            clock=trio.testing.MockClock(autojump_threshold=0),
        )
    tally.cpu_s = time.process_time() - started_s
    return tally


def _core(kind: str, mutants: int, seed: int) -> Tally:
    fuzz = core.CoreFuzz(seed)
    fuzz.throw(mutants // 10, kind)
    before, blamed = resident_bytes(), len(fuzz.cluster.penalties)
    fuzz.throw(mutants - mutants // 10, kind)
    tally = Tally(grown_bytes=resident_bytes() - before)
    report = fuzz.judge()
    tally.mutants, tally.passed = report.mutants[kind], report.passed[kind]
    tally.penalized = len(fuzz.cluster.penalties) - blamed
    return tally


async def _measured(
    throw: Callable[[str, int], Awaitable[None]], tally: Tally, kind: str, mutants: int
) -> None:
    await throw(kind, mutants // 10)
    before = resident_bytes()
    await throw(kind, mutants - mutants // 10)
    tally.grown_bytes = resident_bytes() - before


async def _network(kind: str, mutants: int, seed: int) -> Tally:
    async with network.network_fuzz(seed) as fuzz:
        await _measured(fuzz.throw, fuzz.tally, kind, mutants)
        await fuzz.judge()
    return fuzz.tally


async def _channel(kind: str, mutants: int, seed: int) -> Tally:
    fuzz = channel.ChannelFuzz(seed)
    await _measured(fuzz.throw, fuzz.tally, kind, mutants)
    await fuzz.judge()
    return fuzz.tally


async def _api(kind: str, mutants: int, seed: int) -> Tally:
    async with api.api_fuzz(seed) as fuzz:
        await _measured(fuzz.throw, fuzz.tally, kind, mutants)
        await fuzz.judge()
    return fuzz.tally
