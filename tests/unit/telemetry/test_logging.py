from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from p2pnode.telemetry.logging import (
    LogOptions,
    configure,
    get_logger,
    json_line,
    release_libraries,
    text_line,
)


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    level, noisy = logging.getLogger().level, logging.raiseExceptions
    library = logging.getLogger("libp2p")
    propagates = library.propagate
    yield
    library.propagate = propagates
    configure(LogOptions())
    structlog.reset_defaults()
    logging.getLogger().setLevel(level)
    logging.raiseExceptions = noisy


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_is_one_json_line_with_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "node.jsonl"
    configure(LogOptions(file=path), node="node0")
    get_logger("consensus", epoch=1).info("block_finalized", height=3, hash=b"\x01\xff")
    (line,) = lines(path)
    assert line["event"] == "block_finalized"
    assert line["level"] == "info"
    assert line["logger"] == "consensus"
    assert (line["node"], line["epoch"], line["height"]) == ("node0", 1, 3)
    assert line["hash"] == "01ff"


def test_a_restart_appends(tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    for _ in range(2):
        configure(LogOptions(file=path))
        get_logger("node").info("node_started")
    assert [line["event"] for line in lines(path)] == ["node_started"] * 2


def test_files_are_rotated_by_size_and_their_count_is_capped(tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    configure(LogOptions(file=path, file_bytes_max=2000, files_max=3))
    log = get_logger("node")
    for number in range(200):
        log.info("tick", number=number)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert all(file.stat().st_size <= 2000 for file in files)
    assert lines(path)[-1]["number"] == 199


def test_events_below_the_level_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    configure(LogOptions(file=path, level="warning"))
    get_logger("node").info("not_shown")
    get_logger("node").warning("shown")
    assert [line["event"] for line in lines(path)] == ["shown"]


def test_records_of_libraries_are_kept_as_messages_from_warnings_on(tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    configure(LogOptions(file=path))
    logging.getLogger("hypercorn.error").info("Running on %s", "somewhere")
    logging.getLogger("hypercorn.error").warning("odd %s", "thing")
    (line,) = lines(path)
    assert line["event"] == "library_message"
    assert line["logger"] == "hypercorn.error"
    assert line["message"] == "odd thing"


def test_a_message_of_our_own_is_not_called_a_library_s(tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    configure(LogOptions(file=path))
    logging.getLogger("p2pnode.net").info("a muxer failed: %s", "so")
    (line,) = lines(path)
    assert (line["event"], line["message"]) == ("message", "a muxer failed: so")


@pytest.mark.parametrize(("level", "shown"), [("info", ["error"]), ("debug", ["debug", "error"])])
def test_a_refused_dial_is_no_error_and_other_errors_of_its_logger_are(
    tmp_path: Path, level: str, shown: list[str]
) -> None:
    path = tmp_path / "node.jsonl"
    for _ in range(2):
        configure(LogOptions(file=path, level=level))
    # Another test may have imported libp2p, which keeps its records to itself until this.
    release_libraries()
    logger = logging.getLogger("libp2p.transport.tcp.tcp")
    logger.error("Failed to open TCP stream: %s", "all attempts to connect failed")
    logger.error("Unexpected error opening TCP stream: %s", "out of descriptors")
    found = [line for line in lines(path) if line["logger"] == logger.name]
    assert [line["level"] for line in found] == shown
    assert "out of descriptors" in found[-1]["message"]


def test_an_exception_is_logged_with_its_traceback(tmp_path: Path) -> None:
    path, console = tmp_path / "node.jsonl", io.StringIO()
    configure(LogOptions(file=path, console=console))
    try:
        raise KeyError("lost")
    except KeyError:
        get_logger("node").exception("task_crashed")
    (line,) = lines(path)
    assert "KeyError: 'lost'" in line["traceback"]
    assert line["level"] == "error"
    assert console.getvalue().rstrip().endswith("KeyError: 'lost'")


def test_of_a_long_traceback_the_end_is_kept() -> None:
    text = "frame\n" * 2000 + "AttributeError: no attribute 'banned'"
    line = json.loads(json_line(0.0, "error", "node", "failed", {"traceback": text}))
    assert line["traceback"].endswith("no attribute 'banned'")
    assert len(line["traceback"]) == 2048


def test_an_event_name_must_be_snake_case() -> None:
    configure(LogOptions(console=io.StringIO()))
    with pytest.raises(AssertionError, match="'Block finalized'"):
        get_logger("node").info("Block finalized")


def test_a_field_can_not_hide_the_events_own_names() -> None:
    line = json.loads(json_line(0.0, "info", "node", "peer_banned", {"event": "x", "level": 9}))
    assert (line["event"], line["event_"], line["level_"]) == ("peer_banned", "x", 9)


def test_a_field_from_a_stranger_can_not_begin_a_new_line_or_fill_the_disk() -> None:
    fields = {"reason": "bad\n12:00:00 info forged", "long": "x" * 100_000}
    text = text_line(0.0, "info", "net", "peer_banned", fields)
    assert "\n" not in text
    assert len(text) < 3000
    assert "\n" not in json_line(0.0, "info", "net", "peer_banned", fields)


def test_nothing_in_a_line_moves_the_cursor_of_who_reads_it() -> None:
    fields = {"reason": "\x9b2J\u202edrow", "tags": ["\x9b"], "traceback": "Error: \x1b[2J\nend"}
    for line in (
        text_line(0.0, "info", "net", "peer_banned", fields),
        json_line(0.0, "info", "net", "peer_banned", fields),
    ):
        assert line.replace("\n", "").isprintable()
        assert "\\u009b2J\\u202edrow" in line
    assert json.loads(line)["reason"] == fields["reason"]


def test_the_console_shows_name_and_values() -> None:
    text = text_line(0.0, "info", "net", "peer_banned", {"peer": "a b", "score": -100, "tags": [1]})
    assert text.split(" ", 1)[1] == 'info    peer_banned peer="a b" score=-100 tags=[1]'
