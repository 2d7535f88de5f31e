from __future__ import annotations

from p2pnode.consensus.engine import (
    Check,
    Checked,
    Deliver,
    Demand,
    Fired,
    Msg,
    Offence,
    SetTimer,
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
)


def test_valid_proposal_is_checked_and_then_notarized() -> None:
    bench = Bench()
    effects = bench.propose(P1)
    (check,) = of(effects, Check)
    assert (check.payload, check.parent, check.proposer, check.height) == (
        P1.digest,
        genesis_floor(CHAIN).digest,
        1,
        1,
    )
    assert drafts(effects) == []
    assert drafts(bench.do(Checked(check.ctx, True))) == [votes.notarize(P1)]


def test_refused_payload_is_nullified_at_once() -> None:
    bench = Bench()
    assert drafts(bench.check(bench.propose(P1), ok=False)) == [votes.nullify(1)]


def test_check_is_asked_once_and_its_answer_counts_once() -> None:
    bench = Bench()
    effects = bench.propose(P1)
    assert not of(bench.do(Demand(True)), Check)
    bench.check(effects)
    (check,) = of(effects, Check)
    assert bench.do(Checked(check.ctx, False)) == []


def test_proposal_of_somebody_else_is_no_proposal() -> None:
    bench = Bench()
    assert not of(bench.vote(2, votes.notarize(P1)), Check)


def test_proposal_on_an_unknown_parent_waits_for_its_notarization() -> None:
    bench = Bench()
    bench.show(votes.nullify(1))
    effects = bench.propose(P2)
    assert not of(effects, Check)
    assert ("fetch",) in timers(effects)
    assert of(bench.show(votes.notarize(P1)), Check)


def test_proposal_over_a_gap_waits_for_the_nullification() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    bench.do(Msg(1, bench.certificate(votes.notarize(P2))))
    over = proposal(3, 1, 2)
    effects = bench.propose(over)
    assert not of(effects, Check)
    assert of(bench.show(votes.nullify(2)), Check)


def test_wrong_height_is_nullified_at_once() -> None:
    assert drafts(Bench().propose(proposal(1, 0, 2))) == [votes.nullify(1)]


def test_proposal_that_skips_a_final_view_is_nullified_at_once() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    bench.show(votes.finalize(P1))
    assert drafts(bench.propose(proposal(2, 0, 1))) == [votes.nullify(2)]


def test_nothing_is_notarized_after_a_nullify() -> None:
    bench = Bench()
    bench.do(Demand(True))
    assert drafts(bench.do(Fired(("advance", 1)), after_ns=3 * DELTA)) == [votes.nullify(1)]
    assert drafts(bench.propose(P1)) == []


def test_second_proposal_of_a_view_is_equivocation() -> None:
    bench = Bench()
    bench.propose(P1)
    other = votes.notarize(proposal(1, 0, 1, "other"))
    (offence,) = of(bench.vote(1, other), Offence)
    assert offence == Offence(1, signed(1, votes.notarize(P1)), signed(1, other))
    first, second = (SimplexEngine.slots(s.body) for s in (offence.a, offence.b))
    assert first.keys() == second.keys()
    assert first != second


def test_observer_follows_and_drafts_nothing() -> None:
    bench = Bench(me=None)
    bench.do(Demand(True))
    effects = bench.propose(P1) + bench.all_vote(votes.notarize(P1), (0, 2, 3))
    effects += bench.all_vote(votes.finalize(P1), (0, 2, 3))
    assert [e.height for e in of(effects, Deliver)] == [1]
    assert not drafts(effects)
    assert not of(effects, SetTimer)
