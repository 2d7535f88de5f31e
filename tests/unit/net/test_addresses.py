"""Multiaddrs: which may be dialled, and who is told of which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.net.addresses import (
    acceptable,
    expanded,
    interface_ips,
    join_address,
    scope_of,
    scope_of_ip,
    split_address,
    told_within,
)
from p2pnode.types.record import ADDRESSES_MAX, Scope

OWN = [
    "/ip4/203.0.112.7/tcp/4001",
    "/ip4/192.168.1.5/tcp/4001",
    "/ip4/127.0.0.1/tcp/4001",
    "/ip6/2a00::7/tcp/4001",
    "/ip6/fd00::7/tcp/4001",
]


@pytest.mark.parametrize(
    ("address", "ok"),
    [
        ("/ip4/127.0.0.1/tcp/4001", True),
        ("/ip6/::1/tcp/4001", True),
        ("/dns4/example.com/tcp/4001", False),
        ("/ip4/0.0.0.0/tcp/4001", False),
        ("/ip4/224.0.0.1/tcp/4001", False),
        ("/ip6/fe80::1/tcp/4001", False),
        ("/ip6/fe80::1%eth0/tcp/4001", False),
        ("/ip6/fd00::1%eth0/tcp/4001", False),
        ("/ip6/::ffff:127.0.0.1/tcp/4001", False),
        ("/ip4/127.0.0.1/tcp/0", False),
        ("/ip4/127.0.0.1/tcp/65536", False),
        ("/ip4/127.0.0.1/tcp/\uff14\uff10\uff10\uff11", False),
        ("/ip4/127.0.0.1/udp/4001", False),
        ("/ip4/127.0.0.1/tcp/4001/ws", False),
        ("/ip6/127.0.0.1/tcp/4001", False),
        ("/ip4/127.0.0.1/tcp/4001/p2p/x", False),
        ("x/ip4/127.0.0.1/tcp/4001", False),
        ("", False),
        ("/ip4/" + "1" * 200, False),
    ],
)
def test_only_plain_tcp_addresses_of_an_ip_are_accepted(address: str, ok: bool) -> None:
    assert acceptable(address) is ok


@given(st.text(max_size=60))
def test_no_text_from_a_peer_raises(text: str) -> None:
    for address in (text, f"/ip4/127.0.0.1/tcp/{text}", f"/ip6/{text}/tcp/1"):
        acceptable(address)
        split_address(address)
        scope_of(address)
    scope_of_ip(text)


@pytest.mark.parametrize(
    ("ip", "scope"),
    [
        ("127.0.0.1", Scope.HOST),
        ("127.9.9.9", Scope.HOST),
        ("::1", Scope.HOST),
        ("::ffff:127.0.0.1", Scope.HOST),
        ("::ffff:192.168.0.1", Scope.PRIVATE),
        ("10.1.2.3", Scope.PRIVATE),
        ("172.31.0.1", Scope.PRIVATE),
        ("192.168.0.1", Scope.PRIVATE),
        ("169.254.0.1", Scope.PRIVATE),
        ("100.64.0.1", Scope.PRIVATE),
        ("fd12::1", Scope.PRIVATE),
        ("fe80::1%eth0", Scope.PRIVATE),
        ("8.8.8.8", Scope.WORLD),
        ("2001:4860:4860::8888", Scope.WORLD),
        ("no ip", Scope.WORLD),
    ],
)
def test_scope_of_an_ip(ip: str, scope: Scope) -> None:
    assert scope_of_ip(ip) is scope


def test_node_that_listens_everywhere_is_at_the_addresses_of_its_interfaces() -> None:
    ips = ["127.0.0.1", "192.168.1.5", "::1", "fe80::1%eth0", "fd00::7"]
    assert expanded(["/ip4/0.0.0.0/tcp/1", "/ip6/::/tcp/2", "/ip4/10.0.0.1/tcp/3"], ips) == [
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/192.168.1.5/tcp/1",
        "/ip6/::1/tcp/2",
        "/ip6/fd00::7/tcp/2",
        "/ip4/10.0.0.1/tcp/3",
    ]
    assert "127.0.0.1" in interface_ips()


def test_addresses_are_told_only_to_those_who_can_use_them_the_nearest_first() -> None:
    assert told_within(Scope.WORLD, OWN, []) == (OWN[0], OWN[3])
    assert told_within(Scope.PRIVATE, OWN, []) == (OWN[1], OWN[4], OWN[0], OWN[3])
    assert told_within(Scope.HOST, OWN, []) == (OWN[2], OWN[1], OWN[4], OWN[0], OWN[3])


def test_what_the_operator_announces_is_told_to_everybody() -> None:
    outside = "/ip4/10.8.0.2/tcp/4001"
    for scope in Scope:
        assert told_within(scope, OWN, [outside])[-1] == outside
    many = [join_address(f"10.0.0.{n}", 1) for n in range(1, 30)]
    told = told_within(Scope.PRIVATE, many, [outside])
    assert len(told) == ADDRESSES_MAX
    assert outside in told
