"""Both stores against a model: any calls, crashes, and lives."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2pnode.store.lmdb import LmdbStore
from p2pnode.store.memory import MemoryStore
from p2pnode.store.tables import FORMAT_KEY, FORMAT_TABLE
from p2pnode.types.effects import Write

TABLES = ("blocks", "accounts", "meta")
KEYS = (
    st.sampled_from([b"a", b"b", b"b\x00", b"c"])
    | st.binary(min_size=1, max_size=2)
    | st.binary(min_size=510, max_size=511)
)
WRITES = st.lists(
    st.builds(
        Write,
        st.sampled_from(TABLES),
        KEYS,
        st.none() | st.binary(max_size=3) | st.just(b"v" * 5000),
    ),
    max_size=6,
)
Model = dict[tuple[str, bytes], bytes]


class Stores(RuleBasedStateMachine):
    """`history` is the state after every commit since the last one known durable, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.lmdb = self.opened()
        self.memory = MemoryStore()
        self.history: list[Model] = [{(FORMAT_TABLE, FORMAT_KEY): b"\x01"}]

    def opened(self) -> LmdbStore:
        return LmdbStore(self.directory / "store", map_bytes=64 << 10, pending_bytes_max=20_000)

    def teardown(self) -> None:
        self.lmdb.close()
        shutil.rmtree(self.directory)

    @rule(writes=WRITES, sync=st.booleans())
    def commit(self, writes: list[Write], sync: bool) -> None:
        self.lmdb.commit(writes, sync=sync)
        self.memory.commit(writes, sync=sync)
        state = dict(self.history[-1])
        for write in writes:
            if (write.table, write.key) == (FORMAT_TABLE, FORMAT_KEY):
                raise AssertionError("the strategy's keys are too short for it")
            state.pop((write.table, write.key), None)
            if write.value is not None:
                state[write.table, write.key] = write.value
        self.history = [state] if sync else [*self.history, state]

    @rule(table=st.sampled_from(TABLES), key=KEYS)
    def get(self, table: str, key: bytes) -> None:
        expected = self.history[-1].get((table, key))
        assert self.lmdb.get(table, key) == self.memory.get(table, key) == expected

    @rule(
        table=st.sampled_from(TABLES),
        start=st.just(b"") | KEYS,
        stop=st.none() | KEYS,
        limit=st.integers(0, 6),
    )
    def scan(self, table: str, start: bytes, stop: bytes | None, limit: int) -> None:
        expected = [
            (key, value)
            for (name, key), value in sorted(self.history[-1].items())
            if name == table and start <= key and (stop is None or key < stop)
        ][:limit]
        assert self.lmdb.scan(table, start=start, stop=stop, limit=limit) == expected
        assert self.memory.scan(table, start=start, stop=stop, limit=limit) == expected

    @rule()
    def close_and_open(self) -> None:
        self.lmdb.close()
        self.lmdb = self.opened()
        self.memory.close()
        self.memory = self.memory.reopen()
        self.history = self.history[-1:]

    @precondition(lambda self: len(self.history) > 1)
    @rule(seed=st.integers(0, 1 << 32))
    def crash_of_the_memory_store(self, seed: int) -> None:
        lost = self.memory.crash(random.Random(seed))
        assert 0 <= lost < len(self.history)
        self.memory = self.memory.reopen()
        self.history = [self.history[len(self.history) - 1 - lost]]
        # The other store can't crash inside this process: it is brought to the same state.
        rows = {(t, k): v for t in TABLES for k, v in self.lmdb.scan(t, limit=1 << 20)}
        writes = [Write(t, k, None) for t, k in rows if (t, k) not in self.history[0]]
        writes += [Write(t, k, v) for (t, k), v in self.history[0].items()]
        self.lmdb.commit(writes, sync=True)

    @invariant()
    def both_hold_the_model(self) -> None:
        for table in TABLES:
            expected = [(k, v) for (t, k), v in sorted(self.history[-1].items()) if t == table]
            assert self.lmdb.scan(table, limit=1 << 20) == expected
            assert self.memory.scan(table, limit=1 << 20) == expected
            last = expected[-1] if expected else None
            assert self.lmdb.last(table) == self.memory.last(table) == last


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
