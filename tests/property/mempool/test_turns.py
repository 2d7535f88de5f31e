"""The turn rule over whole committees: one is first, and every dead one costs a wait."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.availability.inline import InlineScheme
from p2pnode.mempool.collator import Collator, CollatorConfig, Plan
from p2pnode.mempool.pool import Pool, PoolConfig
from p2pnode.types.genesis import Parameters
from tests.unit.mempool.helpers import CHAIN, RULES, put, transaction

MS = 1_000_000
COMMITTEES = st.integers(1, 30)
HEIGHTS = st.integers(0, 10**9)


def committee(count: int) -> list[tuple[Collator, Pool]]:
    keys = [bytes([i + 1]) * 32 for i in range(count)]
    made = []
    for key in keys:
        pool = Pool(PoolConfig(rules=RULES, collator=key))
        config = CollatorConfig.of(CHAIN, 1, key, Parameters())
        collator = Collator(
            dataclasses.replace(config, hold_ns=0), pool, InlineScheme(), next_sequence=1
        )
        collator.enter_epoch(0, keys)
        made.append((collator, pool))
    return made


@given(COMMITTEES, HEIGHTS)
def test_at_every_height_the_executors_have_all_positions_once(count: int, height: int):
    positions = [collator.position(height) for collator, _ in committee(count)]
    assert sorted(p for p in positions if p is not None) == list(range(count))
    assert positions.index(0) == height % count


@given(COMMITTEES, HEIGHTS)
def test_every_executor_is_first_once_in_as_many_heights(count: int, height: int):
    made = committee(count)
    first = [
        i
        for h in range(height, height + count)
        for i, (collator, _) in enumerate(made)
        if collator.position(h) == 0
    ]
    assert sorted(first) == list(range(count))


@given(st.integers(2, 8), st.integers(0, 1000), st.integers(1, 7), st.integers(20, 500))
def test_each_dead_executor_costs_one_wait(count: int, height: int, dead: int, delta_ms: int):
    dead = min(dead, count - 1)
    made = committee(count)
    delta_ns = delta_ms * MS
    for collator, pool in made:
        collator.due(0, height, delta_ns)
        put(pool, transaction(1, 0), now_ns=0)
    due_at = {}
    for collator, _ in made:
        at_ns = collator.due(0, height, delta_ns)
        assert isinstance(at_ns, int)
        assert isinstance(collator.due(at_ns - 1, height, delta_ns), int)
        assert isinstance(collator.due(at_ns, height, delta_ns), Plan)
        due_at[collator.position(height)] = at_ns
    assert due_at[0] == 40 * MS
    assert due_at[dead] == max(dead * 2 * delta_ns, 40 * MS)


@given(st.integers(2, 8), st.integers(0, 1000), st.integers(1, 40))
def test_of_executors_that_see_one_anothers_batches_only_one_packs_a_transaction(
    count: int, height: int, transactions_count: int
):
    made = committee(count)
    for collator, pool in made:
        collator.due(0, height, 100 * MS)
        for sender in range(transactions_count):
            put(pool, transaction(sender, 0), now_ns=0)
    packed: list[bytes] = []
    for now_ms in range(0, 2000, 10):
        now_ns = now_ms * MS
        for collator, _pool in made:
            plan = collator.due(now_ns, height, 100 * MS)
            built = collator.build(now_ns, plan) if isinstance(plan, Plan) else None
            if built is None:
                continue
            packed += built.ids
            for _, other in made:
                other.mark_batched(now_ns, built.ids, built.header.collator, built.header.sequence)
    assert sorted(packed) == sorted(transaction(s, 0).id for s in range(transactions_count))
