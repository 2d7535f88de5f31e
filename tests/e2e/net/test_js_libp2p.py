"""js-libp2p as peer of a node with our channel and muxer: both dial, stream and gossip."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from p2pnode.net.libp2p import Libp2pNetwork
from p2pnode.ports import PeerConnected, Published, Verdict
from tests.e2e.net.libp2p_helpers import CHAIN, network
from tests.unit.net.network_contract import running, take, until

ROOT = Path(__file__).resolve().parents[3]
PEER = ROOT / "tests" / "interop" / "js_libp2p"
PROTOCOL = f"/p2pnode/{CHAIN.hex()[:16]}"
SIZE = 900_000


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise OSError(f"{command[0]} {command[1]}: {done.stderr.strip()[-300:]}")
    return done.stdout


def installed() -> Path:
    """Return a folder with the peer and its packages, from the cache or from the registry."""
    lock = (PEER / "package-lock.json").read_bytes()
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    folder = cache / f"js-libp2p-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not folder.exists():
        fresh = cache / f"js-libp2p-{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        try:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(PEER / name, fresh)
            flags = ("--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0")
            run("npm", "ci", *flags, cwd=fresh)
            if not folder.exists():
                fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    for name in ("peer.mjs", "polyfill.mjs"):
        shutil.copy(PEER / name, folder)
    return folder


@pytest.fixture(scope="module")
def folder() -> Path:
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on this machine")
    version = run("node", "--version", cwd=ROOT).strip()
    if int(version.removeprefix("v").split(".")[0]) < 20:
        pytest.skip(f"node {version} is older than 20")
    try:
        return installed()
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"the npm registry can't be used: {error}")


class JsPeer:
    """A process with js-libp2p in it, which takes one order at a time."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._buffer = b""
        self.address = ""
        self.messages: list[tuple[str, bytes]] = []

    async def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            data = await self._process.stdout.receive_some()
            assert data, "the js peer has ended"
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        decoded: dict[str, Any] = json.loads(line)
        return decoded

    def _note(self, line: dict[str, Any]) -> None:
        if line.get("event") == "message":
            self.messages.append((line["topic"], bytes.fromhex(line["data"])))

    async def start(self) -> None:
        line = await self._line()
        assert line["event"] == "ready"
        self.address = line["address"]

    async def order(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps({"do": do, **arguments}).encode() + b"\n")
        while True:
            line = await self._line()
            assert "error" not in line, line["error"]
            if "answer" in line:
                answer: dict[str, Any] = line["answer"]
                return answer
            self._note(line)

    async def message(self) -> tuple[str, bytes]:
        while not self.messages:
            self._note(await self._line())
        return self.messages.pop(0)


@asynccontextmanager
async def js_peer(folder: Path) -> AsyncIterator[JsPeer]:
    process = await trio.lowlevel.open_process(
        ["node", "--no-warnings", "--import", "./polyfill.mjs", "peer.mjs"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    peer = JsPeer(process)
    try:
        with trio.fail_after(60):
            await peer.start()
        yield peer
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                await pipe.aclose()


async def echo(peer: bytes, body: bytes) -> bytes:
    return body


def accept(peer: bytes, data: bytes) -> Verdict:
    return Verdict.ACCEPT


def ours(**changes: Any) -> Libp2pNetwork:
    node = network(0, own_channel=True, **changes)
    node.serve("echo", echo)
    node.subscribe("tx/0", accept)
    return node


async def gossip_both_ways(node: Libp2pNetwork, js: JsPeer) -> None:
    topic = f"{PROTOCOL}/tx/0/1"
    await js.order("subscribe", topic=topic)
    await js.order("publish", topic=topic, data=b"from js".hex())
    (message,) = await take(node, Published, 1)
    assert message.data == b"from js"
    large = bytes(range(256)) * 400
    node.publish("tx/0", large)
    assert await js.message() == (topic, large)


async def test_js_dials_identifies_pings_streams_and_gossips(folder: Path) -> None:
    node = ours()
    with trio.fail_after(60):
        async with running([node]), js_peer(folder) as js:
            dialled = await js.order("dial", target=node.address)
            assert dialled["muxer"] == "/yamux/1.0.0"
            assert dialled["encryption"] == "/noise"
            await take(node, PeerConnected, 1)
            protocols = (await js.order("identify"))["protocols"]
            assert "/ipfs/ping/1.0.0" in protocols
            assert (await js.order("ping", target=node.address))["ms"] < 5000
            for _ in range(2):
                result = await js.order(
                    "exchange",
                    target=node.address,
                    protocol=f"{PROTOCOL}/request/echo/1",
                    size=SIZE,
                )
                assert result["status"] == 0
                assert result["received"] == result["sent"]
            await gossip_both_ways(node, js)
            assert node.libp2p_statistics().stream_errors == 0
            assert [p.score for p in node.peers()] == [0.0]


async def test_we_dial_js_stream_to_it_and_gossip(folder: Path) -> None:
    with trio.fail_after(60):
        async with js_peer(folder) as js:
            # What our requests send comes back as it is: to our side it is an answer of status 0.
            await js.order("echo", protocol=f"{PROTOCOL}/request/mirror/1")
            node = ours(bootstrap=(js.address,))
            async with running([node]):
                (connected,) = await take(node, PeerConnected, 1)
                await until(lambda: node.peers()[0].address != "")
                await trio.sleep(0.2)  # the session begins just after the peer was told
                assert not node.peers()[0].inbound
                body = b"\x00" + bytes(i * 7 & 255 for i in range(SIZE))
                answer = await node.request(connected.peer, "mirror", body, timeout_s=30)
                assert answer == body[1:]
                await gossip_both_ways(node, js)
                assert [p.score for p in node.peers()] == [0.0]
