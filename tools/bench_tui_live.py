"""What the TUIs cost as processes of their own, and cost the node, on a testnet under load.

    .venv/bin/python tools/bench_tui_live.py [--for 65s] [--rate 300] [--only node|network] [--json]

For each TUI and size, node0 of a testnet of four is first left alone for the time given, then the
TUI is attached to it in a pseudo-terminal, and every screen is walked through with keys. CPU and
memory are read from outside; gaps, answers and bytes are those of `--stats`; `node late` is node0's
lateness_p99_ms at the end of each of the two stretches. It looks back a minute: a stretch should
not be shorter. Exits 1 when a limit is missed. It needs a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from p2pnode.client import BlockingClient
from p2pnode.node.units import parse_duration
from p2pnode.tui.pace import ASK
from p2pnode.tui.text import Size

ROOT: Final = Path(__file__).resolve().parent.parent

SIZES: Final = ((Size(120, 40), 4), (Size(200, 60), 4))
"""Sizes, and the frames per second they are measured for."""

CPU_MAX: Final = 0.08
MEMORY_BYTES_MAX: Final = 45 << 20
GAP_P99_MS_MAX: Final = 500.0
LATER_MS_MAX: Final = 20.0
"""What a TUI may add to the lateness of the node's loop, 99th percentile."""

READY_S: Final = 60.0
SETTLE_S: Final = 2.0
"""A TUI is measured from so long after it first showed data on: imports are not what is asked."""


@dataclass(frozen=True, slots=True)
class Surface:
    """A TUI to be measured."""

    name: str
    command: tuple[str, ...]
    keys: str
    """One for each of its screens."""
    size: Size
    frames_per_s: int


@dataclass(frozen=True, slots=True)
class Row:
    """What one TUI cost; times of the node's loop without and with it."""

    name: str
    size: str
    frames_per_s: int
    cpu: float
    memory_bytes: int
    gap_p50_ms: float
    gap_p99_ms: float
    gap_max_ms: float
    drawing_p99_ms: float
    answer_p99_ms: float
    frame_bytes: float
    written_bytes_per_s: float
    late_without_ms: float
    late_with_ms: float
    node_cpu_without: float
    node_cpu_with: float

    def missed(self) -> list[str]:
        """Return which limits do not hold."""
        later_ms = self.late_with_ms - self.late_without_ms
        found = []
        if self.cpu >= CPU_MAX:
            found.append(f"{self.cpu:.1%} of a core, less than {CPU_MAX:.0%} wanted")
        if self.memory_bytes >= MEMORY_BYTES_MAX:
            found.append(f"{self.memory_bytes / 2**20:.1f} MiB, less than 45 wanted")
        if self.gap_p99_ms >= GAP_P99_MS_MAX:
            found.append(f"gap p99 {self.gap_p99_ms:.0f} ms, less than 500 wanted")
        if later_ms > LATER_MS_MAX:
            found.append(f"the node's loop is {later_ms:.1f} ms later, at most 20 wanted")
        return [f"{self.name} {self.size}: {text}" for text in found]


