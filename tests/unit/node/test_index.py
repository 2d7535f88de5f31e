"""The index: what became of a transaction, and what a copy of it does not change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.errors import RemoteProtocolError
from p2pnode.execution.outcomes import Outcome, Reason
from p2pnode.node import index as module
from p2pnode.node.index import TABLE, Entry, TransactionIndex, decode_entry
from p2pnode.types.effects import Write

A, B = bytes([1]) * 32, bytes([2]) * 32


def outcome(of: bytes = A, reason: Reason = Reason.NONE, has: int = 0, needs: int = 0) -> Outcome:
    return Outcome(of, reason.status(), reason, 0, bytes(32), 0, has, needs)


@given(
    height=st.integers(0, (1 << 64) - 1),
    time_ms=st.integers(0, (1 << 64) - 1),
    reason=st.sampled_from(Reason),
    has=st.integers(0, (1 << 128) - 1),
    needs=st.integers(0, (1 << 128) - 1),
)
def test_an_entry_is_read_as_it_was_written(
    height: int, time_ms: int, reason: Reason, has: int, needs: int
) -> None:
    entry = Entry(height, time_ms, outcome(A, reason, has, needs))
    assert decode_entry(entry.encode()) == entry
    with pytest.raises(RemoteProtocolError):
        decode_entry(entry.encode() + b"\x00")


def test_an_outcome_is_remembered_and_stored() -> None:
    index = TransactionIndex()
    done = outcome()
    write = index.executed(done, 5, 77)
    assert write == Write(TABLE, A, Entry(5, 77, done).encode())
    assert index.recent(A) == Entry(5, 77, done)
    assert index.recent(B) is None


@pytest.mark.parametrize("reason", [Reason.NONCE_TOO_LOW, Reason.EXPIRED])
def test_a_copy_that_is_skipped_hides_nothing(reason: Reason) -> None:
    index = TransactionIndex()
    index.executed(outcome(), 5, 0)
    assert index.executed(outcome(A, reason), 6, 0) is None
    entry = index.recent(A)
    assert entry is not None
    assert (entry.height, entry.outcome.reason) == (5, Reason.NONE)


def test_a_copy_of_what_executed_before_memory_began_is_not_stored() -> None:
    index = TransactionIndex()
    assert index.executed(outcome(A, Reason.NONCE_TOO_LOW), 6, 0) is None


def test_what_executes_after_it_was_skipped_has_executed() -> None:
    index = TransactionIndex()
    assert index.executed(outcome(A, Reason.BALANCE_BELOW_FEE_LIMIT), 4, 0) is not None
    assert index.executed(outcome(), 9, 0) is not None
    entry = index.recent(A)
    assert entry is not None
    assert entry.outcome.reason is Reason.NONE


def test_an_ordered_transaction_has_its_height_until_it_executes() -> None:
    index = TransactionIndex()
    index.ordered([A, B], 3)
    index.ordered([A], 4)
    assert index.ordered_height(A) == 3
    index.executed(outcome(), 3, 0)
    assert index.ordered_height(A) is None
    assert index.ordered_height(B) == 3


def test_reasons_of_dropped_transactions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DROPPED_MAX", 3)
    index = TransactionIndex()
    ids = [bytes([n]) * 32 for n in range(5)]
    for number, transaction_id in enumerate(ids):
        index.dropped(transaction_id, f"reason {number}")
    assert [index.dropped_reason(i) for i in ids] == [
        None,
        None,
        "reason 2",
        "reason 3",
        "reason 4",
    ]


def test_recent_outcomes_are_bounded_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT_MAX", 20)
    index = TransactionIndex()
    ids = [n.to_bytes(32, "big") for n in range(60)]
    for height, transaction_id in enumerate(ids):
        index.executed(outcome(transaction_id), height, 0)
    kept = [n for n, transaction_id in enumerate(ids) if index.recent(transaction_id)]
    assert kept == list(range(60 - len(kept), 60))
    assert 18 <= len(kept) <= 20
