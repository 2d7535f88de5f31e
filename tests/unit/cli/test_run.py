from __future__ import annotations

import io
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from p2pnode import service
from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.notify import notify
from p2pnode.cli.places import ENDPOINT_FILE
from p2pnode.cli.run import _run
from p2pnode.errors import ConfigError
from p2pnode.keys.sealing import Passphrase
from p2pnode.node.config import NodeConfig
from p2pnode.service import Running

RUNNING = Running("http://127.0.0.1:1", "http://127.0.0.1:1/metrics", "/ip4/127.0.0.1/tcp/2", "p")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.OK)],
)
async def test_a_signal_stops_the_node_and_takes_its_endpoint_away(
    number: signal.Signals, code: ExitCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def run_node(
        config: NodeConfig, *, on_ready: Callable[[Running], None], passphrase: Passphrase
    ) -> None:
        on_ready(RUNNING)
        seen.append(json.loads((tmp_path / ENDPOINT_FILE).read_text())["url"])
        os.kill(os.getpid(), number)
        await trio.sleep_forever()

    monkeypatch.setattr(service, "run_node", run_node)
    out = io.StringIO()
    console = Console(out=out, err=io.StringIO(), json=True)
    assert await _run(NodeConfig(data_dir=tmp_path, name="n"), console) == code
    assert seen == [RUNNING.rpc_url]
    assert json.loads(out.getvalue())["p2p_address"] == RUNNING.p2p_address
    assert not (tmp_path / ENDPOINT_FILE).exists()
    assert signal.alarm(0) == 0


async def test_a_node_that_can_not_start_leaves_no_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_node(
        config: NodeConfig, *, on_ready: Callable[[Running], None], passphrase: Passphrase
    ) -> None:
        await trio.lowlevel.checkpoint()
        raise ConfigError("no key")

    monkeypatch.setattr(service, "run_node", run_node)
    console = Console(out=io.StringIO(), err=io.StringIO())
    with pytest.raises(ExceptionGroup) as caught:
        await _run(NodeConfig(data_dir=tmp_path), console)
    assert caught.group_contains(ConfigError, match="no key")
    assert not (tmp_path / ENDPOINT_FILE).exists()
    # Nor does it take away the one of the node that runs there already.
    other = json.dumps({"url": "http://127.0.0.1:1", "pid": os.getpid() + 1})
    (tmp_path / ENDPOINT_FILE).write_text(other)
    with pytest.raises(ExceptionGroup):
        await _run(NodeConfig(data_dir=tmp_path), console)
    assert (tmp_path / ENDPOINT_FILE).read_text() == other


def test_systemd_is_told_when_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        notify("READY=1")
        assert sock.recv(100) == b"READY=1"
    # Nobody listens any more, or nobody ever asked.
    notify("STOPPING=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("STOPPING=1")
