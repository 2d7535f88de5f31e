"""`testnet explain` on real processes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.testnet.driver import Driver


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver(tmp_path)
    yield made
    made.close()


def test_two_of_four_gone_are_named_and_back_again_all_is_well(driver: Driver) -> None:
    driver.json("up", "--detach", "--name", "few")
    assert driver.json("explain")["severity"] == "ok"
    driver.json("kill", "node1")
    assert driver.json("explain")["kind"] == "degraded"
    driver.json("pause", "node2")
    done = driver.run("explain", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 11
    assert (found["kind"], found["nodes"]) == ("too_few", ["node1", "node2"])
    assert "node1 (killed " in found["sentence"]
    assert "node2 (paused for " in found["sentence"]
    assert found["commands"] == ["testnet resume node2", "testnet restart node1"]
    driver.json("resume", "node2")
    driver.json("restart", "node1")
    deadline = time.monotonic() + 60
    while (found := driver.json("explain"))["severity"] != "ok" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found["severity"] == "ok", found


def test_a_partition_is_explained_by_its_cuts_and_heals(driver: Driver) -> None:
    driver.json("up", "--detach", "--name", "split", "--load", "10", "--for", "10m")
    driver.json("cut", "--halves", "node0,node1")
    deadline = time.monotonic() + 60
    found = {"kind": ""}
    while found["kind"] != "partition" and time.monotonic() < deadline:
        time.sleep(0.5)
        found = json.loads(driver.run("explain", "--json").stdout)
    assert found["kind"] == "partition", found
    assert found["severity"] == "stalled", found
    assert found["commands"] == ["testnet heal --all"]
    driver.json("heal", "--all")
    deadline = time.monotonic() + 60
    while (found := driver.json("explain"))["severity"] != "ok" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found["severity"] == "ok", found
