"""Local testnets of real processes: started, loaded, hurt and ended."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.testnet.driver import Driver, children, eventually, left_over


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver(tmp_path)
    yield made
    made.close()


def test_a_run_with_load_finalizes_everything_and_leaves_nothing_running(driver: Driver) -> None:
    done = driver.run("up", "--seed", "1", "--for", "5s", "--load", "40", "--json")
    assert done.returncode == 0, done
    (line,) = done.stdout.splitlines()
    summary = json.loads(line)
    transactions = summary["transactions"]
    assert summary["exit"] == 0
    assert summary["violations"] == []
    assert all(outcome == "pass" for outcome in summary["checks"].values()), summary["checks"]
    assert transactions["due"] == 200
    assert transactions["submitted"] >= 190
    assert transactions["finalized"] == transactions["submitted"]
    assert transactions["executed"] == transactions["submitted"]
    assert transactions["refused"] == {}
    assert summary["balances_conserved"] == {"0": True, "1": True}
    assert summary["height"]["min"] > 5
    assert "ready in" in done.stderr
    assert left_over(driver.manifest(summary["name"])) == []


def test_ctrl_c_exits_130_within_5_s_and_leaves_no_process(driver: Driver) -> None:
    up = driver.start("up", "--name", "ctrl-c")
    assert eventually((driver.folder / ".testnet/ctrl-c/control.sock").exists, 20)
    manifest = driver.until_ready("ctrl-c")
    family = children(up.pid)
    assert len(family) >= 5
    # The whole foreground group gets it, as at a terminal.
    os.killpg(up.pid, signal.SIGINT)
    start = time.monotonic()
    out, _ = up.communicate(timeout=15)
    assert time.monotonic() - start < 6
    assert up.returncode == 130
    assert 'testnet "ctrl-c"' in out
    assert left_over(manifest) == []
    assert not any(process.is_running() for process in family)


def test_kill_9_of_the_supervisor_leaves_no_process_and_the_name_can_be_used_again(
    driver: Driver,
) -> None:
    driver.run("up", "--detach", "--name", "orphan", "--validators", "2")
    manifest = driver.manifest("orphan")
    names = [name for name, _, _ in manifest.processes()]
    assert names == ["supervisor", "fork server", "node0", "node1"]
    # A paused node must go, too.
    driver.run("pause", "node1")
    os.kill(manifest.pid, signal.SIGKILL)
    assert eventually(lambda: left_over(manifest) == [], 8), left_over(manifest)
    done = driver.run("up", "--name", "orphan", "--validators", "1", "--for", "1s", "--json")
    assert done.returncode == 0, done
    assert "removed .testnet/orphan/" in done.stderr


def test_a_validator_killed_under_load_catches_up_and_nothing_is_lost(driver: Driver) -> None:
    driver.run("up", "--detach", "--seed", "3", "--name", "hurt")
    load = driver.start("load", "--rate", "40", "--for", "10s", "--json")
    time.sleep(3)
    killed = driver.json("kill", "node1")
    assert [(n["name"], n["state"], n["pid"]) for n in killed] == [("node1", "killed", None)]
    time.sleep(3)
    driver.json("restart", "node1")
    out, err = load.communicate(timeout=40)
    assert load.returncode == 0, err
    report = json.loads(out.splitlines()[-1])
    assert report["submitted"] >= 380
    assert report["finalized"] == report["submitted"], report
    assert report["unfinished_count"] == 0
    status = driver.json("wait", "--ready", "--height", str(report["height_max"]))
    heights = {n["name"]: n["height"] for n in status["nodes"]}
    assert min(heights.values()) >= report["height_max"], heights
    down = driver.run("down")
    assert "stopped hurt" in down.stderr
    assert not (driver.folder / ".testnet/hurt").exists()
    assert driver.run("down").returncode == 0
