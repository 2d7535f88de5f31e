from __future__ import annotations

import io
import json
import signal
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from p2pnode import service
from p2pnode.cli import tui as command
from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.main import main
from p2pnode.cli.run import _run
from p2pnode.cli.tui import Inside
from p2pnode.keys.sealing import Passphrase
from p2pnode.node.config import NodeConfig
from p2pnode.service import Running
from p2pnode.tui.app import AppOptions, Program
from p2pnode.tui.meter import Meter
from p2pnode.tui.model import Model

RUNNING = Running("http://127.0.0.1:1", "http://127.0.0.1:1/metrics", "/ip4/127.0.0.1/tcp/2", "p")


def console() -> Console:
    return Console(out=io.StringIO(), err=io.StringIO())


def said(console: Console) -> str:
    assert isinstance(console.err, io.StringIO)
    return console.err.getvalue()


def test_without_a_terminal_the_error_names_what_to_use_instead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.isatty", lambda descriptor: False)
    spoken = console()
    assert main(["tui", "--node", "http://127.0.0.1:1"], spoken) == ExitCode.FAILED
    assert "stdin is not a terminal; instead: p2pnode status --watch" in said(spoken)


def test_frames_per_second_have_limits() -> None:
    spoken = console()
    assert main(["tui", "--node", "h:1", "--fps", "99"], spoken) == ExitCode.USAGE
    assert "--fps 99: 0.5 to 30 expected" in said(spoken)


def test_statistics_that_cannot_be_written_are_refused_before_anything_is_shown(
    tmp_path: Path,
) -> None:
    spoken = console()
    path = tmp_path / "missing" / "stats.json"
    assert main(["tui", "--node", "h:1", "--stats", str(path)], spoken) == ExitCode.USAGE
    assert f"--stats {path}: No such file or directory" in said(spoken)


def test_statistics_are_left_as_json_and_a_full_disk_is_told(tmp_path: Path) -> None:
    spoken = console()
    arguments = Namespace(fps=4.0, ascii=None, theme=None, stats=str(tmp_path / "stats.json"))
    report = command.options(arguments, spoken).report
    assert report is not None
    meter = Meter(0.0)
    meter.shown(meter.begun(), 0.002, 100, 0.25)
    report(replace(meter.statistics(2.0), cpu_s=0.5))
    found = json.loads((tmp_path / "stats.json").read_text())
    assert (found["gap"]["p99_ms"], found["frame_bytes"], found["cpu"]) == (250.0, 100.0, 0.25)
    arguments.stats = "/dev/full"
    report = command.options(arguments, spoken).report
    assert report is not None
    report(meter.statistics(2.0))
    assert "--stats /dev/full: No space left on device" in said(spoken)


def test_the_node_is_commanded_only_when_its_folder_is_known(tmp_path: Path) -> None:
    named = command._admin(Namespace(node="http://h:1", data=None))
    assert "--data DIR" in named.why_not
    assert command.admin_of(tmp_path).path == ""
    assert "admin.sock" in command.admin_of(tmp_path).why_not


async def run_inside(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    show: Callable[[Program[Model], AppOptions], object],
    until: trio.Event | None = None,
) -> tuple[int, str]:
    """Run a node that is nothing but its TUI; return the exit code and what was said."""
    stopped = trio.Event()

    async def run_node(
        config: NodeConfig, *, on_ready: Callable[[Running], None], passphrase: Passphrase
    ) -> None:
        try:
            on_ready(RUNNING)
            await (trio.Event() if until is None else until).wait()
        finally:
            stopped.set()

    monkeypatch.setattr(service, "run_node", run_node)
    monkeypatch.setattr(command, "show", show)
    arguments = Namespace(screen=3, fps=4.0, ascii=None, theme=None, stats=None)
    spoken = console()
    config = NodeConfig(data_dir=tmp_path, name="n")
    with trio.fail_after(30):
        code = await _run(config, spoken, None, Inside(arguments, config, spoken))
    assert stopped.is_set()
    assert signal.alarm(0) == 0
    return code, said(spoken)


async def test_leaving_the_tui_of_a_node_stops_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def show(program: Program[Model], options: AppOptions) -> int:
        await trio.lowlevel.checkpoint()
        assert program.begin.inside
        assert program.begin.ui.screen == 3
        # The node's own handlers see the signals, and ctrl-Z must not stop it.
        assert (options.signals, options.suspends) == ((), False)
        return 0

    assert await run_inside(tmp_path, monkeypatch, show) == (ExitCode.OK, "")


async def test_a_node_outlives_a_mistake_in_its_tui(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed = trio.Event()

    async def show(program: Program[Model], options: AppOptions) -> int:
        await trio.lowlevel.checkpoint()
        crashed.set()
        raise ZeroDivisionError("in a picture")

    went_on = trio.Event()

    async def later() -> None:
        await crashed.wait()
        await trio.testing.wait_all_tasks_blocked()
        # The node is still there after the crash; now it ends by itself.
        went_on.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(later)
        code, text = await run_inside(tmp_path, monkeypatch, show, went_on)
    assert code == ExitCode.OK
    assert "ZeroDivisionError: in a picture" in text
    assert "the node goes on without it at http://127.0.0.1:1" in text
    assert "next: p2pnode tui --data" in text


def test_run_with_a_tui_needs_a_terminal_before_it_starts_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(tmp_path / "node")
    assert main(["init", "--single", "--data", data], console()) == ExitCode.OK
    monkeypatch.setattr("os.isatty", lambda descriptor: False)
    spoken = console()
    assert main(["run", "--tui", "--data", data], spoken) == ExitCode.FAILED
    assert "is not a terminal" in said(spoken)
    assert json.dumps(sorted(p.name for p in Path(data).iterdir())).count("store") == 0
