"""`testnet tui` as a person uses it, in tmux over a testnet of real processes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.testnet.driver import REPOSITORY, Driver
from tests.e2e.tui.tmux import open_terminal

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver(tmp_path)
    yield made
    made.close()


def test_a_testnet_is_watched_and_driven_from_one_screen(driver: Driver) -> None:
    up = driver.run("up", "--name", "net", "--load", "20", "--detach", timeout_s=120)
    assert up.returncode == 0, up
    environment = {"PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8", "TERM": "xterm-256color"}
    with open_terminal(driver.folder, environment) as terminal:
        terminal.text("stty -a > before; clear")
        terminal.keys("Enter")
        terminal.text(f"{sys.executable} -m testnet tui --name net; stty -a > after; echo code $?")
        terminal.keys("Enter")
        terminal.shows(r"4 of 4 run.*live")
        terminal.shows(r"node3 +ready")

        # A node is killed: first it is said what that does, then it is done and seen.
        terminal.keys("Down", "Down", "k")
        terminal.shows(r"Killing node2 leaves 3 of 4: blocks go on\.")
        terminal.keys("y")
        terminal.shows(r"node2 +killed")
        terminal.shows(r"killed node2 · seen: height .* blocks go on")
        terminal.shows(r"without node2 \(killed")

        # The next one would stop it, and is left.
        terminal.keys("Down", "k")
        terminal.shows(r"Killing node3 leaves 2 of 4, 3 needed: finality stops")
        terminal.keys("n")
        terminal.hides(r"finality stops")

        # Back again.
        terminal.keys("u")
        terminal.shows(r"Undo: restart node2\?")
        terminal.keys("y")
        terminal.shows(r"node2 +ready")

        # A cut between two selected nodes, and its undoing.
        terminal.keys("g", "Space", "Space", "c")
        terminal.shows(r"Cutting node0-node1 leaves 4 of 4: blocks go on\.")
        terminal.keys("y")
        terminal.keys("2")
        terminal.shows(r"✗ cut")
        terminal.keys("h")
        terminal.shows(r"Healing node0-node1")
        terminal.keys("y")
        terminal.hides(r"✗ cut")

        # The log, of the selected nodes, by event.
        terminal.keys("3")
        terminal.shows(r"log of node0, node1 from level info")
        terminal.text("/event:block_finalized")
        terminal.keys("Enter")
        terminal.shows(r"with 'event:block_finalized'")
        terminal.shows(r"node1 +info +block_finalized")
        assert "status node" not in terminal.screen()

        # Every size, and every screen in the smallest.
        terminal.resize(200, 60)
        terminal.shows(r"^.{150,}live")
        terminal.resize(80, 24)
        terminal.shows(r"^.{72,78}live$")
        for key, word in (("4", "finalization"), ("5", "votes seen"), ("1", "quorum")):
            terminal.keys(key)
            terminal.shows(word)
        terminal.keys("?")
        terminal.shows(r"quit; the testnet goes on")
        terminal.keys("Escape")
        terminal.resize(120, 40)
        terminal.shows(r"^.{112,118}live$")

        terminal.keys("q")
        terminal.shows(r"code 0")
        terminal.shows(r"testnet net goes on")
    assert (driver.folder / "before").read_text() == (driver.folder / "after").read_text()
    states = {node["state"] for node in driver.json("status", "--name", "net")["nodes"]}
    assert states == {"running"}


def test_the_testnet_can_be_ended_from_the_screen(driver: Driver) -> None:
    up = driver.run("up", "--name", "net", "--validators", "1", "--detach", timeout_s=120)
    assert up.returncode == 0, up
    environment = {"PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8", "TERM": "xterm-256color"}
    with open_terminal(driver.folder, environment) as terminal:
        terminal.text(f"{sys.executable} -m testnet tui --name net")
        terminal.keys("Enter")
        terminal.shows(r"1 of 1 run.*live")
        terminal.keys("Q")
        terminal.shows(r"Ends the node and its supervisor")
        terminal.keys("y")
        terminal.shows(r"testnet net has ended")
    assert driver.run("status", "--name", "net").returncode != 0
