from __future__ import annotations

import pytest

from p2pnode.consensus.engine import (
    NS_PER_S,
    Broadcast,
    CancelTimer,
    Demand,
    Fired,
    Msg,
    Summary,
    TrafficClass,
    Tune,
)
from p2pnode.consensus.simplex import votes
from p2pnode.consensus.simplex.votes import Kind
from tests.unit.consensus.harness import MS, signed
from tests.unit.consensus.simplex.bench import (
    DELTA,
    P1,
    Bench,
    drafts,
    of,
    proposal,
    timers,
)


def test_idle_view_has_no_timers() -> None:
    assert not timers(Bench().first)


def test_demand_arms_the_timers_and_its_end_disarms_them() -> None:
    bench = Bench()
    armed = timers(bench.do(Demand(True)))
    assert armed == {("propose", 1): 2 * DELTA, ("advance", 1): 3 * DELTA}
    effects = bench.do(Demand(False))
    assert {e.key for e in of(effects, CancelTimer)} == set(armed)


def test_stale_timer_that_still_fires_does_nothing() -> None:
    bench = Bench()
    bench.do(Demand(True))
    bench.do(Demand(False))
    assert bench.do(Fired(("advance", 1)), after_ns=3 * DELTA) == []


@pytest.mark.parametrize("body", [votes.notarize(P1), votes.nullify(1)])
def test_valid_message_of_the_view_arms_the_timers_without_demand(body: bytes) -> None:
    bench = Bench()
    signer = 1 if votes.decode_body(body).kind is Kind.NOTARIZE else 2
    assert timers(bench.vote(signer, body))[("advance", 1)] == 3 * DELTA
    # And the end of demand does not disarm them.
    bench.do(Demand(True))
    assert not of(bench.do(Demand(False)), CancelTimer)


def test_timers_count_from_when_the_proposer_may_propose() -> None:
    bench = Bench()
    bench.do(Demand(True))
    bench.propose(P1)
    effects = bench.do(Msg(1, bench.certificate(votes.notarize(P1))), after_ns=50 * MS)
    wait_ns = bench.parameters.block_interval_ns - 50 * MS
    assert timers(effects)[("propose", 2)] == wait_ns + 2 * DELTA
    assert timers(effects)[("advance", 2)] == wait_ns + 3 * DELTA


def test_first_proposal_cancels_the_proposal_timer_only() -> None:
    bench = Bench()
    bench.do(Demand(True))
    assert of(bench.propose(P1), CancelTimer) == [CancelTimer(("propose", 1))]


@pytest.mark.parametrize("key", ["propose", "advance"])
def test_timer_nullifies_once(key: str) -> None:
    bench = Bench()
    bench.do(Demand(True))
    assert drafts(bench.do(Fired((key, 1)), after_ns=3 * DELTA)) == [votes.nullify(1)]
    assert drafts(bench.do(Fired(("advance", 1)), after_ns=3 * DELTA)) == []


def test_nullify_of_the_proposer_itself_is_followed_at_once() -> None:
    assert drafts(Bench().vote(1, votes.nullify(1))) == [votes.nullify(1)]
    assert drafts(Bench().vote(2, votes.nullify(1))) == []


def test_nullify_of_the_proposer_that_came_early_counts_on_entering() -> None:
    bench = Bench()
    bench.vote(2, votes.nullify(2))
    assert votes.nullify(2) in drafts(bench.show(votes.nullify(1)))


def test_nullify_is_repeated_with_the_certificate_that_let_us_enter() -> None:
    bench = Bench()
    entry = bench.certificate(votes.notarize(P1))
    bench.do(Msg(1, entry))
    bench.do(Demand(True))
    effects = bench.do(Fired(("advance", 2)), after_ns=5 * DELTA)
    assert timers(effects)[("retry", 2)] == bench.parameters.retry_ns
    for _ in range(2):
        effects = bench.do(Fired(("retry", 2)), after_ns=bench.parameters.retry_ns)
        assert of(effects, Broadcast) == [
            Broadcast(signed(0, votes.nullify(2)), TrafficClass.VOTE),
            Broadcast(entry, TrafficClass.CERT),
        ]
        assert ("retry", 2) in timers(effects)
    assert CancelTimer(("retry", 2)) in bench.show(votes.nullify(2))


