"""The pool hands out what is ready, in turn, and loses nothing when a batch dies."""

from __future__ import annotations

from p2pnode.mempool.admission import Expired, NonceTooLow
from p2pnode.mempool.report import Batched, Pooled
from p2pnode.types.batch import encode_transactions
from tests.unit.mempool.helpers import OTHER, OWN, RICH, address, pool, put, take, transaction


def test_only_contiguous_nonces_from_the_accounts_next_are_ready():
    p = pool()
    put(p, *(transaction(1, n) for n in (7, 8, 10)), account_nonce=7)
    assert [t.nonce for t in take(p, 1)] == [7, 8]
    put(p, transaction(1, 9), account_nonce=7)
    assert [t.nonce for t in take(p, 2)] == [9, 10]


def test_a_gap_keeps_everything_behind_it_back_and_says_what_is_missing():
    p = pool()
    ahead = transaction(1, 2)
    put(p, ahead)
    assert take(p, 1) == []
    assert p.waiting_since_ns is None
    assert p.status(ahead.id) == Pooled(nonce=2, missing_nonce=0)
    put(p, transaction(1, 0), transaction(1, 1))
    assert p.status(ahead.id) == Pooled(nonce=2, missing_nonce=None)


def test_senders_take_turns_in_the_order_in_which_their_heads_arrived():
    p = pool()
    put(p, *(transaction(1, n) for n in range(3)), transaction(3, 0), transaction(2, 0))
    put(p, transaction(2, 1))
    assert [(t.sender, t.nonce) for t in take(p, 1)] == [
        (address(s), n) for s, n in ((1, 0), (3, 0), (2, 0), (1, 1), (2, 1), (1, 2))
    ]


def test_taking_keeps_to_the_count_and_the_rest_goes_on_in_turn():
    p = pool()
    put(p, *(transaction(1, n) for n in range(3)), transaction(2, 0))
    assert [(t.sender, t.nonce) for t in take(p, 1, count_max=2)] == [
        (address(1), 0),
        (address(2), 0),
    ]
    assert [t.nonce for t in take(p, 2)] == [1, 2]


