"""Whatever powers and proposals there are, encodings come back and certificates are minimal."""

from __future__ import annotations

import contextlib

from hypothesis import assume, given
from hypothesis import strategies as st

from p2pnode.consensus.certs import CertScheme
from p2pnode.consensus.engine import Signed, decode_signed, encode_signed, quorum_of
from p2pnode.consensus.simplex import SimplexEngine, summaries, votes
from p2pnode.consensus.simplex.votes import Kind, Proposal
from p2pnode.errors import RemoteProtocolError
from tests.unit.consensus.harness import make_epoch, signed

DIGESTS = st.binary(min_size=32, max_size=32)


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    view = draw(st.integers(1, (1 << 63) - 1))
    parent = draw(st.integers(0, view - 1))
    return Proposal(view, parent, draw(st.integers(0, (1 << 64) - 1)), draw(DIGESTS))


BODIES = st.one_of(
    proposals().map(votes.notarize),
    proposals().map(votes.finalize),
    st.integers(1, (1 << 63) - 1).map(votes.nullify),
)


@given(proposals())
def test_bodies_come_back(proposal: Proposal) -> None:
    for make, kind in ((votes.notarize, Kind.NOTARIZE), (votes.finalize, Kind.FINALIZE)):
        ballot = votes.decode_body(make(proposal))
        assert (ballot.kind, ballot.proposal) == (kind, proposal)
        assert len(make(proposal)) <= votes.BODY_BYTES_MAX


@given(BODIES, BODIES)
def test_bodies_conflict_exactly_when_they_share_a_slot_with_other_values(
    a: bytes, b: bytes
) -> None:
    first, second = SimplexEngine.slots(a), SimplexEngine.slots(b)
    shared = first.keys() & second.keys()
    assert (a == b) == (first == second)
    if shared:
        assert SimplexEngine.position(a) == SimplexEngine.position(b)


@given(st.integers(0, 1 << 15), BODIES, st.binary(min_size=64, max_size=64))
def test_signed_votes_come_back(sender: int, body: bytes, sig: bytes) -> None:
    item = Signed(sender, body, sig)
    assert decode_signed(encode_signed(item)) == item


@given(st.binary(max_size=300))
def test_garbage_raises_protocol_errors_only(data: bytes) -> None:
    epoch = make_epoch()
    for read in (
        votes.decode_body,
        decode_signed,
        summaries.decode_status,
        CertScheme(epoch).decode,
        lambda data: SimplexEngine.claims(data, epoch),
        lambda data: SimplexEngine.verify_proof(data, epoch, 1, bytes(32)),
    ):
        with contextlib.suppress(RemoteProtocolError):
            read(data)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.data())
def test_certificates_hold_exactly_a_quorum(powers: list[int], data: st.DataObject) -> None:
    scheme = CertScheme(make_epoch(tuple(powers)))
    order = data.draw(st.permutations(range(len(powers))))
    signers = []
    for index in order:
        signers.append(index)
        if sum(powers[i] for i in signers) >= scheme.quorum:
            break
    body = votes.nullify(1)
    certificate = scheme.decode(scheme.assemble(signed(i, body) for i in signers))
    power = sum(powers[i] for i in certificate.signers)
    assert power >= quorum_of(sum(powers))
    assert 3 * power > 2 * sum(powers)
    assert list(certificate.signers) == sorted(set(certificate.signers))
    for index in certificate.signers:
        assert power - powers[index] < scheme.quorum


@given(st.lists(st.integers(1, 9), min_size=2, max_size=9), st.integers(0, 511))
def test_two_quorums_share_more_than_a_third(powers: list[int], chosen: int) -> None:
    total = sum(powers)
    first = {i for i in range(len(powers)) if chosen >> i & 1}
    power = sum(powers[i] for i in first)
    assume(power >= quorum_of(total))
    # The worst second quorum takes everybody else first; it still needs this much of the first.
    assert 3 * (quorum_of(total) - (total - power)) > total


@given(
    st.integers(0, 1 << 60),
    st.integers(0, 1 << 60),
    st.integers(0, (1 << summaries.SUMMARY_VIEWS_MAX) - 1),
    st.integers(0, (1 << summaries.SUMMARY_VIEWS_MAX) - 1),
)
def test_summaries_come_back(height: int, view: int, notarized: int, nullified: int) -> None:
    status = summaries.Status(height, view, view + 1, view + 2, notarized, nullified)
    blob = summaries.encode_status(status)
    assert summaries.decode_status(blob) == status
    assert len(blob) <= summaries.SUMMARY_BYTES_MAX
