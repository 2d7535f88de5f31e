"""What the network on libp2p costs: CPU per published message, per frame and per request.

    python tools/bench_network.py [--stack stock|own|both] [--nodes 4 7] [--seconds 5] [--json]

Stacks: `stock` has libp2p's Noise and Yamux below our network, `own` has ours; `both` runs one
after the other and tells how they compare. Beside `stock`, gossip is measured on libp2p as it
comes, with its own pubsub.

All nodes run in this process over 127.0.0.1, so that the CPU time of the process is theirs
together; figures are per node that handles a message, or per side.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trio

# Polling: what is waited for is a sum of counts of several nodes.
# ruff: noqa: ASYNC110
from p2pnode.net.config import RATES, NetworkLimits
from p2pnode.net.libp2p import Libp2pNetwork, NetworkConfig
from p2pnode.net.libp2p.host import listen, make_host
from p2pnode.net.rates import Rate
from p2pnode.ports import FrameReceived, Incoming, Lane, PeerConnected, Published, Verdict

CHAIN = hashlib.sha256(b"bench").digest()

AS_FAST_AS_IT_GOES = NetworkLimits(
    rates=dict.fromkeys(RATES, Rate(1e12, 1e9)), strangers={}, streams_opened_max=1_000_000
)
"""A peer is slowed at far less than what is measured here."""

COMPARED: Final = {
    "cpu_ms_per_message_and_node": "cost",
    "cpu_ms_per_frame_and_side": "cost",
    "cpu_ms_per_round_trip_and_side": "cost",
    "cpu_ms_per_s_and_node": "cost",
    "cpu_ms_per_megabyte": "cost",
    "round_trips_per_s": "speed",
    "streams_per_s": "speed",
    "megabytes_per_s": "speed",
}
"""What is put into proportion, own to stock: less is better of costs."""

Emit = Callable[[dict[str, Any]], None]


def seed_of(index: int) -> bytes:
    return hashlib.sha256(b"bench %d" % index).digest()


class Node:
    """A network and counts of what it received."""

    def __init__(self, index: int, bootstrap: tuple[str, ...], own_channel: bool) -> None:
        self.network = Libp2pNetwork(
            NetworkConfig(
                seed=seed_of(index),
                chain=CHAIN,
                bootstrap=bootstrap,
                own_channel=own_channel,
                limits=AS_FAST_AS_IT_GOES,
            )
        )
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
async def connected(count: int, own_channel: bool) -> AsyncIterator[list[Node]]:
    """Run nodes, all connected to all."""
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        nodes: list[Node] = []
        for index in range(count):
            bootstrap = (nodes[0].network.address,) if nodes else ()
            nodes.append(Node(index, bootstrap, own_channel))
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
                if not a.network.send(b.network.peer_id, Lane.BULK, bytes(size_bytes)):
                    break  # its queue is full, or the peer lost: the loop has to turn
                sent += 1
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


class RawPair:
    """Two hosts and one connection, used without anything of ours above the muxer."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.sunk_bytes = 0
        self.is_echo = True

    async def on_stream(self, net_stream: Any) -> None:
        stream = net_stream.muxed_stream
        try:
            while True:
                data = await stream.read(1 << 18)
                if self.is_echo:
                    await stream.write(data)
                else:
                    self.sunk_bytes += len(data)
        except Exception:
            return  # the end of the stream, by whatever name

    async def open(self) -> Any:
        return (await self.connection.new_stream()).muxed_stream


@asynccontextmanager
async def raw_pair(own_channel: bool) -> AsyncIterator[RawPair]:
    from libp2p.tools.anyio_service import background_trio_service
    from multiaddr import Multiaddr

    pair = RawPair(None)
    configs = [
        NetworkConfig(seed_of(i), CHAIN, own_channel=own_channel, limits=AS_FAST_AS_IT_GOES)
        for i in range(2)
    ]
    (_, dialler), (host, listener) = [make_host(config, pair.on_stream) for config in configs]
    async with background_trio_service(dialler), background_trio_service(listener):
        (address,) = await listen(listener, ["/ip4/127.0.0.1/tcp/0"])
        pair.connection = await dialler.dial_addr(Multiaddr(address), host.get_id())
        yield pair
        await dialler.shut()
        await listener.shut()


