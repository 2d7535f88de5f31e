"""The fork server: one thread, everything imported, a child for every request.

Importing libp2p costs over a second; a fork costs milliseconds, and the children share the memory
of what was imported. A process with threads must not fork, so it counts its threads before every
fork.

When the supervisor's socket closes, however that happened, the server ends its children and itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any, Final, NoReturn

from testnet.launch import child, wire

END_S: Final = 5.0
"""Children that have not ended so long after SIGTERM are killed."""


def threads_count() -> int:
    """Return how many threads this process has, C libraries' included."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else threading.active_count()


def main(descriptor: int, preload: list[str]) -> None:
    """Serve until the supervisor is gone.

    Args:
        descriptor: Our end of the socket pair.
        preload: Modules to import before the first fork.
    """
    sock = socket.socket(fileno=descriptor)
    # Ctrl-C at a terminal reaches its whole process group; only the supervisor answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    problems: list[str] = []
    for name in preload:
        try:
            importlib.import_module(name)
        except ImportError as error:
            problems.append(f"{name}: {error}")
    # What exists now is never freed: the collector must not touch, and so copy, its pages.
    gc.collect()
    gc.freeze()
    sock.sendall(
        wire.encode({"preloaded": preload, "problems": problems, "threads": threads_count()})
    )
    _Server(sock).serve()


class _Server:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._children: dict[int, None] = {}
        self._decoder = wire.Decoder()
        self._descriptors: list[int] = []
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    def serve(self) -> None:
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        selector = DefaultSelector()
        selector.register(self._sock, EVENT_READ)
        selector.register(self._wake_read, EVENT_READ)
        connected = True
        while connected:
            for key, _ in selector.select():
                if key.fileobj is self._sock:
                    connected = self._receive()
                else:
                    with contextlib.suppress(BlockingIOError):
                        self._wake_read.recv(4096)
            try:
                self._reap()
            except (BrokenPipeError, ConnectionResetError):
                connected = False
        self._end()

    def _receive(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._sock, 1 << 16, 4)
        except ConnectionResetError:
            return False
        self._descriptors += descriptors
        if not data:
            return False
        for request in self._decoder.feed(data):
            self._start(request, self._descriptors.pop(0))
        return True

    def _start(self, request: dict[str, Any], channel: int) -> None:
        threads = threads_count()
        if threads != 1:
            os.close(channel)
            self._sock.sendall(wire.encode({"failed": f"the fork server has {threads} threads"}))
            return
        sys.stdout.flush()
        sys.stderr.flush()
        own = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(request, channel, own)
        os.close(channel)
        self._children[pid] = None
        self._sock.sendall(wire.encode({"started": pid}))

    def _become(self, request: dict[str, Any], channel: int, parent: int) -> NoReturn:
        """In the child: shed what is the server's, and never come back."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for sock in (self._sock, self._wake_read, self._wake_write):
                sock.close()
            code = child.run(request, channel, parent)
        finally:
            # Not sys.exit: the server's frames are still below us on the stack.
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.pop(pid, None)
            message = {"ended": pid, "code": os.waitstatus_to_exitcode(status)}
            self._sock.sendall(wire.encode(message))

    def _end(self) -> None:
        """End all children: asked first, then killed."""
        self._signal(signal.SIGTERM)
        # A stopped process handles nothing, not even SIGTERM.
        self._signal(signal.SIGCONT)
        deadline = time.monotonic() + END_S
        while self._children:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid:
                self._children.pop(pid, None)
            elif time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
                deadline += END_S
            else:
                time.sleep(0.01)

    def _signal(self, number: int) -> None:
        # Children that were not reaped keep their pid: it can't be anybody else's.
        for pid in self._children:
            os.kill(pid, number)


def _nothing(number: int, frame: object) -> None:
    """Let the signal wake the selector through the wakeup descriptor."""


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
