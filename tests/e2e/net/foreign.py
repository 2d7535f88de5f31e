"""Peers in other languages: built or installed once, and driven by a line protocol.

tests/interop/README.md says what the lines mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

SOURCES: Final = Path(__file__).resolve().parents[3] / "tests" / "interop"

INSTALL_TIMEOUT_S: Final = 300.0
BUILD_TIMEOUT_S: Final = 1500.0
"""A first build; later ones find the program itself in the cache."""

STDERR_SHOWN: Final = 500
"""Characters of a tool's complaint that go into the reason of a skip."""


class UnavailableError(Exception):
    """This machine cannot run such a peer; the text says why."""


@dataclass(frozen=True, slots=True)
class Program:
    """How to start a peer."""

    command: tuple[str, ...]
    folder: Path
    """Where to start it."""


def cache() -> Path:
    """Return the folder of what is built and installed, outside of the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "p2pnode" / "interop"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(*command: str, cwd: Path, timeout_s: float, env: Mapping[str, str] | None = None) -> str:
    """Return what a tool prints.

    Raises:
        UnavailableError: It needs longer.
        OSError: It fails.
    """
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            # Compilers start others.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise UnavailableError(f"{command[0]} {command[1]} took over {timeout_s:g} s") from None
    if process.returncode:
        raise OSError(f"{command[0]} {command[1]}: {err.strip()[-STDERR_SHOWN:]}")
    return out


def _need(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            raise UnavailableError(f"{tool} is not on this machine")


def _need_version(tool: str, option: str, wanted: tuple[int, int]) -> None:
    text = _run(tool, option, cwd=SOURCES, timeout_s=INSTALL_TIMEOUT_S)
    found = re.search(r"(\d+)\.(\d+)", text)
    if found is None or (int(found[1]), int(found[2])) < wanted:
        raise UnavailableError(f"{text.strip()} is older than {wanted[0]}.{wanted[1]}")


def _fetch(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
    try:
        _run(*command, cwd=cwd, timeout_s=INSTALL_TIMEOUT_S, env=env)
    except OSError as error:
        raise UnavailableError(f"packages can't be fetched: {error}") from None


def _place(name: str, *parts: Path) -> Path:
    """Return the folder of what is made of these files, in the cache."""
    digest = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()
    return cache() / f"{name}-{digest[:16]}"


def js() -> Program:
    """Install the js-libp2p peer.

    Raises:
        UnavailableError: There is no Node, or no registry.
    """
    _need("node", "npm")
    _need_version("node", "--version", (20, 0))
    source = SOURCES / "js_libp2p"
    folder = _place("js_libp2p", source / "package-lock.json")
    if not folder.exists():
        fresh = cache() / f"js_libp2p-{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        try:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(source / name, fresh)
            flags = ("--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0")
            _fetch("npm", "ci", *flags, cwd=fresh)
            # Another process of tests may have been faster.
            if not folder.exists():
                fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    for name in ("peer.mjs", "polyfill.mjs"):
        shutil.copy(source / name, folder)
    return Program(("node", "--no-warnings", "--import", "./polyfill.mjs", "peer.mjs"), folder)


def go() -> Program:
    """Build the go-libp2p peer.

    Raises:
        UnavailableError: There is no Go, no module proxy, or not time enough.
    """
    source = SOURCES / "go_libp2p"
    folder = _place("go_libp2p", *(source / n for n in ("go.mod", "go.sum", "main.go")))
    if not (folder / "peer").exists():
        _need("go")
        # -deps: with no more modules than the program needs.
        _fetch("go", "list", "-deps", ".", cwd=source)
        folder.mkdir(exist_ok=True)
        fresh = folder / f"peer-{os.getpid()}"
        offline = {"GOPROXY": "off", "GOFLAGS": "-mod=readonly -buildvcs=false"}
        build = ("go", "build", "-o", str(fresh), ".")
        _run(*build, cwd=source, timeout_s=BUILD_TIMEOUT_S, env=offline)
        fresh.rename(folder / "peer")
    return Program((str(folder / "peer"),), folder)


def rust() -> Program:
    """Build the rust-libp2p peer.

    Raises:
        UnavailableError: There is no Rust, no registry, or not time enough.
    """
    source = SOURCES / "rust_libp2p"
    parts = (source / n for n in ("Cargo.toml", "Cargo.lock", "src/main.rs"))
    folder = _place("rust_libp2p", *parts)
    if not (folder / "peer").exists():
        _need("cargo", "rustc")
        wanted = re.search(r'rust-version = "(\d+)\.(\d+)', (source / "Cargo.toml").read_text())
        assert wanted is not None
        _need_version("rustc", "--version", (int(wanted[1]), int(wanted[2])))
        _fetch("cargo", "fetch", "--locked", cwd=source)
        # Dependencies are compiled once for all versions of the peer.
        target = cache() / "rust_libp2p-target"
        build = ("cargo", "build", "--locked", "--offline", "--target-dir", str(target))
        _run(*build, cwd=source, timeout_s=BUILD_TIMEOUT_S)
        folder.mkdir(exist_ok=True)
        fresh = folder / f"peer-{os.getpid()}"
        shutil.copy(target / "debug" / "p2pnode-rust-libp2p", fresh)
        fresh.rename(folder / "peer")
    return Program((str(folder / "peer"),), folder)


PEERS: Final[Mapping[str, Callable[[], Program]]] = {"js": js, "go": go, "rust": rust}


class ForeignPeer:
    """A process with another libp2p in it, which takes one order at a time."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._buffer = b""
        self.address = ""
        self.messages: list[tuple[str, bytes]] = []

    async def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            data = await self._process.stdout.receive_some()
            assert data, "the foreign peer has ended"
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        decoded: dict[str, Any] = json.loads(line)
        return decoded

    def _note(self, line: dict[str, Any]) -> None:
        if line.get("event") == "message":
            self.messages.append((line["topic"], bytes.fromhex(line["data"])))

    async def start(self) -> None:
        line = await self._line()
        assert line["event"] == "ready"
        self.address = line["address"]

    async def order(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Give an order and return the answer to it."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps({"do": do, **arguments}).encode() + b"\n")
        while True:
            line = await self._line()
            assert "error" not in line, line["error"]
            if "answer" in line:
                answer: dict[str, Any] = line["answer"]
                return answer
            self._note(line)

    async def message(self) -> tuple[str, bytes]:
        """Wait for what others publish: topic and data."""
        while not self.messages:
            self._note(await self._line())
        return self.messages.pop(0)


@asynccontextmanager
async def foreign_peer(program: Program) -> AsyncIterator[ForeignPeer]:
    """Run a peer."""
    process = await trio.lowlevel.open_process(
        program.command, cwd=program.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    peer = ForeignPeer(process)
    try:
        with trio.fail_after(60):
            await peer.start()
        yield peer
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                await pipe.aclose()
