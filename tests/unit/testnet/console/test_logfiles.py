"""Log files are followed through appends, halves of lines, rotation and floods."""

from __future__ import annotations

import json
from pathlib import Path

from testnet.console.logfiles import BEGIN_BYTES, READ_BYTES_MAX, LogFiles, parse


def line(event: str, **fields: object) -> str:
    head = {"time": "2026-01-01T00:00:00.250+00:00", "level": "info", "logger": "node"}
    return json.dumps({**head, "event": event, "node": "node0", **fields}) + "\n"


def events(files: LogFiles) -> list[str]:
    return [entry.event for entry in files.read()[0]]


def test_lines_come_once_and_with_their_node(tmp_path: Path) -> None:
    path = tmp_path / "node3.jsonl"
    path.write_text(line("first", height=4))
    files = LogFiles(tmp_path)
    (entry,) = files.read()[0]
    assert (entry.node, entry.level, entry.event, entry.text) == (
        "node3",
        "info",
        "first",
        "height=4",
    )
    assert entry.time_ms == 1_767_225_600_250
    assert events(files) == []
    with path.open("a") as file:
        file.write(line("second"))
    assert events(files) == ["second"]


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "node0.jsonl"
    whole = line("split")
    path.write_text(whole[:20])
    files = LogFiles(tmp_path)
    assert events(files) == []
    with path.open("a") as file:
        file.write(whole[20:])
    assert events(files) == ["split"]


def test_a_rotated_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "node0.jsonl"
    path.write_text(line("old") * 3)
    files = LogFiles(tmp_path)
    files.read()
    path.rename(tmp_path / "node0.jsonl.1")
    path.write_text(line("new"))
    assert events(files) == ["new"]


def test_only_the_end_of_a_long_log_is_read_at_first(tmp_path: Path) -> None:
    path = tmp_path / "node0.jsonl"
    path.write_text(line("event") * (4 * BEGIN_BYTES // len(line("event"))))
    found, missed_count = LogFiles(tmp_path).read()
    assert len(found) * len(line("event")) <= BEGIN_BYTES
    assert missed_count == 0


def test_a_flood_is_cut_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "node0.jsonl"
    path.write_text("")
    files = LogFiles(tmp_path)
    files.read()
    path.write_text(line("flood") * (3 * READ_BYTES_MAX // len(line("flood"))))
    found, missed_count = files.read()
    assert len(found) * len(line("flood")) <= READ_BYTES_MAX
    assert missed_count > 0
    assert events(files) == []


def test_a_line_longer_than_any_read_does_not_stop_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "node0.jsonl"
    path.write_text("")
    files = LogFiles(tmp_path)
    files.read()
    path.write_text("x" * (READ_BYTES_MAX + 5))
    assert events(files) == []
    with path.open("a") as file:
        file.write("\n" + line("after"))
    assert events(files) == ["after"]


def test_what_is_no_event_is_left_out() -> None:
    for bad in (b"", b"text", b"[]", b"7", b'{"time": "x"}', b'{"a": ' * 2000, b"\xff\xfe"):
        assert parse(bad, "node0") is None


def test_a_folder_that_goes_away_is_no_error(tmp_path: Path) -> None:
    assert LogFiles(tmp_path / "gone").read() == ([], 0)
