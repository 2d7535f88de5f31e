"""The feed against a real API: what the TUI gets, and how it tells that the node is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import trio

from p2pnode.api.admin import Admin, serve_admin
from p2pnode.tui.feed import Feed, perform
from p2pnode.tui.model import (
    BlockCame,
    Connecting,
    Done,
    LogCame,
    Lost,
    PeerAction,
    PeersCame,
    StatusCame,
)
from tests.unit.api.fake_node import FakeNode, served


class Seen:
    """Collects what is posted."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self._came = trio.Event()

    def post(self, event: object) -> None:
        self.events.append(event)
        self._came.set()
        self._came = trio.Event()

    async def wait_for(self, *kinds: type) -> None:
        with trio.fail_after(30):
            while not all(any(isinstance(e, kind) for e in self.events) for kind in kinds):
                await self._came.wait()


async def test_a_feed_gets_status_peers_and_log_over_one_connection() -> None:
    node = FakeNode()
    node.ring.add(1.0, "info", "node", "node_ready", {"rpc": "here"})
    seen = Seen()
    async with served(node) as url, trio.open_nursery() as nursery:
        nursery.start_soon(Feed(url).run, seen.post)
        await seen.wait_for(Connecting, StatusCame, PeersCame, LogCame)
        (came,) = [e for e in seen.events if isinstance(e, LogCame)][:1]
        assert came.records[0].event == "node_ready"
        (status,) = [e.status for e in seen.events if isinstance(e, StatusCame)][:1]
        assert status == node.now
        assert not any(isinstance(e, (Lost, BlockCame)) for e in seen.events)
        nursery.cancel_scope.cancel()


async def test_a_node_that_goes_is_told_as_lost_and_called_again() -> None:
    seen = Seen()
    async with trio.open_nursery() as nursery:
        async with served(FakeNode()) as url:
            nursery.start_soon(Feed(url).run, seen.post)
            await seen.wait_for(StatusCame)
        await seen.wait_for(Lost)
        seen.events.clear()
        await seen.wait_for(Connecting, Lost)
        (lost,) = [e for e in seen.events if isinstance(e, Lost)][:1]
        assert "refused" in lost.reason.lower()
        assert lost.retry_s > lost.now_s
        nursery.cancel_scope.cancel()


async def test_what_answers_without_being_a_node_is_said_to_be_none() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        await stream.aclose()

    seen = Seen()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        port = listener.socket.getsockname()[1]
        nursery.start_soon(Feed(f"http://127.0.0.1:{port}").run, seen.post)
        await seen.wait_for(Lost)
        nursery.cancel_scope.cancel()
    (lost,) = [e for e in seen.events if isinstance(e, Lost)][:1]
    assert "not the API of a node" in lost.reason


async def test_a_confirmed_action_reaches_the_admin_socket(tmp_path: Path) -> None:
    banned: list[str] = []

    def ban(peer: str) -> bool:
        banned.append(peer)
        return peer == "here"

    admin = Admin(
        peers=tuple,
        disconnect=lambda peer: False,
        ban=ban,
        set_log_level=lambda level: None,
        stop=lambda: None,
    )
    seen = Seen()
    async with trio.open_nursery() as nursery:
        path = await nursery.start(serve_admin, admin, tmp_path)
        await perform(PeerAction("peers_ban", "here"), seen.post, str(path))
        await perform(PeerAction("peers_ban", "gone"), seen.post, str(path))
        nursery.cancel_scope.cancel()
    assert banned == ["here", "gone"]
    good, bad = (e for e in seen.events if isinstance(e, Done))
    assert not good.failed
    assert bad.failed
    assert "no peer 'gone' is connected" in bad.text


def test_attaching_imports_nothing_that_is_large() -> None:
    script = "import sys, p2pnode.cli.tui; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    large = {"libp2p", "httpx", "asyncio", "structlog", "psutil", "hypercorn", "starlette", "lmdb"}
    assert not large & set(done.stdout.split())
