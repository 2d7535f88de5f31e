"""One vote per signer and slot."""

from __future__ import annotations

from p2pnode.consensus.tally import Counted, Tally
from tests.unit.consensus.harness import signed


def test_votes_add_up_by_voting_power() -> None:
    tally = Tally((4, 2, 1))
    assert tally.add(signed(0, b"a")) is Counted.NEW
    assert tally.add(signed(2, b"a")) is Counted.NEW
    assert tally.add(signed(1, b"b")) is Counted.NEW
    assert (tally.power_of(b"a"), tally.power_of(b"b"), tally.power_of(b"c")) == (5, 2, 0)
    assert [vote.sender for vote in tally.votes_for(b"a")] == [0, 2]


def test_same_vote_twice_counts_once() -> None:
    tally = Tally((1, 1))
    tally.add(signed(0, b"a"))
    assert tally.add(signed(0, b"a")) is Counted.KNOWN
    assert tally.power_of(b"a") == 1


def test_second_value_of_a_signer_is_a_conflict_and_not_counted() -> None:
    tally = Tally((1, 1))
    tally.add(signed(0, b"a"))
    assert tally.foresee(0, b"b") is Counted.CONFLICT
    assert tally.add(signed(0, b"b")) is Counted.CONFLICT
    assert tally.power_of(b"b") == 0
    assert tally.vote_of(0) == signed(0, b"a")


def test_conflict_is_said_once_and_memory_stays_bounded() -> None:
    tally = Tally((1,))
    tally.add(signed(0, b"a"))
    results = [tally.add(signed(0, b"%d" % i)) for i in range(100)]
    assert results == [Counted.CONFLICT] + [Counted.KNOWN] * 99
    assert len(tally) == 2


def test_forgetting_drops_everything() -> None:
    tally = Tally((1,))
    tally.add(signed(0, b"a"))
    tally.forget()
    assert (len(tally), tally.power_of(b"a"), tally.vote_of(0)) == (0, 0, None)
