"""Runs the command `testnet` as people do: as a process, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from testnet.folder import Folder, Manifest, is_same_process, read_manifest

REPOSITORY = Path(__file__).parents[3]


class Driver:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "testnet", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout_s)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str, timeout_s: float = 60.0) -> Any:
        done = self.run(*arguments, "--json", timeout_s=timeout_s)
        assert done.returncode == 0, done
        return json.loads(done.stdout.splitlines()[-1])

    def manifest(self, name: str) -> Manifest:
        found = read_manifest(Folder(self.folder / ".testnet" / name))
        assert found is not None
        return found

    def until_ready(self, name: str) -> Manifest:
        self.json("wait", "--name", name, "--timeout", "30s")
        return self.manifest(name)

    def close(self) -> None:
        """End what a failed test has left; by the pids that testnets recorded."""
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.communicate(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self.run("down", "--all")


def left_over(manifest: Manifest) -> list[str]:
    """Return which processes of a testnet live."""
    return [n for n, pid, started in manifest.processes() if is_same_process(pid, started)]


def eventually(holds: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return holds()


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)
