"""The validator's side: what is refused, what is stored, for how long, and who is accused."""

from __future__ import annotations

import dataclasses

import pytest

from p2pnode import crypto
from p2pnode.availability.certificate import ForeignChainError, batch_evidence_claims
from p2pnode.availability.custody import (
    Accepted,
    BatchTooLargeError,
    Custody,
    CustodyConfig,
    EpochError,
    Equivocated,
    FeedFullError,
    NotExecutorError,
    SequenceTakenError,
    StaleSequenceError,
)
from p2pnode.availability.usable import VoidBatchError
from p2pnode.types.genesis import Parameters
from tests.unit.availability.helpers import (
    CHAIN,
    KEYS,
    RAWS,
    SCHEME,
    batch,
    sign_header,
    validators,
)

S = 1_000_000_000
EXECUTORS = {1: [key.public for key in KEYS[:4]]}
SET = validators(1, 1, 1, 1)


def custody(**changes: int) -> Custody:
    config = dataclasses.replace(CustodyConfig.of(CHAIN, Parameters()), **changes)
    c = Custody(config, SCHEME)
    c.enter_epoch(3, EXECUTORS, SET, start_height=100)
    return c


def accept(c: Custody, header, data, *, now_ns: int = 0, height: int = 100):
    return c.accept(now_ns, header, sign_header(header), data, height)


def test_a_good_batch_is_to_be_stored_and_signed_for():
    c = custody()
    header, data = batch()
    c.screen(0, header, 100)
    assert accept(c, header, data) == Accepted(header.digest(), tuple(RAWS), 3, "stored")
    assert header.digest() in c
    assert c.statistics().unordered_count == 1


def test_a_batch_offered_again_is_answered_again_and_counted_once():
    c = custody()
    header, data = batch()
    first = accept(c, header, data)
    assert accept(c, header, data) == first
    assert c.statistics().batches_count == c.statistics().accepted_count == 1


def test_the_answer_given_is_remembered():
    c = custody()
    header, data = batch()
    assert c.answer_for(header.digest()) is None
    accept(c, header, data)
    assert c.answer_for(header.digest()) is None
    c.signed(header.digest(), b"s" * 64)
    assert c.answer_for(header.digest()) == b"s" * 64
    c.signed(bytes(32), b"s" * 64)
    assert c.answer_for(bytes(32)) is None


def test_another_chain_is_refused():
    with pytest.raises(ForeignChainError):
        custody().screen(0, batch(chain=bytes(32))[0], 100)


@pytest.mark.parametrize("epoch", [2, 4])
def test_an_epoch_this_node_does_not_collate_for_is_refused_without_penalty(epoch):
    with pytest.raises(EpochError) as caught:
        custody().screen(0, batch(epoch=epoch)[0], 100)
    assert (caught.value.epoch, caught.value.current) == (epoch, 3)
    assert caught.value.penalty == 0


def test_batches_of_the_epoch_before_are_accepted_for_some_heights():
    c = custody(epoch_overlap_heights=10)
    c.enter_epoch(4, EXECUTORS, SET, start_height=200)
    header, _ = batch()
    c.screen(0, header, 210)
    with pytest.raises(EpochError):
        c.screen(0, header, 211)
    c.enter_epoch(5, EXECUTORS, SET, start_height=300)
    with pytest.raises(EpochError):
        c.screen(0, header, 300)


def test_a_foreseen_epoch_is_accepted_and_no_later_one():
    c = custody()
    c.foresee_epoch(4, EXECUTORS, SET, start_height=200)
    c.foresee_epoch(5, EXECUTORS, SET, start_height=300)
    c.screen(0, batch(epoch=4)[0], 199)
    c.screen(0, batch(epoch=3)[0], 199)
    with pytest.raises(EpochError):
        c.screen(0, batch(epoch=5)[0], 199)


def test_nothing_is_accepted_before_the_first_epoch():
    c = Custody(CustodyConfig.of(CHAIN, Parameters()), SCHEME)
    with pytest.raises(EpochError) as caught:
        c.screen(0, batch()[0], 0)
    assert caught.value.current is None


