"""Faults on the links between real processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testnet.cli.request import request
from testnet.folder import Folder
from tests.e2e.testnet.driver import Driver, eventually

GIVEN_UP_S = 20.0
"""A cut link is given up after three missed pings: 8 s, and more on a busy machine."""

GOES_ON_S = 30.0
"""After a heal: redialling within 6 s, then a view's timer or two."""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver(tmp_path)
    yield made
    made.close()


class Net:
    def __init__(self, driver: Driver, name: str) -> None:
        self.driver = driver
        self.name = name

    def ask(self, command: str, *arguments: str) -> Any:
        return self.driver.json(command, *arguments, "--name", self.name)

    def say(self, command: str, *arguments: str) -> str:
        """Return what a command says to people."""
        done = self.driver.run(command, *arguments, "--name", self.name)
        assert done.returncode == 0, done
        return done.stderr

    def look(self, command: str) -> Any:
        """Ask the supervisor itself: looking must not cost a process each time."""
        folder = Folder(self.driver.folder / ".testnet" / self.name)
        return request(folder, {"command": command})

    def heights(self) -> list[int]:
        return [node["height"] for node in self.look("status")["nodes"]]

    def peers(self) -> list[list[str]]:
        """Return whom each node is connected to, by its own word."""
        return [sorted(node["rtt_ms"]) for node in self.look("status")["nodes"]]

    def rtts_ms(self) -> dict[str, float | None]:
        return {f"{row['from']}-{row['to']}": row["rtt_ms"] for row in self.look("links")["links"]}

    def grows(self, by: int, within_s: float, which: Callable[[list[int]], int] = max) -> bool:
        start = which(self.heights())
        return eventually(lambda: which(self.heights()) >= start + by, within_s)


def start(driver: Driver, name: str) -> subprocess.Popen[str]:
    up = driver.start(
        "up", "--seed", "6", "--name", name, "--for", "200s", "--load", "10", "--json"
    )
    assert eventually((driver.folder / ".testnet" / name / "control.sock").exists, 20)
    driver.until_ready(name)
    return up


def judged(driver: Driver, up: subprocess.Popen[str]) -> None:
    """End the load, and with it the run; whatever was done to it, nothing may be violated."""
    driver.run("wait")
    assert driver.run("load", "--stop").returncode == 0
    out, err = up.communicate(timeout=60)
    summary = json.loads(out.splitlines()[-1])
    assert summary["violations"] == [], summary
    assert "violation" not in summary["checks"].values(), (summary["checks"], err)


def test_a_cut_link_stops_nothing_halves_stop_everything_and_a_heal_goes_on(
    driver: Driver,
) -> None:
    up = start(driver, "cuts")
    net = Net(driver, "cuts")

    # One link: everybody else stays connected, and blocks go on.
    assert eventually(lambda: None not in net.rtts_ms().values(), 20.0), net.rtts_ms()
    before_ms = net.rtts_ms()
    assert "leaves 4 of 4: blocks go on" in net.say("cut", "node2", "node3")
    assert eventually(
        lambda: (
            net.peers()
            == [
                ["node1", "node2", "node3"],
                ["node0", "node2", "node3"],
                ["node0", "node1"],
                ["node0", "node1"],
            ]
        ),
        GIVEN_UP_S,
    ), net.peers()
    cut = {"node2-node3", "node3-node2"}
    rtts_ms = net.rtts_ms()
    assert {pair for pair, rtt in rtts_ms.items() if rtt is None} == cut
    # The medians still hold the first pings, made while all processes started.
    slowest_ms = max(rtt for rtt in before_ms.values() if rtt is not None)
    assert all(rtt < slowest_ms + 100 for rtt in rtts_ms.values() if rtt is not None), rtts_ms
    assert net.grows(3, GOES_ON_S, which=min)
    net.ask("heal")
    assert eventually(lambda: len(net.peers()[2]) == 3, GOES_ON_S)

    # Halves: nothing becomes final, whatever else is done; healed, it goes on.
    dry = net.ask("cut", "--halves", "0,1", "--dry-run")
    assert "leaves 2 of 4, 3 needed: finality stops; nothing can be reverted" in dry["effect"]
    assert net.ask("status")["links"] == []
    net.ask("cut", "--halves", "0,1")
    assert eventually(lambda: [len(p) for p in net.peers()] == [1, 1, 1, 1], GIVEN_UP_S)
    stopped = net.heights()
    assert not eventually(lambda: max(net.heights()) > max(stopped), 6.0)
    assert len(driver.manifest("cuts").links) == 8
    assert "brings 4 of 4 together: blocks go on again" in net.say("heal", "--last")
    assert net.grows(3, GOES_ON_S, which=min)

    judged(driver, up)


