"""Whose move is told on, and when."""

from __future__ import annotations

import hashlib
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.crypto import SecretKey
from p2pnode.net.moves import PAUSE_S, WAITING_MAX, Moves
from p2pnode.types.record import NodeRecord, Scope, SignedRecord


@cache
def key(number: int) -> SecretKey:
    return SecretKey(hashlib.sha256(b"%d" % number).digest())


def record(number: int, sequence: int = 0, scope: Scope = Scope.WORLD) -> SignedRecord:
    return SignedRecord(NodeRecord(key(number).public, scope, sequence, 0, ()), b"", b"")


def test_newest_record_waits_and_all_scopes_of_a_peer_go_together() -> None:
    moves = Moves()
    for sequence in range(3):
        for scope in Scope:
            moves.put(record(1, sequence, scope), teller=b"t", is_kept=False)
    moves.put(record(2), teller=b"t", is_kept=False)
    assert len(moves) == 2
    assert moves.take(3, 0.0) == [record(1, 2, scope) for scope in Scope]
    assert moves.take(3, 0.0) == [record(2)]
    assert not moves


def test_peer_that_moves_all_the_time_is_told_of_now_and_then_with_its_last_address() -> None:
    moves = Moves()
    told = []
    for sequence in range(100):
        moves.put(record(1, sequence), teller=b"t", is_kept=True)
        told += [(sequence, signed.record.sequence) for signed in moves.take(13, sequence / 10)]
    assert told == [(0, 0), (50, 50)]
    assert PAUSE_S == 5.0


def test_tellers_take_turns_and_kept_peers_come_first() -> None:
    moves = Moves()
    for number in range(40):
        moves.put(record(number), teller=b"liar", is_kept=False)
    moves.put(record(100), teller=b"honest", is_kept=False)
    moves.put(record(101), teller=b"liar", is_kept=True)
    told = [signed.record.peer for signed in moves.take(3, 0.0)]
    assert told == [record(n).record.peer for n in (101, 0, 100)]
    # Nobody who comes later goes first: else those with one at a time would starve the others.
    moves.put(record(102), teller=b"honest", is_kept=False)
    moves.put(record(103), teller=b"new", is_kept=False)
    told = [signed.record.peer for signed in moves.take(4, 0.0)]
    assert told == [record(n).record.peer for n in (1, 102, 103, 2)]


def test_where_too_many_wait_the_newest_of_whoever_tells_most_is_dropped() -> None:
    moves = Moves()
    for number in range(3 * WAITING_MAX):
        moves.put(record(number), teller=b"liar", is_kept=False)
    for number in range(500, 530):
        moves.put(record(number), teller=b"honest", is_kept=False)
    assert len(moves) == WAITING_MAX
    assert moves.dropped_count == 2 * WAITING_MAX + 30
    peers = {signed.record.peer for _ in range(99) for signed in moves.take(3, 0.0)}
    assert {record(n).record.peer for n in (*range(WAITING_MAX - 30), *range(500, 530))} == peers


def test_many_tellers_of_one_move_at_a_time_do_not_starve_who_has_two() -> None:
    moves = Moves()
    moves.put(record(1000), teller=b"honest", is_kept=False)
    moves.put(record(1001), teller=b"honest", is_kept=False)
    told = set()
    for round_ in range(12):
        for liar in range(10):
            number = 100 + 10 * round_ + liar
            moves.put(record(number), teller=b"liar %d" % liar, is_kept=False)
        told |= {signed.record.peer for signed in moves.take(5, round_)}
    assert {record(1000).record.peer, record(1001).record.peer} <= told


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200)), max_size=300),
    st.integers(1, 20),
)
def test_no_move_of_a_kept_peer_or_of_a_teller_within_its_share_is_lost(
    liars: list[tuple[int, int]], takes_every: int
) -> None:
    moves = Moves()
    due = {record(n).record.peer for n in range(1000, 1020)}
    told: set[bytes] = set()
    for number in range(1000, 1010):
        moves.put(record(number), teller=b"liar 0", is_kept=True)
    for number in range(1010, 1020):
        # Four liars at most: a fifth of what waits is this teller's, whatever they do.
        moves.put(record(number), teller=b"honest", is_kept=False)
    for count, (liar, number) in enumerate(liars):
        moves.put(record(number, count), teller=b"liar %d" % liar, is_kept=False)
        if count % takes_every == 0:
            told |= {signed.record.peer for signed in moves.take(3, count * 0.01)}
        assert len(moves) <= WAITING_MAX + 10
        assert len(moves._turns) <= 5
    for number in range(20):
        told |= {signed.record.peer for signed in moves.take(3, 1000.0 + PAUSE_S * number)}
    assert due <= told