def test_finalization_is_the_best_certificate_to_enter_by() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    final = bench.certificate(votes.finalize(P1))
    bench.do(Msg(1, final))
    bench.do(Demand(True))
    bench.do(Fired(("advance", 2)), after_ns=5 * DELTA)
    effects = bench.do(Fired(("retry", 2)), after_ns=NS_PER_S)
    assert Broadcast(final, TrafficClass.CERT) in effects


def test_silent_proposer_gets_no_time_once_a_quorum_was_heard() -> None:
    bench = Bench()
    bench.now_ns += bench.parameters.skip_ns
    assert timers(bench.do(Demand(True)))[("advance", 1)] > 0, "nobody was heard"
    bench.do(Demand(False))
    bench.do(Summary(2, Bench(me=2).engine.summary()))
    bench.do(Summary(3, Bench(me=3).engine.summary()))
    assert timers(bench.do(Demand(True))) == {("propose", 1): 0, ("advance", 1): 0}
    bench.do(Demand(False))
    bench.do(Summary(1, Bench(me=1).engine.summary()))
    assert timers(bench.do(Demand(True)))[("advance", 1)] > 0, "the proposer was heard"


def test_late_message_after_a_timeout_lengthens_delta_once_a_view() -> None:
    bench = Bench()
    bench.do(Demand(True))
    bench.do(Fired(("propose", 1)), after_ns=2 * DELTA)
    bench.propose(P1)
    bench.vote(2, votes.notarize(P1))
    effects = bench.show(votes.nullify(1))
    assert timers(effects)[("advance", 2)] == 3 * DELTA * 3 // 2


def test_nullify_of_others_after_our_own_does_not_lengthen_delta() -> None:
    bench = Bench()
    bench.do(Demand(True))
    bench.do(Fired(("propose", 1)), after_ns=2 * DELTA)
    effects = bench.all_vote(votes.nullify(1), (2, 3))
    assert timers(effects)[("advance", 2)] == 3 * DELTA


def test_delta_shrinks_with_finalizations_down_to_its_floor() -> None:
    bench = Bench()
    bench.do(Demand(True))
    bench.do(Fired(("propose", 1)), after_ns=2 * DELTA)
    bench.propose(P1)
    parent = P1
    bench.show(votes.notarize(P1))
    deltas = []
    for view in range(2, 60):
        block = proposal(view, parent.view, view)
        effects = bench.show(votes.notarize(block))
        wait_ns = timers(effects).get(("advance", view + 1))
        assert wait_ns is not None
        deltas.append(wait_ns - bench.parameters.block_interval_ns)
        bench.show(votes.finalize(block))
        parent = block
    assert deltas[0] == 3 * DELTA * 3 // 2
    assert deltas[1] == 3 * (DELTA * 3 // 2 * 98 // 100)
    assert deltas[-1] == 3 * DELTA
    assert deltas == sorted(deltas, reverse=True)


def test_measured_delay_moves_the_floor_of_delta_only() -> None:
    bench = Bench()
    bench.do(Tune(3 * DELTA))
    assert timers(bench.do(Demand(True)))[("advance", 1)] == 9 * DELTA
    bench.do(Demand(False))
    bench.do(Tune(DELTA // 10))
    assert timers(bench.do(Demand(True)))[("advance", 1)] == 9 * DELTA, "it only falls by 2 % steps"


def test_delta_never_passes_its_cap() -> None:
    bench = Bench()
    bench.do(Tune(1 << 60))
    armed = timers(bench.do(Demand(True)))
    assert armed[("advance", 1)] == 3 * bench.parameters.delta_max_ns
