"""How libp2p dials, listens and notices the end, as it comes, shown beside ours.

When stock no longer falls for one of these, the reason for our own part of it is gone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p import new_host
from libp2p.network.exceptions import SwarmException
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from p2pnode.net.libp2p.host import ListenError
from p2pnode.ports import PeerConnected, PeerLost
from testnet.prepare import free_ports
from tests.e2e.net.hostile import hostile_peer, key_pair
from tests.e2e.net.libp2p_helpers import address_of, network
from tests.unit.net.network_contract import running, take, until

REPOSITORY = Path(__file__).resolve().parents[3]
HAPPY_EYEBALLS_S = 0.25

# libp2p as it comes leaves sockets behind when it ends.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@asynccontextmanager
async def stock_host(name: bytes, port: int = 0) -> AsyncIterator[Any]:
    host = new_host(key_pair=key_pair(name))
    async with host.run(listen_addrs=[Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")]):
        yield host
        await host.close()


def info_of(host: Any, port: int) -> PeerInfo:
    return PeerInfo(host.get_id(), [Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")])


def port_of(host: Any) -> int:
    (address, *_) = host.get_addrs()
    return int(str(address).split("/")[4])


def connections_count(host: Any) -> int:
    return len(host.get_network().get_connections())


async def test_stock_takes_a_quarter_second_to_connect_and_we_do_not() -> None:
    stock_s, own_s = [], []
    for attempt in range(3):
        async with stock_host(b"a%d" % attempt) as a, stock_host(b"b%d" % attempt) as b:
            begin_s = trio.current_time()
            await a.connect(info_of(b, port_of(b)))
            stock_s.append(trio.current_time() - begin_s)
        listener = network(0)
        async with running([listener]):
            dialler = network(1, bootstrap=(listener.address,))
            begin_s = trio.current_time()
            async with running([dialler]):
                await take(dialler, PeerConnected, 1)
                own_s.append(trio.current_time() - begin_s)
    # It waits for a second address that is not there, even when the first has answered.
    assert min(stock_s) >= HAPPY_EYEBALLS_S
    assert min(own_s) < HAPPY_EYEBALLS_S


async def test_stock_refuses_a_peer_that_was_not_up_when_first_dialled() -> None:
    (port,) = free_ports(1)
    late = new_host(key_pair=key_pair(b"late"))
    async with stock_host(b"a") as a:
        with pytest.raises(SwarmException):
            await a.connect(info_of(late, port))
        async with stock_host(b"late", port) as up:
            with trio.move_on_after(2):
                with pytest.raises(SwarmException, match="negative cache"):
                    await a.connect(info_of(up, port))
            assert connections_count(a) == 0


async def test_we_find_a_peer_that_was_not_up_when_first_dialled() -> None:
    (port,) = free_ports(1)
    ours = network(1, bootstrap=(address_of(0, port),))
    async with running([ours]):
        await until(lambda: ours.statistics().dials_failed >= 2)
        async with running([network(0, port=port)]):
            await take(ours, PeerConnected, 1)


async def test_stock_does_not_dial_a_peer_again_that_was_restarted_and_we_do() -> None:
    (port,) = free_ports(1)
    async with stock_host(b"a") as a:
        async with stock_host(b"b", port) as b:
            await a.connect(info_of(b, port))
        await until(lambda: connections_count(a) == 0)
        async with stock_host(b"b", port):
            await trio.sleep(3)
            assert connections_count(a) == 0

    (port,) = free_ports(1)
    ours = network(1, bootstrap=(address_of(0, port),))
    async with running([ours]):
        for _ in range(2):
            async with running([network(0, port=port)]):
                await take(ours, PeerConnected, 1)
            await take(ours, PeerLost, 1)


async def test_stock_connects_to_whoever_it_has_heard_of_and_we_do_not() -> None:
    async with stock_host(b"a") as a, stock_host(b"b") as b, stock_host(b"c") as c:
        await a.connect(info_of(b, port_of(b)))
        a.get_peerstore().add_addrs(c.get_id(), info_of(c, port_of(c)).addrs, 120)
        # What its clock does every 30 s.
        await a.get_network().auto_connector.maybe_connect()
        await until(lambda: connections_count(a) == 2)

    ports = free_ports(3)
    first = address_of(0, ports[0])
    networks = [
        network(i, port=ports[i], bootstrap=(first,) if i else (), peers_wanted=0) for i in range(3)
    ]
    async with trio.open_nursery() as nursery:
        for each in networks:
            await nursery.start(each.run)
        await take(networks[0], PeerConnected, 2)
        known = networks[1]._swarm  # nothing outside shows it
        known.peerstore.add_addrs(
            networks[2]._host.get_id(), [Multiaddr(f"/ip4/127.0.0.1/tcp/{ports[2]}")], 120
        )
        await known.auto_connector.maybe_connect()
        await trio.sleep(0.5)
        assert [len(n.peers()) for n in networks] == [2, 1, 1]
        nursery.cancel_scope.cancel()


async def test_stock_shares_a_port_silently_and_we_refuse() -> None:
    async with stock_host(b"a") as a, stock_host(b"b", port_of(a)) as b:
        assert port_of(a) == port_of(b)
    ours = network(0)
    async with running([ours]):
        with pytest.raises(ListenError):
            await network(1, port=int(ours.address.split("/")[4])).run()


async def hang(stream: object) -> None:
    await trio.sleep_forever()


async def test_stock_keeps_a_peer_that_hangs_and_we_lose_it() -> None:
    async with hostile_peer() as hung:
        hung.host.get_network().set_stream_handler(hang)
        ours = network(0, ping_interval_s=0.2)
        async with stock_host(b"stock") as stock, running([ours]):
            await stock.connect(PeerInfo(hung.host.get_id(), hung.host.get_addrs()))
            await hung.connect(ours.address)
            await take(ours, PeerConnected, 1)
            (lost,) = await take(ours, PeerLost, 1)
            assert lost.reason == "no answer to 3 pings"
            # Stock asks nobody: several of our times later it has not noticed anything.
            await trio.sleep(3)
            assert connections_count(stock) == 1


CONNECTS_TWO_HOSTS = """
import json, logging, os, sys
import trio
from libp2p import new_host
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr
from p2pnode.telemetry.logging import LogOptions, configure

async def main():
    if sys.argv[1] == "own":
        configure(LogOptions())
    before = list(logging.getLogger().handlers)
    a, b = new_host(), new_host()
    anywhere = [Multiaddr("/ip4/127.0.0.1/tcp/0")]
    async with a.run(listen_addrs=anywhere), b.run(listen_addrs=anywhere):
        (address, *_) = b.get_addrs()
        await a.connect(PeerInfo(b.get_id(), [address]))
        print(json.dumps(logging.getLogger().handlers == before), flush=True)
        os._exit(0)

trio.run(main)
"""


@pytest.mark.parametrize("own", [True, False], ids=["own", "stock"])
def test_libp2p_does_not_set_up_the_logging_of_the_process(own: bool) -> None:
    # It logs by functions of the module `logging`, which give the root logger a handler for stderr
    # where it has none: in the middle of a screen.
    done = subprocess.run(
        [sys.executable, "-c", CONNECTS_TWO_HOSTS, "own" if own else "stock"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == own
