"""Check: a verdict depends on the payload alone, and waits for what is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from p2pnode import codec, crypto
from p2pnode.consensus.bodies import OFFERED_MAX
from p2pnode.consensus.judge import CHECKS_MAX, RECHECK_NS_MAX, TIME_AHEAD_MS
from p2pnode.sync.fetcher import PAYLOAD, STATEMENT
from p2pnode.types.chain import Chain
from p2pnode.types.effects import Penalize, Put, Write
from p2pnode.types.genesis import genesis_hash
from p2pnode.types.messages import (
    encode_list,
)
from p2pnode.types.payload import (
    EVIDENCE_MAX,
    digest_of,
)
from p2pnode.types.statement import Statement
from p2pnode.types.statement import digest_of as statement_digest
from tests.spine import (
    MS,
    START_MS,
    batch_certificate,
    evidence,
    make_blocks,
    make_payload,
    peer,
    result_certificate,
)
from tests.unit.consensus.ordering_bench import (
    CHAIN,
    LONG,
    At,
    reason_of,
)


def test_a_good_payload_is_accepted() -> None:
    at = At()
    items = at.knows(batch_certificate(CHAIN), result_certificate(CHAIN, 1), evidence(CHAIN))
    at.check(make_payload(CHAIN, 1, None, items))
    assert at.verdicts() == [True]
    assert at.bench.emitted("payload_refused") == []
    assert at.ordering.statistics().checks_open == 0


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "chain": ({"chain": bytes(32)}, "it is of another chain"),
    "epoch": ({"epoch": 1}, "it is of epoch 1, not 0"),
    "height": ({"height": 2}, "its height is 2, its place is 1"),
    "no height": ({"height": None}, "its height is None, its place is 1"),
    "parent": ({"parent": bytes(32)}, "its parent is not the payload it was proposed on"),
    "no parent": ({"parent": None}, "its parent is not the payload it was proposed on"),
    "proposer": ({"proposer": 2}, "it names proposer 2, proposed by 1"),
    "validators": ({"validators_hash": bytes(32)}, "its validators hash is wrong"),
    "next validators": (
        {"next_validators_hash": bytes(32)},
        "its next validators hash is wrong",
    ),
    "twice": ({"items": (bytes(32), bytes(32))}, "it lists a statement twice"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_payload_with_a_fault_is_refused_with_the_reason(name: str) -> None:
    changes, reason = FAULTS[name]
    at = At()
    at.check(make_payload(CHAIN, 1, **changes))
    assert at.verdicts() == [False]
    assert reason_of(at) == reason
    assert at.ordering.statistics().payloads_refused == 1
    assert at.wanted() == [], "statements of a refused payload are not fetched"


def pair(first: Statement, second: Statement) -> tuple[Statement, Statement]:
    return first, second


ITEM_FAULTS: dict[str, tuple[tuple[Statement, ...], int, str]] = {
    "two batches": (
        pair(batch_certificate(LONG), batch_certificate(LONG, collator=1)),
        1,
        "it lists more than one batch of shard 1",
    ),
    "two results": (
        pair(result_certificate(LONG, 1), result_certificate(LONG, 2)),
        3,
        "it lists more than one result of shard 1",
    ),
    "batch too old": (
        (batch_certificate(LONG, epoch=0),),
        1065,
        "a batch certificate of epoch 0 is not admissible there",
    ),
    "result too old": (
        (result_certificate(LONG, 1000),),
        1065,
        "a result certificate of epoch 0 is not admissible there",
    ),
    "batch of the next epoch": (
        (batch_certificate(LONG, epoch=1),),
        999,
        "a batch certificate of epoch 1 is not admissible there",
    ),
}


def at_height(chain: Chain, height: int) -> tuple[At, bytes]:
    """Return an ordering whose next height is `height`, and its head's hash."""
    (head,) = make_blocks(chain, 1, first=height - 1) if height > 1 else (None,)
    at = At(chain, head=head)
    return at, genesis_hash(chain.id) if head is None else head.hash


@pytest.mark.parametrize("name", ITEM_FAULTS)
def test_a_payload_that_lists_what_it_must_not_is_refused_with_the_reason(name: str) -> None:
    statements, height, reason = ITEM_FAULTS[name]
    at, parent = at_height(LONG, height)
    items = at.knows(*statements)
    at.check(make_payload(LONG, height, parent, items), parent=parent, height=height)
    assert at.verdicts() == [False]
    assert reason_of(at) == reason


