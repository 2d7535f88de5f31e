"""What is counted of each peer."""

from __future__ import annotations

from typing import Any

import pytest

from p2pnode.net import offences
from p2pnode.net.config import LANES_COUNT, RATES, NetworkLimits
from p2pnode.net.meters import PEERS_MAX, Meters, UnfinishedFramesError
from p2pnode.net.offences import OFFENCES, Offence
from p2pnode.net.rates import Rate
from p2pnode.net.scores import BAN_SCORE, RECOVERY_PER_S
from p2pnode.ports import Lane

SLOW = {**RATES, "gossip": Rate(1000, 10, burst_s=1)}


class Judge:
    """Writes down what peers are blamed for."""

    def __init__(self, *, known: bytes | None = None, **limits: Any) -> None:
        self.known = known
        self.blamed: list[tuple[bytes, Offence, float, str]] = []
        self.meters = Meters(
            NetworkLimits(**limits), self._blame, is_known=lambda peer: self.known in (None, peer)
        )

    def _blame(self, peer: bytes, offence: Offence, times: float, details: str) -> None:
        self.blamed.append((peer, offence, times, details))

    @property
    def points(self) -> float:
        return sum(offence.points * times for _, offence, times, _ in self.blamed)


def test_flooder_is_slowed_and_in_the_end_has_lost_enough_for_a_ban() -> None:
    judge = Judge(rates=SLOW, excess_grace_s=5)
    now_s = 0.0
    while judge.points < -BAN_SCORE + now_s * RECOVERY_PER_S:
        now_s += judge.meters.spend(b"a", "gossip", 500, 1, now_s)
        assert now_s < 20
    assert now_s > 5
    assert {offence for _, offence, _, _ in judge.blamed} == {offences.RATE_EXCESS}


def test_what_strangers_may_send_in_bulk_is_less_and_never_blamed() -> None:
    bulk = f"lane/{Lane.BULK:d}"
    judge = Judge(known=b"a", rates=SLOW, strangers={bulk: Rate(1000, 10, is_blamed=False)})
    assert judge.meters.spend(b"a", bulk, 5000, 1, 0) == 0
    assert judge.meters.spend(b"b", bulk, 5000, 1, 0) == pytest.approx(1)
    assert judge.meters.spend(b"b", "requests", 5000, 1, 0) == 0
    for second in range(60):
        judge.meters.spend(b"b", bulk, 5000, 1, second)
    assert judge.points == 0


def test_a_stranger_that_turns_out_to_be_known_has_what_known_peers_have() -> None:
    bulk = f"lane/{Lane.BULK:d}"
    judge = Judge(known=b"a", rates=SLOW, strangers={bulk: Rate(1000, 10, is_blamed=False)})
    assert judge.meters.spend(b"b", bulk, 5000, 1, 0) > 0
    judge.known = b"b"
    assert judge.meters.spend(b"b", bulk, 5000, 1, 0) == 0
    judge.known = b"a"
    assert judge.meters.spend(b"b", bulk, 5000, 1, 0) > 0


def test_peers_and_kinds_of_traffic_have_meters_of_their_own() -> None:
    judge = Judge(rates=SLOW)
    assert judge.meters.spend(b"a", "gossip", 5000, 1, 0) > 0
    assert judge.meters.spend(b"b", "gossip", 500, 1, 0) == 0
    assert judge.meters.spend(b"a", "requests", 5000, 1, 0) == 0
    assert judge.meters.paused_s()["gossip"] == pytest.approx(4)


def test_peer_that_comes_back_does_not_begin_with_full_buckets() -> None:
    judge = Judge(rates=SLOW)
    judge.meters.spend(b"a", "gossip", 5000, 1, 0)
    judge.meters.touch(b"a")
    assert judge.meters.spend(b"a", "gossip", 0, 0, 1) > 0


def test_some_useless_gossip_costs_nothing_and_much_of_it_does() -> None:
    judge = Judge(useless_burst_max=100, useless_per_s=1)
    judge.meters.useless(b"a", 100, "the same again", 0)
    assert judge.blamed == []
    judge.meters.useless(b"a", 3, "the same again", 0)
    judge.meters.useless(b"a", 10_000, "the same again", 0)
    assert [times for *_, times, _ in judge.blamed] == [3, 20]


def test_refused_requests_cost_beyond_measure() -> None:
    judge = Judge(refused_burst_max=5, refused_per_s=1)
    for _ in range(8):
        judge.meters.refused(b"a", "not there", 0)
    assert judge.points == 3


def test_streams_opened_too_fast_wait() -> None:
    judge = Judge(streams_burst_max=10, streams_per_s=5)
    assert [judge.meters.stream_pause_s(b"a", 0) for _ in range(12)][9:] == pytest.approx(
        [0, 0.2, 0.4]
    )


def test_frames_begun_and_not_finished_are_bounded_over_all_streams() -> None:
    unfinished = Judge(unfinished_bytes_max=1000).meters.of(b"a").unfinished
    unfinished.change(0, 600)
    unfinished.change(0, 400)
    with pytest.raises(UnfinishedFramesError, match="1001 bytes of unfinished frames, at most"):
        unfinished.change(0, 1)
    unfinished.change(1, 0)
    unfinished.change(600, 0)
    unfinished.change(400, 1000)


def test_meters_of_strangers_are_forgotten_before_those_in_use() -> None:
    judge = Judge(rates=SLOW)
    judge.meters.spend(b"a", "gossip", 5000, 1, 0)
    for number in range(PEERS_MAX + 10):
        judge.meters.of(b"%d" % number)
        judge.meters.touch(b"a")
    assert len(judge.meters._peers) == PEERS_MAX
    assert judge.meters.spend(b"a", "gossip", 0, 0, 1) > 0


def test_meters_of_the_connected_outlast_any_number_of_newcomers() -> None:
    blamed: list[bytes] = []
    meters = Meters(
        NetworkLimits(rates=SLOW),
        lambda peer, offence, times, details: blamed.append(peer),
        connected={b"a": None},
    )
    meters.spend(b"a", "gossip", 5000, 1, 0)
    for number in range(2 * PEERS_MAX):
        meters.touch(b"%d" % number)
    assert len(meters._peers) == PEERS_MAX
    assert meters.spend(b"a", "gossip", 0, 0, 1) > 0


def test_kinds_of_offences_are_few_and_differ() -> None:
    kinds = [offence.kind for offence in OFFENCES]
    assert len(set(kinds)) == len(kinds) < 20


def test_most_that_one_peer_can_make_us_hold_is_one_number() -> None:
    limits = NetworkLimits()
    assert limits.peer_bytes_max == 120 << 20
    wider = NetworkLimits(lane_bytes_max=limits.lane_bytes_max + 1)
    assert wider.peer_bytes_max == limits.peer_bytes_max + LANES_COUNT
