"""The admin socket: who may, and what it does."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2pnode.api.admin import FILE_NAME, Admin, serve_admin
from p2pnode.client import CallRefusedError, admin_client
from p2pnode.node.answers import PeerRow
from p2pnode.node.socket_path import short_path

PEER = PeerRow("12D3KooW", "node1", "/ip4/127.0.0.1/tcp/1", True, 1.5, 0.0)


class Commanded:
    def __init__(self) -> None:
        self.told: list[str] = []

    def admin(self) -> Admin:
        def on_peer(name: str, peer: str) -> bool:
            self.told.append(f"{name} {peer}")
            return peer == PEER.id

        return Admin(
            peers=lambda: (PEER,),
            disconnect=lambda peer: on_peer("disconnect", peer),
            ban=lambda peer: on_peer("ban", peer),
            set_log_level=lambda level: self.told.append(f"level {level}"),
            stop=lambda: self.told.append("stop"),
        )


@asynccontextmanager
async def commanded(folder: Path) -> AsyncIterator[tuple[Path, list[str]]]:
    node = Commanded()
    async with trio.open_nursery() as nursery:
        path = await nursery.start(serve_admin, node.admin(), folder)
        yield path, node.told
        nursery.cancel_scope.cancel()


def call(path: Path, method: str, *params: object) -> object:
    with admin_client(path) as client:
        return client.raw(method, list(params))


async def test_commands_reach_the_node(tmp_path: Path) -> None:
    async with commanded(tmp_path) as (path, told):

        def command() -> None:
            assert call(path, "peers_disconnect", PEER.id) == {"done": f"disconnected {PEER.id}"}
            call(path, "peers_ban", PEER.id)
            call(path, "log_level", "debug")
            call(path, "stop")
            peers = call(path, "peers")
            assert isinstance(peers, list)
            assert peers[0]["id"] == PEER.id

        await trio.to_thread.run_sync(command)
        assert told == [f"disconnect {PEER.id}", f"ban {PEER.id}", "level debug", "stop"]


@pytest.mark.parametrize(
    ("method", "param", "kind"),
    [
        ("peers_ban", "12D3KooX", "unknown_peer"),
        ("peers_disconnect", "", "unknown_peer"),
        ("log_level", "loud", "unknown_level"),
        ("status", None, "method_not_found"),
    ],
)
async def test_what_can_not_be_done_is_refused(
    tmp_path: Path, method: str, param: str | None, kind: str
) -> None:
    async with commanded(tmp_path) as (path, _):
        params = [] if param is None else [param]
        with pytest.raises(CallRefusedError) as caught:
            await trio.to_thread.run_sync(call, path, method, *params)
        assert caught.value.reason == kind


async def test_the_socket_is_its_owners_and_goes_with_the_node(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    # What a killed node left behind is no obstacle.
    path.touch()
    async with commanded(tmp_path):
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_folder_deeper_than_a_sockets_address_is_served(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 40)
    folder.mkdir()
    async with commanded(folder) as (path, told):
        await trio.to_thread.run_sync(call, path, "stop")
        assert told == ["stop"]


def test_a_short_path_stays_as_it_is(tmp_path: Path) -> None:
    with short_path(Path("/run/x.sock")) as address:
        assert address == "/run/x.sock"
