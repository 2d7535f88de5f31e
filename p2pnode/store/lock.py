"""One process a directory: an advisory lock that ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from p2pnode.errors import StorageError


class StoreLockedError(StorageError):
    """Another process, or this one for a second time, has the files open."""

    def __init__(self, path: Path, pid: int | None) -> None:
        holder = f"process {pid}" if pid is not None else "another process"
        super().__init__(f"{path} is in use by {holder}; stop it first")
        self.path = path
        self.pid = pid
        """Process that holds the lock, None when it has not written its number yet."""


class FileLock:
    """An exclusive lock, held from construction until `release` or the end of the process.

    flock, not lockf: a second open in the same process is refused too, and closing some other
    descriptor of the file doesn't lose the lock. The file stays behind; only the lock counts.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Args:
            path: The lock file, made if missing.

        Raises:
            StoreLockedError: It is taken.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.read(descriptor, 32).strip()
            os.close(descriptor)
            raise StoreLockedError(path, int(written) if written.isdigit() else None) from None
        # The number is for people: a disk too full to hold it doesn't make the lock worse.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the lock back; again does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
