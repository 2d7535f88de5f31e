"""Runs a full-screen program: events in, frames out, on Trio.

A program is a value that changes with events (`update`), and what it looks like (`view`); both are
pure. This loop draws when the value has changed, at most `frames_per_s` times a second, but at once
after a key.
"""

from __future__ import annotations

import base64
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeAlias, TypeVar

import trio

from p2pnode.tui.keys import Key, KeyParser, Paste, Reply
from p2pnode.tui.meter import AppStatistics, Meter
from p2pnode.tui.pace import Pace
from p2pnode.tui.paint import Painter
from p2pnode.tui.terminal import ANSWER_S_MAX, Terminal, TerminalGoneError, open_terminal
from p2pnode.tui.text import Lines, Size
from p2pnode.tui.theme import (
    Background,
    Theme,
    asks_background,
    background_of,
    choose_theme,
    make_theme,
)

ESCAPE_S: Final = 0.06
"""Silence after which an escape was the key of that name."""
RESIZE_S: Final = 0.05
"""Silence after which a terminal has its new size: a window that is dragged has many."""
KEY_FRAME_S: Final = 0.03
"""Least time between frames even for keys: one held down repeats."""
COST_S: Final = 1.0
"""The program is told what it costs this often."""
COPY_BYTES_MAX: Final = 4096
ACTIONS_MAX: Final = 16
"""Most actions under way; more are dropped."""

ASK_BACKGROUND: Final = "\x1b]11;?\x1b\\\x1b[c"
"""Asks for the background's colour, then for the kind of terminal, which all answer."""


# --- what a program may get and ask for -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time goes on; comes about `frames_per_s` times a second."""

    now_s: float
    """Monotonic."""
    cost: AppStatistics | None = None
    """What showing the program has cost; now and then."""


@dataclass(frozen=True, slots=True)
class Quit:
    """End the program."""

    code: int = 0
    """What `run` returns."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Put a text into the clipboard of the person at the terminal, where it allows that."""

    text: str


@dataclass(frozen=True, slots=True)
class Suspend:
    """Stop the process as ctrl-Z does, until the shell continues it."""


@dataclass(frozen=True, slots=True)
class Repaint:
    """Paint everything anew: something has written on the screen."""


Wish: TypeAlias = object
"""One of the above, which the loop fulfils, or anything else, which goes to `perform`."""

M = TypeVar("M")

Post: TypeAlias = Callable[[object], None]
"""Hands an event to the program; never waits."""


@dataclass(frozen=True, slots=True)
class Program(Generic[M]):
    """What is shown, and what happens on events."""

    begin: M
    """The value before anything happened."""
    update: Callable[[M, object], tuple[M, tuple[Wish, ...]]]
    """Pure: folds an event into the value. Gets keys, pastes, ticks, and what was posted. Returns
    the same object when nothing on the screen can have changed."""
    view: Callable[[M, Size], Lines]
    """Pure: what the value looks like."""
    perform: Callable[[Wish, Post], Awaitable[None]] | None = None
    """Does what `update` wished, in a task of its own; posts what came of it."""
    feeds: tuple[Callable[[Post], Awaitable[None]], ...] = ()
    """Tasks that post events for as long as the program runs."""


@dataclass(frozen=True, slots=True)
class AppOptions:
    """How a program is run."""

    instead: str = "a terminal"
    """What to use where there is no terminal."""
    frames_per_s: float = 4.0
    background: Background | None = None
    """Forced; None: found out."""
    ascii: bool | None = None
    """Forced; None: found out."""
    signals: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    """Signals that end the program; none for a program inside another that handles them."""
    suspends: bool = True
    """Whether ctrl-Z may stop the process."""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    path: str | None = None
    """The terminal's device; None: the one that is stdin and stdout."""
    report: Callable[[AppStatistics], None] | None = None
    """Gets what showing the program has cost, however it ends."""


