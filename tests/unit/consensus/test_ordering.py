"""The ordering: what is proposed and when, how payloads are judged, how heights become blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from p2pnode import codec, crypto
from p2pnode.consensus.bodies import OFFERED_MAX
from p2pnode.consensus.builder import BUILD_AT_ONCE_CERTIFICATES
from p2pnode.consensus.engine import (
    Behind,
    Build,
    Built,
    Check,
    Checked,
    Deliver,
    Demand,
    Effect,
    EngineParameters,
    Entered,
    Event,
    Fetch,
    Fired,
    Floor,
    Offence,
    Synced,
)
from p2pnode.consensus.judge import CHECKS_MAX, RECHECK_NS_MAX, TIME_AHEAD_MS
from p2pnode.consensus.ordering import Ordering
from p2pnode.sync.fetcher import PAYLOAD, STATEMENT, Fetcher
from p2pnode.types import effects as fx
from p2pnode.types.chain import Chain
from p2pnode.types.effects import Lane, Penalize, Put, Request, Write
from p2pnode.types.genesis import genesis_hash
from p2pnode.types.messages import (
    Statements,
    decode_frame,
    decode_list,
    encode_list,
    join_frame,
)
from p2pnode.types.payload import (
    EVIDENCE_MAX,
    Block,
    Payload,
    decode_block,
    decode_payload,
    digest_of,
)
from p2pnode.types.statement import Evidence, Statement
from p2pnode.types.statement import digest_of as statement_digest
from tests.spine import (
    FEES,
    KEYS,
    MS,
    START_MS,
    Bench,
    S,
    ToyEngine,
    batch_certificate,
    evidence,
    make_blocks,
    make_chain,
    make_payload,
    peer,
    result,
    result_certificate,
    signature,
    toy,
    toy_body,
    toy_proof,
    toy_vote,
)

CHAIN = make_chain()
LONG = make_chain(epoch_blocks=1000)
GENESIS = genesis_hash(CHAIN.id)
INTERVAL_NS = 200 * MS
HEARTBEAT_NS = 10 * S
OTHERS = (peer(1), peer(2), peer(3))


class Sink:
    """Who takes blocks: writes everything down."""

    def __init__(self) -> None:
        self.blocks: list[tuple[Block, tuple[Statement, ...]]] = []
        self.statements: list[Statement] = []
        self.payloads: list[Payload] = []
        self.levels: list[int] = []
        self.late: list[tuple[int, tuple[int, ...]]] = []
        self.expected = False

    def block(self, block: Block, statements: tuple[Statement, ...]) -> None:
        self.blocks.append((block, statements))

    def statement(self, statement: Statement) -> None:
        self.statements.append(statement)

    def proposed(self, payload: Payload) -> None:
        self.payloads.append(payload)

    def batch_expected(self) -> bool:
        return self.expected

    def synced(self, height: int) -> None:
        self.levels.append(height)

    def behind(self, height_at_least: int, hints: Sequence[int]) -> None:
        self.late.append((height_at_least, tuple(hints)))


class At:
    """An ordering with an engine that does what a test says."""

    def __init__(self, chain: Chain = CHAIN, me: int | None = 0, head: Block | None = None) -> None:
        self.chain = chain
        self.bench = Bench(chain, me or 0)
        self.sink = Sink()
        self.fetcher = Fetcher(self.bench.desk)
        self.todo: list[Effect] = []

        def script(engine: ToyEngine, event: Event) -> list[Effect]:
            return self.todo if isinstance(event, Fired) else []

        self.engine_type = toy(script)
        self.ordering = Ordering(
            chain,
            self.engine_type,
            EngineParameters(),
            me,
            self.bench.desk,
            self.fetcher,
            self.sink,
        )
        floor = Floor(0, genesis_hash(chain.id), b"")
        if head is not None:
            floor = Floor(head.height, head.hash, head.proof)
        self.ordering.start(head, floor, ())
        for other in OTHERS:
            self.fetcher.connected(other)
        self.bench.settle()

    @property
    def engine(self) -> ToyEngine:
        return self.engine_type.lives[-1]

    def engine_does(self, *effects: Effect) -> None:
        self.todo = list(effects)
        self.ordering.host.fired(self.ordering.host.epoch.number, "test")
        self.bench.settle()

    def told(self, kind: type[Event]) -> list[Any]:
        self.bench.settle()
        return [event for event in self.engine.events if isinstance(event, kind)]

    def knows(self, *statements: Statement) -> list[bytes]:
        """Have peers send statements; return their digests."""
        raws = [statement.encode() for statement in statements]
        for raw in raws:
            self.ordering.statement_from(peer(1), raw)
        self.bench.settle()
        return [statement_digest(raw) for raw in raws]

    def check(self, payload: Payload, **changes: Any) -> bytes:
        """Have the engine ask about a payload that came beside its proposal."""
        body = payload.encode()
        self.ordering.payload_from(peer(1), body)
        self.ask(digest_of(body), **changes)
        return digest_of(body)

    def ask(self, digest: bytes, **changes: Any) -> None:
        question = Check("ctx", digest, genesis_hash(self.chain.id), 1, 1)
        self.engine_does(replace(question, **changes))

    def verdicts(self) -> list[bool]:
        return [event.ok for event in self.told(Checked)]

    def wanted(self) -> list[tuple[bytes, list[bytes]]]:
        """Return (peer, names) of the requests that left."""
        found = []
        for request in self.bench.take(Request):
            names = decode_list(request.body, size_bytes_max=8192, count_max=64, item_bytes_max=33)
            found.append((request.peer, list(names)))
            self.open = request
        return found

    def timers(self) -> dict[object, int]:
        self.bench.settle()
        return {e.key: e.at_ns for e in self.bench.out if isinstance(e, fx.ArmTimer)}

    def deliver(self, payload: Payload, *, view: int = 1, bodies: bool = True) -> None:
        body = payload.encode()
        if bodies:
            self.ordering.payload_from(peer(1), body)
        digest, height = digest_of(body), payload.height
        assert height is not None
        proof = toy_proof(self.chain, height, digest)
        self.engine_does(Deliver(height, (digest,), digest, payload.proposer, (view,), proof))


def reason_of(at: At) -> object:
    (data,) = at.bench.emitted("payload_refused")
    return data["reason"]


# --- Check ----------------------------------------------------------------------------------------


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


# --- statements -----------------------------------------------------------------------------------


def test_a_statement_counts_once_its_signatures_are_verified() -> None:
    at = At()
    certificate = batch_certificate(CHAIN)
    raw = certificate.encode()
    at.ordering.statement_from(peer(1), raw)
    at.ordering.statement_from(peer(2), raw)
    assert at.sink.statements == [], "not before"
    at.bench.settle()
    assert at.bench.verified_count == 4, "and only once"
    assert at.sink.statements == [certificate]
    writes = [w for put in at.bench.take(Put) for w in put.writes]
    assert writes == [Write("statements", statement_digest(raw), raw)]
    at.ordering.statement_from(peer(3), raw)
    at.bench.settle()
    assert at.bench.verified_count == 4


def conflicting_results(chain: Chain) -> Evidence:
    a, b = (result(chain, 4, root=bytes([n]) * 32).encode() for n in (1, 2))
    signed = [signature(chain, 3, "result", 0, body) for body in (a, b)]
    return Evidence(0, 3, "result", a, signed[0], b, signed[1])


def test_evidence_of_every_kind_is_taken() -> None:
    at = At()
    at.knows(evidence(CHAIN), conflicting_results(CHAIN))
    assert len(at.sink.statements) == 2
    assert at.bench.take(Penalize) == []


SAME_VIEW = evidence(CHAIN)
BAD_STATEMENTS: dict[str, bytes] = {
    "junk": b"junk",
    "too few signers": batch_certificate(CHAIN, signers=(0, 1)).encode(),
    "too many signers": batch_certificate(CHAIN, signers=(0, 1, 2, 3)).encode(),
    "too few executors": result_certificate(CHAIN, 1, signers=(1, 2)).encode(),
    "another chain": batch_certificate(LONG).encode(),
    "another's outbox": replace(result_certificate(CHAIN, 1, receipts=FEES), outbox=b"").encode(),
    "one body twice": replace(
        SAME_VIEW, body_b=SAME_VIEW.body_a, signature_b=SAME_VIEW.signature_a
    ).encode(),
    "no conflict": replace(SAME_VIEW, body_b=toy_body(2, b"b")).encode(),
    "nobody's signature": replace(SAME_VIEW, signature_b=bytes(64)).encode(),
    "unknown signer": replace(SAME_VIEW, signer=9).encode(),
    "a receipt": replace(SAME_VIEW, signing_kind="stored").encode(),
    "another epoch's votes": replace(SAME_VIEW, epoch=1).encode(),
    "results of two heights": replace(
        conflicting_results(CHAIN), body_b=result(CHAIN, 5).encode()
    ).encode(),
}


@pytest.mark.parametrize("name", BAD_STATEMENTS)
def test_a_statement_that_is_none_costs_its_sender(name: str) -> None:
    at = At()
    at.ordering.statement_from(peer(2), BAD_STATEMENTS[name])
    assert [p.peer for p in at.bench.take(Penalize)] == [peer(2)]
    assert at.sink.statements == []
    assert at.ordering.statistics().statements_waiting == 0


def test_our_own_statements_go_to_all_other_validators() -> None:
    at = At()
    certificate = batch_certificate(CHAIN)
    at.ordering.own_statement(certificate)
    (sent,) = at.bench.take(fx.SendTo)
    assert (sent.peers, sent.lane) == (OTHERS, Lane.PROPOSAL)
    assert decode_frame(join_frame([sent.message])) == [Statements((certificate.encode(),))]
    assert at.bench.verified_count == 0
    assert at.sink.statements == [certificate]


def test_a_double_sign_becomes_evidence_for_everyone() -> None:
    at = At()
    a, b = (toy_vote(CHAIN, 3, 1, value) for value in (b"a", b"b"))
    at.engine_does(Offence(3, a, b))
    (made,) = at.sink.statements
    assert made == Evidence(0, 3, "engine/toy/1", a.body, a.sig, b.body, b.sig)
    assert at.bench.emitted("offence") == [{"culprit": 3, "signing_kind": "engine/toy/1"}]
    assert len(at.bench.take(fx.SendTo)) == 1


# --- Build ----------------------------------------------------------------------------------------

NOW = S


def question(**changes: Any) -> Build:
    return replace(Build("ctx", GENESIS, 1, 0, False), **changes)


def built(at: At) -> list[Payload]:
    found = []
    for event in at.told(Built):
        (body,) = [p.encode() for p in at.sink.payloads if digest_of(p.encode()) == event.payload]
        found.append(decode_payload(body))
    return found


def test_what_waits_is_proposed() -> None:
    at = At(me=2)
    items = at.knows(batch_certificate(CHAIN), result_certificate(CHAIN, 1))
    at.engine_does(question())
    (payload,) = built(at)
    assert payload == make_payload(CHAIN, 1, None, items, proposer=2, time_ms=at.bench.desk.wall_ms)
    writes = [w for put in at.bench.take(Put) for w in put.writes]
    assert Write("bodies", digest_of(payload.encode()), payload.encode()) in writes
    assert at.ordering.payload_body(b"") == payload.encode()


def test_what_we_propose_we_accept_ourselves() -> None:
    at = At(me=2)
    at.knows(batch_certificate(CHAIN), evidence(CHAIN))
    at.engine_does(question())
    (payload,) = built(at)
    at.ask(digest_of(payload.encode()), proposer=2)
    assert at.verdicts() == [True]


def test_with_nothing_to_list_nothing_is_proposed_until_something_comes() -> None:
    at = At()
    at.engine_does(question())
    assert built(at) == []
    (digest,) = at.knows(batch_certificate(CHAIN))
    assert [p.items for p in built(at)] == [(digest,)]


def test_a_proposal_keeps_the_pace() -> None:
    at = At()
    at.knows(batch_certificate(CHAIN))
    due_ns = at.bench.desk.now_ns + INTERVAL_NS
    at.engine_does(question(not_before_ns=due_ns))
    assert built(at) == []
    assert at.timers()["ordering", "build"] == due_ns
    at.bench.pass_ns(INTERVAL_NS - 1)
    at.ordering.timer("build")
    assert built(at) == []
    at.bench.pass_ns(1)
    at.ordering.timer("build")
    assert len(built(at)) == 1


@pytest.mark.parametrize(
    ("count", "at_once"),
    [(BUILD_AT_ONCE_CERTIFICATES, False), (BUILD_AT_ONCE_CERTIFICATES + 1, True)],
)
def test_more_than_64_statements_are_proposed_at_once(count: int, at_once: bool) -> None:
    at = At()
    at.knows(*(batch_certificate(CHAIN, sequence=i + 1) for i in range(count)))
    at.engine_does(question(not_before_ns=at.bench.desk.now_ns + INTERVAL_NS))
    assert len(built(at)) == at_once


def test_a_result_alone_waits_a_little_for_a_batch_on_its_way() -> None:
    at = At()
    (first,) = at.knows(result_certificate(CHAIN, 1))
    at.sink.expected = True
    at.engine_does(question(not_before_ns=at.bench.desk.now_ns))
    assert built(at) == []
    (second,) = at.knows(batch_certificate(CHAIN))
    assert [p.items for p in built(at)] == [(second, first)]
    at = At()
    at.knows(result_certificate(CHAIN, 1))
    at.sink.expected = True
    at.engine_does(question(not_before_ns=at.bench.desk.now_ns))
    at.bench.desk.now_ns = at.timers()["ordering", "build"]
    assert at.bench.desk.now_ns == NOW + INTERVAL_NS // 2
    at.ordering.timer("build")
    assert [p.items for p in built(at)] == [(first,)]


def test_a_parent_that_is_not_final_is_helped_by_an_empty_payload_under_demand() -> None:
    at = At()
    (listed,) = at.knows(batch_certificate(CHAIN))
    parent = make_payload(CHAIN, 1, None, [listed])
    digest = at.check(parent)
    at.engine_does(question(parent=digest, height=2, may_be_empty=True))
    assert [p.items for p in built(at)] == [()], "what the parent lists is not listed again"
    at = At()
    digest = at.check(make_payload(CHAIN, 1))
    at.engine_does(question(parent=digest, height=2, may_be_empty=True))
    assert built(at) == [], "no demand"


def test_no_statement_is_listed_that_an_ancestor_lists() -> None:
    at = At()
    first, second, third = at.knows(*(batch_certificate(CHAIN, sequence=s) for s in (1, 2, 3)))
    one = make_payload(CHAIN, 1, None, [first])
    two = make_payload(CHAIN, 2, digest_of(one.encode()), [second])
    at.check(one)
    at.check(two, parent=digest_of(one.encode()), height=2)
    at.engine_does(question(parent=digest_of(two.encode()), height=3))
    assert [p.items for p in built(at)] == [(third,)]


def test_one_question_is_answered_once_and_a_new_view_makes_it_void() -> None:
    at = At()
    at.knows(batch_certificate(CHAIN))
    at.engine_does(question())
    at.ordering.reconsider()
    assert len(built(at)) == 1
    at = At()
    at.engine_does(question(), Entered((2,)))
    at.knows(batch_certificate(CHAIN))
    assert built(at) == []


def test_an_observer_proposes_nothing() -> None:
    at = At(me=None)
    at.knows(batch_certificate(CHAIN))
    at.engine_does(question())
    assert built(at) == []


# --- demand and heartbeat -------------------------------------------------------------------------


def test_what_waits_raises_demand_and_ordering_it_ends_it() -> None:
    at = At()
    (digest,) = at.knows(batch_certificate(CHAIN))
    at.deliver(make_payload(CHAIN, 1, None, [digest]))
    assert at.told(Demand) == [Demand(True), Demand(False)]


def test_the_heartbeat_raises_demand_and_proposes_an_empty_payload() -> None:
    at = At()
    at.engine_does(question())
    assert at.timers()["ordering", "heartbeat"] == NOW + HEARTBEAT_NS
    at.bench.pass_ns(HEARTBEAT_NS - 1)
    at.ordering.timer("heartbeat")
    assert at.told(Demand) == []
    at.bench.pass_ns(1)
    at.ordering.timer("heartbeat")
    assert at.told(Demand) == [Demand(True)]
    assert [p.items for p in built(at)] == [()]


def test_every_block_puts_the_heartbeat_off() -> None:
    at = At()
    at.bench.pass_ns(HEARTBEAT_NS // 2)
    at.deliver(make_payload(CHAIN, 1))
    assert at.timers()["ordering", "heartbeat"] == NOW + HEARTBEAT_NS * 3 // 2
    at.bench.pass_ns(HEARTBEAT_NS // 2)
    at.ordering.timer("heartbeat")
    assert at.told(Demand) == []


# --- Deliver --------------------------------------------------------------------------------------


def test_a_final_height_becomes_a_block() -> None:
    at = At()
    certificate = batch_certificate(CHAIN)
    items = at.knows(certificate)
    payload = make_payload(CHAIN, 1, None, items)
    at.deliver(payload, view=3)
    ((block, statements),) = at.sink.blocks
    body = payload.encode()
    assert block == Block(
        1, digest_of(body), body, payload.time_ms, (3,), toy_proof(CHAIN, 1, digest_of(body))
    )
    assert statements == (certificate,)
    assert (at.ordering.height, at.ordering.head) == (1, digest_of(body))
    writes = [w for put in at.bench.take(Put) for w in put.writes if w.table == "blocks"]
    assert [(w.key, decode_block(w.value or b"")) for w in writes] == [
        ((1).to_bytes(8, "big"), block)
    ]
    assert at.ordering.statistics().statements_waiting == 0


def test_a_height_waits_for_its_body_and_its_statements_and_none_is_skipped() -> None:
    at = At()
    certificate = batch_certificate(CHAIN).encode()
    first = make_payload(CHAIN, 1, None, [statement_digest(certificate)], proposer=3)
    second = make_payload(CHAIN, 2, digest_of(first.encode()))
    at.deliver(first, bodies=False)
    at.deliver(second)
    assert at.sink.blocks == []
    assert at.ordering.statistics().delivers_waiting == 2
    assert at.wanted() == [(peer(3), [PAYLOAD + digest_of(first.encode())])]
    at.bench.answer(at.open, encode_list([first.encode()]))
    assert at.sink.blocks == []
    assert at.wanted() == [(peer(3), [STATEMENT + statement_digest(certificate)])]
    at.bench.answer(at.open, encode_list([certificate]))
    assert [block.height for block, _ in at.sink.blocks] == [1, 2]
    assert at.ordering.statistics().delivers_waiting == 0


def test_what_is_final_is_asked_for_until_it_is_here() -> None:
    at = At()
    first = make_payload(CHAIN, 1)
    at.deliver(first, bodies=False)
    for _ in range(200):
        for request in at.bench.take(Request):
            at.bench.answer(request, encode_list([]))
        at.bench.pass_ns(5 * S)
        at.fetcher.fired()
    assert at.fetcher.wants(PAYLOAD + digest_of(first.encode()))


def test_the_time_of_a_block_is_above_its_parents() -> None:
    at = At()
    parent = None
    for height, time_ms in ((1, START_MS + 50), (2, START_MS + 20), (3, 0), (4, START_MS + 90)):
        payload = make_payload(CHAIN, height, parent, time_ms=time_ms)
        at.deliver(payload)
        parent = digest_of(payload.encode())
    times = [block.time_ms - START_MS for block, _ in at.sink.blocks]
    assert times == [50, 51, 52, 90]


def test_a_height_delivered_again_is_passed_over() -> None:
    at = At()
    payload = make_payload(CHAIN, 1)
    at.deliver(payload)
    at.deliver(payload)
    assert len(at.sink.blocks) == 1


def test_the_last_height_of_an_epoch_begins_the_next_with_its_proof() -> None:
    blocks = make_blocks(CHAIN, 20)
    at = At(head=blocks[18])
    at.ordering.host.start(Floor(19, blocks[18].hash, b""), ())
    payload = decode_payload(blocks[19].payload)
    at.deliver(payload)
    digest = blocks[19].hash
    assert at.engine.floor == Floor(20, digest, toy_proof(CHAIN, 20, digest))
    assert at.ordering.host.epoch.number == 1


def test_the_signer_forgets_what_our_own_engine_left_far_behind() -> None:
    (head,) = make_blocks(LONG, 1, first=63)
    at = At(LONG, head=head)
    at.deliver(make_payload(LONG, 64, head.hash), view=300)
    assert [f.below for f in at.bench.take(fx.Forget)] == [(300 - 64,)]


# --- block sync -----------------------------------------------------------------------------------


def adopt(at: At, blocks: Sequence[Block], statements: dict[int, Statement]) -> None:
    fetched = []
    for block in blocks:
        known = {}
        if block.height in statements:
            statement = statements[block.height]
            known = {statement_digest(statement.encode()): (statement.encode(), statement)}
        fetched.append((block, known))
    at.ordering.adopt(fetched)
    at.bench.settle()


def synced_blocks(chain: Chain, count: int) -> tuple[list[Block], dict[int, Statement]]:
    statements: dict[int, Statement] = {
        h: batch_certificate(chain, sequence=h, epoch=chain.epoch_of(h))
        for h in range(1, count + 1, 2)
    }
    items = {h: [statement_digest(s.encode())] for h, s in statements.items()}
    return make_blocks(chain, count, items=items, proved=lambda h: h == count), statements


def test_blocks_from_others_are_taken_stored_and_told_in_order() -> None:
    at = At()
    blocks, statements = synced_blocks(CHAIN, 5)
    adopt(at, blocks, statements)
    assert [(b.height, b.hash) for b, _ in at.sink.blocks] == [(b.height, b.hash) for b in blocks]
    assert [s for _, s in at.sink.blocks] == [
        (statements[h],) if h in statements else () for h in range(1, 6)
    ]
    assert (at.ordering.height, at.ordering.head) == (5, blocks[4].hash)
    assert at.sink.levels == [5]
    assert at.told(Synced) == [Synced(Floor(5, blocks[4].hash, blocks[4].proof))]
    tables = [w.table for put in at.bench.take(Put) for w in put.writes if w.value is not None]
    assert {t: tables.count(t) for t in sorted(dict.fromkeys(tables))} == {
        "blocks": 5,
        "bodies": 5,
        "statements": 3,
    }
    assert at.ordering.pool.lane_sequence(1, KEYS[0].public) == 5


def test_times_of_blocks_are_computed_not_believed() -> None:
    at = At()
    blocks, statements = synced_blocks(CHAIN, 2)
    adopt(at, [replace(b, time_ms=1) for b in blocks], statements)
    assert [b.time_ms for b, _ in at.sink.blocks] == [b.time_ms for b in blocks]


def test_views_of_blocks_from_others_prune_no_signer() -> None:
    at = At(LONG)
    blocks = make_blocks(LONG, 64)
    adopt(at, [replace(b, view=(1 << 40,)) for b in blocks], {})
    assert at.bench.take(fx.Forget) == []


def test_heights_that_waited_are_passed_over_when_sync_brings_them() -> None:
    at = At()
    blocks = make_blocks(CHAIN, 3)
    first = decode_payload(blocks[0].payload)
    at.deliver(first, bodies=False)
    adopt(at, blocks[:2], {})
    assert at.ordering.statistics().delivers_waiting == 0
    at.deliver(decode_payload(blocks[2].payload))
    assert [b.height for b, _ in at.sink.blocks] == [1, 2, 3]


def test_sync_to_the_end_of_an_epoch_begins_the_next() -> None:
    at = At()
    blocks = make_blocks(CHAIN, 20)
    adopt(at, blocks, {})
    assert at.engine.floor == Floor(20, blocks[19].hash, blocks[19].proof)
    assert at.ordering.host.epoch.number == 1


def test_an_engine_that_is_behind_calls_for_sync() -> None:
    at = At()
    at.engine_does(Behind(9, (2,)))
    assert at.sink.late == [(9, (2,))]


def test_payloads_that_the_engine_asks_for_are_fetched_from_its_hints() -> None:
    at = At()
    digest = crypto.sha256(b"payload")
    at.engine_does(Fetch((digest,), (), (3,)))
    assert at.wanted() == [(peer(3), [PAYLOAD + digest])]
