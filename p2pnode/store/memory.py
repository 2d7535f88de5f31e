"""The simulator's disk: a store and a log that lose what was not synced, as a seed decides."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from p2pnode.store.tables import (
    FORMAT_KEY,
    FORMAT_TABLE,
    FORMAT_VALUE,
    TABLES,
    SortedTable,
    StoreClosedError,
    check_key,
    check_start,
    check_writes,
)
from p2pnode.store.wal import OpenedLog, WriteAheadLog, open_file
from p2pnode.types.effects import Write

_SALT: Final = b"p2pnode-memory-1"


class MemoryStore:
    """The Store port in memory, with the crash semantics that the port allows.

    After `crash` or `close` an object answers no more; `reopen` gives the next one on the same
    tables, as a restarted process would open the same directory.
    """

    def __init__(self) -> None:
        """Make an empty store."""
        self._tables: dict[str, SortedTable[bytes]] = {table: SortedTable() for table in TABLES}
        self._tables[FORMAT_TABLE].put(FORMAT_KEY, FORMAT_VALUE)
        self._undo: list[list[tuple[str, bytes, bytes | None]]] = []
        """For each unsynced commit, oldest first, what its keys held before."""
        self._open = True

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a value, or None."""
        check_key(table, key)
        self._check_open()
        return self._tables[table].rows.get(key)

    def scan(
        self, table: str, *, start: bytes = b"", stop: bytes | None = None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return at most `limit` pairs with start ≤ key < stop, ascending."""
        check_start(table, start)
        self._check_open()
        return self._tables[table].range(start, stop, limit)

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        """Return the pair with the greatest key, or None."""
        check_start(table, b"")
        self._check_open()
        rows = self._tables[table]
        keys = rows.ordered()
        return (keys[-1], rows.rows[keys[-1]]) if keys else None

    def commit(self, writes: Sequence[Write], *, sync: bool) -> None:
        """Apply writes atomically."""
        check_writes(writes)
        self._check_open()
        if sync:
            self._undo.clear()
            for write in writes:
                self._apply(write.table, write.key, write.value)
            return
        before = []
        for write in writes:
            before.append((write.table, write.key, self._tables[write.table].rows.get(write.key)))
            self._apply(write.table, write.key, write.value)
        self._undo.append(before)

    def close(self) -> None:
        """End as a process that stops in good order: everything is durable."""
        self._undo.clear()
        self._open = False

    def unsynced_count(self) -> int:
        """Return how many commits a crash could lose."""
        return len(self._undo)

    def crash(self, rng: random.Random) -> int:
        """Lose the newest unsynced commits, from none to all of them, and answer no more.

        Args:
            rng: Decides how many.

        Returns:
            How many were lost.
        """
        self._check_open()
        lost = rng.randrange(len(self._undo) + 1)
        for _ in range(lost):
            for table, key, value in reversed(self._undo.pop()):
                self._apply(table, key, value)
        self._undo.clear()
        self._open = False
        return lost

    def reopen(self) -> MemoryStore:
        """Return the store of the next life, after `close` or `crash`."""
        assert not self._open, "close or crash comes before reopen"
        store = MemoryStore.__new__(MemoryStore)
        store._tables = self._tables
        store._undo = []
        store._open = True
        self._tables = {}
        return store

    def _apply(self, table: str, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._tables[table].drop(key)
        else:
            self._tables[table].put(key, value)

    def _check_open(self) -> None:
        if not self._open:
            raise StoreClosedError("this memory store was closed, or its machine crashed")


class MemoryFile:
    """A LogFile in memory that knows which bytes are on its disk."""

    def __init__(self, content: bytes = b"") -> None:
        """Make a file with durable content."""
        self._content = bytearray(content)
        self._durable = bytearray(content)
        self._unsynced: list[tuple[int, bytes]] = []
        """Writes since the last sync, in order."""

    def load(self) -> bytes:
        """Return the whole content."""
        return bytes(self._content)

    def write(self, offset: int, data: bytes) -> None:
        """Write at an offset, at most up to the present end."""
        assert offset <= len(self._content), (offset, len(self._content))
        self._content[offset : offset + len(data)] = data
        self._unsynced.append((offset, data))

    def extend(self, size_bytes: int) -> None:
        """Write zeros from the end up to `size_bytes`."""
        self.write(len(self._content), bytes(size_bytes - len(self._content)))

    def sync(self) -> None:
        """Make everything written durable."""
        for offset, data in self._unsynced:
            self._durable[offset : offset + len(data)] = data
        self._unsynced.clear()

    def replace(self, content: bytes) -> None:
        """Exchange the whole content, atomically and durably."""
        self._content[:] = content
        self._durable[:] = content
        self._unsynced.clear()

    def close(self) -> None:
        """Do nothing: the file outlives whoever has it open."""

    def unsynced_bytes(self) -> int:
        """Return how many bytes a crash could lose."""
        return sum(len(data) for _, data in self._unsynced)

    def crash(self, kept_bytes: int) -> None:
        """Lose all unsynced bytes but the first `kept_bytes` written."""
        for offset, data in self._unsynced:
            part = data[:kept_bytes]
            self._durable[offset : offset + len(part)] = part
            kept_bytes -= len(part)
        self._unsynced.clear()
        self._content[:] = self._durable


class MemoryLog:
    """The Log port on a MemoryFile: the real log's code, on a disk that forgets.

    After `crash` or `close` an object answers no more; `reopen` gives the next one.
    """

    def __init__(self, file: MemoryFile | None = None) -> None:
        """Open the log on a file, or make a new one.

        Raises:
            LogDamagedError: The file is not the whole log.
        """
        self.file = file if file is not None else MemoryFile()
        """The disk; tests change its bytes."""
        self.opened: OpenedLog = open_file(
            self.file, Path("memory/log"), created=file is None, salt=_SALT
        )
        """What opening found."""
        self._log: WriteAheadLog | None = self.opened.log

    def records(self) -> list[bytes]:
        """Return all records, oldest first."""
        return self._wal().records()

    def append(self, record: bytes) -> None:
        """Add a record."""
        self._wal().append(record)

    def sync(self) -> None:
        """Make every appended record durable."""
        self._wal().sync()

    def rewrite(self, records: Sequence[bytes]) -> None:
        """Replace the whole log atomically and durably."""
        self._wal().rewrite(records)

    def close(self) -> None:
        """End as a process that stops in good order: everything is durable."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def crash(self, rng: random.Random) -> int:
        """Lose the newest unsynced bytes, from none to all, perhaps amid a record; answer no more.

        Args:
            rng: Decides how many.

        Returns:
            How many bytes were lost.
        """
        self._wal().write_unsynced()
        unsynced_bytes = self.file.unsynced_bytes()
        kept_bytes = rng.randrange(unsynced_bytes + 1)
        self.file.crash(kept_bytes)
        self._log = None
        return unsynced_bytes - kept_bytes

    def reopen(self) -> MemoryLog:
        """Return the log of the next life, after `close` or `crash`."""
        assert self._log is None, "close or crash comes before reopen"
        return MemoryLog(self.file)

    def _wal(self) -> WriteAheadLog:
        if self._log is None:
            raise StoreClosedError("this memory log was closed, or its machine crashed")
        return self._log
