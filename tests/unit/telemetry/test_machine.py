from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from p2pnode.telemetry import machine
from p2pnode.telemetry.machine import MachineSampler


def test_a_folder_counts_what_its_files_take(tmp_path: Path) -> None:
    before = machine.folder_bytes(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"x" * 100_000)
    assert machine.folder_bytes(tmp_path) - before >= 100_000
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert machine.folder_bytes(tmp_path) < 1 << 20
    assert machine.folder_bytes(tmp_path / "none") == 0


def test_the_hottest_zone_is_the_temperature(tmp_path: Path) -> None:
    assert machine.temperature(tmp_path) is None
    for number, text in enumerate(("41000\n", "52500\n", "broken\n")):
        zone = tmp_path / f"thermal_zone{number}"
        zone.mkdir()
        (zone / "temp").write_text(text)
    assert machine.temperature(tmp_path) == 52.5


def test_what_slows_a_pi_down_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "get_throttled"
    assert machine.throttling(machine.read_throttled(path)) == ""
    path.write_text("50005\n")
    # The upper bits speak of the past.
    assert machine.throttling(machine.read_throttled(path)) == "under-voltage, throttled"


def test_written_bytes_come_from_the_kernels_count(tmp_path: Path) -> None:
    path = tmp_path / "io"
    assert machine.written_bytes(path) is None
    path.write_text("rchar: 5\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n")
    assert machine.written_bytes(path) == 8192


def test_a_look_is_kept_for_half_a_second(tmp_path: Path) -> None:
    now = [10.0]
    sampler = MachineSampler(tmp_path, clock=lambda: now[0])
    first = sampler.sample()
    now[0] = 10.4
    assert sampler.sample() is first
    now[0] = 10.6
    assert sampler.sample().uptime_s > first.uptime_s
    assert first.disk_free_bytes
    assert first.memory_total_bytes > first.memory_free_bytes > 0


async def test_a_loop_that_is_held_up_is_late(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    sampler = MachineSampler(tmp_path, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sampler.run)
        await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(0.35)
        await trio.testing.wait_all_tasks_blocked(0.01)
        late_ms = sampler.sample().lateness_p99_ms
        assert late_ms is not None
        assert round(late_ms) == 250
        nursery.cancel_scope.cancel()
