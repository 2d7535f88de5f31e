"""Quorums: how much voting power decides, and which signers a certificate holds.

Two rules are the same for an engine's, a batch's and a result's certificate: its signers are a
quorum, and none of them could be left out. Otherwise one statement would have more encodings than
needed, whoever relays it could add signatures to taste, and checking all of them would be an
open-ended price.

How a certificate that breaks a rule is called, and what it costs, stands with each certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from p2pnode.types.genesis import Validator


def quorum_of(power_total: int) -> int:
    """Return the voting power that a certificate needs: floor(2W/3)+1 of the total W."""
    return 2 * power_total // 3 + 1


def quorum_of_set(validators: Sequence[Validator]) -> int:
    """Return the voting power that a certificate of a validator set needs."""
    return quorum_of(sum(validator.power for validator in validators))


def choose_signers(
    candidates: Iterable[int], powers: Sequence[int], quorum: int
) -> tuple[int, ...] | None:
    """Choose the signers of a certificate.

    Args:
        candidates: Indices of the validators that signed, each once.
        powers: Voting power by index.
        quorum: Voting power to reach.

    Returns:
        As few of the candidates as are a quorum, ascending, none of them needless; None when all
        together are none.
    """
    chosen: list[int] = []
    power = 0
    # The strongest first: the last one taken is the weakest and still needed, so all are needed.
    for signer in sorted(candidates, key=lambda i: (-powers[i], i)):
        chosen.append(signer)
        power += powers[signer]
        if power >= quorum:
            return tuple(sorted(chosen))
    return None


def needless_signer(signers: Sequence[int], powers: Sequence[int], quorum: int) -> int | None:
    """Return the weakest signer if the others are a quorum without it, else None.

    Args:
        signers: Indices of the validators, at least one, distinct.
        powers: Voting power by index.
        quorum: Voting power that a certificate needs.
    """
    weakest = min(signers, key=lambda i: powers[i])
    power = sum(powers[i] for i in signers)
    return weakest if power - powers[weakest] >= quorum else None
