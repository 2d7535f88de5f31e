"""The bytes of the write-ahead log: its header, its records, and how a file is judged.

The layout, and why it is this one, stands in `p2pnode/store/wal.py`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2pnode.errors import StorageError
from p2pnode.store.logfile import LogFile

HEADER_BYTES: Final = 4096
SEGMENT_BYTES: Final = 65536
RECORD_BYTES_MAX: Final = 1 << 20
"""Largest record; a certificate needs 64 KiB."""

VERSION: Final = 1

_MAGIC: Final = b"p2pn-log"
_SLOT: Final = struct.Struct("<8sIIQ16s")
_SLOT_OFFSETS: Final = (0, 2048)
"""Two slots, in different sectors, written in turn: a torn write of one leaves the other."""
_SLOT_CHECKSUM_BYTES: Final = 16
_RECORD: Final = struct.Struct("<QI12s")
_RECORD_CHECKSUM_BYTES: Final = 12
_ALIGNMENT: Final = 8


class LogDamagedError(StorageError):
    """The log can't be trusted to hold everything that was signed."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(
            f"{path} is damaged at byte {offset}: {reason}; run `p2pnode log repair --data"
            f" {path.parent}`, after which the node only observes until the next epoch"
        )
        self.path = path
        self.offset = offset
        self.reason = reason


class LogFormatError(StorageError):
    """A log was written in a format that this program doesn't know; repairing it would lose it."""

    def __init__(self, path: Path, found: int) -> None:
        super().__init__(f"{path} has log format {found}, this program knows {VERSION}")
        self.path = path
        self.found = found


@dataclass(frozen=True, slots=True)
class Header:
    """What a valid header slot says."""

    segments: int
    """Segments that may hold records."""
    generation: int
    """Counts the headers of this file; the newest holds."""
    salt: bytes
    """Key of the records' checksums, 16 bytes."""

    @property
    def size_bytes(self) -> int:
        """Size that the file must have."""
        return HEADER_BYTES + self.segments * SEGMENT_BYTES


@dataclass(frozen=True, slots=True)
class Inspected:
    """A file that holds everything it ever promised to hold."""

    header: Header
    records: tuple[bytes, ...]
    end: int
    """Where the next record goes."""
    torn_bytes: int
    """Bytes after `end` up to the last that is not zero."""
    surplus_bytes: int
    """Zeros beyond what the header counts."""


def inspect(content: bytes, path: Path) -> Inspected:
    """Read a whole file.

    Raises:
        LogDamagedError: It is not the whole log.
    """
    if len(content) < HEADER_BYTES:
        raise LogDamagedError(
            path, len(content), f"the file ends inside its header of {HEADER_BYTES} bytes"
        )
    header = _newest_header(content, path)
    if header is None:
        raise LogDamagedError(path, 0, "no valid header")
    size_bytes = header.size_bytes
    surplus_bytes = len(content) - size_bytes
    if surplus_bytes < 0:
        raise LogDamagedError(
            path, len(content), f"the file ends here, its header promises {size_bytes} bytes"
        )
    if surplus_bytes > SEGMENT_BYTES or _last_nonzero(content, size_bytes) >= size_bytes:
        raise LogDamagedError(
            path, size_bytes, f"{surplus_bytes} bytes more than its header promises"
        )
    records: list[bytes] = []
    offset = HEADER_BYTES
    while (body := _record_at(content, offset, header, sequence=len(records) + 1)) is not None:
        records.append(body)
        offset += _framed_bytes(len(body))
    last = _last_nonzero(content, offset)
    if last >= offset and next(_records_from(content, offset, header), None) is not None:
        raise LogDamagedError(
            path, offset, f"record {len(records) + 1} is bad, and good ones follow it"
        )
    return Inspected(header, tuple(records), offset, last + 1 - offset, surplus_bytes)


def _last_nonzero(content: bytes, start: int) -> int:
    """Return the offset of the last byte that is not zero, or `start - 1` if there is none."""
    return start + len(content[start:].rstrip(b"\x00")) - 1


