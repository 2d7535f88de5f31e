"""The network on libp2p keeps the contract of ports.Network."""

from __future__ import annotations

import pytest

from tests.e2e.net.libp2p_helpers import make
from tests.unit.net.network_contract import CONTRACT, Check


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_libp2p_network_keeps_the_contract(check: Check) -> None:
    await check(make)
