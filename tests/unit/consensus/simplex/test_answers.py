from __future__ import annotations

from p2pnode.consensus.engine import (
    Built,
    Msg,
    Send,
    Summary,
    TrafficClass,
)
from p2pnode.consensus.simplex import votes
from tests.unit.consensus.harness import signed
from tests.unit.consensus.simplex.bench import (
    P1,
    Bench,
    answers,
    proposal,
)


def test_peer_that_has_everything_gets_nothing() -> None:
    assert answers(Bench(me=0), Bench(me=1)) == []


def test_lagging_peer_gets_the_newest_finalization() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    final = bench.certificate(votes.finalize(P1))
    bench.do(Msg(1, final))
    sent = answers(bench, Bench(me=1))
    assert sent[0] == Send((1,), final, TrafficClass.BULK)


def test_peer_gets_the_certificates_it_lacks_and_our_votes() -> None:
    bench = Bench()
    bench.show(votes.nullify(1))
    bench.propose(proposal(2, 0, 1))
    block = proposal(2, 0, 1)
    bench.show(votes.notarize(block))
    sent = [e.item for e in answers(bench, Bench(me=1))]
    assert bench.certificate(votes.nullify(1)) in sent
    assert bench.certificate(votes.notarize(block)) in sent
    assert signed(0, votes.finalize(block)) in sent
    knowing = Bench(me=1)
    knowing.show(votes.nullify(1))
    knowing.show(votes.notarize(block))
    assert [e.item for e in answers(bench, knowing)] == [signed(0, votes.finalize(block))]


def test_proposer_repeats_its_proposal_with_the_payload() -> None:
    bench = Bench(me=1)
    bench.do(Built((1, 0), P1.digest))
    assert answers(bench, Bench(me=2)) == [
        Send((2,), signed(1, votes.notarize(P1)), TrafficClass.PROPOSAL)
    ]


def test_answer_to_a_summary_is_bounded() -> None:
    bench = Bench()
    for view in range(1, 200):
        bench.show(votes.nullify(view))
    sent = answers(bench, Bench(me=1))
    certificates = [e.item for e in sent if isinstance(e.item, bytes)]
    assert len(certificates) == 32
    assert certificates[0] == bench.certificate(votes.nullify(199)), "the one to enter by is first"


def test_malformed_summary_changes_nothing() -> None:
    bench = Bench()
    effects = bench.do(Summary(1, b"garbage"))
    assert [type(e).__name__ for e in effects] == ["Report"]
