"""The pool of statements: what a proposer lists, what ordering makes pointless, what is kept."""

from __future__ import annotations

import pytest

from p2pnode.consensus import statements
from p2pnode.consensus.statements import RETAINED_HEIGHTS, StatementPool, outboxes_before
from p2pnode.types.payload import EVIDENCE_MAX
from p2pnode.types.statement import Evidence, Statement, digest_of
from tests.spine import (
    FEES,
    batch_certificate,
    evidence,
    make_chain,
    result,
    result_certificate,
)

CHAIN = make_chain()
LONG = make_chain(epoch_blocks=1000)


def add(pool: StatementPool, statement: Statement) -> bytes:
    raw = statement.encode()
    pool.add(digest_of(raw), raw, statement)
    return digest_of(raw)


def cheap_evidence(number: int) -> Evidence:
    """Return evidence whose signatures nobody checks."""
    return Evidence(0, 3, "engine/toy/1", b"a", bytes(64), number.to_bytes(4, "big"), bytes(64))


def test_a_statement_is_new_once() -> None:
    pool, statement = StatementPool(CHAIN), evidence(CHAIN)
    raw = statement.encode()
    assert pool.add(digest_of(raw), raw, statement)
    assert not pool.add(digest_of(raw), raw, statement)
    assert pool.get(digest_of(raw)) == statement
    assert pool.raw(digest_of(raw)) == raw
    assert pool.waiting_count() == 1


def test_a_payload_lists_one_batch_and_one_result_of_each_shard_and_all_evidence() -> None:
    pool = StatementPool(CHAIN)
    kept = [
        add(pool, batch_certificate(CHAIN, uid=1, collator=0)),
        add(pool, batch_certificate(CHAIN, uid=2, collator=0)),
        add(pool, result_certificate(CHAIN, 3, uid=1)),
        add(pool, result_certificate(CHAIN, 4, uid=0)),
        add(pool, evidence(CHAIN, 3)),
        add(pool, evidence(CHAIN, 2)),
    ]
    add(pool, batch_certificate(CHAIN, uid=1, collator=1))
    add(pool, result_certificate(CHAIN, 2, uid=1))
    assert sorted(pool.choose(5, ())) == sorted(kept)


def test_the_certificate_that_waits_longest_comes_first() -> None:
    pool = StatementPool(CHAIN)
    first = add(pool, batch_certificate(CHAIN, collator=2))
    add(pool, batch_certificate(CHAIN, collator=0))
    assert pool.choose(1, ()) == (first,)


def test_a_feed_is_listed_in_the_order_of_its_sequences() -> None:
    pool = StatementPool(CHAIN)
    digests = {s: add(pool, batch_certificate(CHAIN, sequence=s)) for s in (3, 1, 2)}
    for height, sequence in ((1, 1), (2, 2), (3, 3)):
        assert pool.choose(height, ()) == (digests[sequence],)
        pool.ordered(height, (digests[sequence],))
    assert pool.choose(4, ()) == ()
    assert not pool.has_waiting()
    assert pool.feed_sequence(1, CHAIN.genesis.validators[0].public_key) == 3


def test_a_batch_that_its_feed_has_passed_is_never_listed() -> None:
    pool = StatementPool(CHAIN)
    late = add(pool, batch_certificate(CHAIN, sequence=1))
    pool.ordered(1, (add(pool, batch_certificate(CHAIN, sequence=2)),))
    assert pool.choose(2, ()) == ()
    assert pool.get(late) is not None, "payloads of others may still list it"
    assert not pool.has_waiting()


def test_what_ancestors_list_is_left_out_and_their_feeds_are_followed() -> None:
    pool = StatementPool(CHAIN)
    first, second = (add(pool, batch_certificate(CHAIN, sequence=s)) for s in (1, 2))
    other = add(pool, batch_certificate(CHAIN, collator=1))
    assert pool.choose(2, {first: None}) == (second,)
    # Were the first one listed after the second, it would be ignored.
    assert pool.choose(3, {second: None}) == (other,)


