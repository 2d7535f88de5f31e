from __future__ import annotations

from dataclasses import replace

import pytest

from p2pnode import crypto
from p2pnode.execution import results
from p2pnode.execution.receipts import KIND_FEES, Receipt, encode_outbox, outbox_root
from p2pnode.execution.results import (
    HEIGHTS_AHEAD_MAX,
    SIGNATURES_PER_SIGNER_MAX,
    ForeignResultError,
    NotAQuorumError,
    OutboxMismatchError,
    ResultTally,
    UnknownSignerError,
    UnneededSignerError,
    inbox_of,
    result_of,
    verify_certificate_claims,
)
from p2pnode.types.genesis import Validator
from p2pnode.types.statement import (
    Evidence,
    Result,
    ResultCertificate,
    SignerList,
    decode_result,
    decode_statement,
)
from tests.unit.execution.scaffold import CHAIN, KEYS, batch_of, executor_of, transfer

RECEIPTS = (Receipt(KIND_FEES, b"", 0, b"", 0, 12),)


def validators(*powers: int) -> tuple[Validator, ...]:
    return tuple(
        Validator(key.public, power, crypto.peer_id_of(key.public))
        for key, power in zip(KEYS, powers, strict=False)
    )


def result_at(height: int, **changes: object) -> Result:
    result = Result(
        chain=CHAIN,
        epoch=3,
        uid=1,
        height=height,
        pre_root=bytes(32),
        post_root=b"\x01" * 32,
        outbox_root=outbox_root(()),
        outcome_root=outbox_root(()),
        watermarks_root=bytes(32),
        counters=(1, 0, 0, 5, 100, 0),
        witness=bytes(32),
    )
    return replace(result, **changes)  # type: ignore[arg-type]


def sign(signer: int, result: Result) -> bytes:
    body = result.encode()
    return KEYS[signer].sign(crypto.signing_hash(CHAIN, "result", result.epoch, body))


def tally_of(*powers: int, head: int = 0) -> ResultTally:
    return ResultTally(CHAIN, 3, validators(*powers), (0, 1), head=head)


def vote(
    tally: ResultTally, signer: int, result: Result, outbox: bytes = b""
) -> ResultCertificate | Evidence | None:
    return tally.add(signer, result.encode(), outbox, sign(signer, result))


def test_a_quorum_of_signatures_makes_one_valid_certificate() -> None:
    tally, result = tally_of(1, 1, 1, 1), result_at(7)
    assert vote(tally, 3, result) is None
    assert vote(tally, 3, result) is None
    assert vote(tally, 0, result) is None
    certificate = vote(tally, 2, result)
    assert isinstance(certificate, ResultCertificate)
    assert certificate.signers.signers == (0, 2, 3)
    assert vote(tally, 1, result) is None
    assert decode_statement(certificate.encode()) == certificate
    claims = verify_certificate_claims(certificate, validators(1, 1, 1, 1), CHAIN)
    assert len(claims) == 3
    assert all(crypto.verify(*claim) for claim in claims)
    assert tally.claim(result.encode(), 0, certificate.signers.signatures[0]) == claims[0]
    assert tally.statistics().certificates_count == 1


def test_a_certificate_leaves_out_signers_it_does_not_need() -> None:
    tally, result = tally_of(1, 1, 1, 10, 10), result_at(7)
    for signer in (0, 1, 2, 3):
        assert vote(tally, signer, result) is None
    certificate = vote(tally, 4, result)
    assert isinstance(certificate, ResultCertificate)
    assert certificate.signers.signers == (3, 4)
    verify_certificate_claims(certificate, validators(1, 1, 1, 10, 10), CHAIN)


def test_signers_ascend_whatever_their_power_and_order_of_arrival() -> None:
    tally, result = tally_of(3, 1, 5), result_at(7)
    vote(tally, 2, result)
    certificate = vote(tally, 0, result)
    assert isinstance(certificate, ResultCertificate)
    assert certificate.signers.signers == (0, 2)
    assert certificate.signers.signatures == (sign(0, result), sign(2, result))


def test_different_results_are_counted_apart() -> None:
    tally = tally_of(1, 1, 1, 1)
    for signer in (0, 1):
        assert vote(tally, signer, result_at(7)) is None
    other = result_at(7, post_root=b"\x02" * 32)
    assert vote(tally, 2, other) is None
    certificate = vote(tally, 3, result_at(7))
    assert isinstance(certificate, ResultCertificate)
    assert certificate.signers.signers == (0, 1, 3)


def test_two_results_of_one_signer_for_one_height_are_evidence_once() -> None:
    tally, result = tally_of(1, 1, 1, 1), result_at(7)
    other = result_at(7, post_root=b"\x02" * 32)
    vote(tally, 2, result)
    evidence = vote(tally, 2, other)
    assert evidence == Evidence(
        3, 2, "result", result.encode(), sign(2, result), other.encode(), sign(2, other)
    )
    assert decode_statement(evidence.encode()) == evidence
    assert vote(tally, 2, result_at(7, post_root=b"\x03" * 32)) is None
    assert not tally.wants(1, 7, 2)
    assert tally.wants(1, 7, 1)
    # The first one still counts, and other heights and shards are no offence.
    assert vote(tally, 2, result_at(8)) is None
    assert vote(tally, 2, result_at(7, uid=0)) is None
    vote(tally, 0, result)
    assert isinstance(vote(tally, 1, result), ResultCertificate)
    assert tally.statistics().evidence_count == 1


