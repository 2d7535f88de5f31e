"""Crashes of the in-memory store: a suffix of the unsynced commits is lost, and nothing else."""

from __future__ import annotations

import random

import pytest

from p2pnode.store.memory import MemoryStore
from p2pnode.store.tables import FORMAT_KEY, FORMAT_TABLE, StoreClosedError
from p2pnode.types.effects import Write

KEYS = [bytes((i,)) for i in range(5)]


def contents(store: MemoryStore) -> list[tuple[bytes, bytes]]:
    return store.scan("blocks", limit=99)


@pytest.mark.parametrize("seed", range(30))
def test_a_crash_leaves_the_state_after_some_commit_since_the_last_sync(seed: int) -> None:
    rng = random.Random(seed)
    store = MemoryStore()
    possible = [contents(store)]
    outcomes: list[int] = []
    for _ in range(300):
        # Few keys: commits overwrite and delete each other's, and their own, writes.
        writes = [
            Write("blocks", rng.choice(KEYS), rng.choice([None, rng.randbytes(2)]))
            for _ in range(rng.randrange(5))
        ]
        sync = rng.random() < 0.15
        store.commit(writes, sync=sync)
        possible = [contents(store)] if sync else [*possible, contents(store)]
        assert store.unsynced_count() == len(possible) - 1
        if rng.random() < 0.1:
            lost = store.crash(rng)
            store = store.reopen()
            assert contents(store) == possible[-1 - lost]
            outcomes.append(lost)
            possible = [contents(store)]
    assert min(outcomes) == 0
    assert max(outcomes) > 2


def test_what_was_synced_or_closed_survives() -> None:
    store = MemoryStore()
    store.commit([Write("blocks", b"a", b"1")], sync=False)
    store.commit([Write("blocks", b"b", b"2")], sync=True)
    for seed in range(9):
        store.crash(random.Random(seed))
        store = store.reopen()
        assert contents(store) == [(b"a", b"1"), (b"b", b"2")]
    store.commit([Write("blocks", b"c", b"3")], sync=False)
    store.close()
    store = store.reopen()
    store.crash(random.Random(0))
    assert [key for key, _ in contents(store.reopen())] == [b"a", b"b", b"c"]


def test_after_a_crash_the_old_object_answers_no_more() -> None:
    store = MemoryStore()
    store.crash(random.Random(1))
    again = store.reopen()
    with pytest.raises(StoreClosedError):
        store.commit([Write("blocks", b"a", b"1")], sync=True)
    assert contents(again) == []
    assert again.get(FORMAT_TABLE, FORMAT_KEY) == b"\x01"


def test_scans_stay_right_while_many_rows_come_and_go() -> None:
    rng = random.Random(3)
    store = MemoryStore()
    model: dict[bytes, bytes] = {}
    for size in (1, 5, 200, 3, 40, 1, 1, 500):
        writes = [Write("accounts", rng.randbytes(2), rng.randbytes(1)) for _ in range(size)]
        gone = rng.sample(sorted(model), len(model) // 3)
        writes += [Write("accounts", key, None) for key in gone]
        store.commit(writes, sync=False)
        for write in writes:
            model.pop(write.key, None)
            if write.value is not None:
                model[write.key] = write.value
        assert store.scan("accounts", limit=9999) == sorted(model.items())
        assert store.last("accounts") == max(model.items())
