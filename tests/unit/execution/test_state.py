from __future__ import annotations

from collections.abc import Sequence

import pytest

from p2pnode import codec
from p2pnode.execution.accounts import (
    ABSENT,
    StateCorruptError,
    decode_account,
    encode_account,
    flatten,
)
from p2pnode.execution.executor import ShardExecutor
from p2pnode.execution.record import ShardRecord, decode_record
from p2pnode.execution.state import TABLE, ShardState, key_prefix, key_range
from p2pnode.execution.tree import verify_proof
from p2pnode.types.effects import Write
from p2pnode.types.transaction import AMOUNT_MAX
from tests.unit.execution.scaffold import (
    ADDRESSES,
    CHAIN,
    COLLATORS,
    PARAMETERS,
    batch_of,
    executor_of,
    genesis_accounts,
    transfer,
)

BITS = PARAMETERS.bucket_bits


class Table:
    """A store of one table."""

    def __init__(self) -> None:
        self.pairs: dict[bytes, bytes] = {}

    def keep(self, writes: Sequence[Write]) -> None:
        assert [write.key for write in writes] == sorted(write.key for write in writes)
        for write in writes:
            assert write.table == TABLE
            if write.value is None:
                del self.pairs[write.key]
            else:
                self.pairs[write.key] = write.value

    def items(self) -> list[tuple[bytes, bytes]]:
        return sorted(self.pairs.items())


def test_a_state_loaded_from_the_writes_goes_on_where_the_other_was() -> None:
    balances = {0: {0: 1000}, 1: {0: 5, 7: 5}}
    executor = executor_of(balances)
    table = Table()
    fresh = ShardState(executor.state.shard, BITS)
    table.keep(fresh.fund(genesis_accounts({ADDRESSES[n]: held for n, held in balances.items()})))
    first = batch_of([transfer(0, 0, (2, 0, 10)), None])
    table.keep(executor.execute(1, 0, False, (), [first]).writes)
    second = batch_of([transfer(1, 0, (2, 7, 5), fee_limit=5)], sequence=2)
    table.keep(executor.execute(2, 0, False, (), [second]).writes)
    start, stop = key_range(1)
    assert all(start <= key < stop for key in table.pairs)
    loaded = ShardState(executor.state.shard, BITS)
    loaded.load(table.items())
    assert loaded.root() == executor.root()
    assert loaded.record == executor.state.record
    again = ShardExecutor(CHAIN, executor.layout, PARAMETERS, loaded)
    assert again.height == 2
    third = batch_of([transfer(0, 1, (2, 0, 10))], sequence=3)
    assert again.execute(3, 0, False, (), [third]) == executor.execute(3, 0, False, (), [third])


def test_only_changed_accounts_are_written() -> None:
    executor = executor_of({0: {0: 1000}, 1: {0: 1}})
    batch = batch_of([transfer(0, 0, (1, 0, 2000)), transfer(1, 0, (2, 0, 1))])
    writes = executor.execute(1, 0, False, (), [batch]).writes
    assert [write.key[4:] for write in writes] == [b"", ADDRESSES[0]]


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(key_prefix(1) + bytes(32), encode_account((0, 0, 5)))],
        [(key_prefix(1), b"\x80")],
        [(key_prefix(1), b"")],
        [(key_prefix(1), ShardRecord().encode()), (key_prefix(1) + bytes(32), b"\x00")],
        [(key_prefix(1), ShardRecord().encode()), (key_prefix(1) + bytes(31), b"\x82\x00\x80")],
        [(key_prefix(1), ShardRecord().encode()), (key_prefix(2) + bytes(32), b"\x82\x00\x80")],
    ],
)
def test_a_store_with_something_else_is_refused(pairs: list[tuple[bytes, bytes]]) -> None:
    state = executor_of({}).state
    with pytest.raises(StateCorruptError):
        state.load(pairs)


def test_an_account_and_an_absence_are_proved_under_the_root() -> None:
    executor = executor_of({0: {0: 1000, 7: 1}})
    for number, expected in ((0, encode_account((0, 0, 1000, 7, 1))), (1, None)):
        value, proof = executor.state.prove(ADDRESSES[number])
        assert value == expected
        verify_proof(executor.root(), ADDRESSES[number], value, proof, prefix_bits=0, depth=BITS)


def test_an_account_without_nonce_and_balances_leaves_no_trace() -> None:
    state = executor_of({0: {0: 5}}).state
    empty = executor_of({}).state.root()
    writes = state.commit({ADDRESSES[0]: ABSENT, ADDRESSES[1]: ABSENT}, state.record)
    assert [(write.key[4:], write.value) for write in writes[1:]] == [(ADDRESSES[0], None)]
    assert state.root() == empty
    assert state.statistics().accounts_count == 0


def test_an_account_has_one_encoding() -> None:
    flat = flatten(3, [(7, AMOUNT_MAX), (2, 0), (0, 5)])
    assert flat == (3, 0, 5, 7, AMOUNT_MAX)
    assert encode_account(flat).hex() == "8203828200058207c250" + "ff" * 16
    assert decode_account(encode_account(flat)) == flat
    assert flatten(0, [(1, 0)]) == ABSENT


def test_a_record_survives_its_encoding_and_does_not_depend_on_order() -> None:
    record = ShardRecord(height=9, outboxes=2)
    for collator in COLLATORS[:2]:
        assert record.use_sequence(collator, 3)
    assert not record.use_sequence(COLLATORS[0], 3)
    assert record.use_outbox(4, 7, 1)
    assert not record.use_outbox(4, 8, 1)
    assert not record.use_outbox(4, 8, 3)
    record.pot = {0: 5, 7: 1 << 130}
    record.sent = {0: 1}
    assert decode_record(record.encode()) == record
    other = record.copy()
    other.feeds = {collator: 3 for collator in reversed(COLLATORS[:2])}
    assert other.root() == record.root()
    other.use_sequence(COLLATORS[0], 4)
    assert other.root() != record.root()
    assert record.feeds[COLLATORS[0]] == 3


def test_a_record_whose_entries_do_not_ascend_is_refused() -> None:
    feeds = [[collator, 1] for collator in COLLATORS[:2]]
    for order in (feeds[::-1], [feeds[0], feeds[0]]):
        with pytest.raises(codec.NotCanonicalError):
            decode_record(codec.encode([1, 0, 0, order, [], [], [], []]))
    assert len(decode_record(codec.encode([1, 0, 0, feeds, [], [], [], []])).feeds) == 2
