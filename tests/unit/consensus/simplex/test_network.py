"""Simplex between several engines: speed, idleness, repair. Time is virtual, seeds are fixed."""

from __future__ import annotations

import pytest

from p2pnode.consensus.certs import CertScheme
from p2pnode.consensus.engine import (
    Effect,
    EngineParameters,
    Event,
    Interest,
    Item,
    Signed,
    Summary,
    TrafficClass,
)
from p2pnode.consensus.simplex import SimplexEngine, votes
from p2pnode.consensus.simplex.pace import Pace
from p2pnode.consensus.simplex.votes import Kind
from tests.unit.consensus.harness import MS, Net, digest_of, make_epoch, signed


def test_healthy_network_makes_a_block_every_interval() -> None:
    net = Net(seed=1)
    net.start()
    net.run(20)
    net.check_agreement()
    assert min(net.heights()) >= 90  # of 100 possible
    assert net.nullified == []


def test_healthy_network_sends_few_certificates() -> None:
    net = Net(seed=1)
    net.start()
    net.run(20)
    certificates = sum(1 for _, _, item in net.sent if isinstance(item, bytes))
    # Three go to the next proposer at once; of the rest, only what somebody has not shown by Δ/4.
    # Everybody relaying all three certificates of a view to everybody would be 36.
    assert certificates / max(net.heights()) < 8


def test_idle_network_makes_heartbeats_only_and_nullifies_nothing() -> None:
    net = Net(seed=2, always_demand=False, heartbeat_s=10)
    net.start()
    net.run(60)
    assert 4 <= min(net.heights()) <= max(net.heights()) <= 6
    assert net.nullified == []


def test_idle_network_survives_loss_without_nullifying_forever() -> None:
    net = Net(seed=3, always_demand=False, heartbeat_s=10, drop=0.02)
    net.start()
    net.run(120)
    assert min(net.heights()) >= 9
    assert len(set(net.nullified)) <= 3


def test_delay_of_four_times_the_configured_delta_keeps_most_of_the_possible_rate() -> None:
    delta_ns = 100 * MS
    parameters = EngineParameters(delta_ns=delta_ns, block_interval_ns=500 * MS)
    net = Net(seed=4, parameters=parameters, delay_ns=lambda rng: 4 * delta_ns)
    net.start()
    net.run(300)
    # A block takes two delays: 0.8 s.
    assert min(net.heights()) >= 0.4 * 300 / 0.8


def test_one_dead_validator_of_four_leaves_more_than_half_of_the_healthy_rate() -> None:
    rates = []
    for alive in ((0, 1, 2, 3), (0, 1, 2)):
        net = Net(seed=5)
        net.start(*alive)
        net.run(60)
        rates.append(max(net.heights()))
    assert rates[1] >= 0.5 * rates[0]


def test_without_skipping_a_dead_proposer_costs_its_full_time() -> None:
    parameters = EngineParameters(skip_ns=10**15)
    net = Net(seed=5, parameters=parameters)
    net.start(0, 1, 2)
    net.run(60)
    assert max(net.heights()) < 0.75 * 300, "else the test above proves nothing"


def test_dead_validator_that_returns_proposes_again() -> None:
    net = Net(seed=6)
    net.start(0, 1, 2)
    net.run(20)
    net.start(3)
    net.run(10)
    assert {final.proposer for final in net.nodes[0].chain[-12:]} == {0, 1, 2, 3}


def test_validator_that_was_away_catches_up() -> None:
    net = Net(seed=7)
    net.start()
    net.run(5)
    net.crash(2)
    net.run(20)
    behind = net.nodes[2].height
    net.start(2)
    net.run(3)
    assert net.nodes[2].height > behind + 50
    assert max(net.heights()) - min(net.heights()) <= 1
    net.check_agreement()


def test_all_killed_and_restarted_go_on() -> None:
    net = Net(seed=8)
    net.start()
    net.run(5)
    net.crash(0, 1, 2, 3)
    before = max(net.heights())
    net.start()
    net.run(5)
    assert min(net.heights()) > before
    net.check_agreement()
    assert all(node.refused == 0 for node in net.nodes)