@pytest.mark.parametrize("height", [1000, 1001, 1064])
def test_certificates_are_admissible_for_64_heights_of_the_next_epoch(height: int) -> None:
    at, parent = at_height(LONG, height)
    items = at.knows(batch_certificate(LONG, epoch=0), result_certificate(LONG, 999))
    payload = make_payload(LONG, height, parent, items, time_ms=START_MS)
    at.check(payload, parent=parent, height=height)
    assert at.verdicts() == [True]


def test_batches_of_different_shards_and_any_evidence_go_together() -> None:
    at = At()
    items = at.knows(
        batch_certificate(CHAIN, uid=1),
        batch_certificate(CHAIN, uid=2),
        result_certificate(CHAIN, 1, uid=0),
        result_certificate(CHAIN, 1, uid=1),
        evidence(CHAIN, 2),
        evidence(CHAIN, 3),
    )
    at.check(make_payload(CHAIN, 1, None, items))
    assert at.verdicts() == [True]


@pytest.mark.parametrize(("epoch", "fine"), [(0, False), (1, True), (2, True), (3, False)])
def test_evidence_belongs_to_the_payloads_epoch_or_the_one_before(epoch: int, fine: bool) -> None:
    height = CHAIN.first_height(2)
    at, parent = at_height(CHAIN, height)
    raw = (accusation := evidence(CHAIN, epoch=epoch)).encode()
    items = [statement_digest(raw)]
    at.ordering.pool.add(items[0], raw, accusation)
    payload = make_payload(CHAIN, height, parent, items, time_ms=START_MS)
    at.check(payload, parent=parent, height=height)
    assert at.verdicts() == [fine]


def test_a_payload_with_too_much_evidence_is_refused() -> None:
    for count, fine in ((EVIDENCE_MAX, True), (EVIDENCE_MAX + 1, False)):
        at = At()
        items = at.knows(*(evidence(CHAIN, view=v) for v in range(1, count + 1)))
        at.check(make_payload(CHAIN, 1, None, items))
        assert at.verdicts() == [fine]


def test_duplicates_and_stale_items_are_no_reason_to_refuse() -> None:
    at = At()
    first, second = at.knows(*(batch_certificate(CHAIN, sequence=s) for s in (1, 2)))
    block = make_payload(CHAIN, 1, None, [second])
    at.deliver(block)
    for stale in (first, second):
        parent = at.ordering.head
        at.check(make_payload(CHAIN, 2, parent, [stale]), parent=parent, height=2)
    assert at.verdicts() == [True, True]


@pytest.mark.parametrize("body", [b"", b"junk", codec.encode([1]), bytes(5000)])
def test_a_malformed_payload_is_refused(body: bytes) -> None:
    at = At()
    at.ask(digest_of(body))
    at.wanted()
    at.bench.answer(at.open, encode_list([body]))
    if body:
        assert at.verdicts() == [False]
        assert len(at.bench.emitted("payload_refused")) == 1
    else:
        assert at.verdicts() == [], "nothing is no answer"


def test_a_missing_payload_is_fetched_from_its_proposer_and_then_judged() -> None:
    at = At()
    payload = make_payload(CHAIN, 1, proposer=2)
    digest = digest_of(payload.encode())
    at.ask(digest, proposer=2)
    assert at.verdicts() == []
    assert at.wanted() == [(peer(2), [PAYLOAD + digest])]
    at.bench.answer(at.open, encode_list([payload.encode()]))
    assert at.verdicts() == [True]


def test_other_bytes_than_those_asked_for_cost_the_sender_and_answer_nothing() -> None:
    at = At()
    at.ask(digest_of(make_payload(CHAIN, 1).encode()))
    at.wanted()
    at.bench.answer(at.open, encode_list([make_payload(CHAIN, 1, time_ms=1).encode()]))
    assert [p.peer for p in at.bench.take(Penalize)] == [peer(1)]
    assert at.verdicts() == []


def test_missing_statements_are_fetched_verified_and_then_the_payload_is_judged() -> None:
    at = At()
    certificate = batch_certificate(CHAIN).encode()
    digest = statement_digest(certificate)
    at.check(make_payload(CHAIN, 1, None, [digest]))
    assert at.verdicts() == []
    assert at.wanted() == [(peer(1), [STATEMENT + digest])]
    at.bench.answer(at.open, encode_list([certificate]))
    assert at.verdicts() == [True]
    assert at.bench.verified_count == 4


