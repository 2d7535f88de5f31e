"""Whose turn it is, when a batch is due, and what is in it."""

from __future__ import annotations

import dataclasses

import pytest

from p2pnode import crypto
from p2pnode.availability.inline import InlineScheme
from p2pnode.availability.usable import usable
from p2pnode.mempool.collator import Built, Collator, CollatorConfig, Plan
from p2pnode.mempool.pool import Pool
from p2pnode.mempool.report import Batched, Pooled
from p2pnode.types.batch import decode_batch_header
from p2pnode.types.genesis import Parameters
from tests.unit.mempool.helpers import CHAIN, OWN, pool, put, transaction

MS = 1_000_000
DELTA = 250 * MS
KEYS = [bytes([100 + i]) * 32 for i in range(4)]


def collator(p: Pool, *, index: int = 0, next_sequence: int = 1, **changes: int) -> Collator:
    keys = list(KEYS)
    keys[index] = OWN
    config = CollatorConfig.of(CHAIN, 1, OWN, Parameters())
    c = Collator(
        dataclasses.replace(config, **changes), p, InlineScheme(), next_sequence=next_sequence
    )
    c.enter_epoch(2, keys)
    return c


def settled(c: Collator, height: int = 0) -> Collator:
    """Let the hold at the beginning of the turn pass."""
    c.due(-10_000 * MS, height, DELTA)
    return c


def build(c: Collator, now_ns: int, height: int = 0) -> Built:
    plan = c.due(now_ns, height, DELTA)
    assert isinstance(plan, Plan), plan
    built = c.build(now_ns, plan)
    assert built is not None
    return built


def test_nothing_is_due_with_an_empty_pool():
    assert settled(collator(pool())).due(0, 0, DELTA) is None


def test_nothing_is_due_for_a_node_that_is_no_executor():
    p = pool()
    c = settled(collator(p))
    c.enter_epoch(3, KEYS)
    put(p, transaction(1, 0))
    assert c.due(10_000 * MS, 0, DELTA) is None
    assert c.position(0) is None


def test_in_turn_a_batch_is_due_after_its_oldest_transaction_waited():
    p = pool()
    c = settled(collator(p))
    put(p, transaction(1, 0), now_ns=5 * MS)
    assert c.due(6 * MS, 0, DELTA) == 45 * MS
    assert c.due(45 * MS - 1, 0, DELTA) == 45 * MS
    assert c.due(45 * MS, 0, DELTA) == Plan(position=0, since_max_ns=45 * MS)


def test_in_turn_a_full_batch_is_due_at_once():
    p = pool()
    c = settled(collator(p, batch_transactions_max=3))
    put(p, transaction(1, 0), transaction(2, 0), now_ns=5 * MS)
    assert c.due(5 * MS, 0, DELTA) == 45 * MS
    put(p, transaction(3, 0), now_ns=5 * MS)
    assert isinstance(c.due(5 * MS, 0, DELTA), Plan)


def test_bytes_fill_a_batch_too():
    p = pool()
    size = len(transaction(1, 0).raw)
    c = settled(collator(p, batch_bytes_max=2 * size))
    put(p, transaction(1, 0), transaction(2, 0), now_ns=5 * MS)
    assert isinstance(c.due(5 * MS, 0, DELTA), Plan)


def test_out_of_turn_a_batch_is_due_after_two_delta_for_each_executor_before_us():
    p = pool()
    c = settled(collator(p, index=2))
    put(p, transaction(1, 0), now_ns=0)
    assert c.due(0, 0, DELTA) == 4 * DELTA
    assert c.due(4 * DELTA, 0, DELTA) == Plan(position=2, since_max_ns=0)


def test_out_of_turn_only_what_waited_long_enough_is_taken():
    p = pool()
    c = settled(collator(p, index=1))
    old, young = transaction(1, 0), transaction(2, 0)
    put(p, old, now_ns=0)
    put(p, young, now_ns=1)
    assert build(c, 2 * DELTA).ids == (old.id,)
    assert c.statistics().stepped_in_count == 1


def test_out_of_turn_a_sign_of_life_starts_the_wait_again():
    p = pool()
    c = settled(collator(p, index=1))
    put(p, transaction(1, 0), now_ns=0)
    c.progressed(100 * MS)
    assert c.due(2 * DELTA, 0, DELTA) == 100 * MS + 2 * DELTA


def test_a_new_height_moves_the_turn():
    p = pool()
    c = settled(collator(p, index=1), height=1)
    put(p, transaction(1, 0), now_ns=0)
    assert isinstance(c.due(40 * MS, 1, DELTA), Plan)
    assert c.position(2) == 3
    assert c.due(40 * MS, 2, DELTA) == 40 * MS + 6 * DELTA


def test_at_a_new_height_the_one_in_turn_holds_on_for_its_predecessors_last_batch():
    p = pool()
    c = settled(collator(p, index=1), height=0)
    put(p, transaction(1, 0), now_ns=0)
    assert c.due(300 * MS, 1, DELTA) == 340 * MS
    assert c.due(339 * MS, 1, DELTA) == 340 * MS
    assert isinstance(c.due(340 * MS, 1, DELTA), Plan)


