"""Named attacks on simplex, as far as an engine sees them. Validator 3 is the attacker
throughout."""

from __future__ import annotations

import pytest

from p2pnode.consensus.certs import CertScheme
from p2pnode.consensus.engine import (
    Broadcast,
    EngineParameters,
    Item,
    Offence,
    Send,
    Signed,
    Summary,
)
from p2pnode.consensus.simplex import SimplexEngine, summaries, votes
from p2pnode.consensus.simplex.votes import Kind, Proposal
from p2pnode.errors import RemoteProtocolError
from tests.unit.consensus.harness import (
    MS,
    Net,
    digest_of,
    fake_signature,
    make_epoch,
    signed,
)
from tests.unit.consensus.simplex.bench import Bench, drafts, of, proposal


def ballot_of(item: Item) -> votes.Ballot:
    if isinstance(item, Signed):
        return votes.decode_body(item.body)
    return votes.decode_body(CertScheme(make_epoch()).decode(item).body)


def progressed(net: Net, by: int = 10) -> None:
    net.check_agreement()
    honest = [node for node in net.nodes[:3]]
    before = max(node.height for node in honest)
    net.run(15)
    net.check_agreement()
    assert min(node.height for node in honest) >= before + by


def test_equivocating_proposer_is_evidence_and_never_final_twice() -> None:
    net = Net(seed=1)

    def split(a: int, b: int, item: Item) -> bool:
        if a != 3 or not isinstance(item, Signed):
            return True
        ballot = votes.decode_body(item.body)
        if ballot.kind is Kind.NOTARIZE and ballot.view % 4 == 3 and b == 0:
            assert ballot.proposal is not None
            rival = Proposal(
                ballot.view, ballot.proposal.parent, ballot.proposal.height, digest_of("rival")
            )
            net.blocks[rival.digest] = net.blocks[ballot.proposal.digest]
            vote = signed(3, votes.notarize(rival))
            net.at(5 * MS, lambda: net.receive(net.nodes[0], 3, vote))
            # Later the victim sees the other one too, through others.
            net.at(60 * MS, lambda: net.receive(net.nodes[0], 1, item))
            return False
        return True

    net.outgoing = split
    net.start()
    net.run(5)
    progressed(net)
    offences = net.nodes[0].offences
    assert offences
    for offence in offences:
        assert offence.culprit == 3
        assert check_offence(offence)
    assert not any(node.offences for node in net.nodes[1:3])


def check_offence(offence: Offence) -> bool:
    """What anybody can check of evidence, from `slots` and the signatures alone."""
    a, b = offence.a, offence.b
    shared = SimplexEngine.slots(a.body).keys() & SimplexEngine.slots(b.body).keys()
    return (
        a.sender == b.sender == offence.culprit
        and all(v.sig == fake_signature(v.sender, v.body) for v in (a, b))
        and any(SimplexEngine.slots(a.body)[k] != SimplexEngine.slots(b.body)[k] for k in shared)
    )


def test_nullify_and_finalize_by_one_signer_is_evidence() -> None:
    bench = Bench()
    bench.vote(3, votes.nullify(1))
    (offence,) = of(bench.vote(3, votes.finalize(proposal(1, 0, 1))), Offence)
    assert check_offence(offence)


def test_partial_certificate_shown_to_one_node_by_a_proposer_that_dies() -> None:
    net = Net(seed=2)
    net.start()
    net.run(2)
    # From now on the attacker's messages reach validator 0 alone, then it dies.
    net.outgoing = lambda a, b, item: a != 3 or b == 0
    net.run(1.0)
    net.crash(3)
    progressed(net)


@pytest.mark.parametrize("kind", list(Kind))
def test_missing_certificates_and_votes_are_found_through_summaries(kind: Kind) -> None:
    # Validator 0 never gets a certificate of this kind, nor the votes for it, by the usual ways.
    net = Net(seed=3, parameters=EngineParameters(delta_ns=50 * MS))
    away = {"on": True}

    def withhold(a: int, b: int, item: Item) -> bool:
        return b != 0 or not away["on"] or ballot_of(item).kind is not kind

    net.outgoing = withhold
    net.start()
    net.run(4)
    net.check_agreement()
    away["on"] = False
    net.run(3)
    net.check_agreement()
    assert max(net.heights()) - net.heights()[0] <= 2
    progressed(net)


def test_split_nullify_and_finalize_at_the_edge_of_a_view() -> None:
    # Two have sent finalize, one has nullified, the attacker told each side what it likes: the
    # notarization lets everybody leave the view, and neither side is stuck or forked.
    block = proposal(1, 0, 1)
    finalizer, nullifier = Bench(me=0), Bench(me=2)
    finalizer.show(votes.notarize(block))
    nullifier.do_timeout()
    for bench in (finalizer, nullifier):
        bench.vote(0, votes.finalize(block))
        bench.vote(1, votes.finalize(block))
        bench.vote(2, votes.nullify(1))
    finalizer.vote(3, votes.finalize(block))
    nullifier.vote(3, votes.nullify(1))
    assert finalizer.delivered() == [block.digest]
    assert nullifier.delivered() == []
    # The nullifier holds two of three for either side; the relayed finalization settles it.
    effects = nullifier.show_certificate(votes.finalize(block), (0, 1, 3))
    assert nullifier.delivered() == [block.digest]
    assert [offence.culprit for offence in of(effects, Offence)] == [3]


