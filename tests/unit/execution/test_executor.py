from __future__ import annotations

import pytest

from p2pnode.execution.block import BlockExecution, ReadyBatch
from p2pnode.execution.executor import FEES_BYTES_RESERVED, ShardExecutor
from p2pnode.execution.outcomes import Outcome, Reason, Status, decode_outcome
from p2pnode.execution.ranges import Layout, Shard
from p2pnode.execution.receipts import (
    KIND_FEES,
    KIND_REFUND,
    KIND_TRANSFER,
    OUTBOX_INLINE_BYTES_MAX,
    Inbox,
    Receipt,
    decode_outbox,
    encode_outbox,
)
from p2pnode.types.batch import KIND_SNAPSHOT
from p2pnode.types.transaction import AMOUNT_MAX, Transaction
from tests.unit.execution.scaffold import (
    ADDRESSES,
    batch_of,
    executor_of,
    transfer,
)

FEE = 5
"""Of a transaction with one action under the scaffold's parameters."""


def run(
    executor: ShardExecutor, *batches: ReadyBatch, height: int = 1, last: bool = False
) -> BlockExecution:
    return executor.execute(height, 0, last, (), batches)


def outcome(executor: ShardExecutor, transaction: Transaction, height: int = 1) -> Outcome:
    (only,) = run(executor, batch_of([transaction], sequence=height), height=height).outcomes
    assert decode_outcome(only.encode()) == only
    assert only.describe()
    return only


def held(executor: ShardExecutor, number: int, asset: int = 0) -> int:
    return executor.state.account(ADDRESSES[number]).balance(asset)


# --- one transaction ------------------------------------------------------------------------------


def test_a_transfer_moves_its_amount_pays_its_fee_and_uses_its_nonce() -> None:
    executor = executor_of({0: {0: 1000, 7: 50}})
    before = executor.root()
    done = outcome(executor, transfer(0, 0, (1, 7, 30)))
    assert (done.status, done.reason, done.fee) == (Status.EXECUTED, Reason.NONE, FEE)
    assert executor.state.account(ADDRESSES[0]).balances == ((0, 1000 - FEE), (7, 20))
    assert executor.state.account(ADDRESSES[0]).nonce == 1
    assert executor.state.account(ADDRESSES[1]).balances == ((7, 30),)
    assert executor.state.record.pot == {0: FEE}
    assert executor.root() != before


def test_the_fee_counts_every_action_and_not_the_limit() -> None:
    executor = executor_of({0: {0: 1000}})
    done = outcome(executor, transfer(0, 0, (1, 0, 10), (2, 0, 20), (0, 0, 5), fee_limit=500))
    assert done.fee == 2 + 3 * 3
    assert held(executor, 0) == 1000 - 30 - 11
    assert (held(executor, 1), held(executor, 2)) == (10, 20)


@pytest.mark.parametrize(
    ("transaction", "reason", "has", "needs"),
    [
        (transfer(0, 0, (1, 0, 1), chain=bytes(32)), Reason.WRONG_CHAIN, 0, 0),
        (transfer(0, 2, (1, 0, 1)), Reason.NONCE_TOO_LOW, 2, 3),
        (transfer(0, 4, (1, 0, 1)), Reason.NONCE_GAP, 4, 3),
        (transfer(0, 3, (1, 0, 1), last=9), Reason.EXPIRED, 9, 10),
        (transfer(0, 3, (1, 0, 1), fee_limit=4), Reason.FEE_LIMIT_TOO_LOW, 4, 5),
        (transfer(0, 3, (1, 0, 1), fee_limit=986), Reason.BALANCE_BELOW_FEE_LIMIT, 985, 986),
        (transfer(3, 0, (1, 0, 0), fee_limit=5), Reason.BALANCE_BELOW_FEE_LIMIT, 0, 5),
    ],
)
def test_a_transaction_that_breaks_a_rule_is_skipped_with_reason_and_numbers(
    transaction: Transaction, reason: Reason, has: int, needs: int
) -> None:
    executor = executor_of({0: {0: 1000}})
    run(executor, batch_of([transfer(0, n, (0, 0, 1)) for n in range(3)]))
    root, record = executor.root(), executor.state.record.copy()
    done = outcome(executor, transaction, height=10)
    assert (done.status, done.reason, done.fee) == (Status.SKIPPED, reason, 0)
    assert (done.has, done.needs) == (has, needs)
    assert executor.root() == root
    assert executor.state.record.pot == record.pot


def test_a_transaction_is_valid_at_its_last_valid_height_and_with_its_exact_fee() -> None:
    executor = executor_of({0: {0: FEE}})
    done = outcome(executor, transfer(0, 0, (1, 0, 0), last=10, fee_limit=FEE), height=10)
    assert done.status is Status.EXECUTED
    assert held(executor, 0) == 0