def test_a_collator_that_is_no_executor_of_the_shard_is_refused():
    with pytest.raises(NotExecutorError) as caught:
        custody().screen(0, batch(collator=4)[0], 100)
    assert (caught.value.collator, caught.value.uid) == (KEYS[4].public, 1)
    with pytest.raises(NotExecutorError):
        custody().screen(0, batch(uid=2)[0], 100)


@pytest.mark.parametrize("change", [{"kind": 3}, {"scheme": "x"}, {"k": 2}, {"row_size": 1}])
def test_a_shape_that_is_not_the_planned_one_is_refused_by_its_header_alone(change):
    with pytest.raises(VoidBatchError):
        custody().screen(0, batch(**change)[0], 100)


def test_more_bytes_than_a_collator_may_pack_are_refused():
    header, data = batch()
    custody(batch_bytes_max=len(data)).screen(0, header, 100)
    with pytest.raises(BatchTooLargeError) as caught:
        custody(batch_bytes_max=len(data) - 1).screen(0, header, 100)
    assert (caught.value.size, caught.value.size_max) == (len(data), len(data) - 1)
    assert "bytes" in str(caught.value)


def test_more_transactions_than_a_collator_may_pack_are_refused():
    header, data = batch()
    with pytest.raises(BatchTooLargeError, match="5 transactions, at most 4"):
        accept(custody(batch_transactions_max=4), header, data)


def test_data_that_is_not_what_the_header_says_is_not_stored():
    c = custody()
    header, data = batch()
    with pytest.raises(VoidBatchError):
        accept(c, header, data[:-1] + b"x")
    assert header.digest() not in c
    assert c.statistics().feeds_count == 0


def test_sequence_zero_is_refused():
    with pytest.raises(StaleSequenceError):
        custody().screen(0, batch(sequence=0)[0], 100)


def test_a_sequence_that_its_feed_passed_is_stale():
    c = custody()
    c.ordered(101, 1, KEYS[0].public, 5)
    for sequence in (4, 5):
        with pytest.raises(StaleSequenceError) as caught:
            c.screen(0, batch(sequence=sequence)[0], 101)
        assert (caught.value.sequence, caught.value.ordered) == (sequence, 5)
    c.screen(0, batch(sequence=6)[0], 101)
    c.screen(0, batch(sequence=1, collator=1)[0], 101)


def test_a_feed_holds_two_unordered_batches_and_two_more_for_slack():
    c = custody()
    for sequence in range(1, 5):
        accept(c, *batch(sequence=sequence))
    with pytest.raises(FeedFullError) as caught:
        c.screen(0, batch(sequence=5)[0], 100)
    assert (caught.value.held, caught.value.held_max) == (4, 4)
    assert caught.value.penalty == 0
    c.screen(0, batch(sequence=1, collator=1)[0], 100)
    c.screen(0, batch(sequence=4)[0], 100)
    c.ordered(101, 1, KEYS[0].public, 1)
    accept(c, *batch(sequence=5))


def test_a_feed_holds_so_many_unordered_bytes():
    header, data = batch()
    c = custody(feed_bytes_max=2 * len(data))
    accept(c, header, data)
    accept(c, *batch(sequence=2))
    with pytest.raises(FeedFullError, match=f"{2 * len(data)} unordered bytes") as caught:
        c.screen(0, batch(sequence=3)[0], 100)
    assert (caught.value.held, caught.value.held_max) == (2 * len(data), 2 * len(data))


def test_batches_nobody_orders_do_not_close_a_feed_for_ever():
    c = custody(feed_forget_ns=30 * S)
    for sequence in range(1, 5):
        accept(c, *batch(sequence=sequence))
    with pytest.raises(FeedFullError):
        c.screen(30 * S - 1, batch(sequence=5)[0], 100)
    accept(c, *batch(sequence=5), now_ns=30 * S)
    assert c.statistics().unordered_count == 5


def test_batches_nobody_orders_are_kept_until_no_payload_can_list_them():
    c = custody(feed_forget_ns=1)
    digests = []
    for sequence in range(1, 100):
        header, data = batch(sequence=sequence)
        digests.append(header.digest())
        accept(c, header, data, now_ns=sequence * 10)
    assert c.prune(199) == []
    c.enter_epoch(4, EXECUTORS, SET, start_height=200)
    assert c.prune(200 + 63) == []
    assert c.prune(200 + 64) == digests
    assert c.prune(200 + 64) == []
    assert c.statistics().batches_count == 0