def test_the_hold_counts_from_the_execution_of_the_height_though_nobody_asked_then():
    p = pool()
    c = settled(collator(p, index=1), height=0)
    put(p, transaction(1, 0), now_ns=0)
    c.follow(300 * MS, 1)
    assert isinstance(c.due(340 * MS, 1, DELTA), Plan)


def test_an_earlier_height_begins_no_new_turn():
    p = pool()
    c = settled(collator(p, index=1), height=1)
    put(p, transaction(1, 0), now_ns=0)
    c.follow(100 * MS, 0)
    assert isinstance(c.due(100 * MS, 1, DELTA), Plan)


def test_the_hold_ends_before_the_turn_however_fast_the_heights():
    parameters = Parameters(block_interval_ms=20, batch_wait_ms=40)
    assert CollatorConfig.of(CHAIN, 1, OWN, parameters).hold_ns == 5 * MS


def test_no_batch_is_due_while_the_feed_has_as_many_unordered_as_allowed():
    p = pool()
    c = settled(collator(p, batch_transactions_max=1))
    put(p, *(transaction(s, 0) for s in range(4)), now_ns=0)
    assert [build(c, 40 * MS).header.sequence for _ in range(2)] == [1, 2]
    assert c.due(40 * MS, 0, DELTA) == p.release_at_ns
    c.ordered(1)
    assert build(c, 40 * MS).header.sequence == 3
    c.ordered(3)
    assert c.statistics().unordered_count == 0


def test_no_batch_is_due_while_the_feed_has_as_many_unordered_bytes_as_allowed():
    p = pool()
    c = settled(collator(p, next_sequence=9, feed_bytes_max=200_000))
    c.restore(8, 100_000)
    put(p, transaction(1, 0), now_ns=0)
    assert c.due(40 * MS, 0, DELTA) is None
    c.ordered(8)
    assert isinstance(c.due(40 * MS, 0, DELTA), Plan)


def test_a_built_batch_is_usable_and_its_header_names_everything():
    p = pool()
    c = settled(collator(p, next_sequence=7))
    transactions = [transaction(s, 0) for s in range(3)]
    put(p, *transactions, now_ns=0)
    built = build(c, 40 * MS)
    header = built.header
    assert decode_batch_header(header.encode()) == header
    assert (header.chain, header.epoch, header.uid) == (CHAIN, 2, 1)
    assert (header.collator, header.sequence, header.kind) == (OWN, 7, 1)
    assert header.tx_root == crypto.merkle_root([t.raw for t in transactions])
    assert usable(header, built.data, InlineScheme()) == tuple(t.raw for t in transactions)
    assert built.ids == tuple(t.id for t in transactions)
    assert p.status(transactions[0].id) == Batched(OWN, 7, False)


def test_sequences_go_up_by_one_and_are_never_used_again():
    p = pool()
    c = settled(collator(p, next_sequence=5, batch_transactions_max=1))
    put(p, transaction(1, 0), transaction(2, 0), now_ns=0)
    assert build(c, 40 * MS).header.sequence == 5
    c.abandoned(40 * MS, 5)
    assert build(c, 80 * MS).header.sequence == 6
    assert c.statistics().next_sequence == 7


def test_a_sequence_below_one_is_a_mistake():
    with pytest.raises(AssertionError):
        collator(pool(), next_sequence=0)


def test_an_abandoned_batch_gives_its_transactions_back():
    p = pool()
    c = settled(collator(p))
    t = transaction(1, 0)
    put(p, t, now_ns=0)
    build(c, 40 * MS)
    c.abandoned(50 * MS, 1)
    assert p.status(t.id) == Pooled(0, None)
    assert c.statistics().unordered_count == 0
    assert build(c, 90 * MS).header.sequence == 2


def test_a_plan_whose_transactions_went_elsewhere_builds_nothing_and_costs_no_sequence():
    p = pool()
    c = settled(collator(p))
    t = transaction(1, 0)
    put(p, t, now_ns=0)
    plan = c.due(40 * MS, 0, DELTA)
    assert isinstance(plan, Plan)
    p.mark_batched(40 * MS, [t.id], KEYS[1], 1)
    assert c.build(40 * MS, plan) is None
    assert c.statistics().next_sequence == 1


def test_the_wake_up_is_no_later_than_the_release_of_a_dead_batch():
    p = pool(batch_timeout_ns=100 * MS)
    c = settled(collator(p, index=3))
    gone, waits = transaction(1, 0), transaction(2, 0)
    put(p, gone, waits, now_ns=0)
    p.mark_batched(0, [gone.id], KEYS[0], 1)
    assert c.due(0, 0, DELTA) == 100 * MS
    c.due(100 * MS, 0, DELTA)
    assert p.status(gone.id) == Pooled(0, None)
