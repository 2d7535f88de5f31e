"""The Store port's contract, held by every implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from p2pnode.ports import Store
from p2pnode.store.lmdb import LmdbStore
from p2pnode.store.memory import MemoryStore
from p2pnode.store.tables import KeySizeError, StoreClosedError, UnknownTableError
from p2pnode.types.effects import Write


@pytest.fixture(params=["lmdb", "lmdb, every commit flushed", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store
    if request.param == "memory":
        made = MemoryStore()
    else:
        pending = 0 if "flushed" in request.param else 1 << 20
        made = LmdbStore(tmp_path / "store", map_bytes=1 << 20, pending_bytes_max=pending)
    yield made
    made.close()


def put(store: Store, *pairs: tuple[bytes, bytes | None], sync: bool = False) -> None:
    store.commit([Write("blocks", key, value) for key, value in pairs], sync=sync)


@pytest.mark.parametrize("sync", [False, True])
def test_a_committed_value_is_read_back(store: Store, sync: bool) -> None:
    put(store, (b"a", b"1"), (b"b", b""), sync=sync)
    assert store.get("blocks", b"a") == b"1"
    assert store.get("blocks", b"b") == b""
    assert store.get("blocks", b"c") is None
    assert store.get("bodies", b"a") is None


@pytest.mark.parametrize("sync", [False, True])
def test_a_deleted_key_is_gone(store: Store, sync: bool) -> None:
    put(store, (b"a", b"1"), (b"b", b"2"), sync=True)
    put(store, (b"a", None), (b"never there", None), sync=sync)
    assert store.get("blocks", b"a") is None
    assert store.scan("blocks", limit=9) == [(b"b", b"2")]


def test_the_last_write_of_a_commit_wins(store: Store) -> None:
    put(store, (b"a", b"1"), (b"a", None), (b"a", b"2"), (b"b", b"1"), (b"b", None), sync=True)
    assert store.scan("blocks", limit=9) == [(b"a", b"2")]


def test_a_scan_is_ascending_within_its_bounds(store: Store) -> None:
    put(store, (b"\x05", b"5"), (b"\x01", b"1"), (b"\x03", b"3"), sync=True)
    put(store, (b"\x02", b"2"), (b"\x04", b"4"), (b"\x03", b"three"))
    pairs = [(bytes((i,)), v) for i, v in enumerate([b"1", b"2", b"three", b"4", b"5"], 1)]
    assert store.scan("blocks", limit=9) == pairs
    assert store.scan("blocks", start=b"\x02", limit=9) == pairs[1:]
    assert store.scan("blocks", start=b"\x02", stop=b"\x04", limit=9) == pairs[1:3]
    assert store.scan("blocks", start=b"\x02\x00", stop=b"\x04\x00", limit=9) == pairs[2:4]
    assert store.scan("blocks", start=b"\x02", limit=2) == pairs[1:3]
    assert store.scan("blocks", limit=0) == []
    assert store.scan("blocks", start=b"\x04", stop=b"\x02", limit=9) == []
    assert store.scan("blocks", start=b"\xff" * 511, limit=9) == []


def test_last_is_the_greatest_key_that_is_still_there(store: Store) -> None:
    assert store.last("blocks") is None
    put(store, (b"a", b"1"), (b"b", b"2"), (b"c", b"3"), sync=True)
    assert store.last("blocks") == (b"c", b"3")
    put(store, (b"d", b"4"))
    assert store.last("blocks") == (b"d", b"4")
    put(store, (b"d", None), (b"c", None))
    assert store.last("blocks") == (b"b", b"2")
    put(store, (b"b", None), (b"a", None), sync=True)
    assert store.last("blocks") is None


def test_tables_do_not_mix(store: Store) -> None:
    for number, table in enumerate(("blocks", "statements", "bodies", "batches", "accounts")):
        store.commit([Write(table, b"k", bytes((number,)))], sync=number % 2 == 0)
    assert store.get("blocks", b"k") == b"\x00"
    assert store.get("accounts", b"k") == b"\x04"


def test_a_commit_that_breaks_a_rule_changes_nothing(store: Store) -> None:
    for bad, error in [
        (Write("nonsense", b"k", b"v"), UnknownTableError),
        (Write("blocks", b"", b"v"), KeySizeError),
        (Write("blocks", b"k" * 512, b"v"), KeySizeError),
    ]:
        with pytest.raises(error):
            store.commit([Write("blocks", b"good", b"v"), bad], sync=True)
    assert store.get("blocks", b"good") is None


def test_an_unknown_table_is_an_error_in_every_call(store: Store) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.get("nonsense", b"k"),
        lambda: store.scan("nonsense", limit=1),
        lambda: store.last("nonsense"),
    ]
    for call in calls:
        with pytest.raises(UnknownTableError, match="no table 'nonsense'"):
            call()


def test_a_closed_store_answers_no_more(store: Store) -> None:
    store.close()
    store.close()
    for call in (
        lambda: store.get("blocks", b"k"),
        lambda: store.scan("blocks", limit=1),
        lambda: store.last("blocks"),
        lambda: store.commit([], sync=True),
    ):
        with pytest.raises(StoreClosedError):
            call()


def test_the_longest_key_and_a_large_value_fit(store: Store) -> None:
    put(store, (b"k" * 511, b"v" * 300_000), sync=True)
    assert store.last("blocks") == (b"k" * 511, b"v" * 300_000)