def test_bad_signatures_and_undecodable_bytes_are_skipped() -> None:
    executor = executor_of({0: {0: 1000}})
    root = executor.root()
    block = run(executor, batch_of([transfer(0, 0, (1, 0, 1)), None], forged=[0]))
    assert [o.reason for o in block.outcomes] == [Reason.BAD_SIGNATURE, Reason.MALFORMED]
    assert [len(o.id) for o in block.outcomes] == [32, 0]
    assert [o.index for o in block.outcomes] == [0, 1]
    assert decode_outcome(block.outcomes[1].encode()) == block.outcomes[1]
    assert executor.root() == root


def test_a_sender_of_another_shard_is_skipped() -> None:
    layout = Layout((Shard(2, 0, 1), Shard(3, 1, 1)))
    inside = [n for n in range(8) if ADDRESSES[n][0] < 128]
    outside = [n for n in range(8) if ADDRESSES[n][0] >= 128]
    executor = executor_of({inside[0]: {0: 100}}, uid=2, layout=layout)
    batch = batch_of([transfer(outside[0], 0, (inside[0], 0, 1))], uid=2)
    (done,) = run(executor, batch).outcomes
    assert (done.reason, done.has, done.needs) == (Reason.WRONG_SHARD, 2, 3)


def test_a_failing_action_undoes_all_actions_and_costs_the_fee() -> None:
    executor = executor_of({0: {0: 100, 7: 10}, 1: {0: 1}})
    done = outcome(executor, transfer(0, 0, (1, 7, 10), (1, 0, 20), (2, 7, 1), fee_limit=50))
    assert (done.status, done.reason) == (Status.FAILED, Reason.INSUFFICIENT_BALANCE)
    assert (done.has, done.needs, done.fee) == (0, 1, 11)
    assert executor.state.account(ADDRESSES[0]).balances == ((0, 89), (7, 10))
    assert executor.state.account(ADDRESSES[0]).nonce == 1
    assert executor.state.account(ADDRESSES[1]).balances == ((0, 1),)
    assert executor.state.account(ADDRESSES[2]).balances == ()


def test_the_fee_is_taken_before_the_actions() -> None:
    executor = executor_of({0: {0: 100}})
    done = outcome(executor, transfer(0, 0, (1, 0, 96)))
    assert (done.reason, done.has, done.needs) == (Reason.INSUFFICIENT_BALANCE, 95, 96)
    assert held(executor, 0) == 95


def test_a_receiver_cannot_hold_more_than_128_bits() -> None:
    executor = executor_of({0: {0: 100, 7: 2}, 1: {7: AMOUNT_MAX - 1}})
    assert outcome(executor, transfer(0, 0, (1, 7, 1))).status is Status.EXECUTED
    done = outcome(executor, transfer(0, 1, (1, 7, 1), fee_limit=50), height=2)
    assert (done.reason, done.has, done.needs) == (Reason.RECEIVER_OVERFLOW, AMOUNT_MAX, 1)
    assert held(executor, 0, 7) == 1
    assert held(executor, 1, 7) == AMOUNT_MAX


def test_a_transfer_to_oneself_needs_the_amount_and_moves_nothing() -> None:
    executor = executor_of({0: {0: 200, 7: AMOUNT_MAX}})
    done = outcome(executor, transfer(0, 0, (0, 7, AMOUNT_MAX)))
    assert done.status is Status.EXECUTED
    assert held(executor, 0, 7) == AMOUNT_MAX
    done = outcome(executor, transfer(0, 1, (0, 0, 196)), height=2)
    assert done.reason is Reason.INSUFFICIENT_BALANCE


def test_an_amount_of_zero_makes_no_account() -> None:
    executor = executor_of({0: {0: 100}})
    outcome(executor, transfer(0, 0, (1, 0, 0)))
    assert executor.state.statistics().accounts_count == 1


# --- batches and feeds ----------------------------------------------------------------------------


def test_the_same_transactions_in_two_batches_execute_once() -> None:
    executor = executor_of({0: {0: 1000}, 1: {0: 1000}})
    both = [transfer(0, 0, (1, 0, 10)), transfer(1, 0, (0, 0, 20))]
    block = run(executor, batch_of(both), batch_of(both, collator=1))
    assert [o.status for o in block.outcomes] == [Status.EXECUTED] * 2 + [Status.SKIPPED] * 2
    assert {o.reason for o in block.outcomes[2:]} == {Reason.NONCE_TOO_LOW}
    assert block.counters[:4] == (2, 0, 2, 2 * FEE)
    assert (held(executor, 0), held(executor, 1)) == (1005, 985)


