"""Statements: verified before they count, and evidence of every kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pnode.consensus.engine import (
    Offence,
)
from p2pnode.types import effects as fx
from p2pnode.types.chain import Chain
from p2pnode.types.effects import Lane, Penalize, Put, Write
from p2pnode.types.messages import (
    Statements,
    decode_frame,
    join_frame,
)
from p2pnode.types.statement import Evidence
from p2pnode.types.statement import digest_of as statement_digest
from tests.spine import (
    FEES,
    batch_certificate,
    evidence,
    peer,
    result,
    result_certificate,
    signature,
    toy_body,
    toy_vote,
)
from tests.unit.consensus.ordering_bench import (
    CHAIN,
    LONG,
    OTHERS,
    At,
)


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
