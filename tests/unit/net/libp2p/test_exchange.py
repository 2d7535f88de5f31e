"""Peer exchange between nodes in memory: who believes what, tells whom, and pays for it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from p2pnode import codec
from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.errors import P2PNodeError, RemoteProtocolError
from p2pnode.net.book import AddressBook
from p2pnode.net.config import NetworkConfig, NetworkLimits
from p2pnode.net.framing import frame
from p2pnode.net.libp2p.exchange import (
    CHECKS_AT_ONCE_MAX,
    RENEWAL_MS,
    STALE_POINTS,
    Connected,
    Exchange,
)
from p2pnode.net.libp2p.requests import RequestServer
from p2pnode.net.scores import RECOVERY_PER_S
from p2pnode.ports import PeerId, RequestFailedError
from p2pnode.types.record import (
    LIFE_MS,
    NodeRecord,
    Scope,
    SignedRecord,
    decode_record,
    sign_record,
)
from tests.unit.net.libp2p.fakes import free_meters, stream_pair

CHAIN = hashlib.sha256(b"a chain").digest()
START_MS = 1_700_000_000_000
LOOPBACK, LAN, WORLD = "127.0.0.1", "192.168.1.9", "8.8.8.8"
IPS = (LOOPBACK, "192.168.1.5", "9.9.9.9")


class Node:
    """An exchange with its book, and a list of what others did wrong."""

    def __init__(self, number: int, limits: NetworkLimits | None = None) -> None:
        self.key = SecretKey(hashlib.sha256(b"%d" % number).digest())
        self.peer = peer_id_of(self.key.public)
        self.ips: tuple[str, ...] = IPS
        self.clock_ahead_ms = 0
        self.known: list[PeerId] = []
        limits = limits or NetworkLimits()
        self.config = NetworkConfig(seed=self.key.seed, chain=CHAIN, limits=limits)
        self.book = AddressBook(self.peer, peers_max=100, told_by_one_max=10)
        self.sessions: dict[PeerId, Connected] = {}
        self.penalties: list[tuple[PeerId, float]] = []
        self.exchange = Exchange(
            self.book,
            self.config,
            self.sessions,
            penalize=lambda peer, points, reason: self.penalties.append((peer, points)),
            on_learned=lambda: None,
            is_known=lambda peer: peer in self.known,
            wall_ms=self.wall_ms,
            ips=lambda: self.ips,
        )
        self.exchange.listens_on([f"/ip4/0.0.0.0/tcp/{1000 + number}"])

    def wall_ms(self) -> int:
        return START_MS + round(trio.current_time() * 1000) + self.clock_ahead_ms

    def record(
        self, sequence: int, addresses: Sequence[str] = (), scope: Scope = Scope.WORLD
    ) -> SignedRecord:
        record = NodeRecord(self.key.public, scope, sequence, 0, tuple(addresses))
        return sign_record(self.key, CHAIN, record)

    async def tell(self, teller: Node, records: Iterable[bytes]) -> list[SignedRecord]:
        """Let a connected peer ask with these records; return the answer."""
        answer = await self.exchange.answer(teller.peer, codec.encode(list(records)))
        raws = codec.array(codec.decode(answer, size_bytes_max=1 << 20), "records")
        return [decode_record(codec.octets(raw, "record")) for raw in raws]


class Link:
    """One end's view of a connection: it asks the other end's exchange."""

    def __init__(self, here: Node, there: Node, ip: str) -> None:
        self.peer = there.peer
        self.observed_ip = ip
        self._here, self._there = here, there

    async def ask(self, protocol: str, body: bytes, timeout_s: float) -> bytes:
        await trio.sleep(0.01)
        try:
            return await self._there.exchange.answer(self._here.peer, body)
        except P2PNodeError as error:
            raise RequestFailedError(str(error)) from None


def connect(a: Node, b: Node, ip: str = LAN) -> None:
    a.sessions[b.peer] = Link(a, b, ip)
    b.sessions[a.peer] = Link(b, a, ip)


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(node.exchange.run)
        yield
        nursery.cancel_scope.cancel()


def three() -> tuple[Node, Node, Node]:
    return Node(1), Node(2), Node(3)


async def test_peers_of_a_peer_become_known(autojump_clock: MockClock) -> None:
    a, b, c = three()
    connect(a, b)
    connect(b, c)
    await c.exchange.ask(c.sessions[b.peer])
    await a.exchange.ask(a.sessions[b.peer])
    assert a.book.addresses(c.peer) == ["/ip4/192.168.1.5/tcp/1003", "/ip4/9.9.9.9/tcp/1003"]
    assert a.penalties == b.penalties == c.penalties == []


@pytest.mark.parametrize(
    ("ip", "scopes", "ips"),
    [
        (LOOPBACK, {Scope.HOST, Scope.PRIVATE, Scope.WORLD}, set(IPS)),
        (LAN, {Scope.PRIVATE, Scope.WORLD}, {"192.168.1.5", "9.9.9.9"}),
        (WORLD, {Scope.WORLD}, {"9.9.9.9"}),
    ],
)
async def test_nobody_is_told_an_address_of_a_narrower_scope_first_or_second_hand(
    autojump_clock: MockClock, ip: str, scopes: set[Scope], ips: set[str]
) -> None:
    a, b, c = three()
    connect(a, b, LOOPBACK)
    await a.exchange.ask(a.sessions[b.peer])
    assert len(b.book.records(a.peer)) == 3
    connect(b, c, ip)
    for subject in (a, b):
        told = [s.record for s in await b.tell(c, []) if s.record.peer == subject.peer]
        assert {record.scope for record in told} == scopes
        found = {address.split("/")[2] for record in told for address in record.addresses}
        assert found == ips


async def test_private_address_told_from_outside_is_not_dialled(
    autojump_clock: MockClock,
) -> None:
    a, b, c = three()
    connect(a, b, WORLD)
    inside = c.record(START_MS, ["/ip4/192.168.1.1/tcp/22", "/ip4/127.0.0.1/tcp/22"])
    await a.tell(b, [inside.raw])
    assert a.book.addresses(c.peer) == []
    assert a.penalties == []  # an operator may have announced it for those who can use it


async def test_hearsay_without_a_valid_signature_is_not_kept_and_costs_score(
    autojump_clock: MockClock,
) -> None:
    a, b, c = three()
    connect(a, b)
    real = c.record(START_MS, ["/ip4/8.8.8.8/tcp/1"])
    forged = codec.encode([c.record(START_MS + 1).record.encode(), real.signature])
    foreign = sign_record(c.key, b"\7" * 32, real.record)
    costs = []
    for raw in (forged, foreign.raw, b"junk"):
        with pytest.raises(RemoteProtocolError) as raised:
            await a.tell(b, [raw])
        costs.append(raised.value.penalty)
    assert costs[:2] == [25.0, 25.0]
    assert costs[2] > 0
    assert a.penalties == []  # who serves requests blames, and once
    assert len(a.book) == 0


async def test_records_of_a_later_version_are_passed_over_for_nothing_and_counted(
    autojump_clock: MockClock,
) -> None:
    a, b, c = three()
    connect(a, b)
    later = codec.encode([codec.encode([2, c.key.public, b"what", b"ever"]), bytes(64)])
    known = c.record(START_MS, ["/ip4/8.8.8.8/tcp/1"])
    await a.tell(b, [later, known.raw, later])
    assert a.book.records(c.peer) == [known]
    assert a.penalties == []
    assert a.exchange.newer_count == 2


async def test_malformed_request_for_peers_costs_its_sender_once(
    autojump_clock: MockClock,
) -> None:
    a, b, _ = three()
    connect(a, b)
    near, far = stream_pair()
    b.sessions[far.peer] = b.sessions[a.peer]
    blame = b.penalties
    server = RequestServer(
        b.config.limits,
        free_meters(b.config.limits),
        accepts=lambda peer: True,
        penalize=lambda peer, points, reason: blame.append((peer, points)),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, far, b.exchange.answer)
        await near.write(frame(codec.encode([b"no record"])))
        answer = await near.read()
        nursery.cancel_scope.cancel()
    assert answer[4:5] == b"\1"
    assert [peer for peer, _ in b.penalties] == [far.peer]


async def test_newest_record_wins_however_it_comes(autojump_clock: MockClock) -> None:
    a, b, c = three()
    connect(a, b)
    new = c.record(START_MS + 2, ["/ip4/8.8.8.8/tcp/2"])
    await a.tell(b, [new.raw])
    await a.tell(b, [c.record(START_MS + 1, ["/ip4/8.8.8.8/tcp/1"]).raw])
    assert a.book.addresses(c.peer) == ["/ip4/8.8.8.8/tcp/2"]
    assert a.penalties == []  # b had not heard yet
    await a.tell(b, [c.record(START_MS + 3, ["/ip4/8.8.8.8/tcp/3"]).raw])
    assert a.book.addresses(c.peer) == ["/ip4/8.8.8.8/tcp/3"]


async def test_stale_hearsay_is_not_kept_and_costs_a_little_once_a_message(
    autojump_clock: MockClock,
) -> None:
    a, b, c = three()
    connect(a, b)
    old = [c.record(START_MS - 2 * LIFE_MS - n, ["/ip4/8.8.8.8/tcp/2"]).raw for n in range(5)]
    await a.tell(b, old)
    await a.tell(b, [c.record(START_MS + LIFE_MS, ["/ip4/8.8.8.8/tcp/2"]).raw])
    assert len(a.book) == 0
    assert a.penalties == [(b.peer, STALE_POINTS)] * 2


async def test_record_expires_with_what_it_says_and_config_stays(
    autojump_clock: MockClock,
) -> None:
    a, b, c = three()
    connect(a, b)
    a.book.add_bootstrap(c.peer, "/ip4/8.8.8.8/tcp/1")
    await a.tell(b, [c.record(START_MS, ["/ip4/8.8.8.8/tcp/2"]).raw])
    assert len(a.book.addresses(c.peer)) == 2
    async with running(a):
        await trio.sleep(LIFE_MS / 1000 + 11)
    assert a.book.addresses(c.peer) == ["/ip4/8.8.8.8/tcp/1"]
    assert a.book.records(c.peer) == []
    assert len(a.book.records(b.peer)) > 0  # connected, and renewed all the time


async def test_our_records_are_renewed_before_others_forget_them(
    autojump_clock: MockClock,
) -> None:
    a, b, _ = three()
    connect(a, b)
    async with running(a):
        await trio.sleep(5 * RENEWAL_MS / 1000)
        (record, *_) = [s.record for s in b.book.records(a.peer)]
        assert b.wall_ms() - record.sequence <= RENEWAL_MS + 20_000


async def test_move_is_known_to_peers_of_peers_within_a_second(
    autojump_clock: MockClock,
) -> None:
    a, b, c = nodes = three()
    for one, other in ((a, b), (b, c)):
        connect(one, other)
    async with running(a, b, c):
        for node in (*nodes, *nodes):
            for session in node.sessions.values():
                await node.exchange.ask(session)
        assert "/ip4/9.9.9.9/tcp/1003" in a.book.addresses(c.peer)
        c.exchange.listens_on(["/ip4/0.0.0.0/tcp/7777"])
        await c.exchange.ask(c.sessions[b.peer])
        await trio.sleep(1.0)
        assert a.book.addresses(c.peer) == ["/ip4/192.168.1.5/tcp/7777", "/ip4/9.9.9.9/tcp/7777"]
    assert a.penalties == b.penalties == c.penalties == []


async def test_new_address_of_an_interface_is_told_without_a_restart(
    autojump_clock: MockClock,
) -> None:
    a, b, _ = three()
    connect(a, b)
    async with running(a, b):
        await a.exchange.ask(a.sessions[b.peer])
        a.ips = ("192.168.1.77",)
        await trio.sleep(a.config.exchange_interval_s + 1)
    assert b.book.addresses(a.peer) == ["/ip4/192.168.1.77/tcp/1001"]


async def test_node_whose_clock_was_put_back_is_believed_again(
    autojump_clock: MockClock,
) -> None:
    a, b, _ = three()
    connect(a, b)
    a.clock_ahead_ms = 500_000
    a.exchange.listens_on(["/ip4/0.0.0.0/tcp/1"])
    await a.exchange.ask(a.sessions[b.peer])
    reborn = Node(1)
    connect(reborn, b)
    async with running(reborn, b):
        await trio.sleep(0.001)
        await reborn.exchange.ask(reborn.sessions[b.peer])
        await trio.sleep(1.0)
    assert "/ip4/9.9.9.9/tcp/1001" in b.book.addresses(a.peer)


async def test_clock_that_jumps_by_an_hour_ends_in_no_ban(
    autojump_clock: MockClock,
) -> None:
    a, b, c = three()
    connect(a, b)
    connect(b, c)
    async with running(b, c):
        await c.exchange.ask(c.sessions[b.peer])
        a.clock_ahead_ms = 2 * LIFE_MS
        for _ in range(20):
            await a.exchange.ask(a.sessions[b.peer])
            await trio.sleep(10)
    lost = sum(points for _, points in a.penalties)
    assert 0 < lost < RECOVERY_PER_S * 20 * 10


async def test_one_peer_cannot_fill_the_book_with_its_friends(
    autojump_clock: MockClock,
) -> None:
    a, b, c = three()
    connect(a, b)
    connect(a, c)
    await a.tell(c, [Node(9).record(START_MS, ["/ip4/8.8.8.8/tcp/9"]).raw])
    for number in range(100, 130):
        await a.tell(b, [Node(number).record(START_MS, ["/ip4/8.8.8.8/tcp/1"]).raw])
    assert len(a.book) <= 1 + 10
    assert a.book.addresses(Node(9).peer) == ["/ip4/8.8.8.8/tcp/9"]


async def test_more_records_than_allowed_are_refused_unread(
    autojump_clock: MockClock,
) -> None:
    a, b, c = three()
    connect(a, b)
    raws = [c.record(START_MS + n).raw for n in range(a.config.limits.records_told_max + 1)]
    with pytest.raises(RemoteProtocolError, match="16 items"):
        await a.tell(b, raws)
    assert len(a.book) == 0


async def test_peer_that_moves_all_the_time_is_not_passed_on_all_the_time(
    autojump_clock: MockClock,
) -> None:
    a, b, c = three()
    connect(a, b)
    connect(b, c)
    told = 0
    last: list[str] = []

    async def count(protocol: str, body: bytes, timeout_s: float) -> bytes:
        nonlocal told
        records = codec.array(codec.decode(body, size_bytes_max=1 << 20), "records")
        for raw in records[2:]:
            told += 1
            last[:] = decode_record(codec.octets(raw, "record")).record.addresses
        return codec.encode([])

    b.sessions[c.peer].ask = count  # type: ignore[method-assign]
    async with running(b):
        for number in range(100):
            address = f"/ip4/8.8.8.8/tcp/{number + 1}"
            await b.tell(a, [a.record(START_MS + 1000 + number, [address]).raw])
            await trio.sleep(0.2)
        assert 1 <= told <= 5
        # The last move is not lost, only late.
        await trio.sleep(10)
        assert last == ["/ip4/8.8.8.8/tcp/100"]


@pytest.mark.parametrize("is_known", [False, True])
async def test_move_of_an_honest_peer_is_told_on_among_the_moves_of_hundreds(
    is_known: bool, autojump_clock: MockClock
) -> None:
    """Two hostile peers have 128 friends each, who move all the time; an honest one moves once."""
    ours, honest, listener = three()
    ours.book = AddressBook(ours.peer, peers_max=1024, told_by_one_max=256)
    ours.exchange._book = ours.book
    liars = [Node(number) for number in (4, 5)]
    sybils = [Node(number) for number in range(1000, 1256)]
    for each in (honest, listener, *liars):
        connect(ours, each)
    if is_known:
        ours.known.append(honest.peer)
    heard: dict[PeerId, float] = {}

    async def listen(protocol: str, body: bytes, timeout_s: float) -> bytes:
        records = codec.array(codec.decode(body, size_bytes_max=1 << 20), "records")
        assert len(records) <= ours.config.limits.records_told_max
        for raw in records:
            signed = decode_record(codec.octets(raw, "record"))
            heard.setdefault(signed.record.peer, trio.current_time())
        return codec.encode([])

    ours.sessions[listener.peer].ask = listen  # type: ignore[method-assign]

    async def move(liar: Node, friends: Sequence[Node]) -> None:
        sequence = START_MS
        while True:
            for at in range(0, len(friends), 16):
                sequence += 1
                raws = [
                    friend.record(sequence, [f"/ip4/8.8.8.8/tcp/{sequence % 60_000 + 1}"]).raw
                    for friend in friends[at : at + 16]
                ]
                await ours.tell(liar, raws)
                await trio.sleep(0.1)

    await ours.tell(honest, [honest.record(START_MS, ["/ip4/9.9.9.9/tcp/1"]).raw])
    async with running(ours), trio.open_nursery() as nursery:
        for number, liar in enumerate(liars):
            nursery.start_soon(move, liar, sybils[128 * number : 128 * (number + 1)])
        await trio.sleep(6)
        assert honest.peer not in heard
        moved_s = trio.current_time()
        await ours.tell(honest, [honest.record(START_MS + 1, ["/ip4/9.9.9.9/tcp/2"]).raw])
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert heard[honest.peer] - moved_s <= 2.5
    assert len(heard) > 100


async def test_two_nodes_with_one_key_do_not_drive_each_other_on(
    autojump_clock: MockClock,
) -> None:
    a, b, _ = three()
    twin = Node(1)
    twin.exchange.listens_on(["/ip4/0.0.0.0/tcp/5"])
    connect(a, b)
    b.sessions.pop(a.peer)
    connect(twin, b)
    before = max(s.record.sequence for s in (await b.tell(twin, [])) if s.record.peer == b.peer)
    async with running(a, twin, b):
        for _ in range(100):
            await a.exchange.ask(a.sessions[b.peer])
            await twin.exchange.ask(twin.sessions[b.peer])
    sequences = [s.record.sequence for s in b.book.records(a.peer)]
    assert max(sequences) - before < 10_000


async def test_one_peer_does_not_make_us_check_records_for_ever(autojump_clock: MockClock) -> None:
    a, b, c = three()
    connect(a, b)
    told = 0
    for _ in range(2 * CHECKS_AT_ONCE_MAX):
        told += 1
        await a.tell(b, [c.record(START_MS + told, ["/ip4/8.8.8.8/tcp/1"]).raw])
    (held,) = a.book.records(c.peer)
    assert held.record.sequence == START_MS + CHECKS_AT_ONCE_MAX
    await trio.sleep(1)
    newest = c.record(START_MS + told + 1, ["/ip4/8.8.8.8/tcp/1"])
    await a.tell(b, [newest.raw])
    assert a.book.records(c.peer) == [newest]
    assert a.penalties == []
