"""Private networks over real sockets: who has the key is in, who lacks it sees noise."""

from __future__ import annotations

import logging

import pytest
import trio

from p2pnode.net.libp2p import Libp2pNetwork
from p2pnode.ports import FrameReceived, Lane, PeerConnected
from testnet.prepare import free_ports
from tests.e2e.net.libp2p_helpers import address_of, network

KEY, OTHER = b"k" * 32, b"o" * 32


async def until_connected(node: Libp2pNetwork) -> None:
    async for event in node.incoming:
        if isinstance(event, PeerConnected):
            return


async def test_nodes_with_the_key_talk_and_their_bytes_pass_whole() -> None:
    (port,) = free_ports(1)
    a = network(0, port=port, network_key=KEY)
    b = network(1, bootstrap=(address_of(0, port),), network_key=KEY)
    frame = bytes(range(256)) * 4000
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(a.run)
            await nursery.start(b.run)
            await until_connected(a)
            await until_connected(b)
            assert b.send(a.peer_id, Lane.BULK, frame)
            async for event in a.incoming:
                if isinstance(event, FrameReceived):
                    assert event.frame == frame
                    break
            assert a.peers()[0].address.startswith("/ip4/127.0.0.1/tcp/")
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [(KEY, b"", "no network key"), (KEY, OTHER, "another network key"), (b"", KEY, "no network")],
)
async def test_without_the_same_key_nobody_gets_in(
    ours: bytes, theirs: bytes, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    (port,) = free_ports(1)
    a = network(0, port=port, network_key=ours)
    # Dials end sooner than the handshake's own time-out.
    b = network(1, bootstrap=(address_of(0, port),), network_key=theirs, dial_timeout_s=1.0)
    caplog.set_level(logging.WARNING, "p2pnode.net")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(a.run)
            await nursery.start(b.run)
            while b.statistics().dials_failed < 2 or says not in caplog.text:  # noqa: ASYNC110
                await trio.sleep(0.05)
            assert a.peers() == b.peers() == ()
            nursery.cancel_scope.cancel()