async def bench_streams(pair: RawPair, for_s: float, emit: Emit) -> None:
    """Measure a kept-open stream, a stream in bulk, and opening streams."""
    stream = await pair.open()
    cpu_s, began_s, count = time.process_time(), time.perf_counter(), 0
    while time.perf_counter() - began_s < for_s:
        await stream.write(bytes(100))
        got = 0
        while got < 100:
            got += len(await stream.read(1 << 16))
        count += 1
    emit(
        {
            "what": "stream kept open, 100 B there and back",
            "round_trips_per_s": count / (time.perf_counter() - began_s),
            "cpu_ms_per_round_trip_and_side": (time.process_time() - cpu_s) * 1000 / count / 2,
        }
    )
    began_s, count = time.perf_counter(), 0
    while time.perf_counter() - began_s < for_s:
        short = await pair.open()
        await short.write(b"x")
        await short.read(1)
        await short.reset()
        count += 1
    emit(
        {
            "what": "new stream, 1 B there and back",
            "streams_per_s": count / (time.perf_counter() - began_s),
        }
    )
    await stream.reset()
    pair.is_echo = False
    for size_bytes in (1 << 16, 1 << 20):
        stream, data, sent_bytes, pair.sunk_bytes = await pair.open(), bytes(size_bytes), 0, 0
        cpu_s, began_s = time.process_time(), time.perf_counter()
        while time.perf_counter() - began_s < for_s:
            await stream.write(data)
            sent_bytes += size_bytes
        while pair.sunk_bytes < sent_bytes:
            await trio.sleep(0.001)
        emit(
            {
                "what": f"stream, bulk, pieces of {size_bytes} B",
                "megabytes_per_s": sent_bytes / (time.perf_counter() - began_s) / 1e6,
                "cpu_ms_per_megabyte": (time.process_time() - cpu_s) * 1e9 / sent_bytes,
            }
        )
        await stream.reset()


async def bench_libp2p_gossip(count: int, size_bytes: int, rate: float, for_s: float) -> Any:
    """Publish on libp2p as it comes, full mesh, with only the defaults changed that break it."""
    from libp2p import new_host
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.custom_types import TProtocol
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from libp2p.pubsub.gossipsub import GossipSub
    from libp2p.pubsub.pubsub import Pubsub
    from libp2p.tools.anyio_service import background_trio_service
    from multiaddr import Multiaddr

    got = 0

    async def count_messages(subscription: Any) -> None:
        nonlocal got
        while True:
            await subscription.get()
            got += 1

    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        hosts, pubsubs = [], []
        for index in range(count):
            host = new_host(key_pair=create_new_key_pair(seed_of(index)))
            await stack.enter_async_context(host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]))
            router = GossipSub(
                [TProtocol("/meshsub/1.1.0")],
                degree=6,
                degree_low=5,
                degree_high=12,
                heartbeat_interval=1,
                spam_protection_enabled=False,
            )
            pubsub = Pubsub(host, router)
            await stack.enter_async_context(background_trio_service(pubsub))
            await stack.enter_async_context(background_trio_service(router))
            await pubsub.wait_until_ready()
            nursery.start_soon(count_messages, await pubsub.subscribe("t"))
            for other in hosts:
                await host.connect(info_from_p2p_addr(other.get_addrs()[0]))
            hosts.append(host)
            pubsubs.append(pubsub)
        await trio.sleep(3)
        cpu_s, began_s, sent = time.process_time(), time.perf_counter(), 0
        while time.perf_counter() - began_s < for_s:
            await pubsubs[sent % count].publish("t", os.urandom(size_bytes))
            sent += 1
            await trio.sleep(max(0.0, began_s + sent / rate - time.perf_counter()))
        with trio.move_on_after(3):
            while got < sent * count:
                await trio.sleep(0.01)
        result = {
            "what": f"gossip of libp2p as it comes, {count} nodes, {size_bytes} B, {rate:g}/s",
            "cpu_ms_per_message_and_node": (time.process_time() - cpu_s) * 1000 / sent / count,
            "delivered_share": got / (sent * count),
        }
        for host in hosts:
            await host.close()
        nursery.cancel_scope.cancel()
    return result