def test_split_at_the_views_edge_in_a_running_network() -> None:
    net = Net(seed=4)
    flip = {"count": 0}

    def two_faced(a: int, b: int, item: Item) -> bool:
        if a != 3 or not isinstance(item, Signed):
            return True
        ballot = votes.decode_body(item.body)
        if ballot.kind is Kind.NOTARIZE:
            return True
        flip["count"] += 1
        if b == flip["count"] % 3:
            vote = signed(3, votes.nullify(ballot.view))
            net.at(5 * MS, lambda: net.receive(net.nodes[b], 3, vote))
            return False
        return True

    net.outgoing = two_faced
    net.start()
    net.run(5)
    progressed(net)
    for node in net.nodes[:3]:
        assert {offence.culprit for offence in node.offences} <= {3}


def test_duplicate_signer_in_the_bitmap_makes_no_quorum() -> None:
    body = votes.nullify(1)
    honest = CertScheme(make_epoch()).assemble(signed(i, body) for i in (0, 1, 2))
    # Drop signer 0's bit, repeat signer 1's signature in its place.
    forged = honest.replace(b"\x41\x07", b"\x41\x06", 1).replace(
        fake_signature(0, body), fake_signature(1, body), 1
    )
    assert forged != honest
    with pytest.raises(RemoteProtocolError):
        SimplexEngine.claims(forged, make_epoch())


def test_signature_of_another_epoch_never_verifies_here() -> None:
    net = Net(seed=5)
    net.start()
    net.run(1)
    node = net.nodes[0]
    held = node.engine.held() if node.engine else 0
    body = votes.nullify(node.view)
    for signer in (1, 2, 3):
        net.receive(node, signer, Signed(signer, body, fake_signature(signer, body, epoch=7)))
    assert node.engine is not None
    assert node.engine.held() == held


def test_unequal_powers_at_exactly_two_thirds_decide_nothing() -> None:
    # Powers 4, 2, 2, 1: validators 0 and 1 hold 6 of 9, exactly two thirds.
    bench = Bench(me=3, powers=(4, 2, 2, 1))
    block = Proposal(1, 0, 1, digest_of("block"))
    bench.vote(1, votes.notarize(block))
    effects = bench.vote(0, votes.notarize(block))
    assert drafts(effects) == []
    effects = bench.vote(2, votes.notarize(block))
    assert drafts(effects) == [votes.finalize(block)]


def test_proposer_that_shows_its_payload_to_nobody_loses_its_view_only() -> None:
    net = Net(seed=6)

    def hide(a: int, b: int, item: Item) -> bool:
        ballot = ballot_of(item)
        return a != 3 or ballot.kind is not Kind.NOTARIZE or ballot.view % 4 != 3

    net.outgoing = hide
    net.start()
    net.run(5)
    progressed(net)
    assert 3 not in {final.proposer for final in net.nodes[0].chain}


def test_two_certificates_of_one_view_name_more_than_a_third() -> None:
    # Validators 1 and 2 (half the power) signed both; 0 and 3 signed one each and are not named.
    bench = Bench(me=0)
    first, second = (proposal(1, 0, 1, name) for name in ("a", "b"))
    bench.show_certificate(votes.finalize(first), (0, 1, 2))
    effects = bench.show_certificate(votes.finalize(second), (1, 2, 3))
    offences = of(effects, Offence)
    assert sorted({offence.culprit for offence in offences}) == [1, 2]
    assert all(check_offence(offence) for offence in offences)
    again = bench.show_certificate(votes.finalize(second), (1, 2, 3))
    assert not of(again, Offence), "said once"
    assert bench.delivered() == [first.digest]


def test_nullification_beside_a_finalization_names_more_than_a_third() -> None:
    bench = Bench(me=0)
    block = proposal(1, 0, 1)
    bench.show_certificate(votes.nullify(1), (1, 2, 3))
    effects = bench.show_certificate(votes.finalize(block), (0, 1, 2))
    assert sorted({offence.culprit for offence in of(effects, Offence)}) == [1, 2]


def test_forged_summaries_make_no_traffic_beyond_their_bound() -> None:
    bench = Bench()
    for view in range(1, 100):
        bench.show(votes.nullify(view))
    claims_nothing = summaries.encode_status(summaries.Status(0, 0, 0, 0, 0, 0))
    claims_all = summaries.encode_status(summaries.Status(1 << 60, 1 << 62, 1 << 62, 1 << 62, 0, 0))
    assert len(of(bench.do(Summary(3, claims_nothing)), Send)) <= 40
    assert of(bench.do(Summary(3, claims_all)), Send) == []
    assert not of(bench.do(Summary(3, claims_nothing)), Broadcast)
