from __future__ import annotations

from p2pnode.consensus.engine import (
    EngineParameters,
    Entered,
    Interest,
    Msg,
    Signed,
)
from p2pnode.consensus.simplex import votes
from tests.unit.consensus.harness import signed
from tests.unit.consensus.simplex.bench import (
    DELTA,
    P1,
    P2,
    Bench,
    interest,
    of,
)


def test_votes_of_this_view_and_the_next_are_wanted_others_deferred_or_dropped() -> None:
    bench = Bench()
    window = bench.parameters.window_views
    wanted = {view: interest(bench, signed(2, votes.nullify(view))) for view in (1, 2, 3, 99)}
    assert wanted == {
        1: Interest.NOW,
        2: Interest.NOW,
        3: Interest.DEFER,
        99: Interest.DROP,
    }
    assert interest(bench, signed(2, votes.nullify(1 + window))) is Interest.DEFER
    assert interest(bench, signed(2, votes.nullify(2 + window))) is Interest.DROP


def test_deferred_vote_is_wanted_after_entering() -> None:
    bench = Bench()
    vote = signed(2, votes.nullify(3))
    assert interest(bench, vote) is Interest.DEFER
    assert of(bench.show(votes.nullify(1)), Entered)
    assert interest(bench, vote) is Interest.NOW


def test_known_votes_and_decided_questions_cost_no_signature_check() -> None:
    bench = Bench()
    bench.vote(2, votes.nullify(1))
    assert interest(bench, signed(2, votes.nullify(1))) is Interest.DROP
    bench.show(votes.nullify(1))
    assert interest(bench, signed(3, votes.nullify(1))) is Interest.DROP
    assert interest(bench, signed(3, votes.notarize(P1))) is Interest.DROP
    assert interest(bench, bench.certificate(votes.nullify(1), (0, 1, 2))) is Interest.DROP


def test_conflicting_vote_is_wanted_as_evidence_once() -> None:
    bench = Bench()
    bench.vote(2, votes.nullify(1))
    conflicting = signed(2, votes.finalize(P1))
    assert interest(bench, conflicting) is Interest.NOW
    bench.do(Msg(2, conflicting))
    assert interest(bench, conflicting) is Interest.DROP


def test_late_proposal_is_wanted_although_its_view_is_decided() -> None:
    bench = Bench()
    bench.show(votes.nullify(1))
    assert interest(bench, signed(1, votes.notarize(P1))) is Interest.NOW


def test_malformed_item_is_left_to_claims_to_refuse() -> None:
    bench = Bench()
    assert interest(bench, b"garbage") is Interest.NOW
    assert interest(bench, Signed(9, votes.nullify(1), bytes(64))) is Interest.NOW


def test_certificates_far_below_the_floor_are_dropped() -> None:
    parameters = EngineParameters(delta_ns=DELTA, tail_views=0)
    bench = Bench(parameters=parameters)
    bench.show(votes.notarize(P1))
    bench.show(votes.notarize(P2))
    bench.show(votes.finalize(P2))
    assert interest(bench, bench.certificate(votes.nullify(1))) is Interest.DROP
