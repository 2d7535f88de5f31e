"""What `p2pnode doctor` measures of the machine: each function looks at one thing."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import psutil

from p2pnode import crypto
from p2pnode.node.units import human_size

MEMORY_BYTES_MIN: Final = 400 << 20
"""A validator takes 100 MiB to 200 MiB; below this even a light load swaps."""
MEMORY_BYTES_GOOD: Final = 900 << 20
CHECKS_PER_S_MIN: Final = 500
CHECKS_PER_S_GOOD: Final = 2000
"""A Raspberry Pi 4 does 4000."""
TEMPERATURE_C_MAX: Final = 80.0
"""From here on a Raspberry Pi slows down."""
CLOCK_ERROR_MS_MAX: Final = 500.0
DISK_BYTES_MIN: Final = 256 << 20
DISK_BYTES_GOOD: Final = 4 << 30
SYNC_MS_GOOD: Final = 30.0
SYNC_MS_MAX: Final = 500.0
"""A vote waits for a sync; blocks come every 200 ms."""
SYNCS: Final = 15
WRITE_BYTES: Final = 8 << 20
FILES_MIN: Final = 1024
CLOCK_UNSYNCHRONISED: Final = 5
"""TIME_ERROR of adjtimex(2)."""
THROTTLED: Final = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
"""Of a Raspberry Pi: bits 0-3 now, 16-19 since the machine started."""


class State(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARN = "warn"
    """The node runs, worse than it could."""
    FAIL = "fail"
    """The node does not run, or not safely."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    name: str
    state: State
    text: str
    """With the numbers."""
    hint: str = ""
    """What to do; empty iff ok."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """The numbers by name, units last."""


def graded(value: float, good: float, least: float) -> State:
    """Return how good a number is that should be large."""
    return State.OK if value >= good else State.WARN if value >= least else State.FAIL


def check_machine() -> Finding:
    """Look at the word size, the memory and the cores."""
    memory_bytes = int(psutil.virtual_memory().total)
    cores_count = os.cpu_count() or 1
    numbers = {"memory_bytes": memory_bytes, "cores_count": cores_count}
    text = f"{platform.machine()}, {cores_count} cores, {human_size(memory_bytes)} of memory"
    if sys.maxsize <= 1 << 32:
        hint = "install a 64-bit system: the store maps more than 4 GiB"
        return Finding("machine", State.FAIL, f"{text}, 32 bits", hint, numbers)
    state = graded(memory_bytes, MEMORY_BYTES_GOOD, MEMORY_BYTES_MIN)
    hint = "" if state is State.OK else f"{human_size(MEMORY_BYTES_GOOD)} or more are better"
    return Finding("machine", state, text, hint, numbers)


def check_power(path: Path = THROTTLED) -> Finding | None:
    """Look at temperature and under-voltage; None where the machine does not tell."""
    numbers: dict[str, float] = {}
    parts: list[str] = []
    hints: list[str] = []
    # Absent on macOS.
    sensors = getattr(psutil, "sensors_temperatures", None)
    values: list[float] = []
    if sensors is not None:
        values = [entry.current for entries in sensors().values() for entry in entries]
    if values:
        numbers["temperature_c"] = max(values)
        parts.append(f"{max(values):.0f} °C")
        if max(values) >= TEMPERATURE_C_MAX:
            hints.append("cool the machine: it slows down at this temperature")
    with suppress(OSError, ValueError):
        bits = int(path.read_text(), 16)
        numbers["throttled_bits"] = bits
        parts.append(f"throttled {bits:#x}")
        if bits & 0x10001:
            hints.append("use a stronger power supply: the voltage was too low")
        elif bits:
            hints.append("the processor was slowed down: look at cooling and power")
    if not parts:
        return None
    state = State.WARN if hints else State.OK
    return Finding("power", state, ", ".join(parts), "; ".join(hints), numbers)


def check_python() -> Finding:
    """Look at the Python that runs this."""
    text = f"{platform.python_implementation()} {platform.python_version()}"
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", State.FAIL, text, "use Python 3.11, 3.12 or 3.13")
    return Finding("python", State.OK, text)


def check_signatures() -> Finding:
    """Measure how many signatures one core checks."""
    key = crypto.SecretKey(b"\1" * 32)
    signature = key.sign(b"doctor")
    begin_s, count = time.perf_counter(), 0
    while time.perf_counter() - begin_s < 0.1:
        crypto.verify(key.public, b"doctor", signature)
        count += 1
    rate = count / (time.perf_counter() - begin_s)
    state = graded(rate, CHECKS_PER_S_GOOD, CHECKS_PER_S_MIN)
    hint = "" if state is State.OK else "the processor is busy or slow: it limits transactions"
    text = f"{rate:.0f} signatures checked per second and core"
    return Finding("signatures", state, text, hint, {"checks_per_s": rate})


def check_clock() -> Finding:
    """Ask the kernel whether the clock is kept right."""
    hint = "run an NTP client: `sudo timedatectl set-ntp true`"
    answer = _adjtimex()
    if answer is None:
        text = "this system does not tell whether the clock is right"
        return Finding("clock", State.WARN, text, hint)
    state_code, error_ms = answer
    numbers = {"error_ms": error_ms}
    if state_code == CLOCK_UNSYNCHRONISED:
        return Finding("clock", State.WARN, "not synchronised", hint, numbers)
    text = f"synchronised, at most {error_ms:.0f} ms wrong"
    if error_ms > CLOCK_ERROR_MS_MAX:
        return Finding("clock", State.WARN, text, hint, numbers)
    return Finding("clock", State.OK, text, "", numbers)


def _adjtimex() -> tuple[int, float] | None:
    """Return (state, greatest error in ms) of the kernel's clock; None where it does not tell."""
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    # struct timex with `modes` 0, which only reads: an int, padding, then longs.
    words = (ctypes.c_long * 32)()
    state = int(call(ctypes.byref(words)))
    return None if state < 0 else (state, words[3] / 1000)