@pytest.mark.slow
def test_one_way_cuts_lonely_nodes_and_restarts_under_a_cut(driver: Driver) -> None:
    up = start(driver, "more")
    net = Net(driver, "more")

    # One way only: the connection is of no use to either end, and a redial fails.
    net.ask("cut", "node0", "node1", "--one-way")
    assert [(r["from"], r["to"]) for r in net.ask("status")["links"]] == [("node0", "node1")]
    assert eventually(lambda: "node1" not in net.peers()[0], GIVEN_UP_S)
    assert eventually(lambda: "node0" not in net.peers()[1], GIVEN_UP_S)
    assert net.grows(3, GOES_ON_S, which=min)
    net.ask("heal", "node0")

    # Alone: named by status; the others go on without it.
    said = net.say("cut", "node1")
    assert "leaves 3 of 4: blocks go on. node1 falls behind, cut off." in said
    assert list(net.ask("status")["isolated"]) == ["node1"]
    shown = driver.run("status", "--name", "more").stdout
    assert "node1 is cut off from all others for" in shown
    assert eventually(lambda: net.peers()[1] == [], GIVEN_UP_S)
    height = net.heights()[1]
    assert net.grows(3, GOES_ON_S)
    assert net.heights()[1] == height
    net.ask("heal", "--all")
    assert eventually(lambda: net.heights()[1] > height + 2, GOES_ON_S)

    # A new process begins with the links as they are.
    net.ask("cut", "--halves", "0,1")
    net.ask("restart", "node2")
    assert eventually(lambda: net.peers()[2] == ["node3"], GOES_ON_S)
    assert not eventually(lambda: len(net.peers()[2]) > 1, 6.0)
    net.ask("heal")
    assert net.grows(3, GOES_ON_S, which=min)
    judged(driver, up)


@pytest.mark.slow
def test_a_slow_link_is_as_slow_as_it_was_told_and_blocks_become_final(driver: Driver) -> None:
    driver.run("up", "--detach", "--name", "slow", "--seed", "8")
    net = Net(driver, "slow")
    assert driver.run("load", "--rate", "10", "--for", "120s", "--detach").returncode == 0
    before_ms = [r for r in net.rtts_ms().values() if r is not None]
    changed = net.ask("link", "--all", "--profile", "satellite")
    assert len(changed["changed"]) == 12

    def all_slow() -> bool:
        found = list(net.rtts_ms().values())
        return all(r is not None and r >= 540 for r in found)

    assert eventually(all_slow, 60.0), net.rtts_ms()
    # 270 to 310 ms each way, and what the nodes themselves take; a busy machine delays all pings,
    # but not all of them all the time.
    assert eventually(
        lambda: min(r for r in net.rtts_ms().values() if r is not None) <= 620 + 100, 60.0
    ), net.rtts_ms()
    print(f"round trips {net.rtts_ms()}, before {before_ms}")
    assert net.grows(5, 60.0, which=min)

    # Faster again, but for one link, in one direction.
    net.ask("link", "--all", "--clear")
    net.ask("link", "node0", "node1", "--one-way", "--latency", "150ms", "--jitter", "10ms")
    assert eventually(lambda: (net.rtts_ms()["node2-node3"] or 1e3) < 300, 60.0), net.rtts_ms()
    assert eventually(lambda: 140 <= (net.rtts_ms()["node1-node0"] or 0) <= 500, 60.0)
    assert "node0→node1  custom" in driver.run("links", "--name", "slow").stdout
    assert driver.run("load", "--stop").returncode == 0
    refused = driver.run("link", "node0", "node1", "--profile", "aws:ireland-mars")
    assert refused.returncode == 2
    assert "singapore" in refused.stderr