def test_a_batch_whose_sequence_its_feed_has_passed_is_ignored() -> None:
    executor = executor_of({0: {0: 1000}})
    run(executor, batch_of([transfer(0, 0, (1, 0, 1))], sequence=4))
    root, record = executor.root(), executor.state.record.root()
    late = batch_of([transfer(0, 1, (1, 0, 1))], sequence=3)
    again = batch_of([transfer(0, 1, (1, 0, 1))], sequence=4)
    block = run(executor, late, again, height=2)
    assert block.batches_ignored == (late.digest, again.digest)
    assert not block.has_result
    assert not block.writes
    assert (executor.root(), executor.state.record.root()) == (root, record)
    # Another collator's feed is its own, and a gap in sequences is no fault.
    assert run(executor, batch_of([], sequence=9, collator=1), height=3).has_result


def test_two_batches_of_one_sequence_in_a_block_count_once() -> None:
    executor = executor_of({0: {0: 1000}})
    first = batch_of([transfer(0, 0, (1, 0, 1))])
    second = batch_of([transfer(0, 1, (1, 0, 1)), None])
    block = run(executor, first, second)
    assert len(block.outcomes) == 1
    assert block.batches_ignored == (second.digest,)


@pytest.mark.parametrize("how", [{"void": True}, {"kind": KIND_SNAPSHOT}])
def test_a_void_batch_runs_nothing_but_moves_its_feed(how: dict[str, int]) -> None:
    executor = executor_of({0: {0: 1000}})
    root = executor.root()
    block = run(executor, batch_of([transfer(0, 0, (1, 0, 1))], **how))  # type: ignore[arg-type]
    assert block.outcomes == ()
    assert block.has_result
    assert executor.root() == root
    assert run(executor, batch_of([transfer(0, 0, (1, 0, 1))]), height=2).batches_ignored


def test_a_block_without_input_changes_nothing_and_has_no_result() -> None:
    executor = executor_of({0: {0: 1000}})
    root, record = executor.root(), executor.state.record.root()
    block = run(executor, last=True)
    assert (block.has_result, block.writes, block.outbox) == (False, (), ())
    assert block.pre_root == block.post_root == root == executor.root()
    assert block.watermarks_root == record == executor.state.record.root()
    assert executor.height == 0


def test_an_exception_inside_a_block_leaves_no_trace() -> None:
    executor = executor_of({0: {0: 1000}})
    root, record = executor.root(), executor.state.record.encode()
    torn = batch_of([transfer(0, 1, (1, 0, 1)), transfer(0, 2, (1, 0, 1))], sequence=2)
    short = ReadyBatch(torn.header, torn.digest, torn.transactions, (True,), False)
    with pytest.raises(ValueError, match="zip"):
        run(executor, batch_of([transfer(0, 0, (1, 0, 1))]), short)
    assert (executor.root(), executor.state.record.encode()) == (root, record)
    assert held(executor, 0) == 1000


def test_a_height_is_not_executed_twice() -> None:
    executor = executor_of({0: {0: 1000}})
    run(executor, batch_of([transfer(0, 0, (1, 0, 1))]), height=5)
    assert executor.height == 5
    with pytest.raises(AssertionError):
        run(executor, height=5)


# --- the pot and receipts -------------------------------------------------------------------------


def test_the_pot_leaves_at_the_last_height_of_an_epoch_as_one_receipt() -> None:
    executor = executor_of({0: {0: 1000}})
    supply = executor.supply()
    run(executor, batch_of([transfer(0, 0, (1, 0, 1))]))
    assert executor.supply() == supply == {0: 1000}
    block = run(executor, batch_of([transfer(0, 1, (1, 0, 1))], sequence=2), height=2, last=True)
    assert block.outbox == (Receipt(KIND_FEES, b"", 0, b"", 0, 2 * FEE),)
    assert block.supply_delta == ((0, -2 * FEE),)
    assert executor.state.record.pot == {}
    assert executor.supply() == supply
    assert executor.state.record.outboxes == 1
    assert decode_outbox(encode_outbox(block.outbox)) == block.outbox


def test_the_pot_leaves_without_a_batch_too() -> None:
    executor = executor_of({0: {0: 1000}})
    run(executor, batch_of([transfer(0, 0, (1, 0, 1))]))
    root = executor.root()
    block = run(executor, height=2, last=True)
    assert block.has_result
    assert block.post_root == root
    assert block.counters[-1] == 0
    assert not run(executor, height=3, last=True).has_result


def two_shards() -> tuple[ShardExecutor, ShardExecutor, int, int]:
    layout = Layout((Shard(2, 0, 1), Shard(3, 1, 1)))
    low = next(n for n in range(8) if ADDRESSES[n][0] < 128)
    high = next(n for n in range(8) if ADDRESSES[n][0] >= 128)
    return (
        executor_of({low: {0: 10_000, 7: 90}}, uid=2, layout=layout),
        executor_of({high: {0: 10_000, 7: AMOUNT_MAX - 50}}, uid=3, layout=layout),
        low,
        high,
    )


