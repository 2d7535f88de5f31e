"""A chain's constant facts: epochs, validator sets, admissibility."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.types.chain import CERTIFICATE_GRACE_HEIGHTS, Chain
from p2pnode.types.genesis import Genesis, Parameters, Validator, chain_id

VALIDATORS = tuple(Validator(bytes([n]) * 32, n, bytes([n]) * 38) for n in (1, 2, 3))


def chain(epoch_blocks: int = 20) -> Chain:
    genesis = Genesis(
        "test-chain",
        0,
        "solo",
        "inline",
        VALIDATORS,
        Parameters(epoch_blocks=epoch_blocks),
        (),
    )
    return Chain.from_genesis(genesis, genesis.encode())


def test_the_chain_is_named_by_its_document() -> None:
    assert chain().id == chain_id(chain().genesis.encode())


@given(height=st.integers(1, 10**9), epoch_blocks=st.integers(4, 5000))
def test_every_height_lies_in_its_epoch(height: int, epoch_blocks: int) -> None:
    c = chain(epoch_blocks)
    epoch = c.epoch_of(height)
    assert c.first_height(epoch) <= height <= c.last_height(epoch)
    assert c.last_height(epoch) + 1 == c.first_height(epoch + 1)
    assert c.last_height(epoch) - c.first_height(epoch) + 1 == epoch_blocks


def test_genesis_counts_to_the_first_epoch() -> None:
    assert [chain().epoch_of(height) for height in (0, 1, 20, 21)] == [0, 0, 0, 1]


def test_validators_are_found_by_key_and_by_peer() -> None:
    c = chain()
    for index, validator in enumerate(VALIDATORS):
        assert c.validator_index(validator.public_key) == index
        assert c.validator_of_peer(validator.peer_id) == index
    assert c.validator_index(bytes(32)) is None
    assert c.validator_of_peer(b"stranger") is None


@pytest.mark.parametrize(
    ("certificate_epoch", "height", "admissible"),
    [
        (0, 1, True),
        (0, 1000, True),
        (0, 1001, True),
        (0, 1000 + CERTIFICATE_GRACE_HEIGHTS, True),
        (0, 1001 + CERTIFICATE_GRACE_HEIGHTS, False),
        (0, 2001, False),
        (1, 1000, False),
        (1, 1001, True),
    ],
)
def test_a_certificate_outlives_its_epoch_by_a_little(
    certificate_epoch: int, height: int, admissible: bool
) -> None:
    assert chain(1000).admissible(certificate_epoch, height) is admissible


def test_the_order_of_proposers_differs_by_epoch_and_chain() -> None:
    seeds = [chain().proposer_seed(0), chain().proposer_seed(1), chain(21).proposer_seed(0)]
    assert len(dict.fromkeys(seeds)) == 3
