"""What showing a program costs, counted."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import trio
import trio.testing

from p2pnode.tui.app import Program, Quit, Tick, run
from p2pnode.tui.keys import Key
from p2pnode.tui.meter import SAMPLES_MAX, AppStatistics, Meter, memory_bytes_max
from p2pnode.tui.model import Model, ScreenName
from p2pnode.tui.text import Size, plain
from p2pnode.tui.update import update
from p2pnode.tui.view import view
from tests.tui.pty import open_pty
from tests.tui.test_app import PROGRAM, Value, options
from tests.tui.worlds import NOW_S, healthy


def drawn(meter: Meter, *times_s: float, size_bytes: int = 100) -> None:
    for time_s in times_s:
        meter.shown(meter.begun(), 0.002, size_bytes, time_s)


def test_a_gap_runs_from_frame_to_frame() -> None:
    meter = Meter(10.0)
    drawn(meter, 10.1, 10.35, 10.85)
    found = meter.statistics(11.0)
    assert (found.gap.count, found.elapsed_s) == (3, 1.0)
    assert found.gap.p50_ms == pytest.approx(250)
    assert found.gap.max_ms == pytest.approx(500)


def test_a_gap_does_not_count_the_time_in_which_nothing_was_to_be_drawn() -> None:
    meter = Meter(0.0)
    drawn(meter, 0.1)
    for tick_s in (0.25, 0.5, 0.75, 60.0):
        meter.quiet(tick_s)
    drawn(meter, 60.2)
    assert meter.statistics(61.0).gap.max_ms == pytest.approx(200)


def test_a_loop_that_stood_still_is_in_the_gap_though_the_change_came_after() -> None:
    meter = Meter(0.0)
    drawn(meter, 0.1)
    meter.quiet(0.25)
    # The tick that was due at 0.5 ran at 2.5: until then nobody knows whether all was shown.
    drawn(meter, 2.5)
    assert meter.statistics(3.0).gap.max_ms == pytest.approx(2250)


def test_a_key_is_answered_by_the_first_frame_begun_after_it() -> None:
    meter = Meter(0.0)
    meter.key(1.0)
    meter.key(1.2)
    key_s = meter.begun()
    # Too late for the frame under way.
    meter.key(1.3)
    meter.shown(key_s, 0.002, 100, 1.4)
    assert meter.statistics(2.0).answer.max_ms == pytest.approx(400)
    meter.shown(meter.begun(), 0.002, 100, 1.9)
    found = meter.statistics(2.0).answer
    assert (found.count, found.max_ms) == (2, pytest.approx(600))


def test_a_picture_that_the_screen_shows_already_is_no_frame() -> None:
    meter = Meter(0.0)
    drawn(meter, 0.1, size_bytes=1000)
    drawn(meter, 0.2, 0.3, size_bytes=0)
    found = meter.statistics(1.0)
    assert (found.drawn_count, found.frames_count, found.written_bytes) == (3, 1, 1000)
    assert found.frame_bytes == 1000


def test_percentiles_look_back_on_a_bounded_number_of_frames() -> None:
    meter = Meter(0.0)
    drawn(meter, 100.0)
    drawn(meter, *(100.0 + 0.25 * k for k in range(1, SAMPLES_MAX + 1)))
    found = meter.statistics(10_000.0)
    assert (found.gap.count, found.drawn_count) == (SAMPLES_MAX, SAMPLES_MAX + 1)
    assert found.gap.max_ms == pytest.approx(250)


def test_before_the_first_frame_everything_is_zero() -> None:
    found = Meter(0.0).statistics(0.0)
    assert (found.gap.count, found.frame_bytes, found.cpu) == (0, 0.0, 0.0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_the_process_that_started_this_one_is_not_counted() -> None:
    ballast = bytearray(64 << 20)
    code = "from p2pnode.tui.meter import memory_bytes_max as m; print(m())"

    async def measured() -> int:
        done = await trio.run_process([sys.executable, "-c", code], capture_stdout=True)
        return int(done.stdout)

    assert 4 << 20 < trio.run(measured) < 60 << 20 < memory_bytes_max()
    assert len(ballast) == 64 << 20


async def test_a_running_program_is_measured_and_told_so() -> None:
    reports: list[AppStatistics] = []
    told: list[AppStatistics] = []
    measured = trio.Event()

    def watched(value: Value, event: object) -> tuple[Value, tuple[object, ...]]:
        if isinstance(event, Tick) and event.cost is not None:
            told.append(event.cost)
            measured.set()
        if event == Key("q"):
            return value, (Quit(),)
        return PROGRAM.update(value, event)

    program = Program(Value(), watched, PROGRAM.view)
    async with open_pty() as pty, trio.open_nursery() as nursery:
        nursery.start_soon(run, program, options(pty, report=reports.append, frames_per_s=50))
        await pty.shows("<ready>")
        await pty.type("x")
        await pty.shows("<key x")
        with trio.fail_after(30):
            await measured.wait()
        await pty.type("q")
    assert len(reports) == 1
    assert reports[0].frames_count == 2
    assert (reports[0].gap.count, reports[0].answer.count) == (2, 1)
    assert 20 < reports[0].written_bytes < len(pty.output)
    # It was quiet for a second before: none of that is a gap.
    assert told[0].elapsed_s >= 1.0


async def test_a_program_that_fails_is_measured_too() -> None:
    reports: list[AppStatistics] = []
    async with open_pty() as pty:

        async def main() -> None:
            with pytest.raises(ExceptionGroup):
                await run(PROGRAM, options(pty, report=reports.append))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(main)
            await pty.shows("<ready>")
            await pty.type("b")
    assert [report.frames_count for report in reports] == [1]


def device_line(model: Model, width: int) -> str:
    model, _ = update(model, Key(str(ScreenName.DEVICE.value)))
    rows = [plain(line) for line in view(model, Size(width, 40))]
    found = [row for row in rows if row.startswith("this screen")]
    return found[0].rstrip() if found else ""


def test_the_device_screen_says_what_looking_costs() -> None:
    model = healthy()
    assert device_line(model, 120) == ""
    meter = Meter(0.0)
    drawn(meter, *(0.25 * k for k in range(1, 100)), size_bytes=512)
    cost = replace(meter.statistics(25.0), cpu_s=0.5, memory_bytes_max=41 << 20)
    model, _ = update(model, Tick(NOW_S + 1, cost))
    assert device_line(model, 120) == (
        "this screen    250 ms from frame to frame in 99 of 100 cases  512 B each"
        "  2.0 % of a core  41.0 MiB"
    )
    # In the node's own process there is no telling the two apart.
    assert device_line(replace(model, inside=True), 120).endswith("512 B each")


@pytest.mark.parametrize("changes", [False, True])
async def test_a_tick_after_which_nothing_is_to_be_drawn_is_quiet(
    changes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet_s: list[float] = []
    monkeypatch.setattr(Meter, "quiet", lambda meter, now_s: quiet_s.append(now_s))
    ticks = 0
    ticked = trio.Event()

    def ticking(value: Value, event: object) -> tuple[Value, tuple[object, ...]]:
        nonlocal ticks
        if isinstance(event, Tick):
            ticks += 1
            if ticks > 20:
                ticked.set()
            return (replace(value, ticks=ticks) if changes else value), ()
        return PROGRAM.update(value, event)

    async with open_pty() as pty, trio.open_nursery() as nursery:
        program = Program(Value(), ticking, PROGRAM.view)
        nursery.start_soon(run, program, options(pty, frames_per_s=200))
        await pty.shows("<ready>")
        with trio.fail_after(30):
            await ticked.wait()
        nursery.cancel_scope.cancel()
    # The first tick comes before the first frame.
    assert bool(quiet_s) is not changes
    assert len(quiet_s) in (0, *range(18, 22))