def test_a_transfer_to_another_shard_becomes_a_receipt_and_arrives_once() -> None:
    source, target, low, high = two_shards()
    block = run(source, batch_of([transfer(low, 0, (high, 7, 50))], uid=2))
    assert block.outbox == (Receipt(KIND_TRANSFER, ADDRESSES[high], 0, ADDRESSES[low], 7, 50),)
    inbox = Inbox(2, 1, 1, block.outbox)
    arrived = target.execute(4, 0, False, [inbox], [])
    assert (arrived.inboxes_waiting, arrived.supply_delta) == ((), ((7, 50),))
    assert held(target, high, 7) == AMOUNT_MAX
    repeated = target.execute(5, 0, False, [inbox], [])
    assert (repeated.has_result, repeated.inboxes_waiting) == (False, ())
    assert held(target, high, 7) == AMOUNT_MAX


def test_an_outbox_ordered_too_early_waits_for_the_one_before_it() -> None:
    _, target, _, high = two_shards()
    receipt = Receipt(KIND_TRANSFER, ADDRESSES[high], 0, bytes(32), 7, 1)
    first, second = Inbox(2, 4, 1, (receipt,)), Inbox(2, 9, 2, (receipt,))
    early = target.execute(1, 0, False, [second], [])
    assert (early.has_result, early.inboxes_waiting) == (False, (second,))
    assert held(target, high, 7) == AMOUNT_MAX - 50
    assert target.execute(2, 0, False, [second, first], []).inboxes_waiting == (second,)
    assert target.execute(3, 0, False, [second], []).inboxes_waiting == ()
    assert held(target, high, 7) == AMOUNT_MAX - 48


def test_what_a_receiver_cannot_hold_comes_back_as_a_refund() -> None:
    source, target, low, high = two_shards()
    before = {a: source.supply().get(a, 0) + target.supply().get(a, 0) for a in (0, 7)}
    out = run(source, batch_of([transfer(low, 0, (high, 7, 51))], uid=2))
    back = target.execute(2, 0, False, [Inbox(2, 1, 1, out.outbox)], [])
    assert back.outbox == (Receipt(KIND_REFUND, ADDRESSES[low], 0, b"", 7, 51),)
    assert held(target, high, 7) == AMOUNT_MAX - 50
    home = source.execute(3, 0, False, [Inbox(3, 2, 1, back.outbox)], [])
    assert home.supply_delta == ((7, 51),)
    assert held(source, low, 7) == 90
    assert {a: source.supply()[a] + target.supply()[a] for a in (0, 7)} == before


def test_a_refund_that_its_receiver_cannot_hold_goes_to_the_pot() -> None:
    _, target, _, high = two_shards()
    refund = Receipt(KIND_REFUND, ADDRESSES[high], 0, b"", 7, 51)
    before = target.supply()
    block = target.execute(1, 0, False, [Inbox(2, 1, 1, (refund,))], [])
    assert (block.outbox, target.state.record.pot) == ((), {7: 51})
    assert block.supply_delta == ((7, 51),)
    assert target.supply() == before


def test_a_full_outbox_fails_further_transfers_and_keeps_room_for_the_pot() -> None:
    source, _, low, high = two_shards()
    moves = [transfer(low, n, *[(high, 0, 1)] * 8) for n in range(8)]
    block = run(source, batch_of(moves, uid=2), last=True)
    reasons = [o.reason for o in block.outcomes]
    assert reasons[0] is Reason.NONE
    assert reasons[-1] is Reason.RECEIVER_SHARD_FULL
    size = len(encode_outbox(block.outbox))
    assert OUTBOX_INLINE_BYTES_MAX - 1500 < size <= OUTBOX_INLINE_BYTES_MAX
    assert block.outbox[0].kind == KIND_FEES
    assert decode_outbox(encode_outbox(block.outbox)) == block.outbox
    # A transaction's receipts are all there or none: indices of undone ones were given back.
    assert sorted(r.index for r in block.outbox) == list(range(len(block.outbox)))
    assert (len(block.outbox) - 1) % 8 == 0
    assert FEES_BYTES_RESERVED < OUTBOX_INLINE_BYTES_MAX


def test_inboxes_beyond_the_budget_wait_for_the_next_height() -> None:
    _, target, low, high = two_shards()
    receipts = tuple(
        Receipt(KIND_TRANSFER, ADDRESSES[high], n, ADDRESSES[low], 9, 1) for n in range(40)
    )
    inboxes = [Inbox(2, n, n, receipts) for n in (1, 2, 3)]
    waiting: tuple[Inbox, ...] = tuple(inboxes)
    for height, left in ((1, 2), (2, 1), (3, 0)):
        waiting = target.execute(height, 0, False, waiting, []).inboxes_waiting
        assert len(waiting) == left
    assert held(target, high, 9) == 120
