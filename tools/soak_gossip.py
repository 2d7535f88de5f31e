"""Publishes for an hour between nodes of their own processes, and watches their memory.

    python tools/soak_gossip.py [--nodes 4] [--rate 50] [--for 1h] [--size 2000] [--json]

Nothing may grow with time: messages seen, meshes, history and queues all have bounds that are
reached within minutes. After a warm-up of a tenth of the time a line is fitted through each node's
resident memory; a slope above --growth fails the soak, as does a message that did not arrive.
Traffic goes over 127.0.0.1, all nodes connected to all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
import trio

from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.node.peer_ids import peer_id_text
from p2pnode.node.units import parse_duration
from testnet.prepare import free_ports

CHAIN: Final = hashlib.sha256(b"soak").digest()
TOPIC: Final = "t"
SETTLE_S: Final = 5.0
"""From the start to the first message, and from the last one to the count."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak, or one of its nodes; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--rate", type=float, default=50.0, help="messages a second, all nodes")
    parser.add_argument("--for", dest="for_s", type=parse_duration, default=3600.0, metavar="1h")
    parser.add_argument("--size", type=int, default=2000, help="mean size of a message in bytes")
    parser.add_argument("--samples", type=int, default=60, help="looks at the memory")
    parser.add_argument("--growth", type=float, default=8.0, help="MiB an hour that still pass")
    parser.add_argument("--json", action="store_true", help="everything again, as the last line")
    parser.add_argument("--node", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.node is not None:
        trio.run(run_node, arguments.node)
        return 0
    return soak(arguments)


# --- one node -----------------------------------------------------------------------------------


def seed_of(index: int) -> bytes:
    return hashlib.sha256(b"soak %d" % index).digest()


async def run_node(plan: dict[str, Any]) -> None:
    """Publish our share, count what comes, print a line of JSON for every sample."""
    from p2pnode.net.libp2p import Libp2pNetwork, NetworkConfig
    from p2pnode.ports import Published, Verdict

    index, ports = plan["index"], plan["ports"]
    first = peer_id_text(peer_id_of(SecretKey(seed_of(0)).public))
    bootstrap = (f"/ip4/127.0.0.1/tcp/{ports[0]}/p2p/{first}",) if index else ()
    network = Libp2pNetwork(
        NetworkConfig(seed=seed_of(index), chain=CHAIN, port=ports[index], bootstrap=bootstrap)
    )
    network.subscribe(TOPIC, lambda peer, data: Verdict.ACCEPT)
    process = psutil.Process()
    received = sent = 0

    async def receive() -> None:
        nonlocal received
        async for item in network.incoming:
            received += isinstance(item, Published)

    async def publish() -> None:
        nonlocal sent
        period_s = len(ports) / plan["rate"]
        begin_s = trio.current_time() + SETTLE_S + period_s * index / len(ports)
        due = int(plan["for_s"] / period_s)
        for number in range(due):
            await trio.sleep_until(begin_s + number * period_s)
            # Sizes from an eighth of the mean to almost twice of it, none of them alike.
            size = plan["size"] // 8 + (number * 7919) % (plan["size"] * 7 // 4)
            network.publish(TOPIC, os.urandom(size))
            sent += 1

    def report() -> None:
        row = {"rss": process.memory_info().rss, "cpu_s": time.process_time()}
        row |= {"received": received, "sent": sent, "peers": network.statistics().peers_count}
        row |= {"dropped": network.libp2p_statistics().gossip_dropped}
        print(json.dumps(row), flush=True)

    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        nursery.start_soon(receive)
        nursery.start_soon(publish)
        begin_s = trio.current_time() + SETTLE_S
        for number in range(plan["samples"] + 1):
            await trio.sleep_until(begin_s + number * plan["for_s"] / plan["samples"])
            report()
        await trio.sleep(SETTLE_S)
        report()
        nursery.cancel_scope.cancel()


# --- all of them --------------------------------------------------------------------------------


def soak(arguments: argparse.Namespace) -> int:
    """Start the nodes, print what they tell, and judge."""
    ports = free_ports(arguments.nodes)
    plan = {"ports": ports, "rate": arguments.rate, "for_s": arguments.for_s}
    plan |= {"size": arguments.size, "samples": arguments.samples}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--node", json.dumps({**plan, "index": index})],
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(arguments.nodes)
    ]
    try:
        samples = _collect(processes, arguments)
    finally:
        for process in processes:
            process.terminate()
            process.wait()
    return _judge(samples, arguments)


def _collect(processes: Sequence[Any], arguments: argparse.Namespace) -> list[list[dict[str, Any]]]:
    print("minute  received/node   memory of each node in MiB", flush=True)
    samples: list[list[dict[str, Any]]] = []
    for number in range(arguments.samples + 2):
        lines = [process.stdout.readline() for process in processes]
        if not all(lines):
            raise SystemExit("a node has ended")
        rows = [json.loads(line) for line in lines]
        samples.append(rows)
        minute = min(number, arguments.samples) * arguments.for_s / arguments.samples / 60
        memory = "  ".join(f"{row['rss'] / 2**20:6.1f}" for row in rows)
        print(f"{minute:6.1f}  {rows[0]['received']:13}   {memory}", flush=True)
    return samples


def _judge(samples: Sequence[Sequence[dict[str, Any]]], arguments: argparse.Namespace) -> int:
    last = samples[-1]
    sent = sum(row["sent"] for row in last)
    missed = sum(sent - row["sent"] - row["received"] for row in last)
    steady = samples[len(samples) // 10 : -1]
    hours = [n * arguments.for_s / arguments.samples / 3600 for n in range(len(steady))]
    growth = [
        statistics.linear_regression(hours, [rows[i]["rss"] / 2**20 for rows in steady]).slope
        for i in range(arguments.nodes)
    ]
    cpu_s = sum(row["cpu_s"] for row in last) - sum(row["cpu_s"] for row in samples[0])
    result = {
        "messages": sent,
        "missed": missed,
        "dropped": sum(row["dropped"] for row in last),
        "growth_mib_per_hour": [round(slope, 2) for slope in growth],
        "memory_mib": [round(row["rss"] / 2**20, 1) for row in last],
        "cpu_ms_per_message_and_node": round(cpu_s * 1000 / sent / arguments.nodes, 3),
    }
    for name, value in result.items():
        print(f"{name:28} {value}", flush=True)
    if arguments.json:
        print(json.dumps({**result, "samples": samples}))
    return 1 if missed or max(growth) > arguments.growth else 0


if __name__ == "__main__":
    sys.exit(main())
