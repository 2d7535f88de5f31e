"""The folder of a testnet: where everything is, who owns it, and what a dead one left behind.

A lock on a file tells a running testnet from a dead one: the system releases it with the process
that holds it, however that ends. Processes are known by pid and start time, since pids are used
again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from p2pnode.errors import ConfigError

ROOT: Final = Path(".testnet")
"""Holds all testnets, under the current folder."""

LATEST: Final = "latest"
MANIFEST: Final = "testnet.json"
LOCK: Final = "lock"

DEAD_KEPT_MAX: Final = 5
"""Dead testnets whose files are kept; the next start removes older ones."""

START_TOLERANCE_S: Final = 0.02
"""Start times are recorded in clock ticks of 10 ms."""


class NoTestnetError(ConfigError):
    """There is no such testnet."""


class TestnetRunsError(ConfigError):
    """A testnet of this name runs already."""

    __test__ = False


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """A node in the manifest."""

    name: str
    roles: tuple[str, ...]
    rpc: str
    """URL of its API."""
    p2p: str
    """Multiaddress with its peer id."""
    pid: int | None
    """None while it does not run."""
    started: float | None
    """When the process began, seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What testnet.json says."""

    name: str
    seed: int
    chain: str
    """Chain id, hex."""
    engine: str
    control: str
    """Path of the supervisor's socket."""
    nodes: tuple[NodeEntry, ...]
    pid: int
    """The supervisor."""
    started: float
    """When the supervisor began, seconds since 1970."""
    helpers: tuple[tuple[int, float], ...] = ()
    """Other processes of the testnet: (pid, started)."""
    links: tuple[Mapping[str, Any], ...] = ()
    """Links that are slow or cut, as `testnet links --json` shows them."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Values of a newer program, kept."""

    def processes(self) -> list[tuple[str, int, float]]:
        """Return every process it names: (name, pid, started)."""
        found = [("supervisor", self.pid, self.started)]
        found += [("fork server", pid, started) for pid, started in self.helpers]
        found += [
            (node.name, node.pid, node.started)
            for node in self.nodes
            if node.pid is not None and node.started is not None
        ]
        return found


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the files of one testnet are."""

    path: Path

    @property
    def name(self) -> str:
        """The testnet's name."""
        return self.path.name

    @property
    def manifest(self) -> Path:
        """The inventory, rewritten on each change."""
        return self.path / MANIFEST

    @property
    def control(self) -> Path:
        """The supervisor's socket."""
        return self.path / "control.sock"

    @property
    def genesis(self) -> Path:
        """The chain's document."""
        return self.path / "genesis.cbor"

    @property
    def logs(self) -> Path:
        """Logs of all processes."""
        return self.path / "logs"

    @property
    def summary(self) -> Path:
        """The run summary of the end."""
        return self.path / "summary.json"

    def account_key(self, index: int) -> Path:
        """Key file of an account for people."""
        return self.path / "keys" / f"account{index}.key"

    def node(self, name: str) -> Path:
        """Data directory of a node."""
        return self.path / name


# --- finding ------------------------------------------------------------------------------------


def find(name: str | None, root: Path = ROOT, *, another: bool = True) -> Folder:
    """Return the folder of a testnet.

    Args:
        name: None for the latest.
        root: Where testnets are.
        another: With the latest removed, the only other one that runs is meant.

    Raises:
        NoTestnetError: There is none.
    """
    path = root / (name or LATEST)
    if name is None and path.is_symlink():
        path = root / os.readlink(path)
    if not path.is_dir():
        folders = all_folders(root)
        running = [folder for folder in folders if runs(folder)]
        if name is None and another and len(running) == 1:
            return running[0]
        known = ", ".join(folder.name for folder in folders)
        hint = f"there are: {known}" if known else "`testnet up` starts one"
        if name is None and known:
            raise NoTestnetError(f"the latest testnet is removed, --name says which: {hint}")
        what = f"no testnet {name!r}" if name else "no testnet"
        raise NoTestnetError(f"{what} under {root}/; {hint}")
    return Folder(path)


def all_folders(root: Path = ROOT) -> list[Folder]:
    """Return the folders of all testnets, running or dead, oldest first."""
    if not root.is_dir():
        return []
    found = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]
    return [Folder(path) for path in sorted(found, key=lambda p: p.stat().st_mtime)]


def usable_path(path: Path) -> str:
    """Return the shortest name of a socket's path: absolute ones may be too long for the system,
    whose limit is about 104 bytes.
    """
    return min(str(path.absolute()), os.path.relpath(path), key=len)


# --- ownership ----------------------------------------------------------------------------------


