"""The genesis document: its hash names the chain, and it contradicts itself nowhere."""

from __future__ import annotations

from dataclasses import fields, replace
from hashlib import sha256

import pytest

from p2pnode.types.genesis import (
    SIZE_BYTES_MAX,
    Genesis,
    GenesisAccount,
    GenesisError,
    Parameters,
    Validator,
    chain_id,
    decode_genesis,
    genesis_hash,
    validators_hash,
)

VALIDATORS = tuple(Validator(bytes([n]) * 32, n, bytes([n]) * 38) for n in (1, 2, 3))
GENESIS = Genesis(
    name="test-genesis",
    time_ms=1_700_000_000_000,
    engine="simplex",
    scheme="inline",
    validators=VALIDATORS,
    parameters=Parameters(),
    accounts=(
        GenesisAccount(b"a" * 32, ((0, 1), (7, 2**128 - 1))),
        GenesisAccount(b"b" * 32, ()),
    ),
)


def test_a_document_reads_as_it_was_written() -> None:
    assert decode_genesis(GENESIS.encode()) == GENESIS
    assert chain_id(GENESIS.encode()) == sha256(GENESIS.encode()).digest()


def test_every_field_changes_the_chain_id() -> None:
    parameters = [
        replace(GENESIS, parameters=replace(GENESIS.parameters, **{f.name: 19}))
        for f in fields(Parameters)
    ]
    others = [
        replace(GENESIS, name="test-genesiS"),
        replace(GENESIS, time_ms=0),
        replace(GENESIS, engine="solo"),
        replace(GENESIS, scheme="other"),
        replace(GENESIS, validators=VALIDATORS[::-1]),
        replace(GENESIS, accounts=GENESIS.accounts[:1]),
        *parameters,
    ]
    ids = [chain_id(genesis.encode()) for genesis in [GENESIS, *others]]
    assert len(dict.fromkeys(ids)) == len(ids)


def test_derived_hashes_are_their_own() -> None:
    chain = chain_id(GENESIS.encode())
    assert genesis_hash(chain) not in (chain, genesis_hash(bytes(32)))
    assert validators_hash(VALIDATORS) != validators_hash(VALIDATORS[::-1])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": ""}, "1 to 64 ASCII"),
        ({"name": "x" * 65}, "1 to 64 ASCII|at most 64"),
        ({"name": "düne"}, "ASCII"),
        ({"engine": "düne"}, "ASCII"),
        ({"time_ms": -1}, "time: -1"),
        ({"validators": ()}, "0 validators"),
        ({"validators": VALIDATORS[:1] * 257}, "257 validators"),
        ({"validators": VALIDATORS[:1] * 2}, "share a key"),
        ({"validators": (VALIDATORS[0], replace(VALIDATORS[1], peer_id=b"\1" * 38))}, "share"),
        ({"validators": (replace(VALIDATORS[0], power=0),)}, "power above 0"),
        ({"validators": (replace(VALIDATORS[0], power=1 << 48),)}, "validator 0"),
        ({"validators": (replace(VALIDATORS[0], public_key=bytes(31)),)}, "key: 32 bytes"),
        ({"validators": (replace(VALIDATORS[0], peer_id=bytes(65)),)}, "peer id"),
        ({"parameters": replace(Parameters(), epoch_blocks=3)}, "epoch_blocks = 3"),
        ({"parameters": replace(Parameters(), bucket_bits=21)}, "bucket_bits = 21"),
        ({"parameters": replace(Parameters(), delta_ms=0)}, "delta_ms = 0: at least 1"),
        ({"parameters": replace(Parameters(), retry_ms=1 << 48)}, "retry_ms"),
        ({"accounts": GENESIS.accounts[::-1]}, "ascending"),
        ({"accounts": GENESIS.accounts[:1] * 2}, "ascending"),
        ({"accounts": (GenesisAccount(bytes(31), ()),)}, "address"),
        ({"accounts": (GenesisAccount(bytes(32), ((0, 0),)),)}, "balances"),
        ({"accounts": (GenesisAccount(bytes(32), ((1, 5), (0, 5))),)}, "balances"),
        ({"accounts": (GenesisAccount(bytes(32), ((1, 5), (1, 5))),)}, "balances"),
        ({"accounts": (GenesisAccount(bytes(32), ((1 << 32, 5),)),)}, "asset"),
    ],
)
def test_a_document_that_contradicts_itself_is_refused(
    changes: dict[str, object], reason: str
) -> None:
    document = replace(GENESIS, **changes).encode()  # type: ignore[arg-type]
    with pytest.raises(GenesisError, match=reason):
        decode_genesis(document)


def test_bytes_that_are_no_document_are_refused() -> None:
    for data in (b"", b"\x80", GENESIS.encode() + b"\0", b"\x02" + GENESIS.encode()[1:]):
        with pytest.raises(GenesisError):
            decode_genesis(data)
    other_version = bytearray(GENESIS.encode())
    assert other_version[1] == 1
    other_version[1] = 2
    with pytest.raises(GenesisError, match="genesis version 2, this node knows 1"):
        decode_genesis(bytes(other_version))
    assert SIZE_BYTES_MAX == 256 * 1024 * 1024


def test_the_address_of_all_zeros_may_have_money() -> None:
    genesis = replace(GENESIS, accounts=(GenesisAccount(bytes(32), ((0, 1),)),))
    assert decode_genesis(genesis.encode()) == genesis
