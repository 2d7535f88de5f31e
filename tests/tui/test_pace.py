"""Frames no faster than they are shown: questions, answers, and a line that stores too much."""

from __future__ import annotations

import pytest
import trio

from p2pnode.tui.app import Program, Quit, Tick, run
from p2pnode.tui.keys import Key
from p2pnode.tui.meter import AppStatistics
from p2pnode.tui.pace import ASK, ASKED_MAX, GIVE_UP_S, SLACK_S, Pace
from p2pnode.tui.terminal import LEAVE
from p2pnode.tui.text import Lines, Size, Span
from tests.tui.pty import open_pty
from tests.tui.test_app import PROGRAM, Value, options

ANSWER = "\x1b[0n"


def answering(after_s: float) -> Pace:
    """A pace whose terminal has answered its first question after so long."""
    pace = Pace()
    assert pace.ask(0.0) == ASK
    pace.answered(after_s)
    return pace


def test_nothing_is_held_for_a_terminal_that_has_never_answered_and_it_is_asked_once() -> None:
    pace = Pace()
    assert [pace.ask(float(k)) for k in range(4)] == [ASK, "", "", ""]
    assert pace.hold_s(1000.0) == 0.0
    assert not pace.answers


def test_frames_are_held_while_an_answer_is_overdue() -> None:
    pace = answering(0.2)
    assert pace.ask(10.0) == ASK
    assert pace.hold_s(10.0 + 0.2 + SLACK_S) == 0.0
    assert pace.ask(10.25) == ASK
    assert pace.hold_s(10.4) == pytest.approx(GIVE_UP_S - 0.4)
    pace.answered(10.45)
    # The next question is overdue by itself, or not.
    assert pace.hold_s(10.5) == 0.0
    assert pace.hold_s(10.6) > 0


def test_an_answer_that_never_comes_is_given_up() -> None:
    pace = answering(0.2)
    pace.ask(10.0)
    assert pace.hold_s(10.0 + GIVE_UP_S) == 0.0
    assert pace.under_way_count == 0


def test_an_answer_to_nothing_changes_nothing() -> None:
    pace = Pace()
    pace.answered(5.0)
    assert not pace.answers
    assert pace.hold_s(6.0) == 0.0


def test_questions_under_way_have_a_limit() -> None:
    pace = answering(0.2)
    asked = [pace.ask(10.0) for _ in range(ASKED_MAX + 3)]
    assert asked == [ASK] * ASKED_MAX + [""] * 3


def ticking(value: Value, event: object) -> tuple[Value, tuple[object, ...]]:
    """Something new at every tick."""
    match event:
        case Tick():
            return Value(f"tick {value.ticks + 1}", value.ticks + 1), ()
        case Key("q"):
            return value, (Quit(),)
    return PROGRAM.update(value, event)


async def test_a_line_that_stores_everything_is_sent_no_more_than_it_shows() -> None:
    reports: list[AppStatistics] = []
    many = trio.Event()
    ticks = 0

    def counting(value: Value, event: object) -> tuple[Value, tuple[object, ...]]:
        nonlocal ticks
        ticks += isinstance(event, Tick)
        if ticks > 200:
            many.set()
        return ticking(value, event)

    program = Program(Value(), counting, PROGRAM.view)
    async with open_pty(answers=False) as pty, trio.open_nursery() as nursery:
        nursery.start_soon(run, program, options(pty, report=reports.append, frames_per_s=100))
        await pty.shows("<tick")
        # It answers once, at once; then the line begins to store.
        await pty.type(ANSWER)
        await pty.shows(lambda output: output.count(ASK) == 2)
        with trio.fail_after(30):
            await many.wait()
        sent_count = pty.output.count("<tick")
        asked_count = pty.output.count(ASK)
        # All of them are answered: the newest state comes, without those between.
        shown = ticks
        await pty.type(ANSWER * (asked_count - 1))
        await pty.shows(lambda output: output.count("<tick") > sent_count)
        newest = int(pty.output.rpartition("<tick ")[2].partition(">")[0])
        assert newest >= shown
        await pty.type("q")
    # While frames may still be on their way, some are drawn; far from all.
    assert sent_count < 150 < ticks
    assert reports[0].gap.max_ms > 100


async def test_a_terminal_that_takes_nothing_stops_frames_and_nothing_else() -> None:
    reports: list[AppStatistics] = []
    many = trio.Event()
    ticks = views = 0

    def counting(value: Value, event: object) -> tuple[Value, tuple[object, ...]]:
        nonlocal ticks
        ticks += isinstance(event, Tick)
        if ticks > 300:
            many.set()
        return ticking(value, event)

    def wide(value: Value, size: Size) -> Lines:
        nonlocal views
        views += 1
        # Every row differs from the frame before, so that a few frames fill what the kernel holds.
        return [(Span(f"<{value.text}> {'#' * 60}"),)] * size.height

    program = Program(Value(), counting, wide)
    async with open_pty(200, 60, listens=False) as pty, trio.open_nursery() as nursery:
        nursery.start_soon(run, program, options(pty, report=reports.append, frames_per_s=200))
        with trio.fail_after(30):
            await many.wait()
        seen = views
        assert seen < 40, "frames were drawn that nobody takes"
        # Copies, too, don't pile up: one waits for its frame.
        await pty.type("y" * 100)
        nursery.start_soon(pty.listen)
        await pty.shows(lambda output: output.count("\x1b]52") >= 1)
        await pty.type("q")
        await pty.shows(LEAVE)
        nursery.cancel_scope.cancel()
    assert pty.output.count("\x1b]52") < 5
    assert reports[0].drawn_count <= views


async def test_answers_under_way_at_the_end_are_waited_for_and_not_left_to_the_shell() -> None:
    async with open_pty(answers=False) as pty, trio.open_nursery() as nursery:
        nursery.start_soon(run, PROGRAM, options(pty))
        await pty.shows("<ready>")
        await pty.type(ANSWER)
        await pty.type("x")
        await pty.shows(lambda output: output.count(ASK) == 2)
        await pty.type("q")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert LEAVE not in pty.output
        await pty.type(ANSWER)
        await pty.shows(LEAVE)