async def bench_raw(for_s: float, own_channel: bool, emit: Emit) -> None:
    async with raw_pair(own_channel) as pair:
        await bench_streams(pair, for_s, emit)


def medians(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure over the rounds of one measurement."""
    numbers = {k: statistics.median(r[k] for r in rounds) for k in rounds[0] if k != "what"}
    return {"what": rounds[0]["what"], "rounds": len(rounds), **numbers}


async def bench(nodes_counts: Sequence[int], for_s: float, own_channel: bool, emit: Emit) -> None:
    for nodes_count in nodes_counts:
        async with connected(nodes_count, own_channel) as nodes:
            emit(await bench_idle(nodes, for_s))
            emit(await bench_gossip(nodes, 200, 50, for_s))
            emit(await bench_gossip(nodes, 30_000, 20, for_s))
            if nodes_count != nodes_counts[0]:
                continue
            a, b = nodes[:2]
            emit(await bench_lane(a, b, 300, for_s, 200))
            emit(await bench_lane(a, b, 300, for_s, None))
            emit(await bench_lane(a, b, 1 << 16, for_s, None))
            emit(await bench_lane(a, b, 1 << 20, for_s, None))
            emit(await bench_requests(a, b, 1, for_s))
            emit(await bench_requests(a, b, 4, for_s))


def run(function: Any, *arguments: Any) -> Any:
    """Run one part; libp2p's services raise while they are taken down."""
    result = None

    async def keep() -> None:
        nonlocal result
        result = await function(*arguments)

    try:
        trio.run(keep)
    except* Exception as group:
        if result is None and function not in (bench, bench_raw):
            raise
        print(f"(taken down with {group.exceptions[0]!r})", file=sys.stderr)
    return result


def compare(stock: dict[str, dict[str, Any]], own: dict[str, dict[str, Any]], emit: Emit) -> None:
    """Put the figures of the two stacks into proportion."""
    for what, theirs in stock.items():
        for name in COMPARED:
            ours = own.get(what.replace(" of libp2p as it comes", ""), {})
            if name in theirs and name in ours:
                emit(
                    {
                        "what": what,
                        "stack": "own / stock",
                        f"times_{name}": ours[name] / theirs[name],
                    }
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack", choices=("stock", "own", "both"), default="own")
    parser.add_argument(
        "--nodes",
        type=int,
        nargs="+",
        default=[4],
        help="nodes, all connected to all; 0 measures streams only",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of streams, the stacks in turn")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each figure")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()

    def emit(result: dict[str, Any]) -> None:
        if arguments.json:
            print(json.dumps(result), flush=True)
            return
        figures = (f"{k} {v:.3g}" for k, v in result.items() if k not in ("what", "stack"))
        print(f"{result['stack']:12} {result['what']:48} {', '.join(figures)}", flush=True)

    stacks = ("stock", "own") if arguments.stack == "both" else (arguments.stack,)
    # In turn, because what else the machine does changes over minutes.
    raw: dict[str, dict[str, list[dict[str, Any]]]] = {stack: {} for stack in stacks}
    for _ in range(arguments.rounds):
        for stack in stacks:

            def note(result: dict[str, Any], *, kept: Any = raw[stack]) -> None:
                kept.setdefault(result["what"], []).append(result)

            run(bench_raw, arguments.seconds, stack == "own", note)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for stack in stacks:
        kept = results[stack] = {}

        def keep(
            result: dict[str, Any], *, stack: str = stack, kept: dict[str, Any] = kept
        ) -> None:
            kept[result["what"]] = result
            emit({"stack": stack, **result})

        for rounds in raw[stack].values():
            keep(medians(rounds))
        if arguments.nodes == [0]:
            continue
        run(bench, arguments.nodes, arguments.seconds, stack == "own", keep)
        if stack == "stock":
            for count in arguments.nodes:
                keep(run(bench_libp2p_gossip, count, 200, 50, arguments.seconds))
                keep(run(bench_libp2p_gossip, count, 30_000, 20, arguments.seconds))
    if arguments.stack == "both":
        compare(results["stock"], results["own"], emit)


if __name__ == "__main__":
    main()
