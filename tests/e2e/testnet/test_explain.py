"""`testnet explain` on real processes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.testnet.driver import Driver


def explained_as(driver: Driver, *kinds: str) -> dict[str, Any]:
    """Wait until a testnet is explained as something, and return that."""
    deadline = time.monotonic() + 60
    found: dict[str, Any] = {"kind": ""}
    while found["kind"] not in kinds and time.monotonic() < deadline:
        time.sleep(0.5)
        found = json.loads(driver.run("explain", "--json").stdout)
    assert found["kind"] in kinds, found
    return found


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
    explained_as(driver, "well", "idle")


def test_links_slower_than_the_timers_cap_are_explained_and_mended(driver: Driver) -> None:
    timers = ("--delta", "250ms", "--parameter", "delta_max_ms=400")
    driver.json("up", "--detach", "--name", "slow", "--load", "10", "--for", "10m", *timers)
    driver.json("link", "--all", "--latency", "900ms", "--jitter", "20ms")
    found = explained_as(driver, "slow_link")
    assert found["severity"] == "stalled", found
    assert "900 ms one way" in found["sentence"]
    assert " ms late at a timer of 1.2 s, at most 1.2 s" in found["sentence"]
    assert found["commands"] == ["testnet link --all --clear"]
    driver.json("link", "--all", "--clear")
    explained_as(driver, "well", "idle")


def test_a_partition_is_explained_by_its_cuts_and_heals(driver: Driver) -> None:
    driver.json("up", "--detach", "--name", "split", "--load", "10", "--for", "10m")
    driver.json("cut", "--halves", "node0,node1")
    found = explained_as(driver, "partition")
    assert found["severity"] == "stalled", found
    assert found["commands"] == ["testnet heal --all"]
    driver.json("heal", "--all")
    explained_as(driver, "well", "idle")
