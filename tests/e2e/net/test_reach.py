"""Being found: several addresses, IPv6, and a node that comes back somewhere else."""

from __future__ import annotations

import socket

import pytest
import trio

from p2pnode.net.config import NetworkConfigError
from p2pnode.net.libp2p.host import ListenError
from p2pnode.ports import PeerConnected, PeerLost
from testnet.prepare import free_ports
from tests.e2e.net.libp2p_helpers import network
from tests.unit.net.network_contract import take, until


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 (::1)")


async def test_node_that_comes_back_elsewhere_is_found_by_all_through_one_it_knows() -> None:
    hub = network(0, peers_wanted=0, exchange_interval_s=60.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run)
        others = [
            network(i, bootstrap=(hub.address,), peers_wanted=0, exchange_interval_s=60.0)
            for i in (1, 2, 3)
        ]
        mover = network(4, bootstrap=(hub.address,), peers_wanted=0, exchange_interval_s=60.0)
        async with trio.open_nursery() as first_life:
            await first_life.start(mover.run)
            await take(hub, PeerConnected, 1)
            for other in others:
                await nursery.start(other.run)
                other.set_wanted({mover.peer_id: []})
            await take(mover, PeerConnected, 4)
            first_life.cancel_scope.cancel()
        for other in others:
            await take(other, PeerLost, 1)
        # It knows the hub alone, dials nobody else, and has another port and another IP.
        reborn = network(4, host="127.0.0.2", bootstrap=(hub.address,), peers_wanted=0)
        await nursery.start(reborn.run)
        before_s = trio.current_time()
        await take(reborn, PeerConnected, 4)
        assert trio.current_time() - before_s < 5.0
        assert {p.address.split("/")[2] for o in others for p in o.peers()} >= {"127.0.0.2"}
        nursery.cancel_scope.cancel()


@needs_ipv6
async def test_node_listens_on_ipv4_and_ipv6_at_once() -> None:
    port = free_ports(1)[0]
    ours = network(0, listen=(f"/ip4/127.0.0.1/tcp/{port}", f"/ip6/::1/tcp/{port}"))
    async with trio.open_nursery() as nursery:
        await nursery.start(ours.run)
        assert [a.split("/p2p/")[0] for a in ours.addresses] == list(ours._config.listen)
        for index, address in enumerate(ours.addresses, 1):
            peer = network(index, bootstrap=(address,))
            await nursery.start(peer.run)
            await take(peer, PeerConnected, 1)
            assert peer.peers()[0].address.split("/")[1] == ("ip4", "ip6")[index - 1]
        nursery.cancel_scope.cancel()


@needs_ipv6
async def test_peers_meet_over_ipv6_alone_and_tell_one_another_of_it() -> None:
    first = network(0, listen=("/ip6/::1/tcp/0",))
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        others = [network(i, host="::1", bootstrap=(first.address,)) for i in (1, 2)]
        for other in others:
            await nursery.start(other.run)
        await until(lambda: all(len(other.peers()) == 2 for other in others))
        assert all(p.address.startswith("/ip6/::1/") for o in others for p in o.peers())
        nursery.cancel_scope.cancel()


@needs_ipv6
async def test_node_that_listens_everywhere_says_where_everywhere_is() -> None:
    port = free_ports(1)[0]
    ours = network(0, listen=(f"/ip4/0.0.0.0/tcp/{port}", f"/ip6/::/tcp/{port}"))
    async with trio.open_nursery() as nursery:
        await nursery.start(ours.run)
        found = [address.split("/p2p/")[0] for address in ours.addresses]
        assert f"/ip4/127.0.0.1/tcp/{port}" in found
        assert f"/ip6/::1/tcp/{port}" in found
        assert not any("0.0.0.0" in address or "/::/" in address for address in found)
        nursery.cancel_scope.cancel()


async def test_announced_address_is_what_others_hear_first() -> None:
    ours = network(0, announce=("/ip4/203.0.113.7/tcp/4001",))
    async with trio.open_nursery() as nursery:
        await nursery.start(ours.run)
        assert ours.address.startswith("/ip4/203.0.113.7/tcp/4001/p2p/")
        peer = network(1, bootstrap=(ours.addresses[-1],))
        await nursery.start(peer.run)
        await take(peer, PeerConnected, 1)
        await until(lambda: "/ip4/203.0.113.7/tcp/4001" in peer._book.addresses(ours.peer_id))
        nursery.cancel_scope.cancel()


async def test_one_address_that_cannot_be_listened_on_is_an_error() -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.1"):
        await network(0, listen=("/ip4/127.0.0.1/tcp/0", "/ip4/192.0.2.1/tcp/0")).run()


@pytest.mark.parametrize(
    "settings",
    [
        {"listen": ("/dns4/example.com/tcp/1",)},
        {"listen": ("/ip4/127.0.0.1/udp/1",)},
        {"announce": ("/dns4/example.com/tcp/1",)},
        {"announce": ("/ip4/0.0.0.0/tcp/1",)},
        {"announce": ("/ip4/203.0.113.7/tcp/0",)},
        {"announce": tuple(f"/ip4/203.0.113.7/tcp/{n}" for n in range(1, 10))},
    ],
)
def test_addresses_of_no_use_are_config_errors(settings: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(NetworkConfigError):
        network(0, **settings)