def test_more_than_a_third_away_stops_and_a_quorum_back_goes_on() -> None:
    net = Net(seed=9)
    net.start()
    net.run(5)
    net.crash(1, 2)
    net.run(1)
    stopped = net.heights()[0]
    net.run(30)
    assert net.heights()[0] == stopped
    net.start(1)
    net.run(5)
    assert net.heights()[0] > stopped + 5
    net.check_agreement()


def test_partition_in_the_middle_heals() -> None:
    net = Net(seed=10)
    net.start()
    net.run(3)
    net.cut = lambda a, b: (a < 2) != (b < 2)
    net.run(30)
    stopped = max(net.heights())
    net.cut = lambda a, b: False
    net.run(5)
    assert min(net.heights()) > stopped + 5
    net.check_agreement()


@pytest.mark.parametrize("powers", [(1,), (1, 1), (1, 1, 1), (5, 3, 2, 2, 1), (1,) * 7])
def test_any_number_of_validators_and_any_powers_make_blocks(powers: tuple[int, ...]) -> None:
    net = Net(powers, seed=11)
    net.start()
    net.run(10)
    net.check_agreement()
    assert min(net.heights()) >= 40


@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_epoch_ends_at_its_last_height_on_every_node(drop: float) -> None:
    net = Net(seed=12, last_height=8, drop=drop)
    net.start()
    net.run(20)
    net.check_agreement()
    assert net.heights() == [8, 8, 8, 8]
    assert all(node.floor.height == 8 for node in net.nodes), "the last height has its proof"


def test_same_seed_gives_the_same_effects() -> None:
    hashes = []
    for _ in range(2):
        net = Net(seed=13, drop=0.05, duplicate=0.05)
        net.start()
        net.run(5)
        fingerprints = [node.engine.fingerprint() for node in net.nodes if node.engine]
        hashes.append((net.trace_hash(), fingerprints))
    assert hashes[0] == hashes[1]


def test_flood_of_future_views_is_held_bounded() -> None:
    net = Net(seed=14)
    net.start()
    net.run(2)
    node = net.nodes[0]
    assert node.engine is not None
    wanted = {Interest.NOW: 0, Interest.DEFER: 0, Interest.DROP: 0}
    held = node.engine.held()
    for view in range(node.view, node.view + 3_000):
        for name in range(3):
            block = votes.Proposal(view, view - 1, 1, digest_of(name))
            for body in (votes.notarize(block), votes.finalize(block), votes.nullify(view)):
                vote = signed(3, body)
                wanted[node.engine.interest(vote)] += 1
                net.receive(node, 3, vote)
    assert 0 < wanted[Interest.DEFER] <= 9 * net.parameters.window_views
    assert len(node.deferred) == net.parameters.deferred_per_sender_max
    # A vote and a conflicting one in two slots of two views.
    assert node.engine.held() <= held + 10
    assert {offence.culprit for offence in node.offences} == {3}


def test_held_does_not_grow_with_the_chain() -> None:
    net = Net(seed=15, parameters=EngineParameters(tail_views=8, block_interval_ns=50 * MS))
    net.start()
    net.run(5)
    held = max(node.held_max for node in net.nodes)
    net.run(20)
    assert max(node.held_max for node in net.nodes) <= held + 20


def test_traffic_classes_separate_votes_certificates_and_proposals() -> None:
    net = Net(seed=16)
    classes: dict[str, set[TrafficClass]] = {}
    send = net._send

    def watch(node, to, item, traffic):  # type: ignore[no-untyped-def]
        if isinstance(item, bytes):
            name = "certificate"
        else:
            name = votes.decode_body(item.body).kind.name
            mine = votes.decode_body(item.body).view % 4 == node.index
            name += " of the proposer" if name == "NOTARIZE" and mine else ""
        classes.setdefault(name, set()).add(traffic)
        send(node, to, item, traffic)

    net._send = watch  # type: ignore[method-assign]
    net.start()
    net.run(3)
    assert classes["NOTARIZE of the proposer"] == {TrafficClass.PROPOSAL}
    assert classes["NOTARIZE"] == {TrafficClass.VOTE}
    assert classes["FINALIZE"] == {TrafficClass.VOTE}
    assert classes["certificate"] <= {TrafficClass.CERT, TrafficClass.BULK}


