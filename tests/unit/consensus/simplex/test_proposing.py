from __future__ import annotations

from p2pnode.consensus.engine import (
    Build,
    Built,
    CancelTimer,
    Fetch,
    Fired,
    Msg,
    genesis_floor,
)
from p2pnode.consensus.simplex import votes
from tests.unit.consensus.harness import CHAIN, MS
from tests.unit.consensus.simplex.bench import (
    DELTA,
    P1,
    Bench,
    drafts,
    of,
    timers,
    views_entered,
)


def test_first_view_is_one_and_its_proposer_is_asked_to_build_on_the_floor() -> None:
    bench = Bench(me=1)
    assert 1 in views_entered(bench.first)
    (build,) = of(bench.first, Build)
    assert build == Build((1, 0), genesis_floor(CHAIN).digest, 1, bench.now_ns, may_be_empty=False)
    assert drafts(bench.do(Built(build.ctx, P1.digest))) == [votes.notarize(P1)]


def test_others_are_not_asked_to_build() -> None:
    assert not of(Bench(me=0).first, Build)


def test_child_is_proposed_no_sooner_than_the_block_interval_after_its_parent() -> None:
    bench = Bench(me=2)
    bench.propose(P1)
    seen_ns = bench.now_ns
    effects = bench.do(Msg(1, bench.certificate(votes.notarize(P1))), after_ns=30 * MS)
    (build,) = of(effects, Build)
    assert build == Build(
        (2, 1), P1.digest, 2, seen_ns + bench.parameters.block_interval_ns, may_be_empty=True
    )


def test_answer_to_an_old_build_is_ignored() -> None:
    bench = Bench(me=1)
    bench.show(votes.nullify(1))
    assert drafts(bench.do(Built((1, 0), P1.digest))) == []


def test_nothing_to_propose_now_leaves_the_question_open() -> None:
    bench = Bench(me=1)
    assert bench.do(Built((1, 0), None)) == []
    assert drafts(bench.do(Built((1, 0), P1.digest))) == [votes.notarize(P1)]


def test_proposer_builds_on_the_highest_notarized_parent_across_nullified_views() -> None:
    bench = Bench(me=3)
    bench.propose(P1)
    bench.all_vote(votes.notarize(P1), (0, 2))
    effects = bench.show(votes.nullify(2))
    (build,) = of(effects, Build)
    assert (build.ctx, build.parent, build.height) == ((3, 1), P1.digest, 2)


def test_proposer_that_lacks_a_certificate_asks_for_it_instead_of_building() -> None:
    bench = Bench(me=3)
    effects = bench.show(votes.nullify(2))  # entered view 3 without knowing what became of view 1
    assert not of(effects, Build)
    assert timers(effects)[("fetch",)] == DELTA // 2
    (fetch,) = of(bench.do(Fired(("fetch",)), after_ns=DELTA // 2), Fetch)
    assert fetch.certs == ((1,),)
    assert fetch.hints
    assert 3 not in fetch.hints
    effects = bench.show(votes.nullify(1))
    assert of(effects, Build)
    assert CancelTimer(("fetch",)) in effects