def test_results_that_do_not_belong_here_are_refused() -> None:
    tally = tally_of(1, 1, 1, 1)
    for foreign in (
        result_at(7, chain=bytes(32)),
        result_at(7, epoch=4),
        result_at(7, uid=2),
    ):
        with pytest.raises(ForeignResultError):
            vote(tally, 0, foreign)
    with pytest.raises(UnknownSignerError):
        tally.add(4, result_at(7).encode(), b"", bytes(64))
    with pytest.raises(UnknownSignerError):
        tally.claim(result_at(7).encode(), 4, bytes(64))
    assert tally.statistics().signatures_count == 0


def test_an_outbox_that_is_not_the_results_is_not_counted() -> None:
    tally = tally_of(1, 1, 1, 1)
    result = result_at(7, outbox_root=outbox_root(RECEIPTS))
    for outbox in (b"", b"\x80", encode_outbox((replace(RECEIPTS[0], amount=13),))):
        with pytest.raises(OutboxMismatchError):
            vote(tally, 0, result, outbox)
    with pytest.raises(OutboxMismatchError):
        vote(tally, 0, result_at(7), encode_outbox(RECEIPTS))
    with pytest.raises(OutboxMismatchError):
        vote(tally, 0, result_at(7, counters=(1, 2)))
    assert tally.statistics().heights_count == 0
    for signer in range(2):
        vote(tally, signer, result, encode_outbox(RECEIPTS))
    certificate = vote(tally, 2, result, encode_outbox(RECEIPTS))
    assert isinstance(certificate, ResultCertificate)
    inbox = inbox_of(certificate)
    assert inbox is not None
    assert (inbox.uid, inbox.height, inbox.number, inbox.receipts) == (1, 7, 1, RECEIPTS)


def test_a_tally_keeps_bounded_heights_and_signatures() -> None:
    tally = tally_of(1, 1, 1, 1, head=10)
    top = 10 + HEIGHTS_AHEAD_MAX
    assert tally.wants(1, top, 0)
    assert not tally.wants(1, top + 1, 0)
    assert not tally.wants(2, top, 0)
    vote(tally, 0, result_at(top + 1))
    assert tally.statistics().signatures_count == 0
    tally.advance(5_000)
    for height in range(1, SIGNATURES_PER_SIGNER_MAX + 9):
        vote(tally, 0, result_at(height))
    held = tally.statistics()
    assert (held.signatures_count, held.ignored_count) == (SIGNATURES_PER_SIGNER_MAX, 9)
    tally.settle(1, 500)
    assert tally.statistics().signatures_count == SIGNATURES_PER_SIGNER_MAX - 500
    assert not tally.wants(1, 500, 1)
    assert tally.wants(0, 500, 1)
    vote(tally, 0, result_at(600))
    assert tally.statistics().ignored_count == 9


def certificate_of(result: Result, *signers: int) -> ResultCertificate:
    return ResultCertificate(
        result, b"", SignerList(signers, tuple(sign(signer, result) for signer in signers))
    )


def test_a_certificate_with_too_few_too_many_or_unknown_signers_is_refused() -> None:
    result, four = result_at(7), validators(1, 1, 1, 1)
    with pytest.raises(NotAQuorumError, match="power 2, a quorum is 3"):
        verify_certificate_claims(certificate_of(result, 0, 1), four, CHAIN)
    with pytest.raises(NotAQuorumError):
        verify_certificate_claims(certificate_of(result), four, CHAIN)
    with pytest.raises(UnneededSignerError, match="without signer 0"):
        verify_certificate_claims(certificate_of(result, 0, 1, 2, 3), four, CHAIN)
    with pytest.raises(UnknownSignerError):
        verify_certificate_claims(certificate_of(result, 0, 1, 4), four, CHAIN)
    with pytest.raises(ForeignResultError):
        verify_certificate_claims(certificate_of(result, 0, 1, 2), four, bytes(32))
    short = replace(certificate_of(result, 0, 1, 2), outbox=encode_outbox(RECEIPTS))
    with pytest.raises(OutboxMismatchError):
        verify_certificate_claims(short, four, CHAIN)
    with pytest.raises(UnneededSignerError, match="without signer 1"):
        verify_certificate_claims(certificate_of(result, 0, 1), validators(10, 1, 1), CHAIN)


def test_claims_are_bound_to_the_epoch_of_the_result() -> None:
    moved = replace(certificate_of(result_at(7), 0, 1, 2), result=result_at(7, epoch=4))
    claims = verify_certificate_claims(moved, validators(1, 1, 1, 1), CHAIN)
    assert not any(crypto.verify(*claim) for claim in claims)


def test_a_result_says_what_the_block_did() -> None:
    executor = executor_of({0: {0: 1000}})
    block = executor.execute(
        4, 2, True, [], [batch_of([transfer(0, 0, (1, 0, 1)), transfer(0, 5, (1, 0, 1)), None])]
    )
    result, outbox = result_of(CHAIN, block)
    assert decode_result(result.encode()) == result
    assert (result.uid, result.height, result.epoch) == (1, 4, 2)
    assert (result.pre_root, result.post_root) == (block.pre_root, executor.root())
    assert result.counters == (1, 0, 2, 5, 300, 0)
    assert outbox == encode_outbox(block.outbox) != b""
    results.check_outbox(result, outbox)
    with pytest.raises(AssertionError):
        result_of(CHAIN, executor.execute(5, 2, False, [], []))
