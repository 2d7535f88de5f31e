"""A batch certificate is exactly a quorum, and every signature of it is checked."""

from __future__ import annotations

import dataclasses

import pytest

from p2pnode import crypto
from p2pnode.availability.certificate import (
    ForeignChainError,
    NeedlessSignersError,
    NotEnoughPowerError,
    NotEquivocationError,
    SignersOrderError,
    UnknownSignerError,
    batch_evidence_claims,
    certificate_claims,
    check_signers,
    pick_signers,
)
from p2pnode.types.statement import (
    BatchCertificate,
    Evidence,
    SignerList,
    decode_statement,
)
from tests.unit.availability.helpers import CHAIN, batch, sign_header, sign_stored, validators


def certificate(*signers: int) -> BatchCertificate:
    header, _ = batch()
    return BatchCertificate(
        header,
        sign_header(header),
        SignerList(signers, tuple(sign_stored(header, i) for i in signers)),
    )


def test_every_signature_of_a_certificate_is_to_be_checked_and_holds():
    claims = certificate_claims(certificate(0, 1, 3), validators(1, 1, 1, 1), CHAIN)
    assert len(claims) == 4
    assert all(crypto.verify(*claim) for claim in claims)


def test_a_certificate_survives_its_encoding():
    made = certificate(0, 2, 3)
    assert decode_statement(made.encode()) == made


def test_a_changed_header_makes_the_claims_false():
    made = certificate(0, 1, 2)
    changed = dataclasses.replace(made, header=dataclasses.replace(made.header, sequence=2))
    claims = certificate_claims(changed, validators(1, 1, 1, 1), CHAIN)
    assert not any(crypto.verify(*claim) for claim in claims)


def test_a_signature_of_another_epoch_does_not_hold():
    made = certificate(0, 1, 2)
    later = dataclasses.replace(made.header, epoch=4)
    claims = certificate_claims(
        dataclasses.replace(made, header=later, header_signature=sign_header(later)),
        validators(1, 1, 1, 1),
        CHAIN,
    )
    assert [crypto.verify(*claim) for claim in claims] == [True, False, False, False]


def test_another_chain_is_refused():
    with pytest.raises(ForeignChainError) as caught:
        certificate_claims(certificate(0, 1, 2), validators(1, 1, 1, 1), bytes(32))
    assert (caught.value.chain, caught.value.expected) == (CHAIN, bytes(32))


def test_two_of_four_are_not_enough():
    with pytest.raises(NotEnoughPowerError) as caught:
        certificate_claims(certificate(0, 1), validators(1, 1, 1, 1), CHAIN)
    assert (caught.value.power, caught.value.quorum) == (2, 3)


def test_power_counts_and_not_heads():
    check_signers(SignerList((2,), (bytes(64),)), validators(1, 1, 7))
    with pytest.raises(NotEnoughPowerError) as caught:
        check_signers(SignerList((0, 1), (bytes(64),) * 2), validators(1, 1, 7))
    assert (caught.value.power, caught.value.quorum) == (2, 7)


def test_four_of_four_hold_one_more_than_needed():
    with pytest.raises(NeedlessSignersError) as caught:
        certificate_claims(certificate(0, 1, 2, 3), validators(1, 1, 1, 1), CHAIN)
    assert (caught.value.signer, caught.value.power_without, caught.value.quorum) == (0, 3, 3)


def test_a_weak_signer_beside_a_quorum_is_needless():
    with pytest.raises(NeedlessSignersError) as caught:
        check_signers(SignerList((0, 2), (bytes(64),) * 2), validators(1, 1, 7))
    assert (caught.value.signer, caught.value.power_without, caught.value.quorum) == (0, 7, 7)


def test_a_signer_outside_the_set_is_unknown():
    with pytest.raises(UnknownSignerError) as caught:
        check_signers(SignerList((0, 1, 4), (bytes(64),) * 3), validators(1, 1, 1, 1))
    assert (caught.value.signer, caught.value.validators_count) == (4, 4)


@pytest.mark.parametrize("signers", [(1, 0, 2), (0, 1, 1)])
def test_signers_not_ascending_are_refused(signers):
    with pytest.raises(SignersOrderError, match=f"signer {signers[2] if signers[2] == 1 else 0} "):
        check_signers(SignerList(signers, (bytes(64),) * 3), validators(1, 1, 1, 1))


def test_a_missing_signature_is_refused():
    with pytest.raises(SignersOrderError, match="3 signers, 2 signatures"):
        check_signers(SignerList((0, 1, 2), (bytes(64),) * 2), validators(1, 1, 1, 1))


def test_no_signer_at_all_is_not_enough():
    with pytest.raises(NotEnoughPowerError):
        check_signers(SignerList((), ()), validators(1))


def test_the_strongest_signers_are_picked_and_listed_ascending():
    signatures = {i: bytes([i]) * 64 for i in range(5)}
    picked = pick_signers(signatures, validators(1, 5, 1, 5, 1))
    assert picked == SignerList((1, 3), (bytes([1]) * 64, bytes([3]) * 64))


def test_too_few_signatures_pick_nobody():
    assert pick_signers({0: bytes(64), 1: bytes(64)}, validators(1, 1, 1, 1)) is None


# --- evidence -------------------------------------------------------------------------------------


def evidence(**changes: object) -> Evidence:
    a, _ = batch()
    b, _ = batch([b"other"])
    pairs = sorted((h.encode(), sign_header(h)) for h in (a, b))
    made = Evidence(3, 0, "batch", pairs[0][0], pairs[0][1], pairs[1][0], pairs[1][1])
    return dataclasses.replace(made, **changes)


def test_two_signed_headers_of_one_sequence_are_evidence():
    claims = batch_evidence_claims(evidence(), validators(1, 1, 1, 1), CHAIN)
    assert len(claims) == 2
    assert all(crypto.verify(*claim) for claim in claims)


@pytest.mark.parametrize(
    "changes",
    [
        {"signing_kind": "result"},
        {"epoch": 4},
        {"signer": 1},
        {"body_b": evidence().body_a},
        {"body_a": evidence().body_b, "body_b": evidence().body_a},
        {"body_b": batch([b"other"], sequence=2)[0].encode()},
        {"body_b": batch([b"other"], uid=2)[0].encode()},
        {"body_b": batch([b"other"], epoch=4)[0].encode()},
        {"body_b": batch([b"other"], collator=1)[0].encode()},
        {"body_b": batch([b"other"], chain=bytes(32))[0].encode()},
    ],
)
def test_what_a_correct_collator_may_have_signed_is_no_evidence(changes):
    with pytest.raises(NotEquivocationError):
        batch_evidence_claims(evidence(**changes), validators(1, 1, 1, 1), CHAIN)


def test_evidence_against_nobody_is_refused():
    with pytest.raises(UnknownSignerError) as caught:
        batch_evidence_claims(evidence(signer=4), validators(1, 1, 1, 1), CHAIN)
    assert (caught.value.signer, caught.value.validators_count) == (4, 4)
