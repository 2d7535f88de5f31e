"""Both TUIs over lines as people have them: a way of 100 ms or more, few bytes a second."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.testnet.driver import REPOSITORY, Driver
from tests.e2e.tui.tmux import Terminal, open_terminal

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8", "TERM": "xterm-256color"}
RELAY = Path(__file__).with_name("relay.py")

NODE = (
    "health",
    "view",
    "peers, ",
    "kept here",
    "shard|states held",
    "held",
    "log from",
    "process",
)
NETWORK = ("nodes", "round trips", "log from", "load", "node0")
"""What the first rule of each screen says."""

ANSWER_S_MAX = 10.0
"""What a key may take here: a machine may be busy. Figures are printed; over a line of 200 ms it is
a quarter of a second."""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    driver = Driver(tmp_path_factory.mktemp("net"))
    up = driver.run("up", "--name", "net", "--load", "50", "--detach", timeout_s=120)
    assert up.returncode == 0, up
    yield driver
    driver.close()


@contextmanager
def over_a_line(folder: Path, command: str, *line: str) -> Iterator[Terminal]:
    """Run a command of the interpreter's at the far end of a line."""
    with open_terminal(folder, ENVIRONMENT) as terminal:
        words = [sys.executable, str(RELAY), *line, "--report", "line.json"]
        command = f"{sys.executable} -m {command} --stats stats.json"
        terminal.line("stty -a > before; clear")
        terminal.line(f"{shlex.join(words)} {command}; code=$?; stty -a > after; echo code $code")
        terminal.shows(r"live *$")
        yield terminal
        # As it was before: the size is one of the settings that are compared.
        terminal.resize(120, 40)
        assert_whole(terminal, (120, 40))
        terminal.keys("q")
        terminal.shows(r"^code 0$")
        # No answer of the terminal was left to be typed to the shell.
        terminal.line("echo $((6 * 7)) is echoed")
        terminal.shows(r"^ready> echo .*echoed$")
        terminal.shows(r"^42 is echoed$")
        assert (folder / "before").read_text() == (folder / "after").read_text()
        assert terminal.state() == {"cursor": True, "alternate": False}


def torn(screen: str, size: tuple[int, int], footer: str = " ?") -> str:
    """Return what is not in its place; empty when the screen is whole."""
    width, height = size
    lines = screen.rstrip("\n").split("\n")
    rules = [line for line in lines if line.startswith("─ ")]
    heads = [line for line in lines if line.startswith((" 1 overview", " 1 nodes"))]
    found = []
    if len(lines) != height or not lines[-1].startswith(footer):
        found.append(f"{len(lines)} rows, the last {lines[-1]!r}")
    if sum(line.rstrip().endswith("live") for line in lines) != 1 or "live" not in lines[0]:
        found.append("the first row")
    if len(heads) != 1 or heads[0] != lines[1]:
        found.append(f"tabs {heads}")
    if not rules or any(width - len(line) not in (0, 1) for line in rules):
        found.append(f"rules {[len(line) for line in rules]}")
    return "; ".join(found)


def assert_whole(terminal: Terminal, size: tuple[int, int], within_s: float = 30.0) -> None:
    """The screen comes to be whole; a part of a frame may be on its way."""
    deadline = time.monotonic() + within_s
    while wrong := torn(screen := terminal.screen(), size):
        assert time.monotonic() < deadline, f"{wrong}\n{screen}"
        time.sleep(0.05)


def press(terminal: Terminal, key: str, shows: str) -> float:
    """Press a key; return the seconds until the person sees what it does."""
    begin_s = time.monotonic()
    terminal.keys(key)
    terminal.shows(shows, within_s=ANSWER_S_MAX, every_s=0.02)
    return time.monotonic() - begin_s


def walk(terminal: Terminal, titles: tuple[str, ...], size: tuple[int, int]) -> list[float]:
    """Show every screen, the first one last; return how long each took."""
    took_s = []
    for digit in (*range(2, len(titles) + 1), 1):
        title = rf"\A.*\n.*\n─ ([\d ]*)({titles[digit - 1]})"
        took_s.append(press(terminal, str(digit), title))
        assert_whole(terminal, size)
    return took_s


def report(folder: Path, name: str, took_s: list[float]) -> tuple[dict[str, int], dict[str, float]]:
    line, stats = (json.loads((folder / f"{part}.json").read_text()) for part in ("line", "stats"))
    took_s.sort()
    print(
        f"{name}: keys seen after {took_s[len(took_s) // 2] * 1000:.0f} ms in the middle,"
        f" {took_s[-1] * 1000:.0f} ms at most; {stats['frame_bytes']:.0f} bytes a frame,"
        f" {line['total_bytes'] / stats['elapsed_s']:.0f} a second,"
        f" at most {line['waiting_bytes_max']} waited; gap p99 {stats['gap']['p99_ms']:.0f} ms"
    )
    return line, stats


LINES = {
    "200-ms": ("--delay", "0.1", "--rate", "65536"),
    "400-ms": ("--delay", "0.2"),
}
"""What a person and a byte wait: both ways together."""


@pytest.mark.parametrize("line", ["200-ms", pytest.param("400-ms", marks=pytest.mark.slow)])
def test_a_nodes_tui_is_whole_and_answers_over_a_long_line(net: Driver, line: str) -> None:
    rpc = net.manifest("net").nodes[0].rpc
    with over_a_line(net.folder, f"p2pnode tui --node {rpc}", *LINES[line]) as terminal:
        took_s = walk(terminal, NODE, (120, 40))
        for size in ((200, 60), (80, 24), (120, 40)):
            terminal.resize(*size)
            assert_whole(terminal, size)
        took_s.append(press(terminal, "?", r"paint anew"))
        terminal.keys("?")
        terminal.hides(r"paint anew")
    report(net.folder, f"node, {line}", took_s)


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_the_network_tui_is_whole_and_answers_over_a_long_line(net: Driver, line: str) -> None:
    with over_a_line(net.folder, "testnet tui --name net", *LINES[line]) as terminal:
        took_s = walk(terminal, NETWORK, (120, 40))
        for size in ((200, 60), (80, 24), (120, 40)):
            terminal.resize(*size)
            assert_whole(terminal, size)
    report(net.folder, f"network, {line}", took_s)


def test_over_a_narrow_line_frames_are_left_out_and_do_not_pile_up(net: Driver) -> None:
    rpc = net.manifest("net").nodes[0].rpc
    narrow = ("--delay", "0.1", "--rate", "8192")
    command = f"p2pnode tui --node {rpc} --fps 10 --screen 2"
    with over_a_line(net.folder, command, *narrow) as terminal:
        terminal.resize(200, 60)
        assert_whole(terminal, (200, 60))
        took_s = []
        for _ in range(3):
            took_s += walk(terminal, NODE, (200, 60))
    line, stats = report(net.folder, "node, 8 KiB/s", took_s)
    # The line would store 2 MiB, four minutes of it.
    assert line["waiting_bytes_max"] < 128 << 10
    # It was too narrow for all frames.
    assert stats["drawn_count"] < 9 * stats["elapsed_s"]