def test_a_result_certifies_every_height_below_so_the_highest_is_listed() -> None:
    pool = StatementPool(CHAIN)
    add(pool, result_certificate(CHAIN, 2))
    highest = add(pool, result_certificate(CHAIN, 5))
    add(pool, result_certificate(CHAIN, 4))
    assert pool.choose(6, ()) == (highest,)


def test_no_outbox_is_passed_over() -> None:
    pool = StatementPool(CHAIN)
    second = add(pool, result_certificate(CHAIN, 5, outboxes=1, receipts=FEES))
    after = add(pool, result_certificate(CHAIN, 6, outboxes=2))
    assert pool.choose(7, ()) == ()
    first = add(pool, result_certificate(CHAIN, 4, outboxes=0, receipts=FEES))
    assert pool.choose(7, ()) == (first,)
    assert pool.choose(8, {first: None}) == (second,)
    assert pool.choose(9, {first: None, second: None}) == (after,)
    pool.ordered(7, (first,))
    assert pool.choose(8, ()) == (second,)
    pool.ordered(8, (second,))
    assert pool.choose(9, ()) == (after,)


def test_a_result_with_an_outbox_goes_before_a_later_one_without() -> None:
    pool = StatementPool(CHAIN)
    outbox = add(pool, result_certificate(CHAIN, 4, outboxes=0, receipts=FEES))
    add(pool, result_certificate(CHAIN, 6, outboxes=1))
    add(pool, result_certificate(CHAIN, 3, outboxes=0))
    assert pool.choose(7, ()) == (outbox,)


def test_an_outbox_is_never_stale_before_it_is_ordered() -> None:
    pool = StatementPool(CHAIN)
    pool.ordered(8, (add(pool, result_certificate(CHAIN, 7)),))
    late = add(pool, result_certificate(CHAIN, 6, outboxes=0, receipts=FEES))
    assert pool.choose(9, ()) == (late,)
    pool.ordered(9, (late,))
    again = add(pool, result_certificate(CHAIN, 6, receipts=FEES, signers=(1, 2, 3)))
    assert again not in pool.choose(10, ())
    assert not pool.has_waiting()


def test_a_result_that_a_later_one_covers_is_stale() -> None:
    pool = StatementPool(CHAIN)
    low = add(pool, result_certificate(CHAIN, 2))
    pool.ordered(6, (add(pool, result_certificate(CHAIN, 5)),))
    assert pool.certified_height(1) == 5
    assert pool.choose(7, ()) == ()
    assert not pool.has_waiting()
    assert pool.get(low) is not None


@pytest.mark.parametrize(
    ("height", "listed"), [(1000, True), (1001, True), (1064, True), (1065, False), (2001, False)]
)
def test_certificates_of_an_epoch_are_listed_for_64_heights_of_the_next(
    height: int, listed: bool
) -> None:
    pool = StatementPool(LONG)
    digests = {
        add(pool, batch_certificate(LONG, epoch=0)),
        add(pool, result_certificate(LONG, 999)),
    }
    assert set(pool.choose(height, ())) == (digests if listed else set())


def test_a_certificate_is_dropped_with_the_last_height_that_could_list_it() -> None:
    pool = StatementPool(LONG)
    add(pool, batch_certificate(LONG, epoch=0))
    pool.ordered(1063, ())
    assert pool.has_waiting()
    pool.ordered(1064, ())
    assert not pool.has_waiting()


def test_a_certificate_of_the_next_epoch_waits_for_it() -> None:
    # Its collator executed the epoch's last height before this node did.
    pool = StatementPool(LONG)
    early = add(pool, batch_certificate(LONG, epoch=1))
    pool.ordered(998, ())
    assert pool.choose(999, ()) == ()
    assert pool.choose(1001, ()) == (early,)


def test_evidence_waits_until_it_is_ordered() -> None:
    pool = StatementPool(CHAIN)
    digest = add(pool, evidence(CHAIN))
    pool.ordered(CHAIN.last_height(0), ())
    assert pool.choose(CHAIN.last_height(0) + 1, ()) == (digest,)
    pool.ordered(CHAIN.last_height(0) + 1, (digest,))
    assert pool.choose(CHAIN.last_height(0) + 2, ()) == ()


