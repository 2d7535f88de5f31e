"""The address book: whom to dial, where and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.net.book import (
    ADDRESSES_PER_PEER_MAX,
    FAILURES_MAX,
    AddressBook,
    Origin,
)

NOBODY: dict[bytes, object] = {}


def at(port: int) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}"


def book(peers_max: int = 100) -> AddressBook:
    return AddressBook(b"me", peers_max=peers_max)


def fail(a_book: AddressBook, now_s: float, times: int = 1) -> list[float]:
    """Let dials fail, each as soon as it is due; return the pauses between them."""
    pauses = []
    for _ in range(times):
        ((peer, address),) = a_book.due(NOBODY, peers_wanted=8, now_s=now_s)
        a_book.dialled(peer, address, connected=False, now_s=now_s, jitter=0.5)
        due_s = a_book.next_due_s(now_s)
        pauses.append(due_s - now_s)
        now_s = due_s
    return pauses


def test_pauses_between_dials_double_up_to_the_longest() -> None:
    a_book = book()
    a_book.add_bootstrap(b"a", at(1))
    assert fail(a_book, 0.0, 8) == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])


def test_jitter_spreads_a_pause_by_a_quarter() -> None:
    pauses = []
    for jitter in (0.0, 1.0):
        a_book = book()
        a_book.add_bootstrap(b"a", at(1))
        a_book.due(NOBODY, peers_wanted=8, now_s=0.0)
        a_book.dialled(b"a", at(1), connected=False, now_s=0.0, jitter=jitter)
        pauses.append(a_book.next_due_s(0.0))
    assert pauses == pytest.approx([0.15, 0.25])


def test_peer_is_not_dialled_twice_at_a_time_nor_when_connected() -> None:
    a_book = book()
    a_book.add_bootstrap(b"a", at(1))
    assert a_book.due({b"a": None}, peers_wanted=8, now_s=0) == []
    assert a_book.due(NOBODY, peers_wanted=8, now_s=0) == [(b"a", at(1))]
    assert a_book.due(NOBODY, peers_wanted=8, now_s=0) == []


def test_peer_with_a_new_address_is_dialled_at_once() -> None:
    a_book = book()
    a_book.add_bootstrap(b"a", at(1))
    fail(a_book, 0.0, 6)
    assert a_book.due(NOBODY, peers_wanted=8, now_s=6.0) == []
    a_book.learn(b"a", [at(2)], Origin.HEARSAY)
    assert a_book.due(NOBODY, peers_wanted=8, now_s=6.0) == [(b"a", at(2))]


def test_further_addresses_are_tried_without_a_pause() -> None:
    a_book = book()
    a_book.learn(b"a", [at(1), at(2)], Origin.ITSELF)
    ((_, first),) = a_book.due(NOBODY, peers_wanted=8, now_s=0)
    a_book.dialled(b"a", first, connected=False, now_s=0, jitter=0.5)
    ((_, second),) = a_book.due(NOBODY, peers_wanted=8, now_s=0)
    assert {first, second} == {at(1), at(2)}
    a_book.dialled(b"a", second, connected=False, now_s=0, jitter=0.5)
    assert a_book.due(NOBODY, peers_wanted=8, now_s=0) == []


def test_peers_merely_known_are_dialled_only_as_far_as_wanted() -> None:
    a_book = book()
    for number in range(10):
        a_book.learn(b"%d" % number, [at(number + 1)], Origin.HEARSAY)
    assert len(a_book.due({b"x": None}, peers_wanted=4, now_s=0)) == 3
    assert a_book.due({b"x": None}, peers_wanted=4, now_s=0) == []
    a_book.set_wanted({b"%d" % n: [] for n in range(10)})
    assert len(a_book.due({b"x": None}, peers_wanted=4, now_s=0)) == 7


def test_peers_no_longer_wanted_are_not_dialled() -> None:
    a_book = book()
    a_book.set_wanted({b"a": [at(1)], b"b": [at(2)]})
    a_book.set_wanted({b"b": []})
    assert a_book.due(NOBODY, peers_wanted=0, now_s=0) == [(b"b", at(2))]
    assert a_book.misses_someone(NOBODY)
    assert not a_book.misses_someone({b"b": None})


def test_lost_peer_is_dialled_soon_and_one_that_goes_at_once_later_and_later() -> None:
    a_book = book()
    a_book.add_bootstrap(b"a", at(1))
    fail(a_book, 0.0, 5)
    a_book.lost(b"a", lived_s=60, now_s=100, jitter=0.5)
    assert a_book.next_due_s(100) == pytest.approx(100.1)
    pauses = []
    for _ in range(4):
        a_book.lost(b"a", lived_s=0.01, now_s=200, jitter=0.5)
        pauses.append(a_book.next_due_s(200) - 200)
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6])


def test_hearsay_is_forgotten_when_it_leads_nowhere_and_config_never() -> None:
    a_book = book()
    a_book.learn(b"a", [at(1)], Origin.HEARSAY)
    fail(a_book, 0.0, FAILURES_MAX)
    assert len(a_book) == 0
    a_book.add_bootstrap(b"b", at(2))
    fail(a_book, 0.0, 3 * FAILURES_MAX)
    assert a_book.addresses(b"b") == [at(2)]


def test_hearsay_does_not_push_out_what_a_peer_says_of_itself() -> None:
    a_book = book()
    own = [at(n) for n in range(1, ADDRESSES_PER_PEER_MAX + 1)]
    a_book.learn(b"a", own, Origin.ITSELF)
    a_book.learn(b"a", [at(77)], Origin.HEARSAY)
    assert a_book.addresses(b"a") == own
    a_book.learn(b"a", [at(78)], Origin.ITSELF)
    assert at(78) in a_book.addresses(b"a")


def test_hearsay_of_made_up_peers_pushes_out_hearsay_only() -> None:
    a_book = book(peers_max=10)
    a_book.learn(b"old hearsay", [at(1)], Origin.HEARSAY)
    for number in range(5):
        a_book.learn(b"signed %d" % number, [at(2)], Origin.ITSELF)
    for number in range(100):
        a_book.learn(b"made up %d" % number, [at(3)], Origin.HEARSAY)
    assert len(a_book) == 10
    assert all(a_book.addresses(b"signed %d" % number) for number in range(5))
    assert a_book.addresses(b"old hearsay") == []
    assert a_book.addresses(b"made up 99") == [at(3)]


def test_we_are_not_in_our_own_book() -> None:
    a_book = book()
    a_book.learn(b"me", [at(1)], Origin.HEARSAY)
    a_book.add_bootstrap(b"me", at(1))
    a_book.set_wanted({b"me": [at(1)]})
    assert len(a_book) == 0


def test_refused_peer_is_not_dialled_before_its_time() -> None:
    a_book = book()
    a_book.add_bootstrap(b"a", at(1))
    a_book.refuse(b"a", until_s=50)
    assert a_book.due(NOBODY, peers_wanted=8, now_s=49) == []
    assert a_book.due(NOBODY, peers_wanted=8, now_s=50) == [(b"a", at(1))]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 30),
            st.lists(st.integers(1, 99).map(at), max_size=8),
            st.sampled_from(list(Origin)[1:]),
        ),
        max_size=80,
    )
)
def test_book_is_bounded_and_keeps_who_matters(
    lessons: list[tuple[int, list[str], Origin]],
) -> None:
    a_book = book(peers_max=10)
    a_book.add_bootstrap(b"first", at(1))
    for number, addresses, origin in lessons:
        a_book.learn(b"%d" % number, addresses, origin)
        assert len(a_book) <= 10
        assert len(a_book.addresses(b"%d" % number)) <= ADDRESSES_PER_PEER_MAX
    assert a_book.addresses(b"first") == [at(1)]