class Lock:
    """Held by the supervisor as long as it lives."""

    def __init__(self, descriptor: int) -> None:
        """Keep the descriptor of the locked file."""
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the testnet up."""
        os.close(self._descriptor)


def take(folder: Folder) -> Lock | None:
    """Lock a folder that exists; None when somebody else holds it."""
    descriptor = os.open(folder.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return Lock(descriptor)


def runs(folder: Folder) -> bool:
    """Tell whether a supervisor holds the testnet."""
    if not (folder.path / LOCK).exists():
        return False
    lock = take(folder)
    if lock is None:
        return True
    lock.release()
    return False


# --- the manifest -------------------------------------------------------------------------------


def write_manifest(folder: Folder, manifest: Manifest) -> None:
    """Replace testnet.json atomically."""
    body = asdict(manifest)
    extra = body.pop("extra")
    write_atomically(folder.manifest, json.dumps({**body, **extra}, indent=1) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace a file so that a reader sees the old or the new one, never a part."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def read_manifest(folder: Folder) -> Manifest | None:
    """Return what testnet.json says, None when it is missing or damaged."""
    try:
        body = json.loads(folder.manifest.read_text(encoding="utf-8"))
        nodes = tuple(
            NodeEntry(
                name=str(node["name"]),
                roles=tuple(node["roles"]),
                rpc=str(node["rpc"]),
                p2p=str(node["p2p"]),
                pid=node["pid"],
                started=node["started"],
            )
            for node in body["nodes"]
        )
        return Manifest(
            name=str(body["name"]),
            seed=int(body["seed"]),
            chain=str(body["chain"]),
            engine=str(body["engine"]),
            control=str(body["control"]),
            nodes=nodes,
            pid=int(body["pid"]),
            started=float(body["started"]),
            helpers=tuple((int(pid), float(at)) for pid, at in body.get("helpers", ())),
            links=tuple(dict(row) for row in body.get("links", ())),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


# --- processes by pid and start time ------------------------------------------------------------


def started_s(pid: int) -> float | None:
    """Return when a process began, None when there is none."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def is_same_process(pid: int, started: float) -> bool:
    """Tell whether the pid still belongs to the process that was recorded, and it lives."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) <= START_TOLERANCE_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def signal_process(pid: int, started: float, number: int) -> bool:
    """Signal a recorded process; False when it is not there any more."""
    if not is_same_process(pid, started):
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def end_processes(
    manifest: Manifest, wait_s: float = 5.0, *, skip: tuple[int, ...] = ()
) -> list[str]:
    """End what a dead testnet left running; returns the names of what was ended."""
    left = [
        (name, pid, started)
        for name, pid, started in manifest.processes()
        if pid not in skip and is_same_process(pid, started)
    ]
    for _, pid, started in left:
        signal_process(pid, started, signal.SIGTERM)
        signal_process(pid, started, signal.SIGCONT)
    deadline = time.monotonic() + wait_s
    while any(is_same_process(pid, started) for _, pid, started in left):
        if time.monotonic() > deadline:
            for _, pid, started in left:
                signal_process(pid, started, signal.SIGKILL)
            deadline += wait_s
        time.sleep(0.02)
    return [name for name, _, _ in left]


# --- making and removing ------------------------------------------------------------------------


def create(name: str, root: Path = ROOT) -> tuple[Folder, Lock, list[str]]:
    """Make the folder of a new testnet, over the leftovers of a dead one of its name.

    Returns:
        The folder, its lock, and what was removed, as sentences.

    Raises:
        TestnetRunsError: The name is taken by a running testnet.
    """
    folder = Folder(root / name)
    removed = []
    if folder.path.is_symlink() or folder.path.is_file():
        folder.path.unlink()
    if folder.path.exists():
        if runs(folder):
            raise TestnetRunsError(f"testnet {name!r} runs already: `testnet down --name {name}`")
        removed += remove(folder)
    folder.path.mkdir(parents=True, mode=0o700)
    lock = take(folder)
    if lock is None:
        raise TestnetRunsError(f"testnet {name!r} is being started by somebody else")
    folder.logs.mkdir()
    removed += _remove_old(root, folder)
    with contextlib.suppress(OSError):
        _link_latest(root, folder)
    return folder, lock, removed


def free_name(name: str, root: Path = ROOT) -> str:
    """Return the name, with a number where a running testnet has it."""
    for candidate in _candidates(name):
        folder = Folder(root / candidate)
        if not folder.path.exists() or not runs(folder):
            return candidate
    raise AssertionError("endless")


def _candidates(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def remove(folder: Folder) -> list[str]:
    """Remove a dead testnet, ending processes of it that still run; says what it did."""
    said = []
    manifest = read_manifest(folder)
    if manifest is not None:
        said += [f"ended {name} of {folder.name}" for name in end_processes(manifest)]
    size_bytes = sum(path.stat().st_size for path in _files(folder.path))
    shutil.rmtree(folder.path, ignore_errors=True)
    said.append(f"removed {folder.path}/ ({size_bytes / (1 << 20):.1f} MiB)")
    latest = folder.path.parent / LATEST
    if latest.is_symlink() and not latest.exists():
        latest.unlink()
    return said


def _files(path: Path) -> Iterator[Path]:
    for found in path.rglob("*"):
        if found.is_file() and not found.is_symlink():
            yield found


def _remove_old(root: Path, but: Folder) -> list[str]:
    dead = [f for f in all_folders(root) if f.path != but.path and not runs(f)]
    said = []
    for folder in dead[: max(0, len(dead) - DEAD_KEPT_MAX)]:
        said += remove(folder)
    return said


def _link_latest(root: Path, folder: Folder) -> None:
    new = root / f".{LATEST}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    new.symlink_to(folder.name)
    new.replace(root / LATEST)