def _newest_header(content: bytes, path: Path) -> Header | None:
    found: list[Header] = []
    for offset in _SLOT_OFFSETS:
        raw = content[offset : offset + _SLOT.size]
        checksum = content[offset + _SLOT.size : offset + _SLOT.size + _SLOT_CHECKSUM_BYTES]
        if len(raw) < _SLOT.size or checksum != _slot_checksum(raw):
            continue
        magic, version, segments, generation, salt = _SLOT.unpack(raw)
        if magic == _MAGIC and version != VERSION:
            raise LogFormatError(path, version)
        if magic == _MAGIC and segments > 0:
            found.append(Header(segments, generation, salt))
    return max(found, key=lambda header: header.generation, default=None)


def _header_slot(header: Header) -> bytes:
    raw = _SLOT.pack(_MAGIC, VERSION, header.segments, header.generation, header.salt)
    return raw + _slot_checksum(raw)


def _slot_checksum(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=_SLOT_CHECKSUM_BYTES).digest()


def count_segment(file: LogFile, header: Header) -> Header:
    """Write the header that counts one segment more, durably, into the older slot."""
    grown = Header(header.segments + 1, header.generation + 1, header.salt)
    file.write(_SLOT_OFFSETS[grown.generation % 2], _header_slot(grown))
    file.sync()
    return grown


def new_content(records: Sequence[bytes], salt: bytes) -> bytes:
    """Return a whole file with the given records and at least half a segment to spare."""
    body = b"".join(frame(record, i, salt) for i, record in enumerate(records, start=1))
    segments = (len(body) + SEGMENT_BYTES // 2) // SEGMENT_BYTES + 1
    slot = _header_slot(Header(segments, 0, salt))
    return slot.ljust(HEADER_BYTES, b"\x00") + body.ljust(segments * SEGMENT_BYTES, b"\x00")


def _framed_bytes(body_bytes: int) -> int:
    return -(-(_RECORD.size + body_bytes) // _ALIGNMENT) * _ALIGNMENT


def frame(body: bytes, sequence: int, salt: bytes) -> bytes:
    """Return the bytes of one record."""
    head = _RECORD.pack(sequence, len(body), _record_checksum(sequence, body, salt))
    return (head + body).ljust(_framed_bytes(len(body)), b"\x00")


def _record_checksum(sequence: int, body: bytes, salt: bytes) -> bytes:
    keyed = hashlib.blake2b(
        struct.pack("<QI", sequence, len(body)), digest_size=_RECORD_CHECKSUM_BYTES, key=salt
    )
    keyed.update(body)
    return keyed.digest()


def _record_at(content: bytes, offset: int, header: Header, *, sequence: int) -> bytes | None:
    """Return the body of the whole record with this sequence number at an offset, or None."""
    if offset + _RECORD.size > len(content):
        return None
    found, length, checksum = _RECORD.unpack_from(content, offset)
    start = offset + _RECORD.size
    if found != sequence or length > RECORD_BYTES_MAX or start + length > len(content):
        return None
    body = content[start : start + length]
    return body if checksum == _record_checksum(sequence, body, header.salt) else None


def _records_from(content: bytes, offset: int, header: Header) -> Iterator[bytes]:
    """Find whole records at and after an offset, whatever lies between them."""
    end = min(_last_nonzero(content, offset), len(content) - _RECORD.size)
    while offset <= end:
        (sequence,) = struct.unpack_from("<Q", content, offset)
        # No log has 2^40 records: skips nearly every place that is not a record without hashing.
        body = None
        if 0 < sequence < 1 << 40:
            body = _record_at(content, offset, header, sequence=sequence)
        if body is not None:
            yield body
        offset += _framed_bytes(len(body)) if body is not None else _ALIGNMENT


def salvage(content: bytes, path: Path) -> list[bytes]:
    """Return every record of a damaged file that is still whole, in the file's order."""
    header = _newest_header(content, path)
    return [] if header is None else list(_records_from(content, HEADER_BYTES, header))
