"""Bodies, slots, claims, proofs and summaries of simplex, without an engine."""

from __future__ import annotations

import dataclasses

import pytest

from p2pnode import codec
from p2pnode.consensus.certs import CertScheme
from p2pnode.consensus.engine import Epoch, Signed
from p2pnode.consensus.simplex import SimplexEngine, summaries, votes
from p2pnode.consensus.simplex.votes import Kind, Proposal, WrongProofError
from p2pnode.errors import RemoteProtocolError
from tests.unit.consensus.harness import digest_of, fake_signature, make_epoch, signed

A = Proposal(view=5, parent=3, height=4, digest=digest_of("a"))
B = dataclasses.replace(A, digest=digest_of("b"))


def certificate(body: bytes, signers: tuple[int, ...] = (0, 1, 2)) -> bytes:
    return CertScheme(make_epoch()).assemble(signed(i, body) for i in signers)


def test_two_proposals_in_one_view_share_a_slot() -> None:
    first, second = (SimplexEngine.slots(votes.notarize(p)) for p in (A, B))
    assert list(first) == list(second) == [("n", 5)]
    assert first != second


def test_nullify_and_finalize_of_one_view_share_a_slot() -> None:
    assert SimplexEngine.slots(votes.nullify(5)) == {("f", 5): b""}
    assert SimplexEngine.slots(votes.finalize(A)) == {("f", 5): votes.finalize(A)}


def test_notarize_and_finalize_do_not_conflict() -> None:
    assert not set(SimplexEngine.slots(votes.notarize(A))) & set(
        SimplexEngine.slots(votes.finalize(A))
    )


def test_position_is_the_view() -> None:
    assert SimplexEngine.position(votes.nullify(9)) == (9,)
    assert SimplexEngine.position(votes.finalize(A)) == (5,)


@pytest.mark.parametrize("body", [votes.notarize(A), votes.finalize(A), votes.nullify(7)])
def test_bodies_decode_to_what_was_encoded(body: bytes) -> None:
    ballot = votes.decode_body(body)
    assert ballot.view in (5, 7)
    assert len(body) <= votes.BODY_BYTES_MAX
    assert ballot.proposal == (None if ballot.kind is Kind.NULLIFY else A)


@pytest.mark.parametrize(
    "value",
    [
        (),
        (0, 1),
        (4, 1),
        (2,),
        (2, 0),
        (2, 1, 1),
        (1, 5, 5, 1, bytes(32)),
        (1, 5, 6, 1, bytes(32)),
        (1, 0, 0, 1, bytes(32)),
        (1, 5, 3, 1, bytes(31)),
        (3, 5, 3, -1, bytes(32)),
        (3, 5, 3, 1),
        (3, 1 << 63, 3, 1, bytes(32)),
        7,
    ],
)
def test_malformed_bodies_are_refused(value: object) -> None:
    with pytest.raises(RemoteProtocolError):
        votes.decode_body(codec.encode(value))  # type: ignore[arg-type]


def test_claims_list_every_signature_of_a_certificate() -> None:
    body = votes.finalize(A)
    claims = SimplexEngine.claims(certificate(body), make_epoch())
    assert [(c.signer, c.body, c.sig) for c in claims] == [
        (i, body, fake_signature(i, body)) for i in (0, 1, 2)
    ]


def test_vote_of_a_signer_out_of_range_is_malformed() -> None:
    with pytest.raises(RemoteProtocolError, match="signer 4 of 4"):
        SimplexEngine.claims(Signed(4, votes.nullify(1), bytes(64)), make_epoch())


def test_proof_is_a_finalization_of_that_height_and_digest() -> None:
    proof = certificate(votes.finalize(A))
    claims = SimplexEngine.verify_proof(proof, make_epoch(), 4, A.digest)
    assert [claim.signer for claim in claims] == [0, 1, 2]


@pytest.mark.parametrize(
    ("body", "height", "digest"),
    [
        (votes.finalize(A), 5, A.digest),
        (votes.finalize(A), 4, B.digest),
        (votes.notarize(A), 4, A.digest),
        (votes.nullify(5), 4, A.digest),
    ],
)
def test_certificate_of_something_else_proves_nothing(
    body: bytes, height: int, digest: bytes
) -> None:
    with pytest.raises(WrongProofError):
        SimplexEngine.verify_proof(certificate(body), make_epoch(), height, digest)


def test_proof_of_a_height_outside_the_epoch_is_refused() -> None:
    epoch = dataclasses.replace(make_epoch(), last_height=3)
    with pytest.raises(WrongProofError, match="outside the epoch"):
        SimplexEngine.verify_proof(certificate(votes.finalize(A)), epoch, 4, A.digest)


def test_signers_of_another_epoch_are_no_signers_here() -> None:
    # The set shrank to three: the old set's certificate names a fourth validator.
    old = certificate(votes.finalize(A), (1, 2, 3))
    shrunk: Epoch = make_epoch((1, 1, 1))
    with pytest.raises(RemoteProtocolError, match="beyond the 3 validators"):
        SimplexEngine.verify_proof(old, shrunk, 4, A.digest)


def test_summary_stays_small_and_decodes_to_what_was_encoded() -> None:
    status = summaries.Status(1 << 40, 1 << 41, 1 << 41, 1 << 42, (1 << 1024) - 1, (1 << 1024) - 1)
    blob = summaries.encode_status(status)
    assert len(blob) < summaries.SUMMARY_BYTES_MAX
    assert summaries.decode_status(blob) == status


@pytest.mark.parametrize("blob", [b"", b"\x80", bytes(600), codec.encode((1, 2, 3, 4, b"", 5))])
def test_malformed_summaries_are_refused(blob: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        summaries.decode_status(blob)


def test_tolerance_is_a_third() -> None:
    assert SimplexEngine.tolerance(4) == (1, 3)
    assert SimplexEngine.tolerance(9) == (2, 7)
