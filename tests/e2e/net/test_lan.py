"""Nodes that know nothing of each other meet on a bridge, each in a namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.unit.net.test_lan import PEER, answer

ROOT = Path(__file__).resolve().parents[3]
NAMES = [f"p2pn{os.getpid() % 10000}-{n}" for n in range(4)]
BRIDGE = NAMES[3]
"""A namespace that holds the bridge, so that the machine's own interfaces stay as they are."""

SHOUT = """
import socket, struct, sys, time
group = ("224.0.0.251", 5353)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.77.0.3"))
packets = [bytes.fromhex(line) for line in sys.stdin.read().split()]
for _ in range(40):
    for packet in packets:
        sock.sendto(packet, group)
    time.sleep(0.05)
"""


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@pytest.fixture
def lan() -> Iterator[list[str]]:
    """Make a bridge with three namespaces, 10.77.0.1 to 10.77.0.3, or skip."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    made = []
    try:
        try:
            for name in NAMES:
                ip("netns", "add", name)
                made.append(name)
            ip("-n", BRIDGE, "link", "add", "br0", "type", "bridge")
            ip("-n", BRIDGE, "link", "set", "br0", "up")
            for number, name in enumerate(NAMES[:3], 1):
                port = f"port{number}"
                ip("-n", BRIDGE, "link", "add", port, "type", "veth", "peer", "eth0", "netns", name)
                ip("-n", BRIDGE, "link", "set", port, "master", "br0", "up")
                ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
                ip("-n", name, "link", "set", "eth0", "up")
                ip("-n", name, "link", "set", "lo", "up")
        except OSError as error:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        yield NAMES[:3]
    finally:
        for name in made:
            ip("netns", "del", name)


def command(namespace: str, *words: str) -> list[str]:
    return ["ip", "netns", "exec", namespace, sys.executable, *words]


async def start(name: str, index: int, peers_count: int, nursery: trio.Nursery) -> trio.Process:
    words = command(name, "-m", "tests.e2e.net.lan_peer", str(index), str(peers_count))
    pipe = subprocess.PIPE
    run = partial(trio.run_process, words, stdin=pipe, stdout=pipe, cwd=ROOT, check=False)
    process: trio.Process = await nursery.start(run)
    assert await line(process) == "ready"
    return process


async def line(process: trio.Process) -> str:
    assert process.stdout is not None
    data = b""
    while not data.endswith(b"\n"):
        more = await process.stdout.receive_some(1)
        if not more:
            break
        data += more
    return data.decode().strip()


async def test_three_nodes_that_know_nobody_find_each_other(lan: list[str]) -> None:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nodes = [await start(name, i, 2, nursery) for i, name in enumerate(lan)]
            for number, node in enumerate(nodes, 1):
                others = [f"10.77.0.{n}" for n in (1, 2, 3) if n != number]
                assert (await line(node)).split() == ["found", *others]
            nursery.cancel_scope.cancel()


async def test_responder_that_sends_nonsense_disturbs_nobody(lan: list[str]) -> None:
    good = answer("/ip4/10.77.0.3/tcp/4001")
    packets = [b"", b"\0" * 12, b"\xff" * 1400, good[:-20], good.replace(PEER.encode(), b"x" * 52)]
    packets += [answer("/ip4/127.0.0.1/tcp/22"), answer("/ip4/8.8.8.8/tcp/1"), good]
    text = "\n".join(packet.hex() for packet in packets if packet)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            shout = partial(trio.run_process, command(lan[2], "-c", SHOUT), stdin=text.encode())
            nursery.start_soon(shout)
            nodes = [await start(name, i, 1, nursery) for i, name in enumerate(lan[:2])]
            for number, node in enumerate(nodes):
                assert await line(node) == f"found 10.77.0.{2 - number}"
            nursery.cancel_scope.cancel()
