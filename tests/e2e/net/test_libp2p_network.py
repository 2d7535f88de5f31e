"""Networks on libp2p: what happens when peers come, go, hang and dial at the same time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from p2pnode.net.config import NetworkConfigError
from p2pnode.net.framing import OwnFrameTooLargeError
from p2pnode.net.libp2p import Libp2pNetwork, NetworkLimits
from p2pnode.net.libp2p.host import ListenError
from p2pnode.ports import (
    FrameReceived,
    Lane,
    PeerConnected,
    PeerLost,
    Published,
    RequestFailedError,
    Verdict,
)
from testnet.prepare import free_ports
from tests.e2e.net.hostile import hostile_peer
from tests.e2e.net.libp2p_helpers import (
    address_of,
    make,
    network,
)
from tests.unit.net.network_contract import Running, quiet, running, take, until


def accept(peer: bytes, data: bytes) -> Verdict:
    return Verdict.ACCEPT


async def echo(peer: bytes, body: bytes) -> bytes:
    return body


async def drain(networks: Sequence[Libp2pNetwork]) -> None:
    """Throw away what has arrived so far."""
    for each in networks:
        with trio.move_on_after(0.05):
            while True:
                await each.incoming.receive()


async def test_four_nodes_send_ask_and_publish_at_the_same_time() -> None:
    networks = await make(4)
    for each in networks:
        each.subscribe("t", accept)
        each.serve("echo", echo)
    answers = []

    async def ask(a: Libp2pNetwork, b: Libp2pNetwork) -> None:
        answers.append(await a.request(b.peer_id, "echo", b"x" * 100_000, timeout_s=10))

    async with running(networks):
        await trio.sleep(1.5)
        received: dict[bytes, list[object]] = {n.peer_id: [] for n in networks}
        async with trio.open_nursery() as nursery:

            async def read(each: Libp2pNetwork) -> None:
                frames, messages = 3 * 60, 3 * 10
                while frames or messages:
                    item = await each.incoming.receive()
                    received[each.peer_id].append(item)
                    frames -= isinstance(item, FrameReceived)
                    messages -= isinstance(item, Published)

            with trio.fail_after(20):
                for each in networks:
                    nursery.start_soon(read, each)
                    for other in networks:
                        if other is not each:
                            nursery.start_soon(ask, each, other)
                for number in range(20):
                    for each in networks:
                        if number % 2:
                            each.publish("t", b"%d" % number + each.peer_id)
                        for other in networks:
                            for lane in Lane:
                                if other is not each:
                                    assert each.send(other.peer_id, lane, b"%d" % number)
                    await trio.sleep(0.005)
                # The nursery waits for the readers and the answers.
        assert answers == [b"x" * 100_000] * 12
        for each in networks:
            items = received[each.peer_id]
            for other in networks:
                for lane in Lane:
                    got = [
                        int(i.frame)
                        for i in items
                        if isinstance(i, FrameReceived)
                        and (i.peer, i.lane) == (other.peer_id, lane)
                    ]
                    assert got == (list(range(20)) if other is not each else [])
            data = [i.data for i in items if isinstance(i, Published)]
            assert len(set(data)) == len(data) == 30
        assert all(n.statistics().frames_dropped == 0 for n in networks)
        assert all(p.rtt_s is not None for n in networks for p in n.peers())


async def test_node_restarted_on_another_port_is_connected_to_all_in_2_s() -> None:
    ports = free_ports(5)
    first = address_of(0, ports[0])
    networks = [
        network(i, port=ports[i], bootstrap=(first,) if i else (), exchange_interval_s=1.0)
        for i in range(4)
    ]
    async with running(networks) as runner:
        runner.stop(3)
        for each in networks[:3]:
            await take(each, PeerLost, 1)
        reborn = network(3, port=ports[4], bootstrap=(address_of(1, ports[1]),))
        assert reborn.peer_id == networks[3].peer_id
        async with trio.open_nursery() as nursery:
            await nursery.start(reborn.run)
            before_s = trio.current_time()
            await take(reborn, PeerConnected, 3)
            for each in networks[:3]:
                (connected,) = await take(each, PeerConnected, 1)
                assert connected.peer == reborn.peer_id
            assert trio.current_time() - before_s < 2.0
            nursery.cancel_scope.cancel()


async def test_bootstrap_peer_restarted_where_it_was_is_dialled_again_in_2_s() -> None:
    networks = await make(3)
    async with running(networks) as runner:
        port = int(networks[0].address.split("/")[4])
        runner.stop(0)
        for each in networks[1:]:
            await take(each, PeerLost, 1)
        await trio.sleep(1.0)  # long enough for dials to fail and pauses to grow
        reborn = network(0, port=port)
        async with trio.open_nursery() as nursery:
            await nursery.start(reborn.run)
            before_s = trio.current_time()
            await take(reborn, PeerConnected, 2)
            assert trio.current_time() - before_s < 2.0
            nursery.cancel_scope.cancel()
        assert networks[1].statistics().dials_failed > 0


async def test_messages_published_after_a_restart_are_not_taken_for_old_ones() -> None:
    networks = await make(2)
    for each in networks:
        each.subscribe("t", accept)
    async with running(networks) as runner:
        await trio.sleep(0.5)
        for number in range(100):
            networks[1].publish("t", b"%d" % number)
        await take(networks[0], Published, 100)
        runner.stop(1)
        await take(networks[0], PeerLost, 1)
        reborn = network(1, bootstrap=(networks[0].address,))
        reborn.subscribe("t", accept)
        async with trio.open_nursery() as nursery:
            await nursery.start(reborn.run)
            await take(reborn, PeerConnected, 1)
            await trio.sleep(0.5)
            reborn.publish("t", b"new life")
            (message,) = await take(networks[0], Published, 1)
            assert message.data == b"new life"
            nursery.cancel_scope.cancel()


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
async def test_peer_that_answers_nothing_is_lost_after_three_pings() -> None:
    async with hostile_peer() as hung:

        async def never_answer(stream: object) -> None:
            await trio.sleep_forever()

        hung.host.get_network().set_stream_handler(never_answer)
        ours = network(0, ping_interval_s=0.2)
        async with trio.open_nursery() as nursery:
            await nursery.start(ours.run)
            await hung.connect(ours.address)
            before_s = trio.current_time()
            await take(ours, PeerConnected, 1)
            (lost,) = await take(ours, PeerLost, 1)
            assert lost.reason == "no answer to 3 pings"
            assert 0.5 < trio.current_time() - before_s < 2.0
            await until(lambda: hung.connections_count == 0)
            nursery.cancel_scope.cancel()


class Cable:
    """A TCP relay that can be pulled: it then moves nothing and closes nothing."""

    def __init__(self, port: int) -> None:
        self._to_port = port
        self.is_pulled = False
        self.port = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._relay, [listener])

    async def _relay(self, near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream("127.0.0.1", self._to_port)
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, near, far)
            await self._copy(far, near)
            nursery.cancel_scope.cancel()

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            while data := await source.receive_some(65536):
                if self.is_pulled:
                    await trio.sleep_forever()
                await sink.send_all(data)
        except trio.BrokenResourceError:
            pass


async def test_pulled_cable_is_noticed_by_both_ends_even_in_the_middle_of_a_write() -> None:
    a = network(0, ping_interval_s=0.2)
    b = network(1, ping_interval_s=0.2)
    async with trio.open_nursery() as nursery:
        await nursery.start(b.run)
        cable = Cable(int(b.address.split("/")[4]))
        await nursery.start(cable.run)
        await nursery.start(a.run)
        a.set_wanted({b.peer_id: [f"/ip4/127.0.0.1/tcp/{cable.port}"]})
        await take(a, PeerConnected, 1)
        await take(b, PeerConnected, 1)
        cable.is_pulled = True
        for _ in range(12):
            a.send(b.peer_id, Lane.BULK, bytes(1 << 20))
        before_s = trio.current_time()
        for each in (a, b):
            (lost,) = await take(each, PeerLost, 1)
            assert lost.reason == "no answer to 3 pings"
        assert trio.current_time() - before_s < 3.0
        nursery.cancel_scope.cancel()


async def test_connection_that_a_peer_has_lost_gives_way_to_its_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("p2pnode.net.libp2p.network.SIMULTANEOUS_S", 0.1)
    patient = network(0, ping_interval_s=60.0)
    quick = network(1, ping_interval_s=0.2)
    async with trio.open_nursery() as nursery:
        await nursery.start(patient.run)
        await nursery.start(quick.run)
        cable = Cable(int(quick.address.split("/")[4]))
        await nursery.start(cable.run)
        patient.set_wanted({quick.peer_id: [f"/ip4/127.0.0.1/tcp/{cable.port}"]})
        await take(patient, PeerConnected, 1)
        await take(quick, PeerConnected, 1)
        quick.set_wanted({patient.peer_id: [patient.address]})
        cable.is_pulled = True
        await take(quick, PeerLost, 1)
        await take(quick, PeerConnected, 1)
        # The other side has noticed nothing so far, and is told both.
        (lost,) = await take(patient, PeerLost, 1)
        assert lost.reason == "replaced by a newer connection"
        await take(patient, PeerConnected, 1)
        for a, b in ((patient, quick), (quick, patient)):
            assert a.send(b.peer_id, Lane.VOTE, b"again")
            (received,) = await take(b, FrameReceived, 1)
            assert received.frame == b"again"
        nursery.cancel_scope.cancel()


async def test_stranger_that_accepts_and_says_nothing_is_given_up() -> None:
    async def say_nothing(stream: trio.SocketStream) -> None:
        async with stream:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, say_nothing, [listener])
        ours = network(0, bootstrap=(address_of(1, port),), dial_timeout_s=0.2)
        await nursery.start(ours.run)
        await until(lambda: ours.statistics().dials_failed >= 2)
        assert ours.peers() == ()
        nursery.cancel_scope.cancel()


async def test_of_two_nodes_that_dial_each_other_one_connection_stays() -> None:
    for _ in range(2):
        ports = free_ports(2)
        networks = [
            network(i, port=ports[i], bootstrap=(address_of(1 - i, ports[1 - i]),))
            for i in range(2)
        ]
        for each in networks:
            each.serve("echo", echo)
        a, b = networks
        async with running(networks):
            for number in range(150):
                a.send(b.peer_id, Lane.VOTE, b"%d" % number)
                await trio.sleep(0.01)
            frames = await quiet(b, FrameReceived, 0.5)
            numbers = [int(f.frame) for f in frames if isinstance(f, FrameReceived)]
            # A connection that gives way to its twin may take frames with it, never their order.
            assert numbers == sorted(set(numbers))
            assert numbers[-1] == 149
            for each in networks:
                assert len(each._swarm.get_connections()) == 1  # nothing outside shows it
            assert a.peers()[0].inbound != b.peers()[0].inbound
            assert await a.request(b.peer_id, "echo", b"x", timeout_s=5) == b"x"
            for each in networks:
                assert await quiet(each, PeerLost, 0.1) == []


async def test_wanted_peers_are_found_through_others_and_kept() -> None:
    ports = free_ports(4)
    first = address_of(0, ports[0])
    networks = [
        network(i, port=ports[i], bootstrap=(first,) if i else (), peers_wanted=0) for i in range(4)
    ]
    async with trio.open_nursery() as nursery:
        for each in networks:
            await nursery.start(each.run)
        await take(networks[0], PeerConnected, 3)
        await trio.sleep(0.5)
        assert [len(n.peers()) for n in networks] == [3, 1, 1, 1]
        networks[1].set_wanted({networks[2].peer_id: []})
        networks[3].set_wanted({networks[1].peer_id: [networks[1].address]})
        await until(lambda: [len(n.peers()) for n in networks] == [3, 3, 2, 2])
        nursery.cancel_scope.cancel()


async def test_full_queue_of_votes_loses_the_oldest_and_others_refuse() -> None:
    limits = NetworkLimits(lane_frames_max=10)
    ports = free_ports(2)
    a = network(0, port=ports[0], limits=limits)
    b = network(1, bootstrap=(address_of(0, ports[0]),))
    async with running([a, b]):
        # No checkpoint in between: nothing is written meanwhile.
        assert [a.send(b.peer_id, Lane.VOTE, b"%d" % n) for n in range(25)] == [True] * 25
        assert [a.send(b.peer_id, Lane.BULK, b"%d" % n) for n in range(25)] == (
            [True] * 10 + [False] * 15
        )
        frames = await take(b, FrameReceived, 20)
        votes = [int(f.frame) for f in frames if f.lane is Lane.VOTE]
        bulk = [int(f.frame) for f in frames if f.lane is Lane.BULK]
        assert votes == list(range(15, 25))
        assert bulk == list(range(10))
        assert a.statistics().frames_dropped == 30


async def test_reader_that_stops_holds_up_the_sender_not_the_memory() -> None:
    limits = NetworkLimits(incoming_max=4, lane_frames_max=64)
    ports = free_ports(2)
    a = network(0, port=ports[0], limits=limits)
    b = network(1, bootstrap=(address_of(0, ports[0]),), limits=limits)
    payload = bytes(64 << 10)
    async with running([a, b]):
        sent = refused = 0
        with trio.fail_after(20):
            while refused < 10:
                if a.send(b.peer_id, Lane.BULK, payload):
                    sent += 1
                    await trio.lowlevel.checkpoint()
                else:
                    refused += 1
                    await trio.sleep(0.01)
        assert sent * len(payload) < 40 << 20
        assert b.statistics().frames_received <= 5
        # Votes pass the bulk that waits, once the reader goes on.
        assert a.send(b.peer_id, Lane.VOTE, b"vote")
        await trio.sleep(0.5)
        frames = await take(b, FrameReceived, 8)
        assert any(f.lane is Lane.VOTE for f in frames)


async def test_bodies_above_the_limits_fail_the_request_and_nothing_else() -> None:
    limits = NetworkLimits(request_bytes_max=1000, answer_bytes_max=2000)
    ports = free_ports(2)
    a = network(0, port=ports[0], limits=limits)
    b = network(1, bootstrap=(address_of(0, ports[0]),), limits=limits)

    async def repeat(peer: bytes, body: bytes) -> bytes:
        return body * 5

    b.serve("repeat", repeat)
    async with running([a, b]):
        with pytest.raises(OwnFrameTooLargeError):
            await a.request(b.peer_id, "repeat", bytes(1001), timeout_s=5)
        with pytest.raises(RequestFailedError, match="too large"):
            await a.request(b.peer_id, "repeat", bytes(401), timeout_s=5)
        assert await a.request(b.peer_id, "repeat", bytes(400), timeout_s=5) == bytes(2000)
        assert a.peers()[0].score == 0


async def test_many_requests_that_time_out_do_not_stop_later_ones() -> None:
    networks = await make(2)
    a, b = networks
    is_slow = True

    async def sometimes(peer: bytes, body: bytes) -> bytes:
        if is_slow:
            await trio.sleep_forever()
        return body

    b.serve("sometimes", sometimes)
    failed = 0

    async def ask() -> None:
        nonlocal failed
        with pytest.raises(RequestFailedError, match=r"no answer in 0\.3 s"):
            await a.request(b.peer_id, "sometimes", b"x", timeout_s=0.3)
        failed += 1

    async with running(networks):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
        assert failed == 20
        is_slow = False
        assert await a.request(b.peer_id, "sometimes", b"y", timeout_s=5) == b"y"
        assert a.send(b.peer_id, Lane.VOTE, b"still one connection")
        await take(b, FrameReceived, 1)


async def test_what_is_too_large_to_send_is_an_error() -> None:
    networks = await make(2)
    a, b = networks
    a.subscribe("t", accept)
    b.subscribe("t", accept)
    async with running(networks):
        await trio.sleep(0.5)
        with pytest.raises(OwnFrameTooLargeError):
            a.send(b.peer_id, Lane.BULK, bytes((1 << 20) + 1))
        with pytest.raises(OwnFrameTooLargeError):
            a.publish("t", bytes((1 << 20) + 1))
        a.publish("t", bytes(1 << 20))
        (message,) = await take(b, Published, 1)
        assert len(message.data) == 1 << 20


async def test_port_someone_listens_on_is_refused() -> None:
    ours = network(0)
    async with running([ours]):
        port = int(ours.address.split("/")[4])
        with pytest.raises(ListenError, match=str(port)):
            await network(1, port=port).run()


async def test_port_is_free_again_after_the_end() -> None:
    (port,) = free_ports(1)
    for _ in range(3):
        ours = network(0, port=port)
        async with trio.open_nursery() as nursery:
            runner = Running([ours])
            await runner.start(nursery)
            runner.stop_all()


@pytest.mark.parametrize("address", ["", "/ip4/127.0.0.1/tcp/1", "/nonsense/p2p/xyz", "1.2.3.4:5"])
def test_bootstrap_address_without_a_peer_id_is_a_config_error(address: str) -> None:
    with pytest.raises(NetworkConfigError):
        network(0, bootstrap=(address,))