def test_taking_keeps_to_the_bytes_of_the_encoded_batch():
    p = pool()
    put(p, *(transaction(s, 0) for s in range(40)))
    all_bytes = len(encode_transactions([transaction(s, 0).raw for s in range(40)]))
    taken = take(p, 1, bytes_max=all_bytes // 2)
    data_bytes = len(encode_transactions([t.raw for t in taken]))
    assert data_bytes <= all_bytes // 2
    one = len(taken[0].raw) + 3
    assert all_bytes // 2 - data_bytes < one + 3


def test_taking_leaves_what_is_not_ready_long_enough():
    p = pool()
    put(p, transaction(1, 0), now_ns=10)
    put(p, transaction(2, 0), now_ns=20)
    assert [t.sender for t in take(p, 1, now_ns=30, since_max_ns=19)] == [address(1)]
    assert p.waiting_since_ns == 20


def test_nothing_taken_marks_nothing():
    p = pool()
    put(p, transaction(1, 0), now_ns=10)
    assert take(p, 1, now_ns=30, since_max_ns=9) == []
    assert p.statistics().batches_count == 0
    assert len(take(p, 1, now_ns=30)) == 1


def test_what_was_taken_stays_and_is_not_taken_again():
    p = pool()
    t = transaction(1, 0)
    put(p, t)
    assert take(p, 1) == [t]
    assert t.id in p
    assert p.status(t.id) == Batched(OWN, 1, False)
    assert take(p, 2) == []
    assert p.ready_count == p.ready_bytes == 0


def test_what_another_collator_packed_is_left_out_whether_it_is_here_or_comes_later():
    p = pool()
    here, later = transaction(1, 0), transaction(2, 0)
    put(p, here)
    p.mark_batched(0, [here.id, later.id], OTHER, 4)
    put(p, later)
    assert take(p, 1) == []
    assert p.status(later.id) == Batched(OTHER, 4, False)
    assert p.statistics().batched_count == 2


def test_an_executed_batch_removes_what_it_executed_and_gives_the_rest_back():
    p = pool()
    done, gap = transaction(1, 0), transaction(2, 3)
    put(p, done)
    put(p, gap, account_nonce=3)
    take(p, 1)
    dropped = p.on_block(0, 1, ordered=[(OWN, 1)], finished=[done.id], next_nonces={address(1): 1})
    assert dropped == []
    assert done.id not in p
    assert p.status(gap.id) == Pooled(3, None)
    assert take(p, 2) == [gap]


def test_a_void_batch_gives_everything_back():
    p = pool()
    transactions = [transaction(s, 0) for s in range(5)]
    put(p, *transactions)
    p.mark_batched(0, [t.id for t in transactions], OTHER, 1)
    p.on_block(0, 1, ordered=[(OTHER, 1)], finished=(), next_nonces={})
    assert take(p, 1) == transactions


def test_a_batch_passed_over_in_its_feed_gives_everything_back():
    p = pool()
    a, b = transaction(1, 0), transaction(2, 0)
    put(p, a, b)
    p.mark_batched(0, [a.id], OTHER, 1)
    p.mark_batched(0, [b.id], OTHER, 2)
    p.on_block(0, 1, ordered=[(OTHER, 2)], finished=[b.id], next_nonces={address(2): 1})
    assert take(p, 1) == [a]


def test_a_batch_seen_after_its_feed_went_on_marks_nothing():
    p = pool()
    t = transaction(1, 0)
    put(p, t)
    p.on_block(0, 1, ordered=[(OTHER, 3)], finished=(), next_nonces={})
    p.mark_batched(0, [t.id], OTHER, 3)
    assert take(p, 1) == [t]


def test_an_unbatched_transaction_waits_from_now_on():
    p = pool()
    t = transaction(1, 0)
    put(p, t, now_ns=5)
    take(p, 1, now_ns=6)
    p.unbatch(50, OWN, 1)
    assert p.waiting_since_ns == 50
    assert p.status(t.id) == Pooled(0, None)


def test_a_batch_never_certified_is_released_after_its_time_and_not_earlier():
    p = pool(batch_timeout_ns=100)
    t = transaction(1, 0)
    put(p, t)
    p.mark_batched(0, [t.id], OTHER, 1)
    assert p.release_at_ns == 100
    p.release(99)
    assert take(p, 1, now_ns=99) == []
    p.release(100)
    assert take(p, 1, now_ns=100) == [t]


def test_a_certified_batch_gets_more_time():
    p = pool(batch_timeout_ns=100, certified_timeout_ns=1000)
    t = transaction(1, 0)
    put(p, t)
    p.mark_batched(0, [t.id], OTHER, 1)
    p.certified(50, OTHER, 1)
    assert p.release_at_ns == 1050
    assert p.status(t.id) == Batched(OTHER, 1, True)


def test_of_two_batches_with_one_transaction_the_later_one_counts():
    p = pool()
    t = transaction(1, 0)
    put(p, t)
    p.mark_batched(0, [t.id], OTHER, 1)
    p.mark_batched(0, [t.id], OWN, 7)
    p.unbatch(0, OTHER, 1)
    assert take(p, 8) == []
    p.unbatch(0, OWN, 7)
    assert take(p, 8) == [t]


def test_what_follows_a_transaction_in_anothers_batch_waits_for_its_certificate():
    p = pool()
    first, second = transaction(1, 0), transaction(1, 1)
    put(p, first, second)
    p.mark_batched(0, [first.id], OTHER, 1)
    assert take(p, 1) == []
    p.certified(0, OTHER, 1)
    assert take(p, 1) == [second]


def test_what_follows_a_transaction_in_anothers_batch_is_free_when_that_executed():
    p = pool()
    first, second = transaction(1, 0), transaction(1, 1)
    put(p, first, second)
    p.mark_batched(0, [first.id], OTHER, 1)
    p.on_block(0, 1, ordered=[(OTHER, 1)], finished=[first.id], next_nonces={address(1): 1})
    assert take(p, 1) == [second]


def test_what_follows_a_transaction_in_anothers_batch_leaves_with_it_when_that_dies():
    p = pool()
    first, second = transaction(1, 0), transaction(1, 1)
    put(p, first, second)
    p.mark_batched(0, [first.id], OTHER, 1)
    p.unbatch(0, OTHER, 1)
    assert take(p, 1) == [first, second]


def test_what_follows_a_transaction_in_our_own_batch_is_free_at_once():
    p = pool()
    put(p, transaction(1, 0))
    take(p, 1)
    put(p, transaction(1, 1))
    assert [t.nonce for t in take(p, 2)] == [1]


def test_a_nonce_used_by_another_transaction_drops_the_one_here_with_a_reason():
    p = pool()
    stale, next_one = transaction(1, 0), transaction(1, 1)
    put(p, stale, next_one)
    (dropped,) = p.on_block(0, 1, ordered=(), finished=(), next_nonces={address(1): 1})
    assert dropped.id == stale.id
    assert isinstance(dropped.reason, NonceTooLow)
    assert (dropped.reason.has, dropped.reason.needs) == (0, 1)
    assert take(p, 1) == [next_one]


def test_expired_ones_are_dropped_with_a_reason_and_what_follows_waits_for_the_gap():
    p = pool()
    short, long = transaction(1, 0, last_valid_height=5), transaction(1, 1)
    put(p, short, long)
    assert p.expire(4) == []
    (dropped,) = p.expire(5)
    assert dropped.id == short.id
    assert isinstance(dropped.reason, Expired)
    assert (dropped.reason.last_valid_height, dropped.reason.height) == (5, 5)
    assert take(p, 1) == []
    assert p.status(long.id) == Pooled(1, 0)
    put(p, transaction(1, 0, salt=1))
    assert [t.nonce for t in take(p, 1)] == [0, 1]


def test_expiry_over_a_long_jump_of_heights_misses_nothing():
    p = pool()
    put(p, *(transaction(s, 0, last_valid_height=100 + s) for s in range(20)))
    assert len(p.expire(10**9)) == 20
    assert len(p) == 0


def test_a_block_that_moves_a_nonce_past_a_gap_makes_the_rest_ready():
    p = pool()
    ahead = transaction(1, 2)
    put(p, ahead)
    p.on_block(9, 1, ordered=(), finished=(), next_nonces={address(1): 2})
    assert p.waiting_since_ns == 9
    assert take(p, 1, now_ns=9) == [ahead]


def test_one_skipped_for_good_leaves_a_gap():
    p = pool()
    poor, follower = transaction(1, 0), transaction(1, 1)
    put(p, poor, follower)
    take(p, 1)
    p.on_block(0, 1, ordered=[(OWN, 1)], finished=[poor.id], next_nonces={})
    assert poor.id not in p
    assert p.status(follower.id) == Pooled(1, 0)
    assert p.ready_count == 0


def test_a_newer_reading_of_the_account_drops_what_it_has_used():
    p = pool()
    old = transaction(1, 0)
    put(p, old)
    put(p, transaction(1, 1), account_nonce=1)
    assert old.id not in p
    (dropped,) = p.expire(0)
    assert dropped.id == old.id
    assert [t.nonce for t in take(p, 1)] == [1]


def test_beyond_the_limit_of_batches_the_oldest_counts_as_dead():
    p = pool(batches_max=2)
    transactions = [transaction(s, 0) for s in range(3)]
    put(p, *transactions)
    for i, t in enumerate(transactions):
        p.mark_batched(0, [t.id], OTHER, i + 1)
    assert p.statistics().batches_count == 2
    assert take(p, 1) == [transactions[0]]


def test_beyond_the_limit_of_batched_ids_the_oldest_batch_counts_as_dead():
    p = pool(batched_ids_max=10)
    p.mark_batched(0, [bytes([1, i]) * 16 for i in range(8)], OTHER, 1)
    p.mark_batched(0, [bytes([2, i]) * 16 for i in range(8)], OTHER, 2)
    assert p.statistics().batches_count == 1
    assert p.status(bytes([1, 0]) * 16) is None
    assert p.status(bytes([2, 0]) * 16) == Batched(OTHER, 2, False)


def test_the_next_free_nonce_counts_what_is_pooled():
    p = pool()
    put(p, *(transaction(1, n) for n in (3, 4, 6)), account_nonce=3)
    assert p.next_nonce(address(1), 3) == 5
    assert p.next_nonce(address(9), 2) == 2


def test_a_sender_without_transactions_leaves_nothing_behind():
    p = pool()
    t = transaction(1, 0)
    put(p, t)
    take(p, 1)
    p.on_block(0, 1, ordered=[(OWN, 1)], finished=[t.id], next_nonces={address(1): 1})
    statistics = p.statistics()
    assert statistics.senders_count == statistics.batches_count == 0
    assert statistics.held_bytes == statistics.batched_count == statistics.ready_bytes == 0
    assert (statistics.admitted_count, statistics.executed_count) == (1, 1)


def test_a_long_queue_serves_a_new_sender_before_the_second_of_a_busy_one():
    p = pool()
    put(p, *(transaction(1, n) for n in range(60)), now_ns=1)
    put(p, transaction(2, 0), now_ns=2)
    taken = take(p, 1, now_ns=3, count_max=3)
    assert [t.sender for t in taken] == [address(1), address(2), address(1)]


def test_whoever_is_in_turn_waits_longest_even_after_turns_were_taken():
    p = pool()
    put(p, transaction(1, 0), transaction(1, 1), now_ns=5)
    put(p, transaction(2, 0), now_ns=100)
    assert [t.sender for t in take(p, 1, now_ns=200, count_max=1)] == [address(1)]
    assert p.waiting_since_ns == 100
    assert [t.sender for t in take(p, 2, now_ns=200, count_max=1)] == [address(2)]
    assert p.waiting_since_ns == 100


def test_a_gap_makes_all_behind_it_unready_in_the_counts_too():
    p = pool()
    put(p, *(transaction(1, n, last_valid_height=5 + n) for n in range(4)))
    assert p.ready_count == 4
    p.expire(6)
    assert p.ready_count == p.ready_bytes == 0
    assert len(p) == 2


def test_the_balance_is_read_at_admission_only():
    p = pool()
    t = transaction(1, 0, fee_limit=10)
    p.admit(0, t, (0, 10), 0)
    p.verified(0, t, True)
    p.admit(0, transaction(1, 1), (0, RICH), 0)
    assert len(p) == 1
