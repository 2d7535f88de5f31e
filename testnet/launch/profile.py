"""Where a node's CPU time goes, by part: a look at the main thread's stack every few milliseconds.

The looks come from a timer of the process's CPU time, and the signal's handler runs between two
instructions of the main thread: a sampling thread would see it only where it lets go of the
interpreter's lock, which is nearly always in the event loop. Worker threads check signatures and
sync the disk; their CPU time is what the process used beyond its main thread.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

PERIOD_S: Final = 0.005
"""CPU time of the process between two looks."""

WRITE_S: Final = 1.0

PARTS: Final = (
    "signatures",
    "codec",
    "network",
    "consensus",
    "availability",
    "mempool",
    "execution",
    "state",
    "store",
    "api",
    "node",
    "event_loop",
    "other",
)

_BY_PREFIX: Final = (
    ("p2pnode.codec", "codec"),
    ("p2pnode.types", "codec"),
    ("p2pnode.crypto", "signatures"),
    ("p2pnode.keys", "signatures"),
    ("p2pnode.execution.state", "state"),
    ("p2pnode.execution.tree", "state"),
    ("p2pnode.execution.accounts", "state"),
    ("p2pnode.execution", "execution"),
    ("p2pnode.consensus", "consensus"),
    ("p2pnode.availability", "availability"),
    ("p2pnode.mempool", "mempool"),
    ("p2pnode.gossip", "network"),
    ("p2pnode.net", "network"),
    ("p2pnode.sync", "network"),
    ("p2pnode.store", "store"),
    ("p2pnode.api", "api"),
    ("p2pnode", "node"),
    ("libp2p", "network"),
    ("multiaddr", "network"),
    ("noise", "network"),
    ("starlette", "api"),
    ("hypercorn", "api"),
    ("h11", "api"),
)


def part_of(module: str) -> str | None:
    """Return the part that a module's time belongs to, None for libraries that many use."""
    for prefix, part in _BY_PREFIX:
        if module == prefix or module.startswith(prefix + "."):
            return part
    return None


def part_of_stack(frame: FrameType | None) -> str:
    """Return the part of the innermost frame that belongs to one.

    What the event loop does for a task, such as waking another one, is that task's.
    """
    in_loop = False
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        part = part_of(module)
        if part is not None:
            return part
        in_loop = in_loop or module.partition(".")[0] == "trio"
        frame = frame.f_back
    return "event_loop" if in_loop else "other"


class _Sampler:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._before_s = self._main_start_s = time.thread_time()
        self._process_start_s = time.process_time()
        self._written_s = time.monotonic()

    def look(self, number: int, frame: FrameType | None) -> None:
        """Handle the timer's signal, in the main thread."""
        now_s = time.thread_time()
        self._spent[part_of_stack(frame)] += now_s - self._before_s
        self._before_s = now_s
        if time.monotonic() - self._written_s >= WRITE_S:
            self._written_s = time.monotonic()
            self.write()

    def write(self) -> None:
        """Replace the file."""
        process_s = time.process_time() - self._process_start_s
        workers_s = process_s - (time.thread_time() - self._main_start_s)
        parts = dict(self._spent)
        parts["signatures"] += max(0.0, workers_s)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({"parts_s": parts}), encoding="utf-8")
        new.replace(self._path)


@contextmanager
def profiled(path: Path) -> Iterator[None]:
    """Sample the main thread inside the block; `path` gets CPU seconds by part, as JSON."""
    sampler = _Sampler(path)
    before = signal.signal(signal.SIGPROF, sampler.look)
    # System calls go on after the signal instead of failing.
    signal.siginterrupt(signal.SIGPROF, False)
    signal.setitimer(signal.ITIMER_PROF, PERIOD_S, PERIOD_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
        sampler.write()
