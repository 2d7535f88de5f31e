"""Allowances: what a peer may take at once and in the long run, and who is remembered."""

from __future__ import annotations

from p2pnode.types.allowances import Allowances


def test_an_allowance_is_spent_and_grows_back_with_time() -> None:
    allowances = Allowances(per_s=100_000_000, at_once_max=5)
    allowances.spend(b"a", 5, 1000)
    assert [allowances.left(b"a", at_ns) for at_ns in (1000, 1009, 1010, 1049, 1050)] == [
        0, 0, 1, 4, 5,
    ]  # fmt: skip
    assert allowances.left(b"b", 1000) == 5


def test_debt_is_paid_first_and_rest_does_not_pile_up() -> None:
    allowances = Allowances(per_s=100_000_000, at_once_max=5)
    allowances.spend(b"a", 8, 0)
    assert [allowances.left(b"a", at_ns) for at_ns in (0, 30, 40, 1 << 40)] == [0, 0, 1, 5]


def test_what_is_looked_at_often_grows_as_fast() -> None:
    allowances = Allowances(per_s=100_000_000, at_once_max=5)
    allowances.spend(b"a", 5, 0)
    taken = 0
    for at_ns in range(1000):
        left = allowances.left(b"a", at_ns)
        allowances.spend(b"a", left, at_ns)
        taken += left
    assert taken == 99


def test_peers_that_come_and_go_are_not_remembered_for_ever() -> None:
    allowances = Allowances(per_s=100_000_000, at_once_max=5, peers_max=3)
    for number in range(10):
        allowances.spend(b"%d" % number, 5, 0)
        allowances.spend(b"steady", 1, 0)
    assert len(allowances._whole_ns) == 3
    assert allowances.left(b"steady", 0) == 0
    assert allowances.left(b"0", 0) == 5
