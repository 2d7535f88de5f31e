"""The API of a node as it runs, for the tools that operators have."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from p2pnode.api.admin import FILE_NAME
from p2pnode.cli.main import main
from p2pnode.client import BlockingClient, CallRefusedError, NodeClient, admin_client
from p2pnode.telemetry.metrics import HELP
from tests.e2e.single import running

CONDITIONAL = frozenset(
    (
        # Counted on demand only.
        "p2pnode_chain_supply_units",
        # Appears with the first refusal.
        "p2pnode_mempool_transactions_refused",
    )
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Deeper than the 108 bytes that the address of a Unix socket has.
    path = tmp_path_factory.mktemp("api") / ("deep" * 30) / "node"
    assert main(["init", "--single", "--data", str(path), "--quiet"]) == 0
    return path


@pytest.fixture(scope="module")
def node(folder: Path) -> Iterator[BlockingClient]:
    with running(folder) as client:
        key = str(folder / "keys" / "account.key")
        sent = ["tx", "send", "--from", key, "--to", "11" * 32, "--amount", "1", "--wait"]
        assert main([*sent, "--node", client.url]) == 0
        yield client


def test_node_says_which_peers_are_banned(node: BlockingClient) -> None:
    assert node.peers_banned() == ()


def metrics_text(node: BlockingClient) -> str:
    return httpx.get(f"{node.url}/metrics", trust_env=False).text


def test_every_metric_that_is_described_is_exported_and_the_other_way_round(
    node: BlockingClient,
) -> None:
    found = [family.name for family in text_string_to_metric_families(metrics_text(node))]
    described = {name.removesuffix("_total") for name in HELP}
    assert described - CONDITIONAL <= set(found) <= described


def test_promtool_has_no_complaint_about_the_metrics(node: BlockingClient) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=metrics_text(node),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_connection_that_calls_too_often_is_told_to_wait(node: BlockingClient) -> None:
    with BlockingClient(node.url) as client:

        def call_often() -> None:
            for _ in range(100):
                client.raw("supply", [])

        with pytest.raises(CallRefusedError) as caught:
            call_often()
        assert caught.value.reason == "rate_limited"
    # Another connection does not notice.
    node.status()


def test_the_status_comes_every_second(node: BlockingClient) -> None:
    async def follow() -> None:
        async with (
            NodeClient(node.url) as client,
            client.follow_status() as statuses,
        ):
            snapshot = await anext(statuses)
            begin = time.monotonic()
            first, second = await anext(statuses), await anext(statuses)
            assert 1.5 < time.monotonic() - begin < 6
        assert snapshot.cpu_s <= first.cpu_s <= second.cpu_s

    trio.run(follow)


def test_the_log_is_followed_from_its_newest_records_on(node: BlockingClient) -> None:
    async def follow() -> None:
        async with NodeClient(node.url) as client, client.follow_log() as log:
            records = list(await anext(log))
            assert "node_ready" in [record.event for record in records]
            known = len(records)
            # An idle node says little: each record more is a block, some seconds apart.
            while len(records) < known + 2:
                records += await anext(log)
        numbers = [record.number for record in records]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    trio.run(follow)


def test_the_admin_socket_is_the_owners_and_commands_the_node(
    node: BlockingClient, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / FILE_NAME
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert main(["admin", "log-level", "debug", "--data", str(folder)]) == 0
    assert "debug" in capsys.readouterr().out
    assert main(["admin", "log-level", "error", "--data", str(folder)]) == 0
    assert main(["admin", "log-level", "info", "--data", str(folder)]) == 0
    log = (folder / "logs" / "node.jsonl").read_text()
    events = [json.loads(line) for line in log.splitlines()]
    # Each change is logged at level info, if that is still logged.
    assert [e["to"] for e in events if e["event"] == "log_level_set"] == ["debug", "info"]
    assert main(["admin", "log-level", "loud", "--data", str(folder)]) == 1
    assert main(["admin", "disconnect", "12D3KooW", "--data", str(folder)]) == 1
    assert "no peer '12D3KooW'" in capsys.readouterr().err
    with admin_client(path) as admin:
        names = [method["name"] for method in admin.raw("rpc.discover", [])["methods"]]
    assert names == ["log_level", "peers", "peers_ban", "peers_disconnect", "stop"]


def test_stop_ends_the_node_and_takes_the_socket_away(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    assert main(["init", "--single", "--data", str(folder), "--quiet"]) == 0
    with running(folder):
        assert main(["admin", "stop", "--data", str(folder), "--quiet"]) == 0
        deadline = time.monotonic() + 5
        while (folder / "api.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not (folder / FILE_NAME).exists()
        assert not (folder / "api.json").exists()
