"""The node's TUI as a person uses it, in tmux over real processes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from p2pnode.cli.main import main
from tests.e2e.testnet.driver import REPOSITORY, Driver, eventually
from tests.e2e.tui.tmux import Terminal, open_terminal

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8", "TERM": "xterm-256color"}

SCREENS = (
    (r"─ health ─", r"height +\d+"),
    (r"─ view \d+ for height \d+ ─", r"timer "),
    (r"─ 3 peers, \d dialled us ─", r"node1 .*/ip4/127"),
    (r"─ kept here ─", r"scheme +inline"),
    (r"─ \d+ shards?, \d+ run here ─|─ \d+ states held here ─", r"[0-9a-f]{8}"),
    (r"─ held ─", r"senders +\d+"),
    (r"─ log from level info ─", r"\d\d:\d\d:\d\d\.\d\d\d"),
    (r"─ process ─", r"open files \d+"),
)
"""What each screen is known by, and data that only a node can have given; by their digits."""

CRASHING = """
import trio
from p2pnode.tui.app import AppOptions, Program, run
from p2pnode.tui.text import Span

def update(count, event):
    return count + 1, ()

def view(count, size):
    if count > 4:
        raise ZeroDivisionError("a mistake in the picture")
    return [(Span("soon there is a mistake"),)]

trio.run(run, Program(0, update, view), AppOptions())
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver(tmp_path)
    yield made
    made.close()


@pytest.fixture
def single(tmp_path: Path) -> Path:
    folder = tmp_path / "node"
    assert main(["init", "--single", "--data", str(folder), "--quiet"]) == 0
    return folder


