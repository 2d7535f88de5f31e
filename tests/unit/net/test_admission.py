"""Who may connect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.net.admission import Admission, Admitted, Refusal
from p2pnode.net.config import NetworkConfig, NetworkLimits

FAR = "192.0.2.1"
ONE_NETWORK = (
    [f"2a00:1:2:{n:x}::1" for n in range(24)],
    [f"5.6.7.{n}" for n in range(24)],
)


def admission(
    *, known: tuple[bytes, ...] = (), config: dict[str, Any] | None = None, **limits: Any
) -> Admission:
    return Admission(
        NetworkConfig(
            seed=bytes(32),
            chain=bytes(32),
            ban_s=60,
            limits=NetworkLimits(**limits),
            **config or {},
        ),
        known,
    )


def test_handshakes_of_one_address_are_bounded_and_others_pass() -> None:
    door = admission(handshakes_per_address_max=3)
    assert [door.begin(FAR, 0) for _ in range(4)] == [None] * 3 + [Refusal.HANDSHAKES_OF_ADDRESS]
    assert door.begin("192.0.2.2", 0) is None
    door.end(FAR, 1)
    assert door.begin(FAR, 1) is None


def test_all_handshakes_are_bounded() -> None:
    door = admission(handshakes_max=5)
    outcomes = [door.begin(f"192.0.2.{n}", 0) for n in range(6)]
    assert outcomes == [None] * 5 + [Refusal.HANDSHAKES]


def test_address_that_begins_too_often_waits() -> None:
    door = admission(handshakes_burst_max=5, handshakes_per_s=1.0)
    for _ in range(5):
        assert door.begin(FAR, 0) is None
        door.end(FAR, 0)
    assert door.begin(FAR, 0.5) is Refusal.RATE_OF_ADDRESS
    assert door.begin(FAR, 1.5) is None


def test_strangers_of_one_address_leave_slots_to_others() -> None:
    door = admission(inbound_per_address_max=2)
    first = door.admit(b"1", FAR, 0)
    assert isinstance(first, Admitted)
    assert isinstance(door.admit(b"2", FAR, 0), Admitted)
    assert door.admit(b"3", FAR, 0) is Refusal.CONNECTIONS_OF_ADDRESS
    assert isinstance(door.admit(b"4", "192.0.2.2", 0), Admitted)
    door.leave(first, 1)
    assert isinstance(door.admit(b"3", FAR, 1), Admitted)


def test_known_peers_pass_where_strangers_do_not() -> None:
    door = admission(known=(b"boot",), inbound_max=4, inbound_per_address_max=1)
    door.set_known([b"validator"])
    assert isinstance(door.admit(b"1", FAR, 0), Admitted)
    assert isinstance(door.admit(b"validator", FAR, 0), Admitted)
    assert isinstance(door.admit(b"2", "192.0.2.2", 0), Admitted)
    assert isinstance(door.admit(b"boot", "192.0.2.2", 0), Admitted)
    assert door.admit(b"validator", FAR, 0) is Refusal.CONNECTIONS


def test_strangers_never_get_the_reserved_slots() -> None:
    door = admission(inbound_max=8, inbound_reserved_share=0.25)
    outcomes = [door.admit(b"%d" % n, f"192.0.2.{n}", 0) for n in range(7)]
    assert [isinstance(o, Admitted) for o in outcomes] == [True] * 6 + [False]
    assert outcomes[6] is Refusal.CONNECTIONS


def test_address_of_banned_strangers_is_refused_to_strangers_only_for_longer_each_time() -> None:
    door = admission(known=(b"validator",), address_points_max=300)
    assert [door.blame(b"%d" % n, FAR, 100, n) for n in range(4)] == [0, 0, 0, 60]
    assert door.admit(b"new", FAR, 3) is Refusal.ADDRESS_BANNED
    assert isinstance(door.admit(b"validator", FAR, 3), Admitted)
    assert isinstance(door.admit(b"new", "192.0.2.2", 3), Admitted)
    assert door.banned_addresses(3) == {FAR: 60}
    assert isinstance(door.admit(b"new", FAR, 63), Admitted)
    assert [door.blame(b"%d" % n, FAR, 100, 64) for n in range(4)] == [0, 0, 0, 120]


def test_neighbours_of_an_offender_are_refused_for_an_hour_at_most() -> None:
    door = admission(address_points_max=10, config={"ban_max_s": 86_400.0})
    now_s, lengths = 0.0, []
    for _ in range(12):
        door.blame(b"1", FAR, 10, now_s)
        lengths.append(door.blame(b"1", FAR, 10, now_s))
        now_s += lengths[-1]
    assert lengths[:3] == [60, 120, 240]
    assert lengths[-3:] == [3600] * 3


def test_offences_long_ago_do_not_count_against_an_address() -> None:
    door = admission(address_points_max=300, address_points_per_s=0.1)
    assert [door.blame(b"%d" % n, FAR, 100, 1000 * n) for n in range(10)] == [0] * 10


def test_new_identity_after_each_small_offence_does_not_help() -> None:
    door = admission(address_points_max=300)
    refused = [door.blame(b"%d" % n, FAR, 25, n) for n in range(14)]
    assert refused[:12] == [0] * 12
    assert 60 in refused


def test_known_peer_that_is_banned_does_not_shut_out_its_neighbours() -> None:
    door = admission(known=(b"validator",), address_points_max=10)
    assert door.blame(b"validator", FAR, 100, 0) == 0
    assert isinstance(door.admit(b"new", FAR, 1), Admitted)


def test_loopback_is_not_limited_unless_asked_for() -> None:
    door = admission(handshakes_per_address_max=1, address_points_max=10)
    assert [door.begin("127.0.0.1", 0) for _ in range(3)] == [None] * 3
    assert door.blame(b"1", "::1", 100, 0) == 0
    strict = admission(handshakes_per_address_max=1, config={"limit_loopback": True})
    assert strict.begin("127.0.0.1", 0) is None
    assert strict.begin("127.0.0.1", 0) is Refusal.HANDSHAKES_OF_ADDRESS


def test_one_person_has_a_64_of_ipv6_and_a_mapped_address_is_its_ipv4_one() -> None:
    door = admission(handshakes_per_address_max=1)
    assert door.begin("2001:db8::1", 0) is None
    assert door.begin("2001:db8::2", 0) is Refusal.HANDSHAKES_OF_ADDRESS
    assert door.begin("2001:db8:0:1::1", 0) is None
    assert door.begin(FAR, 0) is None
    assert door.begin(f"::ffff:{FAR}", 0) is Refusal.HANDSHAKES_OF_ADDRESS


def test_allow_list_is_the_only_way_in() -> None:
    door = admission(config={"allow": (b"friend",)}, known=(b"boot",))
    assert isinstance(door.admit(b"friend", FAR, 0), Admitted)
    assert door.admit(b"boot", FAR, 0) is Refusal.NOT_ALLOWED
    assert not door.allows(b"boot")


def test_memory_of_addresses_is_bounded_and_keeps_those_in_use_and_banned() -> None:
    door = admission(address_points_max=10, handshakes_max=10_000)
    door.blame(b"1", FAR, 100, 0)
    door.begin("192.0.2.9", 0)
    for number in range(10_000):
        ip = f"10.{number >> 8}.{number & 255}.1"
        if door.begin(ip, 0) is None:
            door.end(ip, 0)
    assert len(door._places) <= 4096
    assert FAR in door._places
    assert "192.0.2.9" in door._places


def fill(door: Admission, ips: list[str], count: int) -> list[Admitted]:
    """Let strangers in, one from each address in turn."""
    found = []
    for number in range(count):
        admitted = door.admit(b"crowd %d" % number, ips[number % len(ips)], number)
        assert isinstance(admitted, Admitted), (number, admitted)
        found.append(admitted)
    return found


@pytest.mark.parametrize("ips", ONE_NETWORK)
def test_one_network_with_all_slots_makes_room_for_newcomers_from_elsewhere(ips: list[str]) -> None:
    door = admission()
    inside = fill(door, ips, 96)
    assert door.admit(b"one more", ips[0], 100) is Refusal.CONNECTIONS
    for number, ip in enumerate(("9.9.9.9", "2a00:1:3::1", "5.6.8.1"), 1):
        newcomer = door.admit(b"newcomer %d" % number, ip, 100)
        assert isinstance(newcomer, Admitted)
        # The youngest has to go.
        assert newcomer.instead_of is inside[-number]
        assert door.admit(inside[-number].peer, ips[0], 101) is Refusal.CONNECTIONS


def test_who_was_crowded_out_leaves_once() -> None:
    door = admission(inbound_max=4, inbound_reserved_share=0)
    inside = fill(door, ONE_NETWORK[1], 4)
    assert isinstance(door.admit(b"newcomer", "9.9.9.9", 5), Admitted)
    door.leave(inside[-1], 6)
    assert door.admit(b"one more", "5.6.7.99", 7) is Refusal.CONNECTIONS
    door.leave(inside[0], 8)
    assert isinstance(door.admit(b"one more", "5.6.7.99", 9), Admitted)


def test_of_a_crowd_who_has_the_lowest_score_goes_and_who_has_become_known_stays() -> None:
    scores = {b"crowd 1": -40.0, b"crowd 3": -60.0}
    door = Admission(
        NetworkConfig(
            seed=bytes(32),
            chain=bytes(32),
            limits=NetworkLimits(inbound_max=6, inbound_reserved_share=0),
        ),
        score=lambda peer: scores.get(peer, 0.0),
    )
    fill(door, ONE_NETWORK[0], 6)
    door.set_known([b"crowd 3", b"crowd 5"])
    gone = []
    for ip in ("9.9.9.9", "8.8.8.8"):
        newcomer = door.admit(ip.encode(), ip, 10)
        assert isinstance(newcomer, Admitted)
        assert newcomer.instead_of is not None
        gone.append(newcomer.instead_of.peer)
    assert gone == [b"crowd 1", b"crowd 4"]


def test_known_peers_beyond_the_reserved_slots_get_one_of_strangers_each() -> None:
    known = tuple(b"validator %d" % number for number in range(6))
    door = admission(known=known, inbound_max=8, inbound_reserved_share=0.25)
    inside = fill(door, ["127.0.0.1", "5.6.7.1", "5.6.7.2"], 6)
    gone = []
    for peer in known:
        outcome = door.admit(peer, FAR, 10)
        assert isinstance(outcome, Admitted)
        if outcome.instead_of is not None:
            gone.append(outcome.instead_of)
        # Once it is inside, it crowds out nobody more.
        if len(door._inside) == 8:
            assert door.admit(peer, FAR, 10) is Refusal.CONNECTIONS
    # The youngest of the network with most, then of both that hold as many.
    assert gone == [inside[n] for n in (5, 4, 3, 2)]
    assert len(door._inside) == 8


def test_nobody_is_crowded_out_where_networks_are_many_or_nobodys() -> None:
    door = admission(inbound_max=4, inbound_reserved_share=0)
    fill(door, [f"5.6.{n}.1" for n in range(4)], 4)
    assert door.admit(b"new", "9.9.9.9", 5) is Refusal.CONNECTIONS
    local = admission(inbound_max=4, inbound_reserved_share=0)
    fill(local, ["127.0.0.1"], 4)
    for ip in ("127.0.0.1", "9.9.9.9"):
        assert local.admit(b"new", ip, 5) is Refusal.CONNECTIONS


def test_whole_private_network_is_no_crowd_but_each_address_in_it_may_be() -> None:
    door = admission(inbound_max=4, inbound_reserved_share=0)
    fill(door, [f"192.168.1.{n}" for n in range(4)], 4)
    assert door.admit(b"new", "9.9.9.9", 5) is Refusal.CONNECTIONS
    door = admission(inbound_max=4, inbound_reserved_share=0)
    fill(door, ["192.168.1.1"], 4)
    assert isinstance(door.admit(b"new", "192.168.1.2", 5), Admitted)


@pytest.mark.parametrize("ips", ONE_NETWORK)
def test_addresses_of_one_network_leave_handshakes_to_others(ips: list[str]) -> None:
    door = admission()
    outcomes = [door.begin(ip, 0) for ip in ips]
    assert outcomes == [None] * 16 + [Refusal.HANDSHAKES_OF_NETWORK] * 8
    assert door.begin("9.9.9.9", 0) is None
    door.end(ips[0], 1)
    assert door.begin(ips[20], 1) is None
    assert [door.begin(f"192.168.1.{n}", 1) for n in range(20)] == [None] * 20


def test_network_begins_no_more_handshakes_than_two_addresses_may() -> None:
    door = admission(handshakes_burst_max=5, handshakes_per_s=1.0)
    outcomes = []
    for number in range(12):
        ip = f"2a00:1:2:{number}::1"
        outcomes.append(door.begin(ip, 0))
        if outcomes[-1] is None:
            door.end(ip, 0)
    assert outcomes == [None] * 10 + [Refusal.RATE_OF_NETWORK] * 2


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), max_size=200), st.data())
def test_shares_of_networks_that_want_more_differ_by_one_at_most(
    arrivals: list[tuple[int, int]], data: st.DataObject
) -> None:
    door = admission(inbound_max=12, inbound_reserved_share=0, inbound_per_address_max=100)
    inside: dict[Admitted, int] = {}
    for count, (network, host) in enumerate(arrivals):
        outcome = door.admit(b"%d" % count, f"5.6.{network}.{host}", count)
        if isinstance(outcome, Admitted):
            inside[outcome] = network
            if outcome.instead_of is not None:
                del inside[outcome.instead_of]
        else:
            held = list(inside.values())
            assert len(held) == 12
            assert held.count(network) + 1 >= max(held.count(n) for n in range(6))
        assert len(inside) <= 12
        if inside and data.draw(st.booleans()):
            left = data.draw(st.sampled_from(list(inside)))
            del inside[left]
            door.leave(left, count)
    assert list(door._inside) == list(inside)
