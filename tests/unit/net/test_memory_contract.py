"""The network in memory keeps the contract of ports.Network."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence

import pytest
import trio

from p2pnode.net.links.profile import LinkProfile
from p2pnode.net.memory import MemoryHub, MemoryNetwork
from p2pnode.net.virtual import VirtualTime
from p2pnode.ports import Network, PeerId
from tests.unit.net.network_contract import CONTRACT, Check, Factory


@pytest.fixture
def clock() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
async def make(clock: VirtualTime) -> AsyncIterator[Factory]:
    hub = MemoryHub(random.Random(1), LinkProfile(5, 40))
    bugs: list[tuple[PeerId, Exception]] = []
    hub.on_bug = lambda peer, error: bugs.append((peer, error))

    async def factory(count: int) -> Sequence[Network]:
        return [MemoryNetwork(hub, bytes([number]) * 38) for number in range(count)]

    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        yield factory
        nursery.cancel_scope.cancel()
    assert all(type(error) is KeyError for _, error in bugs)


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_contract(check: Check, make: Factory, clock: VirtualTime) -> None:
    await check(make)
