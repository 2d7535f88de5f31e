"""The Store port on LMDB: one environment in one directory, one named database a table.

Unsynced commits wait in memory and go to LMDB together with the next synced one, in one
transaction of an environment that syncs. That keeps the port's promise through a power cut too:
what survives is exactly the state after some synced commit. LMDB's own way to cheap commits
(`sync=False`) was rejected: it writes pages in any order, so a power cut can leave a meta page that
points to garbage, and four nodes on one fuse would lose their chain together. Waiting in memory
costs microseconds a commit and nothing at the sync (1.8 ms against 1.5 for 200 rows); the price is
that unsynced commits are lost with the process, which the port allows.
"""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import lmdb

from p2pnode import codec
from p2pnode.errors import RemoteProtocolError, StorageError
from p2pnode.store.lock import FileLock
from p2pnode.store.tables import (
    FORMAT,
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
from p2pnode.types.effects import Write

MAP_BYTES: Final = 256 << 20
"""First size of the memory map; the file is only as large as its content."""

MAP_BYTES_MAX: Final = 64 << 30
"""Default bound on growth."""

PENDING_BYTES_MAX: Final = 4 << 20
"""Unsynced writes kept in memory; beyond it a commit syncs although nobody asked."""

_ALMOST_FULL_BYTES: Final = 1 << 20
"""Room left on a disk below which a failed write is put down to it."""

_ROW_BYTES: Final = 64
"""Estimate of what a pending row costs beside its key and value."""


class FormatError(StorageError):
    """A store was written in a format that this program doesn't know."""

    def __init__(self, directory: Path, found: int | None) -> None:
        number = "no format number" if found is None else f"format {found}"
        super().__init__(
            f"{directory} has {number}, this program knows format {FORMAT}; to keep its content run"
            f" `p2pnode store export --data {directory.parent}`"
        )
        self.directory = directory
        self.found = found
        self.known = FORMAT


class StoreFullError(StorageError):
    """The disk, or the limit of the memory map, has no room for a commit."""


class StoreIOError(StorageError):
    """The operating system or LMDB refuses to read or write."""


class StoreDamagedError(StorageError):
    """The files are no LMDB environment, or a part of one is missing."""


class _Layer:
    """Writes that are newer than LMDB's; None stands for a deleted row."""

    __slots__ = ("size_bytes", "tables")

    def __init__(self) -> None:
        self.tables: dict[str, SortedTable[bytes | None]] = {t: SortedTable() for t in TABLES}
        self.size_bytes = 0

    def add(self, table: str, key: bytes, value: bytes | None) -> None:
        self.tables[table].put(key, value)
        self.size_bytes += len(key) + len(value or b"") + _ROW_BYTES


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """How full a store is."""

    used_bytes: int
    """Of the file, pages that are free again included."""
    limit_bytes: int
    """A commit that needs more fails."""
    pending_bytes: int
    """Written to the store, not yet to the disk."""


class LmdbStore:
    """A node's tables on disk; every method may be called from any thread.

    After a StorageError the newest commits are neither lost nor safe: stop the node. In the
    directory: LMDB's `data.mdb` and `lock.mdb`, and `lock` with the number of the process that has
    it open.
    """

    def __init__(
        self,
        directory: Path,
        *,
        map_bytes: int = MAP_BYTES,
        map_bytes_max: int = MAP_BYTES_MAX,
        pending_bytes_max: int = PENDING_BYTES_MAX,
    ) -> None:
        """Open the store, or make a new one.

        Args:
            directory: `store/` in a node's data directory; made if missing.
            map_bytes: First size of the memory map, doubled as needed.
            map_bytes_max: Size beyond which a commit fails with StoreFullError.
            pending_bytes_max: Unsynced writes kept in memory.

        Raises:
            StoreLockedError: Another process has it open.
            FormatError: Another program version wrote it.
            StoreDamagedError: It can't be read.
        """
        self._directory = directory
        self._map_bytes = map_bytes
        self._map_bytes_max = map_bytes_max
        self._pending_bytes_max = pending_bytes_max
        self._lock = threading.Lock()
        """Guards layers and reads; never held while the disk is waited for."""
        self._flush_lock = threading.Lock()
        """Held by the one thread that writes to LMDB."""
        self._pending = _Layer()
        self._flushing: _Layer | None = None
        self._closed = False
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file_lock = FileLock(directory / "lock")
        except OSError as error:
            raise StoreIOError(f"{directory}: {error.strerror}") from None
        try:
            self._environment = open_environment(directory, map_bytes)
            try:
                self._databases = self._open_tables()
            except BaseException:
                self._environment.close()
                raise
        except BaseException:
            self._file_lock.release()
            raise

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a value, or None."""
        check_key(table, key)
        with self._lock:
            self._check_open()
            for layer in self._layers():
                rows = layer.tables[table].rows
                if key in rows:
                    return rows[key]
            with self._environment.begin(db=self._databases[table]) as transaction:
                return transaction.get(key)

    def scan(
        self, table: str, *, start: bytes = b"", stop: bytes | None = None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return at most `limit` pairs with start ≤ key < stop, ascending."""
        check_start(table, start)
        found: list[tuple[bytes, bytes]] = []
        with self._lock:
            self._check_open()
            newer: dict[bytes, bytes | None] = {}
            for layer in reversed(self._layers()):
                newer.update(layer.tables[table].range(start, stop, None))
            keys = sorted(newer)
            at = 0
            with self._environment.begin(db=self._databases[table]) as transaction:
                cursor = transaction.cursor()
                more = cursor.set_range(start) if start else cursor.first()
                while len(found) < limit:
                    older = cursor.key() if more else None
                    if older is not None and stop is not None and older >= stop:
                        older = None
                    if at < len(keys) and (older is None or keys[at] <= older):
                        if keys[at] == older:
                            more = cursor.next()
                        value = newer[keys[at]]
                        if value is not None:
                            found.append((keys[at], value))
                        at += 1
                    elif older is not None:
                        found.append((older, cursor.value()))
                        more = cursor.next()
                    else:
                        break
        return found

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        """Return the pair with the greatest key, or None."""
        check_start(table, b"")
        with self._lock:
            self._check_open()
            newer: dict[bytes, bytes | None] = {}
            for layer in reversed(self._layers()):
                newer.update(layer.tables[table].rows)
            best = max((key for key, value in newer.items() if value is not None), default=b"")
            with self._environment.begin(db=self._databases[table]) as transaction:
                cursor = transaction.cursor()
                more = cursor.last()
                while more and cursor.key() in newer:
                    more = cursor.prev()
                if more and cursor.key() > best:
                    return cursor.key(), cursor.value()
        value = newer.get(best)
        return None if value is None else (best, value)

    def commit(self, writes: Sequence[Write], *, sync: bool) -> None:
        """Apply writes atomically.

        Raises:
            StoreFullError, StoreIOError: The disk refused; stop the node.
        """
        check_writes(writes)
        with self._lock:
            self._check_open()
            for write in writes:
                self._pending.add(write.table, write.key, write.value)
            overfull = self._pending.size_bytes > self._pending_bytes_max
        if sync or overfull:
            self._flush()

    def statistics(self) -> StoreStatistics:
        """Return how full the store is."""
        with self._lock:
            self._check_open()
            used_bytes = self._environment.stat()["psize"] * (
                self._environment.info()["last_pgno"] + 1
            )
            pending_bytes = sum(layer.size_bytes for layer in self._layers())
        return StoreStatistics(used_bytes, self._map_bytes_max, pending_bytes)

    def close(self) -> None:
        """Write what waits, and release the files; again does nothing."""
        if self._closed:
            return
        try:
            self._flush()
        finally:
            with self._flush_lock, self._lock:
                self._closed = True
                self._environment.close()
                self._file_lock.release()

    # --- inside ----------------------------------------------------------------------------------

    def _open_tables(self) -> dict[str, Any]:
        try:
            with self._environment.begin() as transaction:
                names = list(transaction.cursor().iternext(values=False))
            if names:
                found = self._read_format(names)
                if found != FORMAT:
                    raise FormatError(self._directory, found)
            # Tables and number in one transaction: no crash leaves the first without the second.
            with self._environment.begin(write=True) as transaction:
                databases = {
                    table: self._environment.open_db(table.encode(), txn=transaction)
                    for table in TABLES
                }
                if not names:
                    transaction.put(FORMAT_KEY, FORMAT_VALUE, db=databases[FORMAT_TABLE])
        except lmdb.Error as error:
            raise _translated(self._directory, error) from None
        return databases

    def _read_format(self, names: list[bytes]) -> int | None:
        if FORMAT_TABLE.encode() not in names:
            return None
        database = self._environment.open_db(FORMAT_TABLE.encode(), create=False)
        with self._environment.begin(db=database) as transaction:
            value = transaction.get(FORMAT_KEY)
        return parse_format(value)

    def _layers(self) -> tuple[_Layer, ...]:
        """Return the writes newer than LMDB's, newest first."""
        return (self._pending,) if self._flushing is None else (self._pending, self._flushing)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(f"{self._directory} is closed")

    def _flush(self) -> None:
        """Move everything pending at the call to LMDB, durably."""
        with self._flush_lock:
            with self._lock:
                self._check_open()
                layer = self._pending
                if layer.size_bytes == 0:
                    return
                # Sorted here, under the lock: from now on two threads only read it.
                for rows in layer.tables.values():
                    rows.ordered()
                self._pending = _Layer()
                self._flushing = layer
            try:
                self._write(layer)
            except BaseException:
                with self._lock:
                    # Older writes go below those that came meanwhile, and stay readable.
                    for table, newer in self._pending.tables.items():
                        for key, value in newer.rows.items():
                            layer.add(table, key, value)
                    self._pending, self._flushing = layer, None
                raise
            with self._lock:
                self._flushing = None

    def _write(self, layer: _Layer) -> None:
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for table, rows in layer.tables.items():
                        database = self._databases[table]
                        for key in rows.ordered():
                            value = rows.rows[key]
                            if value is None:
                                transaction.delete(key, db=database)
                            else:
                                transaction.put(key, value, db=database)
                return
            except lmdb.MapFullError:
                self._grow()
            except lmdb.Error as error:
                raise _translated(self._directory, error) from None

    def _grow(self) -> None:
        if self._map_bytes >= self._map_bytes_max:
            raise StoreFullError(
                f"{self._directory}: {self._map_bytes} bytes are full, at most"
                f" {self._map_bytes_max} allowed"
            )
        # LMDB forbids a resize beside an open transaction of this process; reads hold the lock.
        with self._lock:
            self._map_bytes = min(2 * self._map_bytes, self._map_bytes_max)
            self._environment.set_mapsize(self._map_bytes)


def open_environment(directory: Path, map_bytes: int) -> lmdb.Environment:
    """Open an LMDB environment and make sure that its file is whole.

    Raises:
        StoreDamagedError: It is not an environment, or its file is shorter than its pages.
    """
    try:
        environment = lmdb.open(str(directory), map_size=map_bytes, max_dbs=64, mode=0o600)
        pages_count = environment.info()["last_pgno"] + 1
        needed_bytes = pages_count * environment.stat()["psize"]
    except lmdb.Error as error:
        raise _translated(directory, error) from None
    size_bytes = (directory / "data.mdb").stat().st_size
    # A page that the map has and the file has not would end the process with SIGBUS when touched. A
    # fresh environment counts two meta pages that it writes with its first transaction.
    if size_bytes < needed_bytes and pages_count > 2:
        environment.close()
        raise StoreDamagedError(f"{directory}: {size_bytes} bytes of {needed_bytes} are left")
    return environment


def parse_format(value: bytes | None) -> int | None:
    """Return the number in a format row, None when there is none."""
    if value is None:
        return None
    try:
        number = codec.decode(value, size_bytes_max=16)
    except RemoteProtocolError:
        return None
    return number if isinstance(number, int) else None


def _translated(directory: Path, error: lmdb.Error) -> StorageError:
    damaged = (
        lmdb.InvalidError,
        lmdb.CorruptedError,
        lmdb.PageNotFoundError,
        lmdb.VersionMismatchError,
    )
    if isinstance(error, damaged):
        return StoreDamagedError(f"{directory}: {error}")
    code = getattr(error, "code", 0)
    # LMDB calls a write that found room for a part only an I/O error.
    full = code == errno.EIO and shutil.disk_usage(directory).free < _ALMOST_FULL_BYTES
    if full or code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFullError(f"{directory}: {error}")
    return StoreIOError(f"{directory}: {error}")
