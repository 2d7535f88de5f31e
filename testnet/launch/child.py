"""What a forked child does: tie its life to its supervisor, go to its place, run its function.

The function is named in the request as `module:function`; it is called with the request's value and
a Channel. It runs until it is done, or SIGTERM comes, or the channel ends.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final

import trio

from testnet.launch import wire

STOP_S: Final = 4
"""A child that takes longer to end than this, once it was told to, is ended by an alarm."""

_PR_SET_PDEATHSIG: Final = 1


class Channel:
    """A child's line to its supervisor; also from threads, since a line is one write."""

    def __init__(self, sock: socket.socket) -> None:
        """Take the child's end of the socket pair."""
        self._sock = sock

    def send(self, message: Any) -> None:
        """Send a message; a supervisor that is gone is noticed elsewhere."""
        try:
            self._sock.sendall(wire.line(message))
        except OSError:
            return

    async def receive(self) -> bytes:
        """Return the next bytes; nothing means that the supervisor is gone."""
        # The socket stays blocking for `send`, which must not be cut short.
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._sock.recv(4096, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except OSError:
                return b""


def run(request: dict[str, Any], descriptor: int, parent: int) -> int:
    """Run the request in this process, which was just forked; returns its exit code.

    Args:
        request: `{"run": "module:function", "value": …, "cwd": …, "output": path}`.
        descriptor: Our end of the channel.
        parent: Process id of the fork server, as it was before the fork.
    """
    die_with_parent(parent)
    sys.argv = ["testnet", str(request.get("title", "child"))]
    os.chdir(request["cwd"])
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.close(nothing)
    channel = Channel(socket.socket(fileno=descriptor))
    try:
        module, _, name = str(request["run"]).partition(":")
        function: Callable[[Any, Channel], int] = getattr(importlib.import_module(module), name)
        return function(request["value"], channel)
    except BaseException:  # noqa: BLE001 - the last frame of the process
        traceback.print_exc()
        return 1


def die_with_parent(parent: int) -> None:
    """Have the system kill this process when the fork server dies, where the system can."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None, use_errno=True)
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # It died before we asked.
        os._exit(1)


async def until_told_to_stop(
    channel: Channel, scope: trio.CancelScope, on_line: Callable[[bytes], None] | None = None
) -> None:
    """Cancel `scope` on SIGTERM or when the supervisor is gone; hand other lines on."""

    def stop() -> None:
        # Whatever hangs in the way down is cut off by the default action of SIGALRM.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(STOP_S)
        scope.cancel()

    async def watch_channel() -> None:
        buffer = b""
        while data := await channel.receive():
            *lines, buffer = (buffer + data).split(b"\n")
            for found in lines:
                if on_line is not None:
                    on_line(found)
        stop()

    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_channel)
            async for _ in signals:
                stop()