def test_evidence_is_worth_nothing_two_epochs_later() -> None:
    pool = StatementPool(CHAIN)
    digest = add(pool, evidence(CHAIN))
    pool.ordered(CHAIN.last_height(1) - 1, ())
    assert pool.choose(CHAIN.last_height(1), ()) == (digest,)
    pool.ordered(CHAIN.last_height(1), ())
    assert not pool.has_waiting()
    assert pool.choose(CHAIN.last_height(1) + 1, ()) == ()


def test_a_payload_lists_no_more_than_8_pieces_of_evidence() -> None:
    pool = StatementPool(CHAIN)
    batch = add(pool, batch_certificate(CHAIN))
    for number in range(EVIDENCE_MAX + 5):
        add(pool, cheap_evidence(number))
    chosen = pool.choose(1, ())
    assert len(chosen) == 1 + EVIDENCE_MAX
    assert chosen[0] == batch


def test_ordered_statements_stay_for_payloads_that_list_them_again() -> None:
    pool = StatementPool(CHAIN)
    digest = add(pool, batch_certificate(CHAIN))
    pool.ordered(7, (digest,))
    pool.ordered(7 + RETAINED_HEIGHTS - 1, (digest,))
    assert pool.get(digest) is not None
    pool.ordered(7 + RETAINED_HEIGHTS, ())
    assert pool.get(digest) is None
    assert pool.raw(digest) is None


def test_dropped_statements_are_forgotten_in_time() -> None:
    pool = StatementPool(CHAIN)
    low, stale = (add(pool, batch_certificate(CHAIN, sequence=s)) for s in (1, 2))
    pool.ordered(10, (add(pool, batch_certificate(CHAIN, sequence=3)),))
    after = add(pool, batch_certificate(CHAIN, sequence=2, signers=(1, 2, 3)))
    assert pool.get(after) is not None
    pool.ordered(10 + RETAINED_HEIGHTS, ())
    assert [pool.get(d) for d in (low, stale, after)] == [None, None, None]


def test_a_full_pool_takes_only_what_a_payload_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "WAITING_MAX", 3)
    pool = StatementPool(CHAIN)
    for number in range(3):
        add(pool, cheap_evidence(number))
    certificate = batch_certificate(CHAIN)
    raw = certificate.encode()
    assert not pool.add(digest_of(raw), raw, certificate)
    assert pool.get(digest_of(raw)) is None
    # A block that lists it would stand still for ever, were it dropped again.
    assert not pool.add(digest_of(raw), raw, certificate, listed=True)
    assert pool.get(digest_of(raw)) == certificate
    assert pool.waiting_count() == 3
    pool.ordered(1, (digest_of(raw),))
    assert pool.feed_sequence(1, CHAIN.genesis.validators[0].public_key) == 1


def test_only_batches_of_the_shard_that_nobody_listed_are_counted() -> None:
    pool = StatementPool(CHAIN)
    listed = add(pool, batch_certificate(CHAIN, sequence=1))
    add(pool, batch_certificate(CHAIN, sequence=2))
    add(pool, batch_certificate(CHAIN, uid=2))
    add(pool, result_certificate(CHAIN, 3))
    assert pool.unordered_batches(1, ()) == 2
    assert pool.unordered_batches(1, {listed: None}) == 1


def test_what_was_ordered_before_a_restart_is_known_by_its_marks() -> None:
    pool = StatementPool(CHAIN)
    pool.restore_feed(1, CHAIN.genesis.validators[0].public_key, 4)
    pool.restore_results(1, 9, 1)
    add(pool, batch_certificate(CHAIN, sequence=4))
    add(pool, result_certificate(CHAIN, 8, outboxes=0, receipts=FEES))
    add(pool, result_certificate(CHAIN, 9, outboxes=1))
    assert not pool.has_waiting()
    fresh = [
        add(pool, batch_certificate(CHAIN, sequence=5)),
        add(pool, result_certificate(CHAIN, 11, outboxes=1)),
    ]
    assert list(pool.choose(12, ())) == fresh


def test_outboxes_are_numbered_by_the_last_counter() -> None:
    assert outboxes_before(result(CHAIN, 1, outboxes=7)) == 7