class Node:
    """A chain of one validator in a process that may be killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "p2pnode", "run", "--quiet"),
                *("--data", str(self._folder), "--api-port", str(self._port)),
            ],
            cwd=REPOSITORY,
            env={k: v for k, v in os.environ.items() if not k.startswith("P2PNODE_")},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[1]
        self._port = int(self.url.rpartition(":")[2])

    def end(self, number: int) -> None:
        self._process.send_signal(number)
        self._process.communicate(timeout=15)


@contextmanager
def running(folder: Path) -> Iterator[Node]:
    node = Node(folder)
    try:
        yield node
    finally:
        node.end(signal.SIGKILL)


def start(terminal: Terminal, command: str) -> None:
    """Type a command of the interpreter's, between two looks at the terminal's settings."""
    terminal.line("stty -a > before; clear")
    terminal.line(f"{sys.executable} {command}; code=$?; stty -a > after; echo code $code")


def assert_whole(terminal: Terminal, folder: Path, code: int = 0) -> None:
    """The program has ended, and left the terminal as it was."""
    terminal.shows(rf"^code {code}$")
    assert (folder / "before").read_text() == (folder / "after").read_text()
    assert terminal.state() == {"cursor": True, "alternate": False}
    terminal.line("echo $((6 * 7)) is echoed")
    terminal.shows(r"^ready> echo .*echoed$")
    terminal.shows(r"^42 is echoed$")


def assert_not_torn(terminal: Terminal, width: int, height: int) -> None:
    """Header, tabs and footer stand in their rows, and rules reach the right edge."""
    # tmux may look while a frame is still on its way: one whole frame is waited for.
    screen = terminal.shows(
        rf"\A.{{{width - 12},{width}}}live *\n 1 overview (.*\n){{{height - 2}}} \? help "
    )
    lines = screen.rstrip("\n").split("\n")
    assert len(lines) == height, screen
    assert max(map(len, lines)) <= width, screen
    assert sum("live" in line for line in lines) == 1, screen
    assert sum(line.startswith(" 1 overview") for line in lines) == 1, screen
    assert lines[-1].startswith(" ? help  p pause  q quit"), screen
    rules = [line for line in lines if re.match(r"─ blocks ─{4}", line)]
    assert rules, screen
    assert all(len(line) == width for line in rules), screen


def test_a_node_of_a_testnet_is_watched(driver: Driver) -> None:
    up = driver.run("up", "--name", "net", "--load", "20", "--detach", timeout_s=120)
    assert up.returncode == 0, up
    node = driver.json("status", "--name", "net")["nodes"][0]
    with open_terminal(driver.folder, ENVIRONMENT) as terminal:
        start(terminal, f"-m p2pnode tui --node {node['rpc']}")
        terminal.shows(r"\A node0 .*● live")
        assert terminal.state() == {"cursor": False, "alternate": True}
        # Every screen.
        for digit, (title, data) in enumerate(SCREENS, 1):
            terminal.keys(str(digit))
            terminal.shows(title)
            terminal.shows(data)

        # Help.
        terminal.keys("?")
        terminal.shows(r"ctrl-l  ctrl-z +paint anew, suspend")
        terminal.keys("?")
        terminal.hides(r"paint anew")

        # A filter, and all again.
        terminal.keys("3")
        terminal.shows(r"node1 ")
        terminal.shows(r"node3 ")
        terminal.text("/node2")
        terminal.hides(r"node[13] ")
        terminal.keys("Enter")
        screen = terminal.shows(r"filter 'node2'")
        assert "node2" in screen
        assert "node3 " not in screen

        # A copy.
        terminal.keys("y")
        shown = re.search(r"copied where the terminal allows it: (\w+)", terminal.shows("copied"))
        assert shown is not None
        assert terminal.copied() == shown[1]
        peers = driver.json("status", "--name", "net")["nodes"]
        assert peers[2]["p2p"].endswith(shown[1])
        terminal.keys("Escape")
        terminal.shows(r"node3 ")

        # A pause: others go on, the screen does not.
        terminal.keys("1", "p")
        paused = terminal.shows(r"PAUSED, p goes on")
        terminal.hides("copied where")
        stood = re.search(r"height +(\d+)", paused)
        assert stood is not None
        height = int(stood[1])
        assert eventually(
            lambda: driver.json("status", "--name", "net")["nodes"][0]["height"] > height + 2, 60
        )
        assert f"height {stood[1]}" in re.sub(" +", " ", terminal.screen())
        terminal.keys("p")
        terminal.shows(r"● live")
        terminal.hides(rf"height +{height}\b")

        # Every size.
        for width, height in ((200, 60), (80, 24), (200, 60), (120, 40)):
            terminal.resize(width, height)
            assert_not_torn(terminal, width, height)

        # A node is killed and comes back.
        assert driver.run("kill", "node2", "--name", "net").returncode == 0
        terminal.keys("3")
        terminal.hides(r"node2 .*/ip4")
        terminal.shows(r"⚠ blocks go on.*without node2")
        assert driver.run("restart", "node2", "--name", "net").returncode == 0
        terminal.shows(r"node2 .*/ip4")
        terminal.hides(r"without node2")

        # So does one that is cut off.
        assert driver.run("cut", "node0", "node3", "--name", "net").returncode == 0
        terminal.shows(r"⚠ blocks go on.*without node3")
        assert driver.run("heal", "--name", "net").returncode == 0
        terminal.hides(r"without node3")

        terminal.keys("q")
        assert_whole(terminal, driver.folder)
    states = {node["state"] for node in driver.json("status", "--name", "net")["nodes"]}
    assert states == {"running"}


def test_a_killed_node_leaves_old_data_and_is_found_again(tmp_path: Path, single: Path) -> None:
    with running(single) as node, open_terminal(tmp_path, ENVIRONMENT) as terminal:
        start(terminal, f"-m p2pnode tui --node {node.url} --screen 8")
        terminal.shows(r"● live")
        terminal.shows(r"open files \d+")
        node.end(signal.SIGKILL)
        terminal.shows(r" data [\d.]+ s old, reconnecting$")
        terminal.shows(r"✗ no connection to http://\S+ for [\d.]+ s: ")
        # What was known stays, and the age goes on.
        terminal.shows(r" data [5-9]\.\d s old|data \d\d s old")
        assert re.search(r"open files \d+", terminal.screen())
        node.start()
        terminal.shows(r"● live")
        terminal.hides(r"no connection")
        terminal.keys("1")
        terminal.shows(r"health")
        # And once more, quit while nobody answers.
        node.end(signal.SIGKILL)
        terminal.shows(r"reconnecting")
        terminal.keys("q")
        assert_whole(terminal, tmp_path)
        node.start()


def test_a_mistake_in_a_picture_leaves_a_whole_terminal_and_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING)
    with open_terminal(tmp_path, ENVIRONMENT) as terminal:
        start(terminal, "crashing.py")
        terminal.shows(r"ZeroDivisionError: a mistake in the picture")
        assert_whole(terminal, tmp_path, code=1)


def test_a_node_with_its_tui_stops_when_that_is_said_twice(tmp_path: Path, single: Path) -> None:
    with open_terminal(tmp_path, ENVIRONMENT) as terminal:
        start(terminal, f"-m p2pnode run --tui --data {shlex.quote(str(single))}")
        terminal.shows(r"● live")
        nodes = [
            process
            for process in psutil.process_iter(["cmdline"])
            if str(single) in (process.info["cmdline"] or ())
        ]
        assert len(nodes) == 1
        terminal.keys("q")
        terminal.shows(r"Stop the node\?")
        terminal.keys("n")
        terminal.hides(r"Stop the node\?")
        terminal.shows(r"● live")
        terminal.keys("q")
        terminal.shows(r"leaving stops it")
        terminal.keys("y")
        assert_whole(terminal, tmp_path)
        assert not nodes[0].is_running()


@pytest.mark.slow
def test_a_killed_process_of_node_and_tui_is_answered_with_reset(
    tmp_path: Path, single: Path
) -> None:
    with open_terminal(tmp_path, ENVIRONMENT) as terminal:
        start(terminal, f"-m p2pnode run --tui --data {shlex.quote(str(single))}")
        terminal.shows(r"● live")
        for process in psutil.process_iter(["cmdline"]):
            if str(single) in (process.info["cmdline"] or ()):
                process.kill()
        # Nobody was there to give the terminal back: the shell still takes commands.
        terminal.shows(r"code 137")
        terminal.line("reset; tput rmcup; stty sane; clear")
        terminal.line("echo $((6 * 7)) is echoed")
        terminal.shows(r"^42 is echoed$")
        assert terminal.state() == {"cursor": True, "alternate": False}