def test_every_item_on_the_wire_is_signed_by_an_honest_slot() -> None:
    net = Net(seed=17, drop=0.1)
    net.start()
    net.run(10)
    epoch = make_epoch()
    for _, _, item in net.sent:
        for claim in net.engine_type.claims(item, epoch):
            for key, value in net.engine_type.slots(claim.body).items():
                assert net.signed_by_slot[(claim.signer, key)] == value


def test_deaf_proposer_is_skipped_although_it_still_sends() -> None:
    # It repeats old nullifies for ever; only what is current proves that somebody can hear.
    net = Net(seed=18)
    net.start()
    net.run(2)
    net.cut = lambda a, b: b == 3
    start = net.heights()[0]
    net.run(60)
    assert net.heights()[0] - start >= 0.5 * 60 / 0.2


def far_away() -> Net:
    """Validator 3 is 60 ms away from three that are 2 ms apart; no summary tells that it lives."""
    # A turn of all proposers takes longer than silence may, as it does with many validators.
    parameters = EngineParameters(skip_ns=400 * MS)
    net = Net(seed=21, summary_s=1000, parameters=parameters)
    net.link_delay_ns = lambda a, b: 60 * MS if 3 in (a, b) else 2 * MS
    net.start()
    net.run(30)
    return net


def test_validator_far_away_is_late_for_every_quorum_and_still_proposes() -> None:
    net = far_away()
    assert net.nullified == []
    assert {final.proposer for final in net.nodes[0].chain[-8:]} == {0, 1, 2, 3}


def test_without_late_signs_of_life_a_validator_far_away_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Pace, "quiet", lambda self, index, now_ns: False)
    assert {view % 4 for view in far_away().nullified} == {3}


class Mute(SimplexEngine):
    """Answers no summary."""

    def step(self, now_ns: int, event: Event) -> list[Effect]:
        return [] if isinstance(event, Summary) else super().step(now_ns, event)


def idle_after_a_while(engine: type[SimplexEngine]) -> Net:
    """A network that went idle while validator 2 was away, and 2 back in it."""
    net = Net(seed=19, engine=engine, heartbeat_s=1000)
    net.start()
    net.run(3)
    net.crash(2)
    net.run(3)
    net.always_demand = False
    for node in net.nodes:
        net._demand(node)
    net.run(2)
    net.start(2)
    net.run(3)
    net.check_agreement()
    return net


def test_straggler_in_an_idle_network_catches_up_through_summaries() -> None:
    net = idle_after_a_while(SimplexEngine)
    assert len(set(net.heights())) == 1
    assert len({node.view for node in net.nodes}) == 1
    mute = idle_after_a_while(Mute)
    assert mute.heights()[2] < mute.heights()[0], "else the summaries prove nothing"


def test_finalization_lost_by_everybody_forms_again_after_a_restart_of_all() -> None:
    # All have voted for view v, nobody has the certificates, all crash, nothing new is demanded.
    net = Net(seed=20, heartbeat_s=1000)
    net.start()
    net.run(2)
    net.outgoing = lambda a, b, item: kind_of(item) is not Kind.FINALIZE
    net.run(0.5)
    stuck = max(net.heights())
    net.crash(0, 1, 2, 3)
    net.outgoing = lambda a, b, item: True
    net.always_demand = False
    net.start()
    net.run(5)
    net.check_agreement()
    assert min(net.heights()) > stuck
    assert len(set(net.heights())) == 1


def kind_of(item: Item) -> Kind:
    body = item.body if isinstance(item, Signed) else CertScheme(make_epoch()).decode(item).body
    return votes.decode_body(body).kind
