"""The write-ahead log: what this node signed and must not forget. It can't shrink unseen.

Layout, integers little-endian:

    header     4096 bytes: two slots, at 0 and 2048, each
               magic 8 · version u32 · segments u32 · generation u64 · salt 16 · checksum 16
    segments   65536 bytes each, written as zeros before use; records follow one another through
               them, each at a multiple of 8:
               sequence u64, from 1 · length u32 · checksum 12 · body · zeros up to the multiple

A record's checksum is BLAKE2b keyed with the file's salt over sequence, length and body, so neither
a record inside another one's body nor a leftover of an older file can pass for one of this log.

Why a cut at ANY byte is seen. A log that grows with each record can't tell "the last records are
gone" from "they were never written": cut at a record's end it is a perfectly good, shorter log, and
the node would sign a second value where it had signed a first. This file has, from its creation to
its next growth, one size, and its header says which: header + segments x 65536. A cut anywhere
makes it shorter than its header says, and it is refused; a cut inside the header leaves fewer than
4096 bytes, and is refused. Growth keeps this: zeros first, synced; then the header, synced; only
then a record in the new segment. A crash between leaves at most one segment more than the header
says, all zeros: nothing can have been cut from it, and it is adopted. Creation and compaction write
a whole new file, sync it and rename it, so there is never a part of one.

A crash during a sync leaves a record half written, with nothing valid after it: that torn tail was
never answered by a `sync`, so no signature in it left the node; it is erased, with a notice. A bad
record with a good one after it is damage, and refused. What can't be told from a torn tail is
damage to the very last records with nothing after them, and what can't be seen at all is the whole
file replaced by an older copy of itself; against the second, whoever starts the node compares the
log's newest epoch and floor with the store's.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from p2pnode.errors import LocalProtocolError, StorageError
from p2pnode.store.logfile import DiskLogFile, LogFile
from p2pnode.store.tables import StoreClosedError
from p2pnode.store.wal_format import (
    RECORD_BYTES_MAX,
    SEGMENT_BYTES,
    Inspected,
    LogDamagedError,
    count_segment,
    frame,
    inspect,
    new_content,
    salvage,
)


class LogWriteError(StorageError):
    """The operating system refused a write or a sync; nothing more is written by this process."""


class RecordTooLargeError(LocalProtocolError):
    """A record is larger than the log takes."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"a record of {size_bytes} bytes, at most {RECORD_BYTES_MAX} allowed")
        self.size_bytes = size_bytes


