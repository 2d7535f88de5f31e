"""A node on a disk that refuses writes: it stays up, says so, and goes on after a restart."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from p2pnode.cli.main import main
from p2pnode.client import BlockingClient, CallRefusedError
from p2pnode.node.status import NodeStatus
from tests.e2e.single import running

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="another process's limits can be set on Linux only"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "node"
    assert main(["init", "--single", "--data", str(path), "--quiet"]) == 0
    return path


def process_of(client: BlockingClient) -> psutil.Process:
    port = int(client.url.rpartition(":")[2])
    for child in psutil.Process().children(recursive=True):
        if any(c.laddr.port == port for c in child.net_connections("tcp") if c.laddr):
            return child
    raise AssertionError(f"nobody listens on {port}")


def send(client: BlockingClient, folder: Path) -> int:
    key = str(folder / "keys" / "account.key")
    sent = ["tx", "send", "--from", key, "--to", "11" * 32, "--amount", "1", "--quiet"]
    return main([*sent, "--node", client.url])


def until_refused(client: BlockingClient, folder: Path) -> NodeStatus:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        send(client, folder)
        status = client.status()
        if status.device.storage_error:
            return status
        time.sleep(0.2)
    raise AssertionError("the node never noticed")


def test_a_node_whose_disk_is_full_stays_to_say_so_and_goes_on_after_a_restart(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(folder) as client:
        assert send(client, folder) == 0
        limits = resource.RLIMIT_FSIZE
        resource.prlimit(process_of(client).pid, limits, (0, resource.RLIM_INFINITY))
        status = until_refused(client, folder)
        assert not status.ready
        assert "refuses writes" in status.not_ready_reasons[0]
        assert httpx.get(f"{client.url}/ready", trust_env=False).status_code == 503
        assert httpx.get(f"{client.url}/health", trust_env=False).status_code == 200
        with pytest.raises(CallRefusedError, match="refuses writes"):
            client.submit([b"x"])
        capsys.readouterr()
        assert main(["doctor", "--network", "--node", client.url]) == 1
        assert "refuses writes" in capsys.readouterr().out
    with running(folder) as client:
        deadline = time.monotonic() + 60
        while not client.status().ready and time.monotonic() < deadline:
            time.sleep(0.1)
        back = client.status()
        assert back.ready
        assert back.device.storage_error == ""
        assert back.height >= status.height - 1
