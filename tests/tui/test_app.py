"""Programs in a pseudo-terminal: what they show, and that the terminal is whole afterwards."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from dataclasses import dataclass

import pytest
import trio

from p2pnode.tui.app import AppOptions, Copy, Program, Quit, Repaint, Tick, clipboard, run
from p2pnode.tui.keys import Key, Paste
from p2pnode.tui.terminal import ENTER, LEAVE, NotATerminalError, open_terminal
from p2pnode.tui.text import Lines, Size, Span
from p2pnode.tui.theme import Background
from tests.tui.pty import Pty, open_pty
from tests.tui.screen import Screen

ENVIRONMENT = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "COLORFGBG": "15;0"}


@dataclass(frozen=True)
class Value:
    """What the test program shows."""

    text: str = "ready"
    ticks: int = 0


class BrokenViewError(Exception):
    """The test program's own mistake."""


def update(value: Value, event: object) -> tuple[Value, tuple[object, ...]]:
    match event:
        case Key("q"):
            return value, (Quit(7),)
        case Key("y"):
            return value, (Copy("some text"),)
        case Key("r"):
            return value, (Repaint(),)
        case Key("w"):
            return value, ("wish",)
        case Key(name):
            return dataclasses.replace(value, text=f"key {name}"), ()
        case Paste(text):
            return dataclasses.replace(value, text=f"pasted {text}"), ()
        case str(text):
            return dataclasses.replace(value, text=text), ()
        case Tick():
            return value, ()
    raise AssertionError(event)


def view(value: Value, size: Size) -> Lines:
    if value.text == "key b":
        raise BrokenViewError
    return [(Span(f"<{value.text}> {size.width}x{size.height}", "good"),)]


PROGRAM = Program(Value(), update, view)


def options(pty: Pty, **changes: object) -> AppOptions:
    made = AppOptions(path=pty.path, environment=ENVIRONMENT, signals=())
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


async def test_a_program_answers_keys_and_gives_the_terminal_back() -> None:
    async with open_pty() as pty, trio.open_nursery() as nursery:
        codes: list[int] = []

        async def main() -> None:
            codes.append(await run(PROGRAM, options(pty)))

        nursery.start_soon(main)
        await pty.shows("<ready> 80x24")
        assert pty.output.startswith(ENTER)
        assert pty.is_taken()
        await pty.type("\x1b[A")
        await pty.shows("<key up")
        await pty.type("\x1b[200~q\x1b[201~")
        await pty.shows("<pasted q")
        await pty.type("\x1b")
        await pty.shows("<key escape")
        await pty.type("\x03")
        await pty.shows("<key ctrl-c")
        await pty.type("y")
        await pty.shows(clipboard("some text"))
        await pty.type("q")
        await pty.shows(LEAVE)
        nursery.cancel_scope.deadline = trio.current_time() + 30
    assert codes == [7]


async def test_keys_typed_before_the_screen_was_there_do_nothing() -> None:
    async with open_pty() as pty, trio.open_nursery() as nursery:
        await pty.type("qqqb")
        # Echoed: the terminal has it.
        await pty.shows("qqqb")
        nursery.start_soon(run, PROGRAM, options(pty))
        await pty.shows("<ready>")
        await pty.type("x")
        await pty.shows("<key x")
        nursery.cancel_scope.cancel()


async def test_the_screen_is_what_was_drawn_after_a_resize() -> None:
    async with open_pty(200, 60) as pty, trio.open_nursery() as nursery:
        nursery.start_soon(run, PROGRAM, options(pty))
        await pty.shows("<ready> 200x60")
        pty.resize(80, 24)
        # The kernel tells the terminal's own session, which this test is not in.
        os.kill(os.getpid(), signal.SIGWINCH)
        await pty.shows("<ready> 80x24")
        await pty.type("r")
        await pty.shows(lambda output: output.count("80x24") == 2)
        screen = Screen(80, 24)
        screen.feed(pty.output.rpartition("\x1b[2J")[2])
        assert screen.lines()[0].rstrip() == "<ready> 80x24"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("end", ["quit", "view", "feed", "cancel", "SIGTERM", "SIGINT", "SIGHUP"])
async def test_the_terminal_is_whole_however_a_program_ends(end: str) -> None:
    async def feed(post: object) -> None:
        if end != "feed":
            await trio.sleep_forever()
        await started.wait()
        raise BrokenViewError

    started = trio.Event()
    program = dataclasses.replace(PROGRAM, feeds=(feed,))
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    async with open_pty() as pty:
        outcome: list[object] = []

        async def main(scope: trio.CancelScope) -> None:
            with scope:
                try:
                    outcome.append(await run(program, options(pty, signals=signals)))
                except BaseExceptionGroup as group:
                    if group.split(BrokenViewError)[1] is not None:
                        raise
                    outcome.append("raised")

        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(main, scope)
            await pty.shows("<ready>")
            assert not pty.is_whole()
            match end:
                case "quit":
                    await pty.type("q")
                case "view":
                    await pty.type("b")
                case "feed":
                    started.set()
                case "cancel":
                    scope.cancel()
                case name:
                    os.kill(os.getpid(), signal.Signals[name])
        await pty.shows(LEAVE)
        assert pty.is_whole()
    expected: dict[str, list[object]] = {
        "quit": [7],
        "view": ["raised"],
        "feed": ["raised"],
        "cancel": [],
    }
    assert outcome == expected.get(end) or outcome == [128 + signal.Signals[end]]


