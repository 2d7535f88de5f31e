"""Local testnets of real processes: started, loaded, hurt and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pnode.client import BlockingClient
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


def test_a_node_that_ends_by_itself_is_a_crash_and_exits_13(driver: Driver) -> None:
    up = driver.start("up", "--name", "crash", "--for", "4s", "--json")
    assert eventually((driver.folder / ".testnet/crash/control.sock").exists, 20)
    node = driver.until_ready("crash").nodes[2]
    assert node.pid is not None
    # Not by the command: nobody asked for this end.
    os.kill(node.pid, signal.SIGKILL)
    out, err = up.communicate(timeout=20)
    assert up.returncode == 13, err
    assert "node2 was killed by signal 9" in err
    assert json.loads(out)["crashes"][0].startswith("node2 was killed by signal 9")


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
    up = driver.start(
        "up", "--seed", "3", "--name", "hurt", "--for", "12s", "--load", "40", "--json"
    )
    assert eventually((driver.folder / ".testnet/hurt/control.sock").exists, 20)
    driver.until_ready("hurt")
    time.sleep(3)
    killed = driver.json("kill", "node1", "--name", "hurt")
    assert [(n["name"], n["state"], n["pid"]) for n in killed] == [("node1", "killed", None)]
    time.sleep(4)
    driver.json("restart", "node1", "--name", "hurt")
    out, err = up.communicate(timeout=60)
    summary = json.loads(out.splitlines()[-1])
    # Every check passes: above all, that all four hold the same blocks and states at the end.
    assert all(outcome == "pass" for outcome in summary["checks"].values()), summary
    assert up.returncode == 0, err
    transactions = summary["transactions"]
    assert transactions["submitted"] >= 456
    assert transactions["finalized"] == transactions["submitted"], transactions
    assert transactions["resubmitted"] > 0
    assert summary["height"]["min"] >= summary["height"]["max"] - 1
    # On a free machine the longest pause is about 1 s; on a busy one only a stall would be a fault.
    print(f"longest pause {summary['pause_s_max']} s")
    assert summary["pause_s_max"] <= 10.0
    assert "node1" in summary["memory_bytes_max"]


def test_a_stopped_validator_is_noticed_slows_nobody_and_catches_up(driver: Driver) -> None:
    """SIGSTOP: its sockets stay open and full; TCP alone would never tell."""
    up = driver.start(
        "up", "--seed", "4", "--name", "stopped", "--for", "25s", "--load", "40", "--json"
    )
    assert eventually((driver.folder / ".testnet/stopped/control.sock").exists, 20)
    node0 = driver.until_ready("stopped").nodes[0]
    driver.json("pause", "node2", "--name", "stopped")
    with BlockingClient(node0.rpc) as client:
        # Three pings of 2.5 s each, and not one more than a busy machine may need.
        assert eventually(lambda: client.status().peers_count == 2, 15)
        height = client.status().height
        assert eventually(lambda: client.status().height > height + 5, 15)
        driver.json("resume", "node2", "--name", "stopped")
        assert eventually(lambda: client.status().peers_count == 3, 15)
    out, err = up.communicate(timeout=60)
    summary = json.loads(out.splitlines()[-1])
    assert all(outcome == "pass" for outcome in summary["checks"].values()), summary
    assert up.returncode == 0, err
    transactions = summary["transactions"]
    assert transactions["finalized"] == transactions["submitted"] >= 900, transactions
    assert summary["height"]["min"] >= summary["height"]["max"] - 1
    print(f"longest pause {summary['pause_s_max']} s")
    assert summary["pause_s_max"] <= 10.0


def test_commands_reach_a_detached_testnet_until_it_is_down(driver: Driver, tmp_path: Path) -> None:
    shown = driver.run("up", "--detach", "--name", "calm", "--seed", "5", "--validators", "2")
    assert shown.returncode == 0, shown
    assert 'testnet "calm"  seed 5  engine simplex  2 validators   ready in' in shown.stdout
    assert all(len(line) <= 100 for line in shown.stdout.splitlines())
    folder = str(driver.folder / ".testnet/calm/node1")
    command = [sys.executable, "-m", "p2pnode", "status", "--json", "--data", folder]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(found.stdout)["name"] == "node1"
    address = "ab" * 32
    funded = driver.json("fund", address, "--amount", "7")
    assert funded["state"] in ("executed", "certified")
    # Nobody funded these senders in genesis: the faucets do, while the load runs.
    rows = [
        f"1,{n},transfer,0x{n % 9:040x},0x{n:040x},{10**18 + n},,,21000,0" for n in range(1, 60)
    ]
    trace = tmp_path / "trace.csv"
    trace.write_text("\n".join([TRACE_HEAD, *rows]), encoding="ascii")
    report = driver.json("load", "--rate", "30", "--for", "3s", "--trace", str(trace))
    assert report["due"] == 90
    assert report["executed"] == report["submitted"] >= 80, report
    assert report["repetitions"] >= 2
    # What is shown of a load that has ended is its end.
    assert driver.json("status")["load"]["finalized"] == report["finalized"]
    status = driver.json("wait", "--height", str(report["height_max"]))
    assert [node["name"] for node in status["nodes"]] == ["node0", "node1"]
    assert '"block_finalized"' in driver.run("logs", "--json", "-n", "50").stdout
    assert driver.run("kill", "node7").returncode == 2
    refused = driver.run("resume", "node0", "1")
    assert (refused.returncode, refused.stderr) == (1, "error: node0 is running, not paused\n")
    down = driver.run("down")
    assert "stopped calm (node0, node1)" in down.stderr
    assert not (driver.folder / ".testnet/calm").exists()
    assert driver.run("down").returncode == 0
    assert driver.run("status").returncode == 2


TRACE_HEAD = (
    "block,index,kind,sender,recipient,value_wei,token_recipient,token_amount,gas_limit,input_bytes"
)
