"""A store as one file: a way out of an old format, and a backup.

The file is a CBOR sequence (RFC 8742) of `[table, key, value]`, all byte strings, the table `meta`
first, so that the format number comes before anything it describes. The last item is
`[null, rows, digest]`: how many rows came before, and the SHA-256 of their bytes; a file that was
cut short, or changed, is not imported.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import cbor2

from p2pnode import codec
from p2pnode.errors import StorageError
from p2pnode.store.lmdb import FormatError, LmdbStore, open_environment, parse_format
from p2pnode.store.lock import FileLock
from p2pnode.store.tables import FORMAT, FORMAT_KEY, FORMAT_TABLE, TABLES
from p2pnode.types.effects import Write

_ROWS_PER_COMMIT: Final = 1000


class ExportDamagedError(StorageError):
    """A file to import is not a whole export."""


class StoreMissingError(StorageError):
    """There is no store to export."""


class StoreExistsError(StorageError):
    """An import would mix its rows with those of a store that is already there."""


@dataclass(frozen=True, slots=True)
class Transferred:
    """What an export or import moved."""

    rows_count: int
    format_number: int | None
    """Format of the rows, None when the store names none."""


def export(store_dir: Path, out: BinaryIO) -> Transferred:
    """Write every row of a store of any format.

    Args:
        store_dir: Directory of the store, which no process may have open.
        out: Where the sequence goes.

    Raises:
        StoreMissingError, StoreLockedError, StoreDamagedError: It can't be read.
    """
    if not (store_dir / "data.mdb").is_file():
        raise StoreMissingError(f"{store_dir} holds no store")
    lock = FileLock(store_dir / "lock")
    try:
        environment = open_environment(store_dir, 1 << 20)
        try:
            return _export_rows(environment, out)
        finally:
            environment.close()
    finally:
        lock.release()


def import_(store_dir: Path, source: BinaryIO) -> Transferred:
    """Make a new store from an export; a failure leaves nothing behind.

    Args:
        store_dir: Directory of the new store; must not hold one yet.
        source: What `export` wrote, of the format that this program knows.

    Raises:
        StoreExistsError: There is a store already.
        FormatError: The rows are of another format.
        ExportDamagedError: The file is cut, changed, or no export.
    """
    if (store_dir / "data.mdb").exists():
        raise StoreExistsError(f"{store_dir} already holds a store")
    partial = store_dir.with_name(store_dir.name + ".importing")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        store = LmdbStore(partial)
        try:
            done = _import_rows(store_dir, store, source)
        finally:
            store.close()
        # An empty directory, or one with a lock file only, may be in the way.
        shutil.rmtree(store_dir, ignore_errors=True)
        partial.rename(store_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return done


def _export_rows(environment: Any, out: BinaryIO) -> Transferred:
    digest = hashlib.sha256()
    rows_count = 0
    number: int | None = None
    with environment.begin() as transaction:
        names = list(transaction.cursor().iternext(values=False))
    meta = FORMAT_TABLE.encode()
    for name in sorted(names, key=lambda table: (table != meta, table)):
        database = environment.open_db(name, create=False)
        with environment.begin(db=database) as transaction:
            for key, value in transaction.cursor():
                if name == meta and key == FORMAT_KEY:
                    number = parse_format(value)
                row = codec.encode([name, key, value])
                digest.update(row)
                out.write(row)
                rows_count += 1
    out.write(codec.encode([None, rows_count, digest.digest()]))
    return Transferred(rows_count, number)


def _import_rows(store_dir: Path, store: LmdbStore, source: BinaryIO) -> Transferred:
    digest = hashlib.sha256()
    rows_count = 0
    number: int | None = None
    writes: list[Write] = []
    decoder = cbor2.CBORDecoder(source, max_depth=4)
    while True:
        table, key, value = _next_item(decoder, rows_count)
        if table is None:
            break
        if table not in TABLES or not isinstance(key, bytes) or not isinstance(value, bytes):
            raise ExportDamagedError(f"item {rows_count + 1} is not a row of this format's tables")
        if table == FORMAT_TABLE and key == FORMAT_KEY:
            number = parse_format(value)
        elif number is None and table != FORMAT_TABLE:
            raise FormatError(store_dir, None)
        if number is not None and number != FORMAT:
            raise FormatError(store_dir, number)
        digest.update(codec.encode([table.encode(), key, value]))
        rows_count += 1
        writes.append(Write(table, key, value))
        if len(writes) == _ROWS_PER_COMMIT:
            store.commit(writes, sync=False)
            writes.clear()
    if (key, value) != (rows_count, digest.digest()):
        raise ExportDamagedError(f"{rows_count} rows read, their count or digest is another")
    store.commit(writes, sync=True)
    return Transferred(rows_count, number)


def _next_item(decoder: cbor2.CBORDecoder, rows_count: int) -> tuple[str | None, object, object]:
    try:
        item = decoder.decode()
    except (cbor2.CBORError, EOFError, ValueError, TypeError) as error:
        raise ExportDamagedError(f"after {rows_count} rows: {error}") from None
    if not isinstance(item, list | tuple) or len(item) != 3:
        raise ExportDamagedError(f"item {rows_count + 1} is not an array of three")
    table, key, value = item
    if table is None:
        return None, key, value
    if not isinstance(table, bytes) or not table.isascii():
        raise ExportDamagedError(f"item {rows_count + 1} names no table")
    return table.decode("ascii"), key, value
