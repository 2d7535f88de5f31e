"""The recorder: every input of a node's core, on disk, so that a run can be replayed.

A recording is a folder of numbered segments `inputs-00000001.rec`. A segment is a header record,
then one record an input; a record is a u32 big-endian length and canonical CBOR, `[now_ns, input]`.
The oldest segments go when there are too many: the header says how many records were before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from p2pnode import codec
from p2pnode.errors import StorageError

VERSION: Final = 1
RECORD_BYTES_MAX: Final = 16 << 20
"""Largest record: a client's submission of 8 MiB fits with room."""

BUFFER_BYTES: Final = 64 << 10
"""Records are handed to the operating system in pieces of this size."""

FLUSH_NS: Final = 1_000_000_000
"""Records wait no longer than this for the next one to hand them over."""

_NAME: Final = re.compile(r"inputs-([0-9]{8})\.rec")


class NotARecordingError(StorageError):
    """A file is no segment of a recording, or of another version."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class RecordTooLargeError(StorageError):
    """An input is larger than a record can be."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"input of {size_bytes} bytes, at most {RECORD_BYTES_MAX} can be recorded")
        self.size_bytes = size_bytes


@dataclass(frozen=True, slots=True)
class RecorderOptions:
    """Limits of a recording."""

    folder: Path
    """Where the segments are; nothing else is in it."""
    file_bytes_max: int = 64 << 20
    """A new segment is begun at this size."""
    files_max: int = 8
    """Most segments; the oldest go."""


@dataclass(frozen=True, slots=True)
class RecorderStatistics:
    """Totals since the recorder was opened."""

    records_count: int
    size_bytes: int
    """Bytes written, of all segments."""
    segment: int
    """Number of the segment being written."""


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The first record of a segment."""

    number: int
    """Counts up over restarts, from 1."""
    start: int
    """Number of the first segment of this run of the process."""
    records_before: int
    """Records of the run in earlier segments."""
    label: bytes
    """What is recorded: the node's name and chain, as the node wrote them."""


@dataclass(frozen=True, slots=True)
class RecordedInput:
    """One input, as the core got it."""

    segment: SegmentHeader
    now_ns: int
    """Monotonic time of the input."""
    input: bytes
    """The input in its own encoding."""


class Recorder:
    """Appends inputs; every opening begins a new segment, so a torn end is never written over."""

    def __init__(self, options: RecorderOptions, label: bytes) -> None:
        """Begin a segment.

        Args:
            options: Where and how much.
            label: What is recorded, at most 256 bytes.
        """
        assert len(label) <= 256, len(label)
        self._options = options
        self._label = label
        options.folder.mkdir(parents=True, exist_ok=True)
        numbers = [number for number, _ in _segments(options.folder)]
        self._start = self._number = (numbers[-1] if numbers else 0) + 1
        self._records = 0
        self._flushed_ns = 0
        self._written_bytes = 0
        self._size_bytes = 0
        self._file = self._open()

    def record(self, now_ns: int, input: bytes) -> None:
        """Append one input; buffered for a second of the inputs' time, or until `flush`.

        Raises:
            RecordTooLargeError: It is larger than `RECORD_BYTES_MAX`.
            StorageError: The disk refuses it.
        """
        body = codec.encode([now_ns, input])
        if len(body) > RECORD_BYTES_MAX:
            raise RecordTooLargeError(len(input))
        if self._size_bytes and self._size_bytes + 4 + len(body) > self._options.file_bytes_max:
            self._file.close()
            self._number += 1
            self._file = self._open()
        self._write(body)
        self._records += 1
        # By the inputs' own clock: a killed process loses the last second, no more.
        if now_ns - self._flushed_ns >= FLUSH_NS:
            self._flushed_ns = now_ns
            self.flush()

    def flush(self) -> None:
        """Hand everything recorded to the operating system."""
        try:
            self._file.flush()
        except OSError as error:
            raise StorageError(f"recording {self._options.folder}: {error.strerror}") from error

    def close(self) -> None:
        """Flush and release the file."""
        self.flush()
        self._file.close()

    def statistics(self) -> RecorderStatistics:
        """Return totals since the opening."""
        return RecorderStatistics(self._records, self._written_bytes, self._number)

    def _open(self) -> BinaryIO:
        folder = self._options.folder
        for _, path in _segments(folder)[: -(self._options.files_max - 1) or None]:
            path.unlink(missing_ok=True)
        file = (folder / f"inputs-{self._number:08d}.rec").open("xb", buffering=BUFFER_BYTES)
        self._file = file
        self._size_bytes = 0
        self._write(codec.encode([VERSION, self._number, self._start, self._records, self._label]))
        # The header alone is no reason to begin another segment.
        self._size_bytes = 0
        return file

    def _write(self, body: bytes) -> None:
        try:
            self._file.write(len(body).to_bytes(4, "big") + body)
        except OSError as error:
            raise StorageError(f"recording {self._options.folder}: {error.strerror}") from error
        self._size_bytes += 4 + len(body)
        self._written_bytes += 4 + len(body)


def read_recording(folder: Path) -> Iterator[RecordedInput]:
    """Yield what a folder holds, oldest first.

    A record cut off at the end of a segment is left out: the process died while writing it.

    Raises:
        NotARecordingError: A segment has no header, or holds what no recorder writes.
    """
    for _, path in _segments(folder):
        yield from _read_segment(path)


def _segments(folder: Path) -> list[tuple[int, Path]]:
    found = []
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match:
            found.append((int(match[1]), path))
    return sorted(found)


def _read_segment(path: Path) -> Iterator[RecordedInput]:
    with path.open("rb") as file:
        header: SegmentHeader | None = None
        while (body := _read_record(file, path)) is not None:
            try:
                value = codec.decode(body, size_bytes_max=RECORD_BYTES_MAX)
                if header is None:
                    header = _header(value, path)
                    continue
                now_ns, data = codec.array(value, "record", length=2)
                yield RecordedInput(
                    header,
                    codec.unsigned(now_ns, "time"),
                    codec.octets(data, "input", length_max=RECORD_BYTES_MAX),
                )
            except (codec.NotCanonicalError, codec.WrongShapeError) as error:
                raise NotARecordingError(path, str(error)) from None


def _read_record(file: BinaryIO, path: Path) -> bytes | None:
    length = file.read(4)
    if len(length) < 4:
        return None
    size_bytes = int.from_bytes(length, "big")
    if size_bytes > RECORD_BYTES_MAX:
        raise NotARecordingError(path, f"a record of {size_bytes} bytes")
    body = file.read(size_bytes)
    return body if len(body) == size_bytes else None


def _header(value: codec.Value, path: Path) -> SegmentHeader:
    version, number, start, before, label = codec.array(value, "header", length=5)
    if version != VERSION:
        raise NotARecordingError(path, f"recording version {version!r}, this is {VERSION}")
    return SegmentHeader(
        codec.unsigned(number, "segment"),
        codec.unsigned(start, "start"),
        codec.unsigned(before, "records"),
        codec.octets(label, "label", length_max=256),
    )
