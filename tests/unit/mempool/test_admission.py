"""Every rule of admission refuses by name and with its numbers."""

from __future__ import annotations

import dataclasses

import pytest

from p2pnode.errors import RejectedTransaction
from p2pnode.mempool.admission import (
    BadSignature,
    DuplicateTransaction,
    Expired,
    FeeTooLow,
    InsufficientBalance,
    NonceTaken,
    NonceTooFar,
    NonceTooLow,
    PoolBytesFull,
    PoolFull,
    Rules,
    TransactionTooLarge,
    ValidTooLong,
    WrongChain,
)
from p2pnode.types.genesis import Parameters
from tests.unit.mempool.helpers import CHAIN, RICH, RULES, address, pool, put, transaction


def refusal(t, *, nonce=0, balance=RICH, height=0, rules=RULES) -> RejectedTransaction:
    with pytest.raises(RejectedTransaction) as caught:
        rules.check(t, nonce, balance, height)
    return caught.value


def test_a_transaction_within_all_rules_is_not_refused():
    RULES.check(transaction(1, 64, fee_limit=2, last_valid_height=1000), 0, 2, 0)


def test_another_chain_is_refused():
    error = refusal(transaction(1, 0, chain=bytes(32)))
    assert isinstance(error, WrongChain)
    assert (error.chain, error.expected) == (bytes(32), CHAIN)
    assert error.kind == "wrong_chain"


def test_one_that_fits_no_batch_is_too_large():
    t = transaction(1, 0)
    size = len(t.raw)
    rules = dataclasses.replace(RULES, size_bytes_max=size)
    rules.check(t, 0, RICH, 0)
    error = refusal(t, rules=dataclasses.replace(RULES, size_bytes_max=size - 1))
    assert isinstance(error, TransactionTooLarge)
    assert (error.size_bytes, error.size_bytes_max) == (size, size - 1)
    assert error.kind == "transaction_too_large"
    assert str(size) in str(error)


def test_the_size_limit_leaves_room_for_the_heads_of_the_smallest_batch():
    assert Rules.of(CHAIN, Parameters(batch_bytes_max=1000)).size_bytes_max == 994
    assert Rules.of(CHAIN, Parameters()).size_bytes_max == 4096


def test_expiry_at_the_executed_height_is_too_late_and_one_above_is_not():
    RULES.check(transaction(1, 0, last_valid_height=8), 0, RICH, 7)
    error = refusal(transaction(1, 0, last_valid_height=7), height=7)
    assert isinstance(error, Expired)
    assert (error.last_valid_height, error.height) == (7, 7)
    assert error.kind == "expired"


def test_expiry_further_ahead_than_allowed_is_refused():
    RULES.check(transaction(1, 0, last_valid_height=1005), 0, RICH, 5)
    error = refusal(transaction(1, 0, last_valid_height=1006), height=5)
    assert isinstance(error, ValidTooLong)
    assert (error.last_valid_height, error.last_valid_height_max) == (1006, 1005)
    assert error.kind == "valid_too_long"


def test_a_used_nonce_is_too_low():
    error = refusal(transaction(1, 4), nonce=5)
    assert isinstance(error, NonceTooLow)
    assert (error.has, error.needs) == (4, 5)
    assert error.kind == "nonce_too_low"


def test_sixty_four_nonces_ahead_are_kept_and_sixty_five_are_too_far():
    RULES.check(transaction(1, 69), 5, RICH, 0)
    error = refusal(transaction(1, 70), nonce=5)
    assert isinstance(error, NonceTooFar)
    assert (error.has, error.needs, error.ahead_max) == (70, 5, 64)
    assert error.kind == "nonce_too_far"
    assert "65 ahead" in str(error)


def test_a_fee_limit_below_the_fee_of_all_actions_is_too_low():
    RULES.check(transaction(1, 0, fee_limit=4, actions=3), 0, RICH, 0)
    error = refusal(transaction(1, 0, fee_limit=3, actions=3))
    assert isinstance(error, FeeTooLow)
    assert (error.fee_limit, error.fee) == (3, 4)
    assert error.kind == "fee_too_low"


def test_a_balance_below_the_fee_limit_is_insufficient():
    RULES.check(transaction(1, 0, fee_limit=10), 0, 10, 0)
    error = refusal(transaction(1, 0, fee_limit=10), balance=9)
    assert isinstance(error, InsufficientBalance)
    assert (error.has, error.needs) == (9, 10)
    assert error.kind == "insufficient_balance"


def test_the_same_transaction_twice_is_a_duplicate():
    p = pool()
    t = transaction(1, 0)
    put(p, t)
    with pytest.raises(DuplicateTransaction) as caught:
        p.admit(0, t, (0, RICH), 0)
    assert caught.value.transaction_id == t.id
    assert caught.value.kind == "duplicate_transaction"


def test_the_same_transaction_whose_signature_is_being_checked_is_a_duplicate():
    p = pool()
    t = transaction(1, 0)
    p.admit(0, t, (0, RICH), 0)
    with pytest.raises(DuplicateTransaction):
        p.admit(0, t, (0, RICH), 0)