def check_disk_space(folder: Path, store_bytes_max: int) -> Finding:
    """Compare the free space with what the store may take."""
    free_bytes = shutil.disk_usage(existing(folder)).free
    used_bytes = sum(p.stat().st_size for p in (folder / "store").glob("*.mdb"))
    numbers = {
        "free_bytes": free_bytes,
        "store_bytes": used_bytes,
        "store_bytes_max": store_bytes_max,
    }
    text = (
        f"{human_size(free_bytes)} free, the store has {human_size(used_bytes)} and may take"
        f" {human_size(store_bytes_max)}"
    )
    state = graded(free_bytes, DISK_BYTES_GOOD, DISK_BYTES_MIN)
    if state is not State.OK:
        hint = "free some space, or lower store.retention_heights"
        return Finding("disk", state, text, hint, numbers)
    if store_bytes_max > used_bytes + free_bytes:
        room = human_size(used_bytes + free_bytes * 8 // 10)
        hint = f"set store.size_bytes_max to {room} or less, so that others keep some space"
        return Finding("disk", State.WARN, text, hint, numbers)
    return Finding("disk", state, text, "", numbers)


def check_disk_speed(folder: Path) -> Finding:
    """Measure writes with a sync, which each vote waits for."""
    path = existing(folder) / f".doctor-{os.getpid()}"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = f"give this user the right to write into {path.parent}"
        return Finding("disk speed", State.FAIL, f"{path.parent}: {error.strerror}", hint)
    try:
        begin_s = time.perf_counter()
        os.pwrite(descriptor, os.urandom(1 << 16) * (WRITE_BYTES >> 16), 0)
        os.fsync(descriptor)
        bytes_per_s = WRITE_BYTES / (time.perf_counter() - begin_s)
        syncs_ms: list[float] = []
        for number in range(SYNCS):
            begin_s = time.perf_counter()
            os.pwrite(descriptor, os.urandom(4096), number * 4096)
            os.fdatasync(descriptor) if hasattr(os, "fdatasync") else os.fsync(descriptor)
            syncs_ms.append((time.perf_counter() - begin_s) * 1000)
    except OSError as error:
        return Finding("disk speed", State.FAIL, f"{path.parent}: {error.strerror}", "free space")
    finally:
        os.close(descriptor)
        path.unlink()
    sync_ms = sorted(syncs_ms)[SYNCS // 2]
    numbers = {
        "sync_ms": sync_ms,
        "sync_worst_ms": max(syncs_ms),
        "write_bytes_per_s": bytes_per_s,
    }
    text = (
        f"{sync_ms:.1f} ms a sync (worst of {SYNCS}: {max(syncs_ms):.1f} ms),"
        f" {human_size(int(bytes_per_s))}/s"
    )
    if sync_ms <= SYNC_MS_GOOD:
        return Finding("disk speed", State.OK, text, "", numbers)
    hint = "put the folder on an SSD or a faster card (A2): each vote waits for a sync"
    state = State.WARN if sync_ms <= SYNC_MS_MAX else State.FAIL
    return Finding("disk speed", state, text, hint, numbers)


def check_files() -> Finding:
    """Look at the limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} open files allowed"
    if soft != resource.RLIM_INFINITY and soft < FILES_MIN:
        hint = f"raise the limit to {FILES_MIN}: `ulimit -n {FILES_MIN}`"
        return Finding("files", State.WARN, text, hint, {"files_max": soft})
    return Finding("files", State.OK, text, "", {"files_max": soft})


def check_port(name: str, host: str, port: int) -> Finding:
    """Try to listen where the node will."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            text = f"{host} port {port}: {error.strerror}"
            hint = f"find who has it with `ss -ltnp sport = :{port}`, or choose another port"
            return Finding(name, State.FAIL, text, hint)
    return Finding(name, State.OK, f"{host} port {port or 'of any number'} is free")


def existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above that is there."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder
