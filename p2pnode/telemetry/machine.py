"""The machine under this process: load, memory, disk, temperature, and what slows it down.

Each value is None (or empty) where the machine does not tell it. Looks are cheap and at most twice
a second; what takes longer (the size of the node's folder, a helper program) is looked at every
30 s in a thread.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import trio

from p2pnode.telemetry.percentile import Newest

LOOK_S: Final = 0.5
"""A look younger than this is answered again."""

SLOW_LOOK_S: Final = 30.0
"""The folder's size and the throttling are looked at this often."""

FILES_MAX: Final = 100_000
"""Most files whose sizes are added up."""

LATENESS_PERIOD_S: Final = 0.1
LATENESS_SAMPLES: Final = 600
"""A minute of them."""

THROTTLED: Final = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
"""Where a Raspberry Pi says what slows it down."""

THERMAL: Final = Path("/sys/class/thermal")

_THROTTLING: Final = (
    (0, "under-voltage"),
    (1, "frequency capped"),
    (2, "throttled"),
    (3, "soft temperature limit"),
)
"""Bits of `get_throttled` that speak of now, in Raspberry Pi's documentation of vcgencmd."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One look at the machine; the fields are those of `DeviceStatus`."""

    uptime_s: float
    cores_count: int
    load_1m: float | None
    memory_total_bytes: int
    memory_free_bytes: int
    disk_free_bytes: int | None
    disk_used_bytes: int
    disk_written_bytes: int | None
    temperature_c: float | None
    throttled: str
    lateness_p99_ms: float | None


class MachineSampler:
    """Looks at the machine; `run` looks at what takes longer."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        thermal: Path = THERMAL,
        throttled: Path = THROTTLED,
    ) -> None:
        """Prepare.

        Args:
            folder: The node's, whose size and disk are of interest.
            clock: Seconds.
            thermal: Where Linux has the temperatures.
            throttled: Where a Pi says what slows it down.
        """
        self._folder = folder
        self._clock = clock
        self._thermal = thermal
        self._throttled_path = throttled
        self._started_s = clock()
        self._used_bytes = 0
        self._throttled = ""
        self._lateness_ms: Newest[float] = Newest(LATENESS_SAMPLES)
        self._looked_s = 0.0
        self._look: Machine | None = None

    async def run(self) -> None:
        """Look at what takes longer, again and again; and how late this loop runs its tasks."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_lateness)
            while True:
                await trio.to_thread.run_sync(self.look_slowly)
                await trio.sleep(SLOW_LOOK_S)

    def look_slowly(self) -> None:
        """Add up the folder and ask what slows the machine down; takes milliseconds or more."""
        self._used_bytes = folder_bytes(self._folder)
        self._throttled = throttling(read_throttled(self._throttled_path))

    async def _watch_lateness(self) -> None:
        while True:
            due_s = trio.current_time() + LATENESS_PERIOD_S
            await trio.sleep_until(due_s)
            self._lateness_ms.add(max(0.0, trio.current_time() - due_s) * 1000)

    def sample(self) -> Machine:
        """Return the machine as of half a second ago at most."""
        now_s = self._clock()
        if self._look is None or now_s - self._looked_s >= LOOK_S:
            self._look, self._looked_s = self._fresh(now_s), now_s
        return self._look

    def _fresh(self, now_s: float) -> Machine:
        memory = psutil.virtual_memory()
        return Machine(
            uptime_s=now_s - self._started_s,
            cores_count=os.cpu_count() or 1,
            load_1m=_load(),
            memory_total_bytes=int(memory.total),
            memory_free_bytes=int(memory.available),
            disk_free_bytes=_disk_free(self._folder),
            disk_used_bytes=self._used_bytes,
            disk_written_bytes=written_bytes(),
            temperature_c=temperature(self._thermal),
            throttled=self._throttled,
            lateness_p99_ms=self._lateness_ms.percentile(99),
        )


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _disk_free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def written_bytes(path: Path = Path("/proc/self/io")) -> int | None:
    """Return what this process has caused to be written to disks; None where nobody counts."""
    try:
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "write_bytes":
                return int(value)
    except (OSError, ValueError):
        return None
    return None


def temperature(folder: Path = THERMAL) -> float | None:
    """Return the temperature of the hottest zone in °C; None where there is none."""
    found: list[float] = []
    for path in folder.glob("thermal_zone*/temp"):
        try:
            found.append(int(path.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return max(found, default=None)


def read_throttled(path: Path = THROTTLED) -> int | None:
    """Return a Pi's bits of what slows it down; None on other machines."""
    try:
        return int(path.read_text(), 16)
    except (OSError, ValueError):
        pass
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "get_throttled"], capture_output=True, text=True, timeout=5, check=False
        )
        return int(done.stdout.strip().partition("=")[2], 16)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def throttling(bits: int | None) -> str:
    """Return what slows a Pi down now, in words; empty for nothing."""
    if bits is None:
        return ""
    return ", ".join(word for bit, word in _THROTTLING if bits >> bit & 1)


def folder_bytes(folder: Path, files_max: int = FILES_MAX) -> int:
    """Return what the files below a folder take on the disk; sparse files count what they take."""
    total = count = 0
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    count += 1
                    if count >= files_max:
                        return total
        except OSError:
            # Removed meanwhile, or closed to us: the rest still counts.
            continue
    return total
