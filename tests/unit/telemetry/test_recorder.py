from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.telemetry.recorder import (
    RECORD_BYTES_MAX,
    NotARecordingError,
    Recorder,
    RecorderOptions,
    RecordTooLargeError,
    read_recording,
)

INPUTS = st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.binary(max_size=200)), max_size=40)


@given(INPUTS)
def test_what_is_recorded_is_read_in_order(
    tmp_path_factory: pytest.TempPathFactory, inputs: list[tuple[int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("recording")
    recorder = Recorder(RecorderOptions(folder, file_bytes_max=500, files_max=100), b"node0")
    for now_ns, data in inputs:
        recorder.record(now_ns, data)
    recorder.close()
    assert [(entry.now_ns, entry.input) for entry in read_recording(folder)] == inputs
    assert recorder.statistics().records_count == len(inputs)


def test_the_oldest_segments_go_and_the_header_says_how_much_went(tmp_path: Path) -> None:
    recorder = Recorder(RecorderOptions(tmp_path, file_bytes_max=1000, files_max=3), b"")
    for number in range(100):
        recorder.record(number, bytes(100))
    recorder.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert all(path.stat().st_size < 1100 for path in files)
    found = list(read_recording(tmp_path))
    assert found[0].now_ns == found[0].segment.records_before > 0
    assert found[-1].now_ns == 99


def test_a_restart_begins_a_new_segment_and_a_new_run(tmp_path: Path) -> None:
    for run in range(2):
        recorder = Recorder(RecorderOptions(tmp_path), b"label")
        recorder.record(run, b"x")
        recorder.close()
    first, second = read_recording(tmp_path)
    assert (first.segment.start, second.segment.start) == (1, 2)
    assert second.segment.records_before == 0
    assert second.segment.label == b"label"


def test_a_recording_cut_at_any_byte_reads_up_to_the_cut(tmp_path: Path) -> None:
    recorder = Recorder(RecorderOptions(tmp_path), b"")
    for number in range(3):
        recorder.record(number, b"abc")
    recorder.close()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    counts = []
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        counts.append(len(list(read_recording(tmp_path))))
    assert counts[0] == 0
    assert counts[-1] == 3
    assert counts == sorted(counts)


def test_a_killed_process_loses_at_most_the_last_second(tmp_path: Path) -> None:
    recorder = Recorder(RecorderOptions(tmp_path), b"")
    for tenth in range(10, 26):
        recorder.record(tenth * 100_000_000, b"x")
    # Read while it is still open, as after a kill.
    found = [entry.now_ns // 100_000_000 for entry in read_recording(tmp_path)]
    assert found == list(range(10, 21))
    recorder.close()


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "inputs-00000001.rec"
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(NotARecordingError, match="a record of 4294967295 bytes"):
        list(read_recording(tmp_path))
    path.write_bytes(b"\0\0\0\1\xa0")
    with pytest.raises(NotARecordingError):
        list(read_recording(tmp_path))


def test_an_input_too_large_to_read_back_is_not_recorded(tmp_path: Path) -> None:
    recorder = Recorder(RecorderOptions(tmp_path), b"")
    with pytest.raises(RecordTooLargeError):
        recorder.record(0, bytes(RECORD_BYTES_MAX))
    recorder.close()
    assert list(read_recording(tmp_path)) == []
