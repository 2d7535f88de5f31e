"""A node that knows nobody and looks on the local network: run in a namespace by test_lan.py."""

from __future__ import annotations

import sys

import trio

from p2pnode.ports import PeerConnected
from tests.e2e.net.libp2p_helpers import network


async def main(index: int, peers_count: int) -> None:
    node = network(index, listen=("/ip4/0.0.0.0/tcp/4001",), lan=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        print("ready", flush=True)
        connected: set[bytes] = set()
        while len(connected) < peers_count:
            item = await node.incoming.receive()
            if isinstance(item, PeerConnected):
                connected.add(item.peer)
        print("found", *sorted(p.address.split("/")[2] for p in node.peers()), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]))