def live(arguments: argparse.Namespace) -> int:
    """Measure the TUIs on a testnet under load; returns the exit code."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-tui-") as name:
        folder = Path(name)
        up = ("--validators", "4", "--load", str(arguments.rate), "--detach")
        testnet(folder, "up", *up)
        try:
            testnet(folder, "wait", "--timeout", f"{READY_S:.0f}s")
            status = json.loads(testnet(folder, "status", "--json").splitlines()[-1])
            node = status["nodes"][0]
            print(HEAD, flush=True)
            for surface in surfaces(node["rpc"], arguments.only):
                row = compare(surface, node["rpc"], node["pid"], folder, arguments.for_s)
                rows.append(row)
                print(line_of(row), flush=True)
        finally:
            testnet(folder, "down")
    missed = [text for row in rows for text in row.missed()]
    for text in missed:
        print(f"MISSED  {text}")
    if arguments.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "missed": missed}))
    return 1 if missed else 0


def surfaces(rpc: str, only: str | None) -> Iterator[Surface]:
    """Return what is measured."""
    for name, command, keys in (
        ("node", ("p2pnode", "tui", "--node", rpc), "12345678"),
        ("network", ("testnet", "tui"), "12345"),
    ):
        for size, frames_per_s in SIZES if only in (None, name) else ():
            yield Surface(name, command, keys, size, frames_per_s)


def compare(surface: Surface, rpc: str, node_pid: int, folder: Path, for_s: float) -> Row:
    """Look at the node for a while without, then with a TUI."""
    node = psutil.Process(node_pid)

    def node_after(act: Iterator[None]) -> tuple[float, float]:
        """Return the lateness, and the share of a core that the node has taken."""
        cpu_s, begin_s = cpu_of(node), time.monotonic()
        for _ in act:
            time.sleep(0.25)
        with BlockingClient(rpc) as client:
            late_ms = client.status().device.lateness_p99_ms
        assert late_ms is not None
        return late_ms, (cpu_of(node) - cpu_s) / (time.monotonic() - begin_s)

    late_without_ms, node_cpu_without = node_after(waiting(for_s))
    with attached(surface, folder) as (process, terminal):
        if not terminal.live.wait(READY_S):
            raise SystemExit(f"{surface.name}: no data after {READY_S:.0f} s")
        time.sleep(SETTLE_S)
        seen = Seen()
        walk = walking(surface, psutil.Process(process.pid), terminal, for_s, seen)
        late_with_ms, node_cpu_with = node_after(walk)
        terminal.type("q")
        if process.wait(timeout=30) != 0:
            raise SystemExit(f"{surface.name}: exit code {process.returncode}")
    stats: dict[str, Any] = json.loads((folder / "stats.json").read_text())
    return Row(
        name=surface.name,
        size=f"{surface.size.width}x{surface.size.height}",
        frames_per_s=surface.frames_per_s,
        cpu=seen.cpu_s / seen.elapsed_s,
        memory_bytes=max(seen.memory_bytes, stats["memory_bytes_max"]),
        gap_p50_ms=stats["gap"]["p50_ms"],
        gap_p99_ms=stats["gap"]["p99_ms"],
        gap_max_ms=stats["gap"]["max_ms"],
        drawing_p99_ms=stats["drawing"]["p99_ms"],
        answer_p99_ms=stats["answer"]["p99_ms"],
        frame_bytes=stats["frame_bytes"],
        written_bytes_per_s=stats["written_bytes"] / stats["elapsed_s"],
        late_without_ms=late_without_ms,
        late_with_ms=late_with_ms,
        node_cpu_without=node_cpu_without,
        node_cpu_with=node_cpu_with,
    )


@dataclass(slots=True)
class Seen:
    """A TUI from outside."""

    cpu_s: float = 0.0
    elapsed_s: float = 0.0
    memory_bytes: int = 0


def waiting(for_s: float) -> Iterator[None]:
    """Let time pass."""
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        yield


def walking(
    surface: Surface, process: psutil.Process, terminal: Terminal, for_s: float, seen: Seen
) -> Iterator[None]:
    """Show every screen for its share of the time."""
    begin_cpu_s, begin_s = cpu_of(process), time.monotonic()
    for key in surface.keys:
        terminal.type(key)
        for _ in waiting(for_s / len(surface.keys)):
            seen.memory_bytes = max(seen.memory_bytes, process.memory_info().rss)
            yield
    seen.cpu_s = cpu_of(process) - begin_cpu_s
    seen.elapsed_s = time.monotonic() - begin_s


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds of a process."""
    times = process.cpu_times()
    return float(times.user + times.system)


class Terminal:
    """The person's end of a pseudo-terminal that takes everything at once."""

    def __init__(self, master: int) -> None:
        self._master = master
        self.live = threading.Event()
        """Data was shown."""

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def take(self) -> None:
        """Take what comes until nobody has the other end; answer what a terminal is asked."""
        while True:
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:
                return
            if b"\x1b[c" in data:
                self.type("\x1b[?62c")
            self.type("\x1b[0n" * data.count(ASK.encode()))
            # At the right of the first line, in both TUIs.
            if b"live" in data:
                self.live.set()


@contextmanager
def attached(surface: Surface, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Terminal]]:
    """Run a TUI in a pseudo-terminal."""
    master, slave = pty.openpty()
    size = struct.pack("HHHH", surface.size.height, surface.size.width, 0, 0)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
    wanted = ("--fps", str(surface.frames_per_s), "--stats", "stats.json")
    process = subprocess.Popen(
        [sys.executable, "-m", *surface.command, *wanted],
        cwd=folder,
        env={**environment(), "TERM": "xterm-256color", "LANG": "C.UTF-8"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    terminal = Terminal(master)
    reader = threading.Thread(target=terminal.take)
    reader.start()
    try:
        yield process, terminal
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        reader.join()
        os.close(master)


def testnet(folder: Path, *arguments: str) -> str:
    """Run a command; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "testnet", *arguments, "--name", "bench", "--quiet"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def environment() -> dict[str, str]:
    """Return the environment in which our own packages are found."""
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


HEAD: Final = (
    "tui      size    fps    cpu    memory   gap p50    p99    max   draw p99  answer p99"
    "  B/frame   B/s   node late p99 without   with   node cpu without  with"
)


def line_of(row: Row) -> str:
    """Return a row of the table."""
    return (
        f"{row.name:<8} {row.size:<7} {row.frames_per_s:>3} {row.cpu:>6.1%}"
        f" {row.memory_bytes / 2**20:>5.1f} MiB {row.gap_p50_ms:>6.0f} ms {row.gap_p99_ms:>6.0f}"
        f" {row.gap_max_ms:>6.0f} {row.drawing_p99_ms:>7.1f} ms {row.answer_p99_ms:>8.1f} ms"
        f" {row.frame_bytes:>8.0f} {row.written_bytes_per_s:>5.0f}"
        f" {row.late_without_ms:>20.1f} ms {row.late_with_ms:>6.1f}"
        f" {row.node_cpu_without:>18.1%} {row.node_cpu_with:>5.1%}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the arguments say; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--for", dest="for_s", type=parse_duration, default=65.0, metavar="65s")
    parser.add_argument("--rate", type=int, default=300, help="transactions a second")
    parser.add_argument("--only", choices=("node", "network"), help="one of the TUIs")
    parser.add_argument("--json", action="store_true", help="everything again, as the last line")
    # Else the testnet would run on.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    return live(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