def test_the_feed_is_checked_again_when_the_signature_was():
    c = custody()
    header, data = batch()
    c.screen(0, header, 100)
    c.ordered(101, 1, KEYS[0].public, 1)
    with pytest.raises(StaleSequenceError):
        accept(c, header, data)


def test_two_headers_of_one_sequence_are_evidence_that_holds():
    c = custody()
    header, data = batch()
    other, other_data = batch([b"other"])
    accept(c, header, data)
    c.screen(0, other, 100)
    outcome = accept(c, other, other_data)
    assert isinstance(outcome, Equivocated)
    claims = batch_evidence_claims(outcome.evidence, SET, CHAIN)
    assert all(crypto.verify(*claim) for claim in claims)
    assert outcome.evidence.signer == 0
    assert other.digest() not in c
    assert c.statistics().equivocations_count == 1


def test_evidence_is_the_same_whichever_header_came_first():
    (a, a_data), (b, b_data) = batch(), batch([b"other"])
    found = []
    for first, first_data, second, second_data in (
        (a, a_data, b, b_data),
        (b, b_data, a, a_data),
    ):
        c = custody()
        accept(c, first, first_data)
        outcome = accept(c, second, second_data)
        assert isinstance(outcome, Equivocated)
        found.append(outcome.evidence.encode())
    assert found[0] == found[1]


def test_an_ordered_batch_still_convicts_the_second_header_while_it_is_kept():
    c = custody()
    accept(c, *batch())
    c.ordered(101, 1, KEYS[0].public, 1)
    assert isinstance(accept(c, *batch([b"other"])), Equivocated)


def test_two_headers_by_an_executor_that_is_no_validator_are_refused_without_evidence():
    c = Custody(CustodyConfig.of(CHAIN, Parameters()), SCHEME)
    c.enter_epoch(3, {1: [KEYS[4].public]}, SET, start_height=100)
    header, data = batch(collator=4)
    accept(c, header, data)
    with pytest.raises(SequenceTakenError) as caught:
        accept(c, *batch([b"other"], collator=4))
    assert (caught.value.sequence, caught.value.holder) == (1, header.digest())


def test_two_headers_of_two_epochs_are_refused_without_evidence():
    c = custody()
    accept(c, *batch())
    c.enter_epoch(4, EXECUTORS, SET, start_height=110)
    with pytest.raises(SequenceTakenError):
        accept(c, *batch(epoch=4), height=110)


def test_what_was_ordered_is_kept_for_the_retention_and_then_named_once():
    c = custody(retention_heights=10)
    header, data = batch()
    accept(c, header, data)
    assert c.prune(10_000) == []
    c.ordered(101, 1, KEYS[0].public, 1)
    assert c.prune(110) == []
    assert c.prune(111) == [header.digest()]
    assert c.prune(111) == []
    assert header.digest() not in c


def test_what_a_feed_passed_over_is_pruned_like_what_was_ordered():
    c = custody(retention_heights=10)
    (first, first_data), (second, second_data) = batch(sequence=1), batch(sequence=2)
    accept(c, first, first_data)
    accept(c, second, second_data)
    c.ordered(101, 1, KEYS[0].public, 2)
    c.ordered(105, 1, KEYS[0].public, 3)
    assert c.prune(111) == [first.digest(), second.digest()]


def test_a_restored_batch_counts_answers_and_convicts_as_before():
    c = custody()
    header, _ = batch()
    c.restore(0, header, sign_header(header), b"s" * 64, None)
    assert c.answer_for(header.digest()) == b"s" * 64
    assert c.statistics().unordered_count == 1
    assert isinstance(accept(c, *batch([b"other"])), Equivocated)


def test_statistics_add_up():
    c = custody()
    header, data = batch()
    accept(c, header, data)
    accept(c, *batch(collator=1))
    c.ordered(101, 1, KEYS[0].public, 1)
    statistics = c.statistics()
    assert (statistics.feeds_count, statistics.batches_count) == (2, 2)
    assert (statistics.unordered_count, statistics.held_bytes) == (1, 2 * len(data))
