"""What every store holds: its tables, its format number, and the rules of keys."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from p2pnode import codec
from p2pnode.errors import LocalProtocolError
from p2pnode.types.effects import Write

TABLES: Final = ("blocks", "statements", "bodies", "batches", "accounts", "outcomes", "meta")
"""Every table; a store has these and no other."""

FORMAT: Final = 1
"""Number of what this program reads and writes; changes whenever a row's meaning does."""

FORMAT_TABLE: Final = "meta"
FORMAT_KEY: Final = b"format"
"""Row that holds the format number, canonical CBOR."""

FORMAT_VALUE: Final = codec.encode(FORMAT)

KEY_BYTES_MAX: Final = 511
"""Longest key: LMDB's limit with pages of 4 KiB."""

_INSERTED_ONE_BY_ONE_MAX: Final = 16
"""New keys below which inserting each beats sorting: one insertion moves the list's tail, a sort
looks at all of it."""


class UnknownTableError(LocalProtocolError):
    """A call names a table that no store has."""

    def __init__(self, table: str) -> None:
        super().__init__(f"no table {table!r}; there are {', '.join(TABLES)}")
        self.table = table


class KeySizeError(LocalProtocolError):
    """A key is empty or too long."""

    def __init__(self, table: str, size_bytes: int) -> None:
        super().__init__(f"a key of {size_bytes} bytes in {table}, 1 to {KEY_BYTES_MAX} allowed")
        self.table = table
        self.size_bytes = size_bytes


class StoreClosedError(LocalProtocolError):
    """A store or log was used after `close` or after a crash of its simulated machine."""


def check_writes(writes: Sequence[Write]) -> None:
    """Refuse a commit as a whole before any of it is applied.

    Raises:
        UnknownTableError, KeySizeError: One of the writes breaks a rule.
    """
    for write in writes:
        check_key(write.table, write.key)


def check_key(table: str, key: bytes) -> None:
    """Refuse an unknown table, an empty key, and a key that is too long."""
    if table not in TABLES:
        raise UnknownTableError(table)
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise KeySizeError(table, len(key))


def check_start(table: str, start: bytes) -> None:
    """Refuse an unknown table, and a scan that starts where no key can be."""
    if table not in TABLES:
        raise UnknownTableError(table)
    if len(start) > KEY_BYTES_MAX:
        raise KeySizeError(table, len(start))


V = TypeVar("V")


class SortedTable(Generic[V]):
    """A dict that can be read in the order of its keys, sorted when somebody looks."""

    __slots__ = ("_added", "_keys", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, V] = {}
        """Rows by key; change them through `put` and `drop` only."""
        self._keys: list[bytes] = []
        self._added: dict[bytes, None] = {}

    def put(self, key: bytes, value: V) -> None:
        """Set a row."""
        if key not in self.rows:
            self._added[key] = None
        self.rows[key] = value

    def drop(self, key: bytes) -> None:
        """Delete a row, if there."""
        if key not in self.rows:
            return
        del self.rows[key]
        if key in self._added:
            del self._added[key]
        else:
            del self._keys[bisect_left(self._keys, key)]

    def ordered(self) -> list[bytes]:
        """Return all keys, ascending; not to be changed."""
        if self._added:
            if len(self._added) <= _INSERTED_ONE_BY_ONE_MAX:
                for key in self._added:
                    insort(self._keys, key)
            else:
                self._keys.extend(self._added)
                self._keys.sort()
            self._added.clear()
        return self._keys

    def range(self, start: bytes, stop: bytes | None, limit: int | None) -> list[tuple[bytes, V]]:
        """Return at most `limit` rows with start ≤ key < stop, ascending."""
        keys = self.ordered()
        first = bisect_left(keys, start)
        end = len(keys) if stop is None else bisect_left(keys, stop, lo=first)
        if limit is not None:
            end = min(end, first + limit)
        return [(key, self.rows[key]) for key in keys[first:end]]
