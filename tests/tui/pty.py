"""A pseudo-terminal with a reader at its far end, for programs run inside the test."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from p2pnode.tui.pace import ASK
from p2pnode.tui.terminal import ENTER, LEAVE

DEADLINE_S = 30


class Pty:
    """The person's side of a terminal."""

    def __init__(self, master: int, slave: int, *, answers: bool = True) -> None:
        self._answers = answers
        self._master = trio.lowlevel.FdStream(master)
        self._typing = trio.Lock()
        self._slave = slave
        self.path = os.ttyname(slave)
        self.output = ""
        self._came = trio.Event()
        self._before = self.settings()

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def type(self, text: str) -> None:
        # The terminal's own answers come in between.
        async with self._typing:
            await self._master.send_all(text.encode())

    async def shows(self, condition: str | Callable[[str], bool]) -> None:
        """Wait until a text, or what a function looks for, is in the output."""
        with trio.fail_after(DEADLINE_S):
            while not (condition in self.output if isinstance(condition, str) else False):
                if callable(condition) and condition(self.output):
                    return
                await self._came.wait()

    def is_taken(self) -> bool:
        return not self.settings()[3] & termios.ECHO

    def is_whole(self) -> bool:
        """Whether the terminal is as before, and the last it heard was to show so."""
        ended = self.output.endswith(LEAVE) or ENTER not in self.output
        return self.settings() == self._before and ended

    async def listen(self) -> None:
        while True:
            try:
                data = await self._master.receive_some(65536)
                # No question comes in two pieces: they are short, and at a frame's end.
                for _ in range(data.count(ASK.encode()) if self._answers else 0):
                    await self.type("\x1b[0n")
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                return
            self.output += data.decode("utf-8", "replace")
            self._came.set()
            self._came = trio.Event()

    async def hang_up(self) -> None:
        os.close(self._slave)
        self._slave = -1
        await self._master.aclose()

    async def aclose(self) -> None:
        if self._slave >= 0:
            os.close(self._slave)
        await self._master.aclose()


@asynccontextmanager
async def open_pty(
    width: int = 80, height: int = 24, *, answers: bool = True, listens: bool = True
) -> AsyncIterator[Pty]:
    """Open a terminal.

    Args:
        width: In columns.
        height: In rows.
        answers: It says by itself that it has come so far, when asked.
        listens: It takes what is written; else once `listen` runs.
    """
    master, slave = os.openpty()
    pty = Pty(master, slave, answers=answers)
    pty.resize(width, height)
    async with trio.open_nursery() as nursery:
        if listens:
            nursery.start_soon(pty.listen)
        try:
            yield pty
        finally:
            # First: in a cancelled scope this would raise, and what a test has raised be lost.
            await pty.aclose()
            nursery.cancel_scope.cancel()
