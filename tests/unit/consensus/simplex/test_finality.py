from __future__ import annotations

import dataclasses

from p2pnode.consensus.engine import (
    Build,
    Check,
    Deliver,
    Demand,
    EngineParameters,
    Fired,
    Floor,
    Interest,
    Msg,
    genesis_floor,
)
from p2pnode.consensus.simplex import SimplexEngine, votes
from p2pnode.consensus.simplex.votes import Proposal
from tests.unit.consensus.harness import CHAIN, digest_of, make_epoch, signed
from tests.unit.consensus.simplex.bench import (
    P1,
    P2,
    Bench,
    answers,
    drafts,
    interest,
    of,
    timers,
)


def test_nothing_new_is_proposed_after_the_last_height() -> None:
    bench = Bench(me=2, last_height=1)
    bench.propose(P1)
    effects = bench.do(Msg(1, bench.certificate(votes.notarize(P1))))
    assert not of(effects, Build)
    after_ns = timers(effects)[("repropose", 2)]
    assert after_ns == bench.parameters.block_interval_ns
    again = Proposal(2, 1, 1, P1.digest)
    assert drafts(bench.do(Fired(("repropose", 2)), after_ns=after_ns)) == [votes.notarize(again)]


def test_last_payload_proposed_again_is_checked_in_its_first_place() -> None:
    bench = Bench(last_height=1)
    bench.show(votes.notarize(P1))
    again = Proposal(2, 1, 1, P1.digest)
    (check,) = of(bench.propose(again), Check)
    assert (check.payload, check.parent, check.height) == (
        P1.digest,
        genesis_floor(CHAIN).digest,
        1,
    )


def test_new_payload_after_the_last_height_is_nullified() -> None:
    bench = Bench(last_height=1)
    bench.show(votes.notarize(P1))
    assert drafts(bench.propose(P2)) == [votes.nullify(2)]
    other = Bench(last_height=1)
    other.show(votes.notarize(P1))
    assert drafts(other.propose(Proposal(2, 1, 1, P2.digest))) == [votes.nullify(2)]


def test_last_payload_final_in_a_later_view_is_one_height() -> None:
    bench = Bench(last_height=1)
    bench.show(votes.notarize(P1))
    again = Proposal(2, 1, 1, P1.digest)
    bench.show(votes.notarize(again))
    (deliver,) = of(bench.show(votes.finalize(again)), Deliver)
    assert (deliver.height, deliver.anchor, deliver.view, deliver.proposer) == (
        1,
        P1.digest,
        (1,),
        1,
    )
    assert SimplexEngine.verify_proof(deliver.proof, bench.epoch, 1, P1.digest)


def test_engine_is_quiet_after_the_last_height() -> None:
    bench = Bench(last_height=1)
    bench.do(Demand(True))
    bench.show(votes.notarize(P1))
    bench.show(votes.finalize(P1))
    assert bench.do(Demand(False)) == bench.do(Demand(True)) == []
    assert bench.propose(P2) == []
    assert interest(bench, signed(3, votes.nullify(2))) is Interest.DROP
    # But it still helps who lags.
    assert answers(bench, Bench(me=1, last_height=1))


def test_epoch_starts_from_a_floor_that_carries_the_proof_of_the_epoch_before() -> None:
    floor = Floor(20, digest_of("last"), b"a proof of another epoch")
    epoch = dataclasses.replace(make_epoch(me=1), number=1, first_height=21, last_height=40)
    engine = SimplexEngine(EngineParameters())
    (build,) = of(engine.recover(0, epoch, floor, []), Build)
    assert (build.ctx, build.parent, build.height) == ((1, 0), floor.digest, 21)
