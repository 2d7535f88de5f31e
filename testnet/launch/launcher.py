"""The supervisor's side of the fork server: start children, hear from them, learn of their end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from p2pnode.errors import P2PNodeError
from testnet.folder import started_s
from testnet.launch import wire

PRELOAD: Final = (
    "p2pnode.service",
    "p2pnode.net.libp2p",
    "p2pnode.api.app",
    "p2pnode.api.server",
    "p2pnode.consensus.simplex",
    "p2pnode.consensus.solo",
    "p2pnode.availability.inline",
    "testnet.launch.node",
    "testnet.load.process",
)
"""What nodes and load generators need, imported once."""


class LaunchError(P2PNodeError):
    """The fork server can't start a process."""


@dataclass(frozen=True, slots=True)
class Request:
    """A process to start."""

    title: str
    """For people."""
    run: str
    """`module:function`, called with `value` and a channel."""
    value: Any
    """Plain JSON."""
    cwd: Path
    output: Path
    """Gets stdout and stderr, appended."""


@dataclass(slots=True, eq=False)
class Process:
    """A child of the fork server, as its owner sees it."""

    title: str
    pid: int
    started: float
    """Start time, seconds since 1970: with the pid, it names the process for good."""
    channel: trio.SocketStream
    """Lines of JSON both ways; it ends with the process."""
    ended: trio.Event = field(default_factory=trio.Event)
    code: int | None = None
    """Exit code, negative for a signal; None while it runs."""

    async def send(self, message: Any) -> None:
        """Send it a line."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.channel.send_all(wire.line(message))

    async def receive(self, on_message: Callable[[Any], None]) -> None:
        """Hand over its lines until it closes the channel."""
        buffer = b""
        while True:
            try:
                data = await self.channel.receive_some(1 << 16)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for found in lines:
                on_message(json.loads(found))


class Launcher:
    """Owns the fork server. Made before an event loop runs, so that importing begins at once."""

    def __init__(self, cwd: Path, output: Path) -> None:
        """Start the fork server.

        Args:
            cwd: Its folder.
            output: Gets what it writes.
        """
        ours, theirs = socket.socketpair()
        with output.open("ab") as file:
            self._server = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "testnet.launch.server",
                    str(theirs.fileno()),
                    *PRELOAD,
                ],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=(theirs.fileno(),),
                # A session of its own: Ctrl-C at our terminal must not reach it.
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )
        theirs.close()
        ours.setblocking(False)
        self._sock = ours
        self._decoder = wire.Decoder()
        self._hello = trio.Event()
        self._output = output
        self.pid = self._server.pid
        self.started = started_s(self.pid) or 0.0
        self.problems: tuple[str, ...] = ()
        self.threads = 0
        self._processes: dict[int, Process] = {}
        self._ended_early: dict[int, int] = {}
        self._answers: deque[dict[str, Any]] = deque()
        self._answered = trio.Event()
        self._turn = trio.Lock()
        self.gone = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen to the fork server until it is gone; started once it has imported everything."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.listen)
            await self._hello.wait()
            if self.gone.is_set():
                raise LaunchError(f"the fork server ended; see {self._output}")
            task_status.started()

    async def listen(self) -> None:
        """Take in what the fork server says until it is gone; may be cancelled and called again."""
        while data := await self._read():
            for message in self._decoder.feed(data):
                if "preloaded" in message:
                    self.problems = tuple(message["problems"])
                    self.threads = message["threads"]
                    self._hello.set()
                elif "ended" in message:
                    self._end(message["ended"], message["code"])
                else:
                    self._answers.append(message)
                    self._answered.set()
        self.gone.set()
        self._hello.set()
        self._answered.set()

    async def start(self, request: Request) -> Process:
        """Start a process.

        Raises:
            LaunchError: The fork server refuses or is gone.
        """
        ours, theirs = socket.socketpair()
        message = {
            "title": request.title,
            "run": request.run,
            "value": request.value,
            "cwd": str(request.cwd.absolute()),
            "output": str(request.output.absolute()),
        }
        async with self._turn:
            with theirs:
                # A request has a few kilobytes, the buffer of a socket pair hundreds: no waiting.
                wire.send_with_descriptor(self._sock, message, theirs.fileno())
            while not self._answers:
                if self.gone.is_set():
                    raise LaunchError(f"the fork server is gone; see {self._output}")
                await self._answered.wait()
                self._answered = trio.Event()
            answer = self._answers.popleft()
        if "failed" in answer:
            ours.close()
            raise LaunchError(answer["failed"])
        pid = int(answer["started"])
        channel = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        process = Process(request.title, pid, started_s(pid) or 0.0, channel)
        self._processes[pid] = process
        if pid in self._ended_early:
            self._end(pid, self._ended_early.pop(pid))
        return process

    def close(self) -> None:
        """Let the fork server end, and everything it started with it; waits until it has."""
        self._sock.close()
        for limit_s in (8.0, 2.0):
            try:
                self._server.wait(limit_s)
            except subprocess.TimeoutExpired:
                self._server.kill()

    def _end(self, pid: int, code: int) -> None:
        process = self._processes.pop(pid, None)
        if process is None:
            # It ended before we heard that it had started.
            self._ended_early[pid] = code
            return
        process.code = code
        process.ended.set()

    async def _read(self) -> bytes:
        while True:
            try:
                await trio.lowlevel.wait_readable(self._sock)
                return self._sock.recv(1 << 16)
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError):
                return b""
