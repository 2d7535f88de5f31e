"""What leads from view to view, and back after a crash. Proposers of views 1, 2, 3 are 1, 2, 3."""

from __future__ import annotations

from p2pnode.consensus.engine import (
    Behind,
    Check,
    Checked,
    Deliver,
    Demand,
    EngineParameters,
    Fetch,
    Fired,
    Floor,
    Msg,
    Synced,
    encode_signed,
    genesis_floor,
)
from p2pnode.consensus.simplex import SimplexEngine, votes
from tests.unit.consensus.harness import CHAIN, signed
from tests.unit.consensus.simplex.bench import (
    DELTA,
    P1,
    P2,
    Bench,
    drafts,
    of,
    proposal,
    timers,
    views_entered,
)


# --- certificates ---------------------------------------------------------------------------------
def test_quorum_of_notarize_enters_the_next_view_and_finalizes() -> None:
    bench = Bench()
    bench.propose(P1)
    effects = bench.all_vote(votes.notarize(P1), (2, 3))
    assert 2 in views_entered(effects)
    assert drafts(effects) == [votes.finalize(P1)]


def test_notarization_is_followed_even_if_the_payload_was_not_checked_here() -> None:
    effects = Bench().show(votes.notarize(P1))
    assert 2 in views_entered(effects)
    assert drafts(effects) == [votes.finalize(P1)]


def test_certificate_stands_in_the_log_before_the_vote_that_depends_on_it() -> None:
    bench = Bench()
    certificate = bench.certificate(votes.notarize(P1))
    bench.do(Msg(1, certificate))
    assert bench.records == [certificate, encode_signed(signed(0, votes.finalize(P1)))]


def test_who_nullified_does_not_finalize() -> None:
    bench = Bench()
    bench.do(Demand(True))
    bench.do(Fired(("advance", 1)), after_ns=3 * DELTA)
    effects = bench.show(votes.notarize(P1))
    assert 2 in views_entered(effects)
    assert drafts(effects) == []


def test_who_finalized_does_not_nullify() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    assert drafts(bench.do(Fired(("advance", 1)), after_ns=9 * DELTA)) == []
    assert drafts(bench.vote(1, votes.nullify(1))) == []


def test_who_saw_the_proposer_equivocate_does_not_finalize() -> None:
    bench = Bench()
    bench.propose(P1)
    bench.vote(1, votes.notarize(proposal(1, 0, 1, "other")))
    effects = bench.show(votes.notarize(P1), sender=2)
    assert 2 in views_entered(effects)
    assert drafts(effects) == []


def test_quorum_of_nullify_enters_the_next_view() -> None:
    effects = Bench().all_vote(votes.nullify(1), (2, 3, 1))
    assert 2 in views_entered(effects)


def test_quorum_of_finalize_delivers_with_its_proof() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    effects = bench.all_vote(votes.finalize(P1), (1, 2))
    (deliver,) = of(effects, Deliver)
    assert (deliver.height, deliver.anchor, deliver.proposer, deliver.view) == (
        1,
        P1.digest,
        1,
        (1,),
    )
    claims = SimplexEngine.verify_proof(deliver.proof, bench.epoch, 1, P1.digest)
    assert [claim.signer for claim in claims] == [0, 1, 2]


def test_ancestors_are_delivered_first_in_order_and_without_a_proof_of_their_own() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    bench.show(votes.notarize(P2))
    effects = bench.all_vote(votes.finalize(P2), (1, 2))
    assert [(e.height, e.anchor, e.proof is None) for e in of(effects, Deliver)] == [
        (1, P1.digest, True),
        (2, P2.digest, False),
    ]


def test_who_lags_enters_the_view_after_a_finalization() -> None:
    bench = Bench()
    far = proposal(40, 39, 30)
    effects = bench.show(votes.finalize(far))
    assert 41 in views_entered(effects)
    assert not of(effects, Deliver)
    (behind,) = of(effects, Behind)
    assert behind.height_at_least == 30
    (fetch,) = of(effects, Fetch)
    assert fetch.certs == ((39,),)


