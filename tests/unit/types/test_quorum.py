"""Quorums: more than two thirds of the power, and nobody in it who is not needed."""

from __future__ import annotations

import pytest

from p2pnode.types.quorum import choose_signers, needless_signer, quorum_of


@pytest.mark.parametrize(
    ("total", "quorum"),
    [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (8, 6), (9, 7), (100, 67)],
)
def test_a_quorum_is_the_least_power_above_two_thirds(total: int, quorum: int) -> None:
    assert quorum_of(total) == quorum
    assert 3 * quorum > 2 * total >= 3 * (quorum - 1)


def test_the_strongest_are_chosen_first_and_named_in_ascending_order() -> None:
    assert choose_signers((4, 3, 2, 1, 0), (1, 5, 1, 5, 1), 10) == (1, 3)


def test_of_equally_strong_candidates_the_first_are_chosen() -> None:
    assert choose_signers((3, 2, 1, 0), (1, 1, 1, 1), 3) == (0, 1, 2)


def test_candidates_without_a_quorum_make_no_certificate() -> None:
    assert choose_signers((0, 1), (1, 1, 1, 1), 3) is None
    assert choose_signers((), (1,), 1) is None


def test_a_signer_is_needless_when_the_others_are_a_quorum() -> None:
    powers = (3, 1, 2, 3)
    assert needless_signer((0, 1, 2, 3), powers, 7) == 1
    assert needless_signer((0, 2, 3), powers, 7) is None


def test_with_equal_powers_the_first_signer_is_called_needless() -> None:
    assert needless_signer((0, 1, 2, 3), (1, 1, 1, 1), 3) == 0


def test_a_choice_has_no_needless_signer() -> None:
    powers = (1, 4, 2, 2, 1, 3)
    quorum = quorum_of(sum(powers))
    chosen = choose_signers(range(6), powers, quorum)
    assert chosen is not None
    assert needless_signer(chosen, powers, quorum) is None
