"""RPCs of gossip that no honest peer sends: each is the sender's fault, and named."""

from __future__ import annotations

import pytest
import trio.testing

from p2pnode.net.libp2p.gossip import MalformedRpcError
from tests.fuzz.network import network_fuzz

BAD = b"\xff\xfe"
SUBSCRIPTION = b"\x0a\x06\x08\x01\x12\x02" + BAD
PUBLISHED = b"\x12\x04\x22\x02" + BAD
IHAVE = b"\x1a\x06\x0a\x04\x0a\x02" + BAD
GRAFT = b"\x1a\x06\x1a\x04\x0a\x02" + BAD
PRUNE = b"\x1a\x06\x22\x04\x0a\x02" + BAD


@pytest.mark.parametrize("rpc", [SUBSCRIPTION, PUBLISHED, IHAVE, GRAFT, PRUNE])
async def test_a_topic_that_is_no_utf8_is_the_senders_fault(
    rpc: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with network_fuzz(1) as fuzz:
        peer = fuzz.network._gossip._state.host.get_id()
        with pytest.raises(MalformedRpcError, match="UTF-8"):
            await fuzz.network._gossip._on_rpc(peer, rpc)