async def run(program: Program[M], options: AppOptions) -> int:
    """Run a program until it quits or is told to end; the terminal is whole again then.

    Returns:
        The code of `Quit`; 128 + the signal's number when one ended it; 129, as of SIGHUP, when
        the terminal was gone.

    Raises:
        NotATerminalError: There is no terminal.
    """
    async with open_terminal(options.instead, path=options.path) as terminal:
        return await _App(program, options, terminal).run()


class _App(Generic[M]):
    """One run of a program."""

    def __init__(self, program: Program[M], options: AppOptions, terminal: Terminal) -> None:
        self._program = program
        self._options = options
        self._terminal = terminal
        self._value = program.begin
        self._painter = Painter(self._theme())
        self._meter = Meter(trio.current_time())
        self._pace = Pace()
        self._answered = trio.Event()
        self._copied = ""
        """What goes into the clipboard with the next frame."""
        self._stopping = False
        self._drawn: object = None
        self._changed = trio.Event()
        self._urgent = trio.Event()
        self._resized = trio.Event()
        self._performing_count = 0
        self._code: int | None = None
        self._nursery: trio.Nursery

    async def run(self) -> int:
        try:
            async with trio.open_nursery() as self._nursery:
                for task in (self._read, self._tick, self._signals, self._resize, self._draw):
                    self._nursery.start_soon(task)
                for feed in self._program.feeds:
                    self._nursery.start_soon(feed, self._post)
        except* TerminalGoneError:
            self._code = 128 + signal.SIGHUP
        finally:
            if self._options.report is not None:
                self._options.report(self._meter.statistics(trio.current_time()))
        assert self._code is not None
        return self._code

    def _theme(self) -> Theme:
        options = self._options
        return choose_theme(options.environment, background=options.background, ascii=options.ascii)

    # --- events -----------------------------------------------------------------------------------

    def _post(self, event: object) -> None:
        self._value, wishes = self._program.update(self._value, event)
        for wish in wishes:
            self._fulfil(wish)
        if self._value is not self._drawn:
            self._changed.set()

    def _fulfil(self, wish: Wish) -> None:
        match wish:
            case Quit(code):
                self._end(code)
            case Copy(text):
                self._copied = clipboard(text)
                self._changed.set()
            case Suspend():
                if self._may_stop():
                    # To the whole job, as the terminal does: who started us has to stop too.
                    os.kill(0, signal.SIGTSTP)
            case Repaint():
                self._repaint()
            case _:
                if self._program.perform is not None and self._performing_count < ACTIONS_MAX:
                    self._performing_count += 1
                    self._nursery.start_soon(self._perform, wish)

    def _end(self, code: int) -> None:
        if self._code is None:
            self._code = code
        self._nursery.cancel_scope.cancel()

    async def _perform(self, wish: Wish) -> None:
        assert self._program.perform is not None
        try:
            await self._program.perform(wish, self._post)
        finally:
            self._performing_count -= 1

    async def _read(self) -> None:
        parser = KeyParser()
        while True:
            data = b""
            with trio.move_on_after(ESCAPE_S if parser.pending else float("inf")):
                data = await self._terminal.read()
            for typed in parser.feed(data) if data else parser.flush():
                self._typed(typed)

    def _typed(self, typed: Key | Paste | Reply) -> None:
        if isinstance(typed, Reply):
            self._replied(typed)
            return
        before = self._value
        self._post(typed)
        if self._value is not before:
            self._meter.key(trio.current_time())
        self._urgent.set()

    def _replied(self, reply: Reply) -> None:
        if reply.kind in ("state", "attributes"):
            self._terminal.answered()
        if reply.kind == "state":
            self._pace.answered(trio.current_time())
            self._wake()
        found = background_of(reply.text) if reply.kind == "osc" else None
        theme = self._painter.theme
        if found is None or self._options.background is not None or found is theme.background:
            return
        self._painter.theme = make_theme(found, theme.colours, ascii=theme.ascii)
        self._repaint()

    def _wake(self) -> None:
        self._answered.set()
        self._answered = trio.Event()

    async def _tick(self) -> None:
        period_s = 1 / self._options.frames_per_s
        told_s = trio.current_time()
        while True:
            now_s, cost = trio.current_time(), None
            if now_s - told_s >= COST_S:
                told_s, cost = now_s, self._meter.statistics(now_s)
            self._post(Tick(now_s, cost))
            if self._value is self._drawn:
                self._meter.quiet(now_s)
            await trio.sleep(period_s)

    async def _signals(self) -> None:
        numbers = (*self._options.signals, signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP)
        with trio.open_signal_receiver(*numbers) as signals:
            async for number in signals:
                if number == signal.SIGWINCH:
                    self._resized.set()
                elif number == signal.SIGCONT:
                    # However it was stopped: the shell has set the terminal for itself since.
                    self._terminal.take()
                    self._meter.quiet(trio.current_time())
                    # Questions of before the stop were answered to somebody else.
                    self._pace, self._stopping = Pace(), False
                    self._wake()
                    self._repaint()
                elif number == signal.SIGTSTP:
                    if self._may_stop():
                        await self._stop()
                else:
                    self._end(128 + number)

    async def _stop(self) -> None:
        self._stopping = True
        # The shell would take for typed what is still to be answered.
        with trio.move_on_after(ANSWER_S_MAX if self._pace.answers else 0):
            while self._pace.under_way_count:
                await self._answered.wait()
        self._terminal.release()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _may_stop(self) -> bool:
        # In the group of the session's leader no shell is there that could continue us.
        return self._options.suspends and os.getpgrp() != os.getsid(0)

    # --- frames -----------------------------------------------------------------------------------

    def _repaint(self) -> None:
        self._painter.forget()
        self._drawn = None
        self._changed.set()
        self._urgent.set()

    async def _resize(self) -> None:
        while True:
            await self._resized.wait()
            while self._resized.is_set():
                self._resized = trio.Event()
                await trio.sleep(RESIZE_S)
            self._repaint()

    async def _draw(self) -> None:
        question = self._ask()
        if self._options.background is None and asks_background(self._options.environment):
            self._terminal.asked()
            question += ASK_BACKGROUND
        await self._terminal.write(question)
        period_s = 1 / self._options.frames_per_s
        while True:
            await self._changed.wait()
            await self._line_free()
            self._changed, self._urgent = trio.Event(), trio.Event()
            begin_s = trio.current_time()
            await self._frame()
            with trio.move_on_at(begin_s + period_s):
                await self._urgent.wait()
                await trio.sleep_until(begin_s + KEY_FRAME_S)

    async def _line_free(self) -> None:
        """Wait while what was written has not come to the terminal."""
        while (hold_s := self._pace.hold_s(trio.current_time())) > 0 or self._stopping:
            with trio.move_on_after(float("inf") if self._stopping else hold_s):
                await self._answered.wait()

    def _ask(self) -> str:
        question = self._pace.ask(trio.current_time())
        if question:
            self._terminal.asked()
        return question

    async def _frame(self) -> None:
        value, size = self._value, self._terminal.size()
        key_s, begin_s = self._meter.begun(), time.perf_counter()
        frame = self._painter.paint(self._program.view(value, size), size)
        drawing_s = time.perf_counter() - begin_s
        self._drawn = value
        frame, self._copied = self._copied + frame, ""
        if frame:
            frame += self._ask()
        size_bytes = await self._terminal.write(frame) if frame else 0
        self._meter.shown(key_s, drawing_s, size_bytes, trio.current_time())


def clipboard(text: str) -> str:
    """Return what puts a text into the terminal's clipboard (OSC 52)."""
    data = base64.b64encode(text.encode("utf-8", "ignore")[:COPY_BYTES_MAX]).decode()
    return f"\x1b]52;c;{data}\x07"


def last(items: Iterable[M], count_max: int) -> tuple[M, ...]:
    """Return the last of some items: what a bounded history keeps."""
    kept = tuple(items)
    return kept[len(kept) - count_max :] if len(kept) > count_max else kept