def test_missing_ancestor_found_later_delivers_all() -> None:
    bench = Bench()
    bench.show(votes.finalize(P2))
    assert [e.height for e in of(bench.show(votes.notarize(P1)), Deliver)] == [1, 2]


def test_synced_floor_moves_the_view_and_is_never_delivered_again() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    bench.show(votes.notarize(P2))
    proof = bench.certificate(votes.finalize(P2))
    effects = bench.do(Synced(Floor(2, P2.digest, proof)))
    assert not of(effects, Deliver)
    assert not of(bench.do(Msg(1, proof)), Deliver)
    third = proposal(3, 2, 3)
    bench.show(votes.notarize(third))
    assert [e.height for e in of(bench.show(votes.finalize(third)), Deliver)] == [3]


def test_older_synced_floor_changes_nothing() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    bench.show(votes.finalize(P1))
    assert bench.do(Synced(genesis_floor(CHAIN))) == []


def test_application_may_certify_between_notarization_and_use() -> None:
    parameters = EngineParameters(delta_ns=DELTA, certify=True)
    bench = Bench(parameters=parameters)
    effects = bench.show(votes.notarize(P1))
    assert 2 not in views_entered(effects)
    assert drafts(effects) == []
    assert ("certify", 1) in [check.ctx for check in of(effects, Check)]
    effects = bench.do(Checked(("certify", 1), True))
    assert 2 in views_entered(effects)
    assert drafts(effects) == [votes.finalize(P1)]
    refused = Bench(parameters=parameters)
    refused.show(votes.notarize(P1))
    assert drafts(refused.do(Checked(("certify", 1), False))) == [votes.nullify(1)]


# --- recovery -------------------------------------------------------------------------------------
def test_own_votes_come_back_and_are_not_given_twice() -> None:
    bench = Bench()
    bench.check(bench.propose(P1))
    again = Bench(records=tuple(bench.records))
    other = proposal(1, 0, 1, "other")
    assert not of(again.propose(other), Check)
    assert drafts(again.do(Demand(True))) == []


def test_own_nullify_comes_back_and_is_repeated() -> None:
    bench = Bench()
    bench.do(Demand(True))
    bench.do(Fired(("advance", 1)), after_ns=3 * DELTA)
    again = Bench(records=tuple(bench.records))
    assert ("retry", 1) in timers(again.first)
    assert drafts(again.show(votes.notarize(P1))) == []


def test_certificates_come_back_with_the_view_that_they_led_to() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    bench.show(votes.nullify(2))
    again = Bench(me=0, records=tuple(bench.records))
    assert 3 in views_entered(again.first)
    assert drafts(again.first) == [], "the finalize of view 1 is in the log"


def test_finalize_that_was_not_signed_before_the_crash_is_sent_after_it() -> None:
    bench = Bench()
    certificate = bench.certificate(votes.notarize(P1))
    assert drafts(Bench(records=(certificate,)).first) == [votes.finalize(P1)]


def test_finalization_in_the_log_is_delivered_again() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    bench.show(votes.finalize(P1))
    again = Bench(records=tuple(bench.records))
    assert [e.height for e in of(again.first, Deliver)] == [1]


def test_records_below_the_floor_are_ignored() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    final = bench.certificate(votes.finalize(P1))
    bench.do(Msg(1, final))
    again = Bench(floor=Floor(1, P1.digest, final), records=tuple(bench.records))
    assert not of(again.first, Deliver)
    assert 2 in views_entered(again.first)


def test_recovering_twice_is_recovering_once() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    bench.do(Demand(True))
    bench.do(Fired(("advance", 2)), after_ns=5 * DELTA)
    once = Bench(records=tuple(bench.records))
    assert once.records == [], "recovery writes nothing that is there already"
    twice = Bench(records=(*bench.records, *bench.records))
    assert once.first == twice.first
    assert once.engine.fingerprint() == twice.engine.fingerprint()
