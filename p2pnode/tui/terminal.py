"""A terminal taken over for a full-screen program, and given back whole.

It is given back on every way out that Python can see: a normal end, an exception, a cancellation,
SIGTERM, a suspension. SIGKILL is the one that can't be answered; `reset` helps then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import termios
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from p2pnode.errors import P2PNodeError
from p2pnode.tui.text import Size

ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[0m\x1b[2J"
"""The other screen, no cursor, no wrapping at the right edge, pasted text in brackets."""

# CAN first: a frame may have been cut off inside an escape sequence.
LEAVE: Final = "\x18\x1b[?2026l\x1b[0m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l"
"""Undoes `ENTER`."""

READ_BYTES_MAX: Final = 4096
LEAVE_S_MAX: Final = 0.5
"""A terminal that takes nothing any more is given up after so long."""
ANSWER_S_MAX: Final = 3.0
"""Answers that are still under way at the end are waited for, or they would be typed to a shell."""
SILENT_S_MAX: Final = 0.3
"""The same for a terminal that has never answered anything."""

_ANSWER: Final = re.compile(rb"\x1b\[(?:[03]n|\?[0-9;]*c)")
_LOCAL: Final = 3
_INPUT: Final = 0
_CHARACTERS: Final = 6


class NotATerminalError(P2PNodeError):
    """A full-screen program was started where there is no screen."""

    def __init__(self, reason: str, instead: str) -> None:
        super().__init__(f"{reason}; instead: {instead}")


class TerminalGoneError(P2PNodeError):
    """The terminal was closed or its line cut."""

    def __init__(self) -> None:
        super().__init__("the terminal is gone")


class Terminal:
    """A terminal in the hands of a program; made by `open_terminal`."""

    def __init__(self, descriptor: int) -> None:
        """Remember how the terminal is set.

        Args:
            descriptor: Opened for this alone: it becomes non-blocking, which all that share an
                open file see, the shell too.
        """
        self._descriptor = descriptor
        # First: it may fail, and a stream owns the descriptor from its beginning.
        self._settings: list[Any] = termios.tcgetattr(descriptor)
        self._stream = trio.lowlevel.FdStream(descriptor)
        self._taken = False
        self._lock = trio.Lock()
        self._questions_count = 0
        """Questions to the terminal without an answer yet."""
        self._answers = False
        """It has answered before."""

    @property
    def taken(self) -> bool:
        """Whether the terminal shows the program now."""
        return self._taken

    def asked(self) -> None:
        """Something was written that the terminal will answer."""
        self._questions_count += 1

    def answered(self) -> None:
        """An answer was read."""
        self._questions_count = max(0, self._questions_count - 1)
        self._answers = True

    def size(self) -> Size:
        """Return the size now; 80x24 where the terminal does not tell."""
        try:
            width, height = os.get_terminal_size(self._descriptor)
        except OSError:
            width, height = 0, 0
        return Size(width or 80, height or 24)

    def take(self) -> None:
        """Show the program: other screen, keys one by one and without echo."""
        settings = [*self._settings]
        settings[_CHARACTERS] = [*settings[_CHARACTERS]]
        # Ctrl-C and ctrl-Z come as keys: what they do to the program is the program's decision.
        settings[_LOCAL] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN | termios.ISIG)
        settings[_INPUT] &= ~(termios.ICRNL | termios.INLCR | termios.IXON)
        settings[_CHARACTERS][termios.VMIN] = 1
        settings[_CHARACTERS][termios.VTIME] = 0
        termios.tcsetattr(self._descriptor, termios.TCSANOW, settings)
        # What was typed before the screen was there was not meant for it.
        termios.tcflush(self._descriptor, termios.TCIFLUSH)
        self._taken = True
        self._questions_count = 0
        self._write_now(ENTER)

    def release(self) -> None:
        """Give the terminal back as it was found; safe to call twice, and when it is gone."""
        if not self._taken:
            return
        self._taken = False
        self._write_now(LEAVE)
        with contextlib.suppress(termios.error):
            # Without waiting for the output, which a terminal that takes nothing would never end.
            termios.tcflush(self._descriptor, termios.TCIFLUSH)
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._settings)

    async def read(self) -> bytes:
        """Return what was typed.

        Raises:
            TerminalGoneError: Nothing will ever be.
        """
        try:
            data = await self._stream.receive_some(READ_BYTES_MAX)
        except (trio.BrokenResourceError, OSError):
            data = b""
        if not data:
            raise TerminalGoneError
        return bytes(data)

    async def write(self, text: str) -> int:
        """Write a frame; waits while the terminal takes nothing. Returns the frame's bytes.

        Raises:
            TerminalGoneError: It never will again.
        """
        data = text.encode("utf-8", "replace")
        try:
            async with self._lock:
                await self._stream.send_all(data)
            return len(data)
        except (trio.BrokenResourceError, OSError):
            raise TerminalGoneError from None

    async def aclose(self) -> None:
        """Release and close."""
        try:
            if self._taken:
                with trio.move_on_after(self._patience_s, shield=True):
                    await self._settle()
        except (trio.BrokenResourceError, OSError):
            pass
        finally:
            self.release()
            self._stream.close()

    @property
    def _patience_s(self) -> float:
        return ANSWER_S_MAX if self._answers else SILENT_S_MAX

    async def _settle(self) -> None:
        """Read until nothing is to be answered any more."""
        data = b""
        while len(_ANSWER.findall(data)) < self._questions_count:
            came = await self._stream.receive_some(READ_BYTES_MAX)
            if not came:
                return
            data = data[-READ_BYTES_MAX:] + came

    def _write_now(self, text: str) -> None:
        """Write without giving way to other tasks: on the way out nobody may run any more."""
        data = text.encode()
        until_s = time.monotonic() + LEAVE_S_MAX
        while data:
            try:
                count = os.write(self._descriptor, data)
            except BlockingIOError:
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return
                select.select([], [self._descriptor], [], left_s)
            except OSError as error:
                if error.errno not in (errno.EIO, errno.ENXIO, errno.EPIPE, errno.EBADF):
                    raise
                return
            else:
                data = data[count:]


@asynccontextmanager
async def open_terminal(instead: str, *, path: str | None = None) -> AsyncIterator[Terminal]:
    """Take the terminal over, and give it back however the body ends.

    Args:
        instead: What to use where there is no terminal; said in the error.
        path: The terminal's device; by default the one that is stdin and stdout.

    Raises:
        NotATerminalError: There is none, or it can't move its cursor.
    """
    # Opened anew: the descriptors 0 and 1 are shared with the shell and with everything that logs.
    device = path or own_device(instead)
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise NotATerminalError(f"{device}: {error.strerror}", instead) from None
    try:
        terminal = Terminal(descriptor)
    except termios.error:
        os.close(descriptor)
        raise NotATerminalError(f"{device} is not a terminal", instead) from None
    try:
        terminal.take()
        yield terminal
    finally:
        await terminal.aclose()


def own_device(instead: str) -> str:
    """Return the device of the terminal that is stdin and stdout.

    Raises:
        NotATerminalError: There is none, or it can't move its cursor.
    """
    for descriptor, name in ((0, "stdin"), (1, "stdout")):
        if not os.isatty(descriptor):
            raise NotATerminalError(f"{name} is not a terminal", instead)
    if os.environ.get("TERM", "dumb") == "dumb":
        raise NotATerminalError("this terminal can't move its cursor (TERM=dumb)", instead)
    return os.ttyname(0)
