"""The fork server with real children."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from testnet.folder import is_same_process
from testnet.launch.launcher import Launcher, Process, Request
from tests.e2e.testnet import children

CHILDREN = children.__name__


async def started(launcher: Launcher, nursery: trio.Nursery) -> None:
    with trio.fail_after(20):
        await nursery.start(launcher.run)


def request(name: str, folder: Path, value: Any = None) -> Request:
    return Request(name, f"{CHILDREN}:{name}", value, folder, folder / "out")


async def heard(process: Process) -> list[Any]:
    found: list[Any] = []
    with trio.fail_after(10):
        await process.receive(found.append)
        await process.ended.wait()
    await process.channel.aclose()
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Nothing to import beforehand: these children need only the standard library and Trio.
    monkeypatch.setattr("testnet.launch.launcher.PRELOAD", ("trio",))
    return tmp_path


async def test_a_child_runs_in_its_place_and_its_end_is_reported(folder: Path) -> None:
    launcher = Launcher(folder, folder / "server.err")
    async with trio.open_nursery() as nursery:
        await started(launcher, nursery)
        process = await launcher.start(request("echo", folder, {"a": 1}))
        messages = await heard(process)
        nursery.cancel_scope.cancel()
    launcher.close()
    assert messages == [{"value": {"a": 1}, "cwd": str(folder), "pid": process.pid}]
    assert process.code == 3
    assert (folder / "out").read_text() == "printed\n"


async def test_a_child_that_raises_leaves_its_traceback(folder: Path) -> None:
    launcher = Launcher(folder, folder / "server.err")
    async with trio.open_nursery() as nursery:
        await started(launcher, nursery)
        process = await launcher.start(request("fail", folder))
        await heard(process)
        nursery.cancel_scope.cancel()
    launcher.close()
    assert process.code == 1
    assert "ZeroDivisionError" in (folder / "out").read_text()


async def test_children_end_with_the_supervisor_s_end_of_the_line(folder: Path) -> None:
    launcher = Launcher(folder, folder / "server.err")
    async with trio.open_nursery() as nursery:
        await started(launcher, nursery)
        processes = [await launcher.start(request("wait", folder)) for _ in range(3)]
        # One is stopped: it must go all the same.
        os.kill(processes[0].pid, signal.SIGSTOP)
        nursery.cancel_scope.cancel()
    await trio.to_thread.run_sync(launcher.close)
    assert not any(is_same_process(p.pid, p.started) for p in processes)
    for process in processes:
        await process.channel.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
async def test_children_die_with_a_fork_server_that_is_killed(folder: Path) -> None:
    launcher = Launcher(folder, folder / "server.err")
    async with trio.open_nursery() as nursery:
        await started(launcher, nursery)
        process = await launcher.start(request("wait", folder))
        assert is_same_process(process.pid, process.started)
        os.kill(launcher.pid, signal.SIGKILL)
        with trio.fail_after(5):
            await launcher.gone.wait()
            await until(lambda: not is_same_process(process.pid, process.started))
        nursery.cancel_scope.cancel()
    launcher.close()
    await process.channel.aclose()


async def test_a_child_told_to_stop_that_hangs_is_ended_by_its_alarm(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = Launcher(folder, folder / "server.err")
    async with trio.open_nursery() as nursery:
        await started(launcher, nursery)
        process = await launcher.start(request("hang", folder))
        found: list[Any] = []
        nursery.start_soon(process.receive, found.append)
        with trio.fail_after(10):
            await until(lambda: bool(found))
            os.kill(process.pid, signal.SIGTERM)
            await process.ended.wait()
        nursery.cancel_scope.cancel()
    launcher.close()
    assert process.code == -signal.SIGALRM
    await process.channel.aclose()


async def until(holds: Callable[[], bool]) -> None:
    while True:
        if holds():
            return
        await trio.sleep(0.01)
