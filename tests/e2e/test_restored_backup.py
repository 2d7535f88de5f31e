"""A validator whose folder comes back from a backup signs nothing that it may have signed."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from p2pnode.cli.main import main
from p2pnode.client import BlockingClient
from p2pnode.keys.records import RECORD_SIGNED, record_code
from p2pnode.node.status import NodeStatus
from p2pnode.store.wal import open_log
from tests.e2e.single import running


def transfer(client: BlockingClient, folder: Path) -> NodeStatus:
    """Make a block: an idle chain rests for seconds."""
    key = str(folder / "keys" / "account.key")
    sent = ["tx", "send", "--from", key, "--to", "11" * 32, "--amount", "1", "--wait", "--quiet"]
    assert main([*sent, "--node", client.url]) == 0
    return client.status()


def signed_count(folder: Path) -> int:
    log = open_log(folder / "signed.wal").log
    try:
        return sum(record_code(record) == RECORD_SIGNED for record in log.records())
    finally:
        log.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "node"
    assert main(["init", "--single", "--data", str(path), "--quiet"]) == 0
    return path


def test_a_restored_folder_observes_and_a_trusted_one_goes_on(folder: Path) -> None:
    backup = folder.with_name("backup")
    with running(folder) as client:
        oldest = transfer(client, folder).height
    shutil.copytree(folder, backup)
    # Left alone, it goes on where it was.
    with running(folder) as client:
        transfer(client, folder)
        found = transfer(client, folder)
        assert not found.observing
        height = found.height
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)
    before = signed_count(folder)
    for _ in range(2):
        # The second time nothing is copied: that votes may be forgotten outlives the process.
        with running(folder) as client:
            time.sleep(2)
            found = client.status()
            assert found.observing
            assert oldest <= found.height < height
    assert signed_count(folder) == before
    # Somebody who knows better says so before the first start.
    moved = folder.with_name("moved")
    shutil.copytree(backup, moved)
    assert main(["log", "trust", "--data", str(moved)]) == 2
    assert main(["log", "trust", "--yes", "--data", str(moved), "--quiet"]) == 0
    with running(moved) as client:
        assert not transfer(client, moved).observing