async def test_a_terminal_that_is_closed_ends_the_program() -> None:
    async with open_pty() as pty, trio.open_nursery() as nursery:
        codes: list[int] = []

        async def main() -> None:
            codes.append(await run(PROGRAM, options(pty)))

        nursery.start_soon(main)
        await pty.shows("<ready>")
        await pty.hang_up()
        with trio.fail_after(30):
            while not codes:
                await trio.testing.wait_all_tasks_blocked()
        assert codes == [129]


async def test_the_terminal_is_asked_for_its_background_and_believed() -> None:
    environment = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
    async with open_pty() as pty, trio.open_nursery() as nursery:
        nursery.start_soon(run, PROGRAM, options(pty, environment=environment))
        await pty.shows("<ready>")
        assert "\x1b]11;?" in pty.output
        assert "\x1b[38;5;114m<ready>" in pty.output
        await pty.type("\x1b]11;rgb:ffff/ffff/ffff\x1b\\\x1b[?62c")
        await pty.shows("\x1b[38;5;28m<ready>")
        nursery.cancel_scope.cancel()


async def test_a_forced_theme_is_not_asked_about() -> None:
    environment = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
    async with open_pty() as pty, trio.open_nursery() as nursery:
        forced = options(pty, environment=environment, background=Background.NONE)
        nursery.start_soon(run, PROGRAM, forced)
        await pty.shows("<ready>")
        assert "\x1b]11;?" not in pty.output
        nursery.cancel_scope.cancel()


async def test_wishes_of_the_program_are_performed_and_answered() -> None:
    async def perform(wish: object, post: object) -> None:
        assert callable(post)
        post(f"did {wish}")

    program = dataclasses.replace(PROGRAM, perform=perform)
    async with open_pty() as pty, trio.open_nursery() as nursery:
        nursery.start_soon(run, program, options(pty))
        await pty.shows("<ready>")
        await pty.type("w")
        await pty.shows("<did wish>")
        nursery.cancel_scope.cancel()


async def test_nothing_is_drawn_while_nothing_changes() -> None:
    views: list[int] = []

    def counted(value: Value, size: Size) -> Lines:
        views.append(1)
        return view(value, size)

    ticked = trio.Event()

    def until(value: Value, event: object) -> tuple[Value, tuple[object, ...]]:
        nonlocal ticks
        ticks += isinstance(event, Tick)
        if ticks > 20:
            ticked.set()
        return update(value, event)

    ticks = 0
    async with open_pty() as pty, trio.open_nursery() as nursery:
        program = Program(Value(), until, counted)
        nursery.start_soon(run, program, options(pty, frames_per_s=200))
        with trio.fail_after(30):
            await ticked.wait()
        assert len(views) == 1
        nursery.cancel_scope.cancel()


async def test_what_is_no_terminal_is_refused_with_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(NotATerminalError, match=r"/dev/null is not a terminal; instead: a pipe"):
        async with open_terminal("a pipe", path="/dev/null"):
            pass
    read_end, write_end = os.pipe()
    saved = os.dup(0)
    try:
        os.dup2(read_end, 0)
        with pytest.raises(NotATerminalError, match="stdin is not a terminal"):
            async with open_terminal("a pipe"):
                pass
    finally:
        os.dup2(saved, 0)
        for descriptor in (saved, read_end, write_end):
            os.close(descriptor)


SUSPENDED = """
import os, sys, trio
from p2pnode.tui.app import AppOptions, Program, Quit, Suspend
from p2pnode.tui.app import run
from p2pnode.tui.keys import Key
from p2pnode.tui.text import Span

def update(value, event):
    if event == Key("ctrl-z"):
        return value, (Suspend(),)
    return value, ((Quit(),) if event == Key("q") else ())

environment = {"TERM": "xterm", "NO_COLOR": "1"}
options = AppOptions(path=sys.argv[1], environment=environment)
sys.exit(trio.run(run, Program(0, update, lambda value, size: [(Span("shown"),)]), options))
"""


async def test_ctrl_z_gives_the_terminal_back_and_continuing_takes_it_again() -> None:
    async with open_pty() as pty:
        # A process group of its own in this session, as a shell makes for a job.
        command = [sys.executable, "-c", SUSPENDED, pty.path]
        process = await trio.lowlevel.open_process(command, process_group=0)
        try:
            await pty.shows("shown")
            await pty.type("\x1a")
            await pty.shows(LEAVE)
            with trio.fail_after(30):
                _, status = await trio.to_thread.run_sync(
                    os.waitpid, process.pid, os.WUNTRACED, abandon_on_cancel=True
                )
            assert os.WIFSTOPPED(status)
            assert pty.is_whole()
            os.kill(process.pid, signal.SIGCONT)
            await pty.shows(lambda output: output.count("shown") == 2)
            assert pty.is_taken()
            await pty.type("q")
            with trio.fail_after(30):
                assert await process.wait() == 0
            await pty.shows(lambda output: output.endswith(LEAVE))
            assert pty.is_whole()
        finally:
            process.kill()
