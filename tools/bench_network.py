"""What the network on libp2p costs: CPU per published message, per frame and per request.

    python tools/bench_network.py [--nodes 4] [--seconds 5] [--json]

All nodes run in this process over 127.0.0.1, so that the CPU time of the process is theirs
together; figures are per node that handles a message, or per side.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trio

# Polling: what is waited for is a sum of counts of several nodes.
# ruff: noqa: ASYNC110
from p2pnode.net.libp2p import Libp2pNetwork, NetworkConfig
from p2pnode.ports import FrameReceived, Incoming, Lane, PeerConnected, Published, Verdict

CHAIN = hashlib.sha256(b"bench").digest()


class Node:
    """A network and counts of what it received."""

    def __init__(self, index: int, bootstrap: tuple[str, ...]) -> None:
        seed = hashlib.sha256(b"bench %d" % index).digest()
        self.network = Libp2pNetwork(NetworkConfig(seed=seed, chain=CHAIN, bootstrap=bootstrap))
        self.counts: dict[type, int] = {}
        self.network.subscribe("t", lambda peer, data: Verdict.ACCEPT)
        self.network.serve("echo", self._echo)

    async def _echo(self, peer: bytes, body: bytes) -> bytes:
        return body

    async def count(self) -> None:
        async for item in self.network.incoming:
            kind: type[Incoming] = type(item)
            self.counts[kind] = self.counts.get(kind, 0) + 1

    def got(self, kind: type) -> int:
        return self.counts.get(kind, 0)


@asynccontextmanager
async def connected(count: int) -> Any:
    """Run nodes, all connected to all."""
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        nodes: list[Node] = []
        for index in range(count):
            bootstrap = (nodes[0].network.address,) if nodes else ()
            nodes.append(Node(index, bootstrap))
            await nursery.start(nodes[-1].network.run)
            nursery.start_soon(nodes[-1].count)
        while any(node.got(PeerConnected) < count - 1 for node in nodes):
            await trio.sleep(0.05)
        await trio.sleep(2.5)  # meshes form, peer exchange settles
        yield nodes
        nursery.cancel_scope.cancel()


async def bench_gossip(nodes: Sequence[Node], size_bytes: int, rate: float, for_s: float) -> Any:
    """Publish at a rate from all nodes in turn."""
    before = sum(node.got(Published) for node in nodes)
    cpu_s, began_s = time.process_time(), time.perf_counter()
    sent = 0
    while time.perf_counter() - began_s < for_s:
        nodes[sent % len(nodes)].network.publish("t", os.urandom(size_bytes))
        sent += 1
        await trio.sleep(max(0.0, began_s + sent / rate - time.perf_counter()))
    wanted = sent * (len(nodes) - 1)
    with trio.move_on_after(3):
        while sum(node.got(Published) for node in nodes) - before < wanted:
            await trio.sleep(0.01)
    delivered = sum(node.got(Published) for node in nodes) - before
    return {
        "what": f"gossip, {len(nodes)} nodes, {size_bytes} B, {rate:g}/s",
        "cpu_ms_per_message_and_node": (time.process_time() - cpu_s) * 1000 / sent / len(nodes),
        "delivered_share": delivered / wanted,
    }


async def bench_lane(a: Node, b: Node, size_bytes: int, for_s: float, rate: float | None) -> Any:
    """Send frames: as many as go through, or at a rate."""
    before = b.got(FrameReceived)
    cpu_s, began_s = time.process_time(), time.perf_counter()
    sent = 0
    while (spent_s := time.perf_counter() - began_s) < for_s:
        if rate is None:
            # As many as may be under way without filling the queue.
            while sent - (b.got(FrameReceived) - before) < min(256, (8 << 20) // size_bytes):
                sent += a.network.send(b.network.peer_id, Lane.BULK, bytes(size_bytes))
            await trio.sleep(0.0005)
        else:
            sent += a.network.send(b.network.peer_id, Lane.VOTE, bytes(size_bytes))
            await trio.sleep(max(0.0, (sent / rate) - spent_s))
    with trio.move_on_after(3):
        while b.got(FrameReceived) - before < sent:
            await trio.sleep(0.01)
    spent_s = time.perf_counter() - began_s
    cpu_s = time.process_time() - cpu_s
    frames = b.got(FrameReceived) - before
    return {
        "what": f"lane, {size_bytes} B" + ("" if rate is None else f", {rate:g}/s"),
        "frames_per_s": frames / spent_s,
        "megabytes_per_s": frames * size_bytes / spent_s / 1e6,
        "cpu_ms_per_frame_and_side": cpu_s * 1000 / frames / 2,
        "delivered_share": frames / sent,
    }


async def bench_requests(a: Node, b: Node, at_once: int, for_s: float) -> Any:
    """Ask as fast as answers come."""
    answers = 0
    until_s = time.perf_counter() + for_s

    async def ask() -> None:
        nonlocal answers
        while time.perf_counter() < until_s:
            await a.network.request(b.network.peer_id, "echo", bytes(100), timeout_s=5)
            answers += 1

    cpu_s, began_s = time.process_time(), time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(ask)
    spent_s = time.perf_counter() - began_s
    return {
        "what": f"requests of 100 B, {at_once} at a time",
        "round_trips_per_s": answers / spent_s,
        "cpu_ms_per_round_trip_and_side": (time.process_time() - cpu_s) * 1000 / answers / 2,
    }


async def bench_idle(nodes: Sequence[Node], for_s: float) -> Any:
    """Do nothing but heartbeats and pings."""
    cpu_s = time.process_time()
    await trio.sleep(for_s)
    cpu_s = time.process_time() - cpu_s
    return {
        "what": f"idle, {len(nodes)} nodes",
        "cpu_ms_per_s_and_node": cpu_s * 1000 / for_s / len(nodes),
    }


async def bench(nodes_count: int, for_s: float, emit: Any) -> None:
    async with connected(nodes_count) as nodes:
        emit(await bench_idle(nodes, for_s))
        emit(await bench_gossip(nodes, 200, 50, for_s))
        emit(await bench_gossip(nodes, 30_000, 20, for_s))
        a, b = nodes[:2]
        emit(await bench_lane(a, b, 300, for_s, 200))
        emit(await bench_lane(a, b, 300, for_s, None))
        emit(await bench_lane(a, b, 1 << 16, for_s, None))
        emit(await bench_lane(a, b, 1 << 20, for_s, None))
        emit(await bench_requests(a, b, 1, for_s))
        emit(await bench_requests(a, b, 4, for_s))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=4, help="nodes, all connected to all")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each figure")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()

    def emit(result: dict[str, Any]) -> None:
        if arguments.json:
            print(json.dumps(result), flush=True)
            return
        figures = (f"{k} {v:.3g}" for k, v in result.items() if k != "what")
        print(f"{result['what']:36} {', '.join(figures)}", flush=True)

    trio.run(bench, arguments.nodes, arguments.seconds, emit)


if __name__ == "__main__":
    main()