def test_another_transaction_of_a_held_nonce_is_refused():
    p = pool()
    first, second = transaction(1, 0), transaction(1, 0, salt=1)
    put(p, first)
    with pytest.raises(NonceTaken) as caught:
        p.admit(0, second, (0, RICH), 0)
    assert (caught.value.nonce, caught.value.holder_id) == (0, first.id)
    assert caught.value.kind == "nonce_taken"


def test_a_bad_signature_keeps_a_transaction_out():
    p = pool()
    t = transaction(1, 0)
    p.admit(0, t, (0, RICH), 0)
    with pytest.raises(BadSignature) as caught:
        p.verified(0, t, False)
    assert caught.value.kind == "bad_signature"
    assert t.id not in p
    assert p.statistics().checking_count == 0


def test_a_copy_with_a_forged_signature_does_not_keep_the_true_one_out():
    p = pool()
    forged, true = transaction(1, 0), transaction(1, 0, signature=bytes([1]) * 64)
    assert forged.id == true.id
    p.admit(0, forged, (0, RICH), 0)
    p.admit(0, true, (0, RICH), 0)
    with pytest.raises(BadSignature):
        p.verified(0, forged, False)
    p.verified(0, true, True)
    assert p.get(true.id) == true


def test_a_forged_transaction_of_a_nonce_does_not_keep_the_true_one_out():
    p = pool()
    forged, true = transaction(1, 0, salt=9), transaction(1, 0)
    p.admit(0, forged, (0, RICH), 0)
    put(p, true)
    with pytest.raises(BadSignature):
        p.verified(0, forged, False)
    assert p.get(true.id) == true


def test_of_two_valid_ones_of_a_nonce_the_first_verified_stays():
    p = pool()
    a, b = transaction(1, 0), transaction(1, 0, salt=1)
    p.admit(0, a, (0, RICH), 0)
    p.admit(0, b, (0, RICH), 0)
    p.verified(0, b, True)
    with pytest.raises(NonceTaken):
        p.verified(0, a, True)


def test_of_two_valid_signatures_of_a_transaction_the_second_is_a_duplicate():
    p = pool()
    a, b = transaction(1, 0), transaction(1, 0, signature=bytes([1]) * 64)
    p.admit(0, a, (0, RICH), 0)
    p.admit(0, b, (0, RICH), 0)
    p.verified(0, b, True)
    with pytest.raises(DuplicateTransaction):
        p.verified(0, a, True)


def test_a_nonce_used_during_the_signature_check_is_too_low():
    p = pool()
    t = transaction(1, 0)
    p.admit(0, t, (0, RICH), 0)
    p.on_block(0, 1, ordered=(), finished=(), next_nonces={address(1): 1})
    with pytest.raises(NonceTooLow):
        p.verified(0, t, True)
    assert len(p) == 0


def test_one_that_expired_during_the_signature_check_is_refused():
    p = pool()
    t = transaction(1, 0, last_valid_height=3)
    p.admit(0, t, (0, RICH), 2)
    p.expire(3)
    with pytest.raises(Expired):
        p.verified(0, t, True)


def test_a_full_pool_refuses_by_count_and_counts_those_being_checked():
    p = pool(transactions_max=2)
    put(p, transaction(1, 0))
    p.admit(0, transaction(2, 0), (0, RICH), 0)
    with pytest.raises(PoolFull) as caught:
        p.admit(0, transaction(3, 0), (0, RICH), 0)
    assert (caught.value.transactions_count, caught.value.transactions_max) == (2, 2)
    assert caught.value.kind == "pool_full"


def test_a_full_pool_refuses_by_bytes():
    size = len(transaction(1, 0).raw)
    p = pool(bytes_max=3 * size - 1)
    put(p, transaction(1, 0))
    p.admit(0, transaction(2, 0), (0, RICH), 0)
    with pytest.raises(PoolBytesFull) as caught:
        p.admit(0, transaction(3, 0), (0, RICH), 0)
    assert (caught.value.held_bytes, caught.value.size_bytes) == (2 * size, size)
    assert caught.value.bytes_max == 3 * size - 1
    assert caught.value.kind == "pool_bytes_full"


def test_room_is_free_again_after_execution():
    p = pool(transactions_max=1)
    t = transaction(1, 0)
    put(p, t)
    p.on_block(0, 1, ordered=(), finished=[t.id], next_nonces={address(1): 1})
    put(p, transaction(1, 1), account_nonce=1)
    assert len(p) == 1


def test_refusals_are_counted_by_kind():
    p = pool()
    for nonce in (65, 66):
        with pytest.raises(NonceTooFar):
            p.admit(0, transaction(1, nonce), (0, RICH), 0)
    with pytest.raises(Expired):
        p.admit(0, transaction(1, 0), (0, RICH), 500)
    assert p.statistics().refused == (("expired", 1), ("nonce_too_far", 2))


def test_a_stale_reading_of_the_account_does_not_let_a_used_nonce_in():
    p = pool()
    put(p, transaction(1, 5), account_nonce=5)
    with pytest.raises(NonceTooLow) as caught:
        p.admit(0, transaction(1, 4), (3, RICH), 0)
    assert caught.value.needs == 5
