"""The file under the write-ahead log: what the log asks of it, and the one on a real disk."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Protocol

from p2pnode.store.lock import FileLock


class LogFile(Protocol):
    """A file that is written in place and never shrinks.

    Everything may raise OSError. Bytes written before a `sync` that returned survive any crash; of
    those written after it, any part may.
    """

    def load(self) -> bytes:
        """Return the whole content."""

    def write(self, offset: int, data: bytes) -> None:
        """Write at an offset, at most up to the present end."""

    def extend(self, size_bytes: int) -> None:
        """Write zeros from the end up to `size_bytes`."""

    def sync(self) -> None:
        """Make everything written durable."""

    def replace(self, content: bytes) -> None:
        """Exchange the whole content, atomically and durably."""

    def close(self) -> None:
        """Release it."""


class DiskLogFile:
    """A LogFile in a directory; it holds `<name>.lock` while it is open."""

    def __init__(self, path: Path) -> None:
        """Lock the path, and open the file if it is there.

        Args:
            path: The file; its directory must exist.

        Raises:
            StoreLockedError: Another process has it open.
        """
        self._path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        self._descriptor: int | None = None
        try:
            # What a crash inside `replace` left; never complete, or it would have been renamed.
            self._new_path().unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except BaseException:
            self._lock.release()
            raise

    @property
    def exists(self) -> bool:
        """Whether there is a file; `replace` makes one."""
        return self._descriptor is not None

    def load(self) -> bytes:
        """Return the whole content."""
        descriptor = self._open()
        size_bytes = os.fstat(descriptor).st_size
        parts: list[bytes] = []
        read_bytes = 0
        while read_bytes < size_bytes:
            part = os.pread(descriptor, size_bytes - read_bytes, read_bytes)
            if not part:
                break
            parts.append(part)
            read_bytes += len(part)
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Write at an offset, at most up to the present end."""
        _write_all(self._open(), offset, data)

    def extend(self, size_bytes: int) -> None:
        """Write zeros from the end up to `size_bytes`.

        Zeros are written, not a hole made: so a later sync of records has no block to allocate,
        which is faster, and can't meet a full disk.
        """
        descriptor = self._open()
        present_bytes = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, present_bytes, bytes(size_bytes - present_bytes))
        except OSError:
            # A full disk: give back the part that fitted.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, present_bytes)
            raise

    def sync(self) -> None:
        """Make everything written durable."""
        _sync(self._open())

    def replace(self, content: bytes) -> None:
        """Exchange the whole content: a new file is synced, then renamed over the old one."""
        new_path = self._new_path()
        descriptor = os.open(
            new_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode=0o600
        )
        try:
            _write_all(descriptor, 0, content)
            _sync(descriptor)
            new_path.rename(self._path)
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                new_path.unlink(missing_ok=True)
            raise
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor
        sync_directory(self._path.parent)

    def close(self) -> None:
        """Release the file and its lock; again does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._lock.release()

    def _open(self) -> int:
        assert self._descriptor is not None, f"{self._path} is not open"
        return self._descriptor

    def _new_path(self) -> Path:
        return self._path.with_name(self._path.name + ".new")


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable: without it a rename may be undone by a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # There fsync leaves the data in the drive's cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


def _write_all(descriptor: int, offset: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        offset += written
        rest = rest[written:]