def test_a_statement_that_proves_nothing_is_never_counted() -> None:
    at = At()
    forged = replace(batch_certificate(CHAIN), header_signature=bytes(64)).encode()
    at.check(make_payload(CHAIN, 1, None, [statement_digest(forged)]))
    at.wanted()
    at.bench.answer(at.open, encode_list([forged]))
    assert at.verdicts() == [], "pending is not no"
    assert [(p.peer, p.points) for p in at.bench.take(Penalize)] == [(peer(1), 50.0)]
    assert at.ordering.pool.get(statement_digest(forged)) is None


def test_a_statement_that_arrives_by_itself_completes_the_judgement() -> None:
    at = At()
    certificate = batch_certificate(CHAIN)
    at.check(make_payload(CHAIN, 1, None, [statement_digest(certificate.encode())]))
    at.knows(certificate)
    assert at.verdicts() == [True]


def test_the_body_is_stored_before_the_answer() -> None:
    at = At()
    payload = make_payload(CHAIN, 1)
    digest = at.check(payload)
    at.bench.settle()
    writes = [w for e in at.bench.out if isinstance(e, Put) for w in e.writes]
    assert Write("bodies", digest, payload.encode()) in writes
    assert at.verdicts() == [True]


def test_time_ahead_of_the_clock_delays_the_answer_and_never_makes_it_no() -> None:
    at = At()
    ahead = make_payload(CHAIN, 1, time_ms=START_MS + TIME_AHEAD_MS + 300)
    at.check(ahead)
    assert at.verdicts() == []
    assert at.timers()["ordering", "recheck"] == at.bench.desk.now_ns + 300 * MS
    at.bench.pass_ns(299 * MS)
    at.ordering.timer("recheck")
    assert at.verdicts() == []
    at.bench.pass_ns(1 * MS)
    at.ordering.timer("recheck")
    assert at.verdicts() == [True]


def test_a_payload_from_the_far_future_does_not_delay_one_that_is_a_little_ahead() -> None:
    at = At()
    at.check(make_payload(CHAIN, 1, time_ms=START_MS + 10**9))
    soon = make_payload(CHAIN, 1, proposer=2, time_ms=START_MS + TIME_AHEAD_MS + 300)
    at.check(soon, proposer=2)
    due_ns = at.timers()["ordering", "recheck"]
    assert due_ns - at.bench.desk.now_ns <= min(300 * MS, RECHECK_NS_MAX)
    at.bench.pass_ns(300 * MS)
    at.ordering.timer("recheck")
    assert at.verdicts() == [True]


@pytest.mark.parametrize("ahead_ms", [-(10**6), 0, TIME_AHEAD_MS])
def test_time_behind_or_a_little_ahead_is_accepted_at_once(ahead_ms: int) -> None:
    at = At()
    at.check(make_payload(CHAIN, 1, time_ms=START_MS + ahead_ms))
    assert at.verdicts() == [True]


def test_payloads_under_judgement_are_bounded() -> None:
    at = At()
    for number in range(CHECKS_MAX + 10):
        at.ask(crypto.sha256(bytes([number])))
    assert at.ordering.statistics().checks_open == CHECKS_MAX


def test_bodies_that_nobody_asked_about_take_no_room_on_disk_and_little_in_memory() -> None:
    at = At()
    at.bench.take(Put)
    bodies = [make_payload(CHAIN, 1, time_ms=START_MS + n).encode() for n in range(30)]
    for body in bodies:
        at.ordering.payload_from(peer(1), body)
        at.ordering.payload_from(b"stranger", body)
    assert at.bench.take(Put) == []
    assert at.sink.payloads == []
    at.ask(digest_of(bodies[29]))
    assert at.verdicts() == [True]
    at.ask(digest_of(bodies[29 - OFFERED_MAX]))
    assert at.verdicts() == [True], "forgotten, so it is fetched"
    assert len(at.wanted()) == 1


def test_a_strangers_payload_is_not_even_put_aside() -> None:
    at = At()
    body = make_payload(CHAIN, 1).encode()
    at.ordering.payload_from(b"stranger", body)
    at.ask(digest_of(body))
    assert at.verdicts() == []
    assert at.wanted() == [(peer(1), [PAYLOAD + digest_of(body)])]


def test_a_question_that_a_final_height_answers_is_dropped() -> None:
    at = At()
    at.ask(bytes(32))
    assert at.ordering.statistics().checks_open == 1
    at.deliver(make_payload(CHAIN, 1))
    assert at.ordering.statistics().checks_open == 0
