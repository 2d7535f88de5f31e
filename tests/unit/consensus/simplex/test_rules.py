"""Each rule of simplex, one engine at a time. Proposers of views 1, 2, 3, 4 are 1, 2, 3, 0."""

from __future__ import annotations

import dataclasses

import pytest

from p2pnode.consensus.certs import CertScheme
from p2pnode.consensus.engine import (
    NS_PER_S,
    Behind,
    Broadcast,
    Build,
    Built,
    CancelTimer,
    Check,
    Checked,
    Deliver,
    Demand,
    Draft,
    Effect,
    EngineParameters,
    Entered,
    Event,
    Fetch,
    Fired,
    Floor,
    Interest,
    Item,
    Msg,
    Offence,
    Persist,
    Send,
    SetTimer,
    Signed,
    Summary,
    Synced,
    TrafficClass,
    Tune,
    encode_signed,
    genesis_floor,
)
from p2pnode.consensus.simplex import SimplexEngine, votes
from p2pnode.consensus.simplex.votes import Kind, Proposal
from tests.unit.consensus.harness import CHAIN, MS, digest_of, make_epoch, signed

DELTA = 100 * MS


class Bench:
    """One engine with its host played by the test."""

    def __init__(
        self,
        me: int | None = 0,
        powers: tuple[int, ...] = (1, 1, 1, 1),
        *,
        parameters: EngineParameters | None = None,
        floor: Floor | None = None,
        records: tuple[bytes, ...] = (),
        last_height: int = 1000,
    ) -> None:
        self.now_ns = 100 * NS_PER_S
        self.parameters = parameters or EngineParameters(delta_ns=DELTA)
        self.epoch = make_epoch(powers, me, last_height=last_height)
        self.me = me
        self.engine = SimplexEngine(self.parameters)
        self.certs = CertScheme(self.epoch)
        self.records: list[bytes] = []
        self._delivered: list[bytes] = []
        self.first = self._log(
            self.engine.recover(
                self.now_ns, self.epoch, floor or genesis_floor(CHAIN), list(records)
            )
        )

    def _log(self, effects: list[Effect]) -> list[Effect]:
        """Sign drafts and hand them back, as a host does."""
        out: list[Effect] = []
        for effect in effects:
            out.append(effect)
            if isinstance(effect, Deliver):
                self._delivered.append(effect.anchor)
            if isinstance(effect, Persist):
                self.records.append(effect.record)
            if isinstance(effect, Broadcast | Send) and isinstance(effect.item, Draft):
                assert self.me is not None
                vote = signed(self.me, effect.item.body)
                self.records.append(encode_signed(vote))
                out += self.do(Msg(self.me, vote))
        return out

    def do(self, event: Event, after_ns: int = 0) -> list[Effect]:
        self.now_ns += after_ns
        return self._log(self.engine.step(self.now_ns, event))

    def vote(self, signer: int, body: bytes) -> list[Effect]:
        return self.do(Msg(signer, signed(signer, body)))

    def all_vote(self, body: bytes, signers: tuple[int, ...] = (1, 2, 3)) -> list[Effect]:
        return [effect for i in signers for effect in self.vote(i, body)]

    def certificate(self, body: bytes, signers: tuple[int, ...] = (1, 2, 3)) -> bytes:
        return self.certs.assemble(signed(i, body) for i in signers)

    def show(self, body: bytes, sender: int = 1) -> list[Effect]:
        return self.do(Msg(sender, self.certificate(body)))

    def show_certificate(self, body: bytes, signers: tuple[int, ...]) -> list[Effect]:
        return self.do(Msg(None, self.certificate(body, signers)))

    def do_timeout(self) -> list[Effect]:
        self.do(Demand(True))
        return self.do(Fired(("advance", 1)), after_ns=3 * DELTA)

    def delivered(self) -> list[bytes]:
        return self._delivered

    def propose(self, proposal: Proposal) -> list[Effect]:
        return self.vote(proposal.view % 4, votes.notarize(proposal))

    def check(self, effects: list[Effect], ok: bool = True) -> list[Effect]:
        (check,) = [e for e in effects if isinstance(e, Check)]
        return self.do(Checked(check.ctx, ok))


def proposal(view: int, parent: int, height: int, name: str = "") -> Proposal:
    return Proposal(view, parent, height, digest_of("block", view, name))


def drafts(effects: list[Effect]) -> list[bytes]:
    return [
        e.item.body
        for e in effects
        if isinstance(e, Broadcast | Send) and isinstance(e.item, Draft)
    ]


def timers(effects: list[Effect]) -> dict[object, int]:
    return {e.key: e.after_ns for e in effects if isinstance(e, SetTimer)}


def of(effects: list[Effect], kind: type) -> list[Effect]:
    return [e for e in effects if isinstance(e, kind)]


P1 = proposal(1, 0, 1)
P2 = proposal(2, 1, 2)


# --- proposing ----------------------------------------------------------------------------------


def views_entered(effects: list[Effect]) -> list[int]:
    return [effect.at[0] for effect in effects if isinstance(effect, Entered)]


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


# --- voting -------------------------------------------------------------------------------------


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


# --- certificates -------------------------------------------------------------------------------


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


# --- relay --------------------------------------------------------------------------------------


def test_certificate_goes_to_the_next_proposer_at_once_and_to_the_rest_after_a_quarter_delta() -> (
    None
):
    bench = Bench()
    certificate = bench.certificate(votes.notarize(P1))
    effects = bench.do(Msg(1, certificate))
    assert Send((2,), certificate, TrafficClass.CERT) in effects
    assert timers(effects)[("relay", 1)] == DELTA // 4
    # 1 has shown it, 2 got it: only 3 is left.
    assert of(bench.do(Fired(("relay", 1)), after_ns=DELTA // 4), Send) == [
        Send((3,), certificate, TrafficClass.CERT)
    ]


def test_who_sent_finalize_is_not_sent_the_notarization() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    bench.vote(3, votes.finalize(P1))
    assert not of(bench.do(Fired(("relay", 1)), after_ns=DELTA // 4), Send)


def test_relay_after_zero_broadcasts_every_certificate_at_once() -> None:
    bench = Bench(parameters=EngineParameters(delta_ns=DELTA, relay_after_ns=0))
    certificate = bench.certificate(votes.nullify(1))
    assert Broadcast(certificate, TrafficClass.CERT) in bench.do(Msg(1, certificate))


# --- time ---------------------------------------------------------------------------------------


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


# --- interest -----------------------------------------------------------------------------------


def interest(bench: Bench, item: Item) -> Interest:
    return bench.engine.interest(item)


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


# --- recovery -----------------------------------------------------------------------------------


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


# --- summaries ----------------------------------------------------------------------------------


def answers(bench: Bench, peer: Bench) -> list[Effect]:
    assert peer.me is not None
    return of(bench.do(Summary(peer.me, peer.engine.summary())), Send)


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


# --- end of the epoch ---------------------------------------------------------------------------


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