@dataclass(frozen=True, slots=True)
class OpenedLog:
    """A log, and what opening it found."""

    log: WriteAheadLog
    created: bool
    """There was no file. Beside a store that holds blocks this means: the log is lost."""
    notice: str | None
    """What a crash had left and opening put right; for the operator."""


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair found and kept."""

    damage: LogDamagedError | None
    """Why it was needed; None when the log is good, and then nothing was changed."""
    records_count: int
    """Records in the log now, without the marks."""
    copy: Path | None
    """The damaged file, kept."""


class WriteAheadLog:
    """The Log port over a LogFile; made by `open_log`.

    `append` and `sync` may be called from different threads. `rewrite` replaces everything, what
    was appended and not yet synced too: nothing may be appended between gathering the records for
    it and its return.
    """

    def __init__(self, file: LogFile, path: Path, inspected: Inspected) -> None:
        """Go on with a log whose file was inspected and put right."""
        self._file = file
        self._path = path
        self._header = inspected.header
        self._end = inspected.end
        self._sequence = len(inspected.records) + 1
        self._waiting: list[bytes] = []
        self._lock = threading.Lock()
        """Guards `_waiting`."""
        self._write_lock = threading.Lock()
        """Guards the file and everything that describes it."""
        self._unsynced = False
        """Something was written and not synced."""
        self._failed = False
        self._closed = False

    def records(self) -> list[bytes]:
        """Return all records, oldest first."""
        with self._write_lock:
            self._check()
            found = list(inspect(self._file.load(), self._path).records)
            with self._lock:
                return found + self._waiting

    def append(self, record: bytes) -> None:
        """Add a record; in memory until `sync`.

        Raises:
            RecordTooLargeError: It is larger than RECORD_BYTES_MAX.
        """
        if len(record) > RECORD_BYTES_MAX:
            raise RecordTooLargeError(len(record))
        with self._lock:
            self._check()
            self._waiting.append(record)

    def sync(self) -> None:
        """Make every appended record durable.

        Raises:
            LogWriteError: The disk refused; the log takes nothing more, stop the node.
        """
        # Whoever finds nothing waiting still takes the lock: a sync under way in another thread
        # may be writing what the caller appended.
        with self._write_lock:
            self._write_waiting()

    def write_unsynced(self) -> None:
        """Hand appended records to the file without a sync; for crash tests."""
        with self._write_lock:
            self._write_waiting(sync=False)

    def rewrite(self, records: Sequence[bytes]) -> None:
        """Replace the whole log atomically and durably (compaction)."""
        for record in records:
            if len(record) > RECORD_BYTES_MAX:
                raise RecordTooLargeError(len(record))
        with self._write_lock:
            self._check()
            salt = hashlib.blake2b(
                self._header.salt, digest_size=16, person=b"p2pn-log next"
            ).digest()
            content = new_content(records, salt)
            try:
                self._file.replace(content)
            except OSError as error:
                raise self._refused(error) from None
            with self._lock:
                self._waiting.clear()
            self._unsynced = False
            inspected = inspect(content, self._path)
            self._header, self._end = inspected.header, inspected.end
            self._sequence = len(records) + 1

    def size_bytes(self) -> int:
        """Return how much of the file is in use; tells when a compaction pays."""
        return self._end

    def close(self) -> None:
        """Sync what waits, and release the file; again does nothing."""
        with self._write_lock:
            if self._closed:
                return
            try:
                if not self._failed:
                    self._write_waiting()
            finally:
                self._closed = True
                self._file.close()

    # --- inside ----------------------------------------------------------------------------------

    def _write_waiting(self, *, sync: bool = True) -> None:
        self._check()
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if not waiting and not (sync and self._unsynced):
            return
        framed: list[bytes] = []
        for record in waiting:
            framed.append(frame(record, self._sequence, self._header.salt))
            self._sequence += 1
        data = b"".join(framed)
        try:
            while self._end + len(data) > self._header.size_bytes:
                self._grow()
            self._file.write(self._end, data)
            self._unsynced = True
            if sync:
                self._file.sync()
                self._unsynced = False
        except OSError as error:
            raise self._refused(error) from None
        self._end += len(data)

    def _grow(self) -> None:
        """Add a segment: its zeros are durable before the header counts them."""
        self._file.extend(self._header.size_bytes + SEGMENT_BYTES)
        self._file.sync()
        self._header = count_segment(self._file, self._header)

    def _refused(self, error: OSError) -> LogWriteError:
        # After a failed sync nobody knows what is on disk, and a second sync may claim success
        # without having written: this process never tries again.
        self._failed = True
        return LogWriteError(f"{self._path}: {error.strerror}; the node must stop")

    def _check(self) -> None:
        if self._closed:
            raise StoreClosedError(f"{self._path} is closed")
        if self._failed:
            raise LogWriteError(f"{self._path} failed before; the node must stop")


def open_log(path: Path) -> OpenedLog:
    """Open the log of a node, or make a new one.

    Args:
        path: The file, in a node's data directory.

    Raises:
        LogDamagedError: It may have lost records; nothing was changed.
        LogFormatError: Another program version wrote it.
        StoreLockedError: Another process has it open.
        LogWriteError: The disk refuses.
    """
    try:
        file = DiskLogFile(path)
        try:
            return open_file(file, path, created=not file.exists, salt=os.urandom(16))
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise LogWriteError(f"{path}: {error.strerror}") from None


def open_file(file: LogFile, path: Path, *, created: bool, salt: bytes) -> OpenedLog:
    """Open a log on any file.

    Args:
        file: The file.
        path: Its name in messages.
        created: Whether it is empty because it is new.
        salt: Of a new log, 16 bytes.
    """
    if created:
        file.replace(new_content((), salt))
    inspected = inspect(file.load(), path)
    notice = None
    if inspected.surplus_bytes:
        # A crash inside a growth; the segment may be there in part.
        missing_bytes = SEGMENT_BYTES - inspected.surplus_bytes
        if missing_bytes:
            file.extend(inspected.header.size_bytes + SEGMENT_BYTES)
        file.sync()
        grown = count_segment(file, inspected.header)
        inspected = replace(inspected, header=grown, surplus_bytes=0)
        notice = f"{path}: finished growing to {grown.segments} segments"
    if inspected.torn_bytes:
        file.write(inspected.end, bytes(inspected.torn_bytes))
        file.sync()
        notice = (
            f"{path}: erased {inspected.torn_bytes} bytes at {inspected.end}, a record that was"
            " being written when the machine or process stopped; nothing in it had left the node"
        )
    return OpenedLog(WriteAheadLog(file, path, inspected), created, notice)


def repair(path: Path, *, marks: Sequence[bytes]) -> RepairReport:
    """Make a damaged log usable again: keep every record that is still whole.

    Args:
        path: The log, which no process may have open.
        marks: Records put at the end, which make the signer observe until the next epoch.

    Raises:
        StoreLockedError: A process has it open.
        LogWriteError: The disk refuses.
    """
    try:
        file = DiskLogFile(path)
        try:
            if not file.exists:
                raise LogWriteError(f"{path}: no such log")
            content = file.load()
            try:
                inspected = inspect(content, path)
                return RepairReport(None, len(inspected.records), None)
            except LogDamagedError as error:
                damage = error
            copy = _keep_copy(path, content)
            records = salvage(content, path)
            file.replace(new_content([*records, *marks], os.urandom(16)))
            return RepairReport(damage, len(records), copy)
        finally:
            file.close()
    except OSError as error:
        raise LogWriteError(f"{path}: {error.strerror}") from None


def _keep_copy(path: Path, content: bytes) -> Path:
    number = 1
    while (copy := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    with copy.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return copy
