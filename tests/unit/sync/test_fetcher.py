"""The fetcher: whom it asks, when again, and what a wrong answer costs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from p2pnode import crypto
from p2pnode.sync import fetcher as module
from p2pnode.sync.fetcher import (
    DIGESTS_MAX,
    PROPOSED_TRIES_MAX,
    PROTOCOL,
    RETRY_NS,
    RETRY_NS_MAX,
    Fetcher,
)
from p2pnode.types.desk import Desk
from p2pnode.types.effects import AnswerIn, ArmTimer, Effect, Penalize, Request
from p2pnode.types.messages import decode_list, encode_list

THINGS = [b"thing %d" % i for i in range(200)]
DIGESTS = [crypto.sha256(thing) for thing in THINGS]


class At:
    """A fetcher with connected peers."""

    def __init__(self, *peers: bytes) -> None:
        self.desk = Desk()
        self.desk.now_ns = 10**9
        self.fetcher = Fetcher(self.desk)
        self.got: list[tuple[bytes, bytes]] = []
        for peer in peers:
            self.fetcher.connected(peer)
        self.desk.drain()
        self.effects: list[Effect] = []

    def accept(self, peer: bytes, data: bytes) -> bool:
        self.got.append((peer, data))
        return data in THINGS

    def want(self, number: int, *hints: bytes) -> None:
        self.fetcher.want(DIGESTS[number], hints, self.accept)

    def requests(self) -> list[Request]:
        self.effects += self.desk.drain()
        found = [e for e in self.effects if isinstance(e, Request)]
        self.effects = [e for e in self.effects if not isinstance(e, Request)]
        return found

    def answer(self, request: Request, things: Sequence[bytes] | None) -> None:
        body = None if things is None else encode_list(things)
        self.desk.answer(AnswerIn(request.ticket, body))

    def due_ns(self) -> int:
        """Return when the last timer armed fires."""
        self.effects += self.desk.drain()
        armed = [e for e in self.effects if isinstance(e, ArmTimer)]
        assert all(e.key == ("fetcher",) for e in armed)
        return armed[-1].at_ns

    def fire(self) -> None:
        self.desk.now_ns = max(self.desk.now_ns, self.due_ns())
        self.effects = []
        self.fetcher.fired()

    def penalties(self) -> list[tuple[bytes, float]]:
        self.effects += self.desk.drain()
        found = [(e.peer, e.points) for e in self.effects if isinstance(e, Penalize)]
        self.effects = [e for e in self.effects if not isinstance(e, Penalize)]
        return found


def asked(request: Request) -> list[int]:
    assert request.protocol == PROTOCOL
    digests = decode_list(request.body, size_bytes_max=8192, count_max=64, item_bytes_max=32)
    return [DIGESTS.index(digest) for digest in digests]


def test_a_hinted_peer_is_asked_first() -> None:
    at = At(b"a", b"b", b"c")
    at.want(0, b"c", b"gone")
    (request,) = at.requests()
    assert (request.peer, asked(request)) == (b"c", [0])
    at.answer(request, [THINGS[0]])
    assert at.got == [(b"c", THINGS[0])]
    assert at.fetcher.wanted_count() == 0
    assert at.requests() == []


def test_everyone_is_asked_in_turn_until_it_comes() -> None:
    at = At(b"a", b"b", b"c")
    at.want(0, b"b")
    peers = []
    for _ in range(6):
        (request,) = at.requests()
        peers.append(request.peer)
        at.answer(request, [b""])
        at.fire()
    assert peers == [b"b", b"a", b"c", b"b", b"a", b"c"]
    assert at.penalties() == [], "having nothing is no offence"


def test_the_wait_between_questions_grows_to_a_limit() -> None:
    at = At(b"a")
    at.want(0)
    waits = []
    for _ in range(60):
        (request,) = at.requests()
        at.answer(request, None)
        waits.append(at.due_ns() - at.desk.now_ns)
        at.fire()
    assert waits[0] == RETRY_NS
    assert waits == sorted(waits)
    assert waits[-1] == RETRY_NS_MAX


def test_nothing_is_asked_twice_at_a_time() -> None:
    at = At(b"a", b"b")
    at.want(0)
    at.want(0, b"b")
    assert len(at.requests()) == 1
    at.fetcher.fired()
    assert at.requests() == []


def test_a_later_hint_is_asked_before_peers_without_one() -> None:
    at = At(b"a", b"b", b"c")
    at.want(0, b"a")
    (request,) = at.requests()
    at.want(0, b"c")
    at.answer(request, [b""])
    at.fire()
    (request,) = at.requests()
    assert request.peer != b"b", "nobody hinted at it"


def test_wrong_bytes_cost_the_sender_and_others_are_asked() -> None:
    at = At(b"a", b"b")
    at.want(0)
    (request,) = at.requests()
    at.answer(request, [b"something else"])
    assert at.penalties() == [(b"a", 20.0)]
    assert at.fetcher.wanted_count() == 1
    at.fire()
    (request,) = at.requests()
    assert request.peer == b"b"
    at.answer(request, [THINGS[0]])
    assert at.fetcher.wanted_count() == 0
    assert at.penalties() == []


@pytest.mark.parametrize("body", [b"", b"junk", b"\x80\x00", b"\x81\x01"])
def test_a_malformed_answer_costs_its_sender_and_counts_as_none(body: bytes) -> None:
    at = At(b"a")
    at.want(0)
    (request,) = at.requests()
    at.desk.answer(AnswerIn(request.ticket, body))
    assert at.penalties() == [(b"a", 20.0)]
    assert at.fetcher.wanted_count() == 1
    at.fire()
    assert len(at.requests()) == 1


def test_a_short_answer_leaves_the_rest_wanted_and_a_long_one_is_cut() -> None:
    at = At()
    for number in range(3):
        at.want(number)
    at.fetcher.connected(b"a")
    (request,) = at.requests()
    assert asked(request) == [0, 1, 2]
    at.answer(request, [THINGS[0]])
    assert at.fetcher.wanted_count() == 2
    at.fire()
    (request,) = at.requests()
    at.answer(request, [THINGS[1], THINGS[2], THINGS[3], THINGS[4]])
    assert at.fetcher.wanted_count() == 0
    assert [data for _, data in at.got] == THINGS[:3]
    assert at.penalties() == []


def test_what_is_wanted_of_one_peer_travels_in_requests_of_64() -> None:
    at = At()
    for number in range(150):
        at.want(number)
    at.fetcher.connected(b"a")
    assert [len(asked(r)) for r in at.requests()] == [DIGESTS_MAX, DIGESTS_MAX, 150 - 128]


def test_without_peers_it_waits_for_one() -> None:
    at = At()
    at.want(0)
    assert at.requests() == []
    at.desk.now_ns += 1
    at.fetcher.connected(b"a")
    assert [r.peer for r in at.requests()] == [b"a"]


def test_a_lost_peer_is_not_asked() -> None:
    at = At(b"a", b"b")
    at.fetcher.lost(b"a")
    at.want(0, b"a")
    assert [r.peer for r in at.requests()] == [b"b"]


def test_what_came_some_other_way_is_wanted_no_more() -> None:
    at = At(b"a")
    at.want(0)
    (request,) = at.requests()
    at.fetcher.arrived(DIGESTS[0])
    assert at.fetcher.wanted_count() == 0
    at.answer(request, [THINGS[0]])
    assert at.got == []


def test_taking_one_thing_may_ask_for_the_next() -> None:
    at = At(b"a")

    def accept(peer: bytes, data: bytes) -> bool:
        at.fetcher.arrived(DIGESTS[0])
        at.want(1)
        return True

    at.fetcher.want(DIGESTS[0], (), accept)
    (request,) = at.requests()
    at.answer(request, [THINGS[0]])
    assert [asked(r) for r in at.requests()] == [[1]]


def test_what_is_only_proposed_is_bounded_and_the_oldest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WANTED_MAX", 3)
    at = At()
    at.fetcher.want(DIGESTS[100], (), at.accept, final=True)
    for number in range(10):
        at.want(number)
    assert at.fetcher.wanted_count() == 4
    assert [n for n in range(101) if at.fetcher.wants(DIGESTS[n])] == [7, 8, 9, 100]


def test_what_is_final_is_always_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WANTED_MAX", 3)
    at = At()
    for number in range(10):
        at.fetcher.want(DIGESTS[number], (), at.accept, final=True)
    assert at.fetcher.wanted_count() == 10


def test_what_nobody_has_is_given_up_unless_it_is_final() -> None:
    at = At(b"a")
    at.want(0)
    at.want(1)
    at.fetcher.want(DIGESTS[1], (), at.accept, final=True)  # first proposed, then final
    for _ in range(PROPOSED_TRIES_MAX):
        assert at.fetcher.wants(DIGESTS[0])
        for request in at.requests():
            at.answer(request, [])
        at.fire()
    assert not at.fetcher.wants(DIGESTS[0])
    assert at.fetcher.wants(DIGESTS[1])
    assert [asked(r) for r in at.requests()] == [[1]]


def test_hints_are_bounded_and_the_newest_come_first() -> None:
    peers = [b"%02d" % i for i in range(40)]
    at = At(*peers, b"last")
    at.want(0, *peers[:10])
    (request,) = at.requests()
    for peer in peers:
        at.want(0, peer)
    at.want(0, b"last")
    at.answer(request, [b""])
    order = []
    for _ in range(16):
        at.fire()
        (request,) = at.requests()
        order.append(request.peer)
        at.answer(request, [b""])
    # The newest 16 hints, then peers that nobody hinted at (or whose hint was too long ago).
    assert order == [b"%02d" % i for i in range(39, 24, -1)] + [b"00"]
