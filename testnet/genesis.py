"""Genesis of a testnet: keys from the seed, and accounts with funds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from p2pnode.crypto import SecretKey, address_of, peer_id_of
from p2pnode.keys.keystore import derive_test_key
from p2pnode.types.genesis import Genesis, GenesisAccount, Parameters, Validator

ACCOUNTS: Final = 10
"""Accounts for people: role `account` of the seed."""

ACCOUNT_BALANCE: Final = 1_000_000

LOAD_ACCOUNTS: Final = 1024
"""Accounts of the synthetic load: at most 64 transactions of each may be on their way."""

LOAD_BALANCE: Final = 10**15

FAUCETS: Final = 8
"""Accounts that fund others; several, since each has only 64 nonces to spend ahead."""

FAUCET_BALANCE: Final = 10**37
"""Of assets 0 and 1 each."""

SUPPLY_MAX: Final = 9 * 10**38
"""Most of one asset that genesis issues: sums keep to 39 digits, like every amount below 2^128."""


def make_genesis(
    *,
    name: str,
    validators: int,
    seed: int,
    engine: str,
    scheme: str = "inline",
    parameters: Parameters,
    accounts: tuple[GenesisAccount, ...],
    powers: tuple[int, ...] = (),
    time_ms: int,
) -> Genesis:
    """Return the genesis of a chain for tests whose keys derive from a seed."""
    members = tuple(
        Validator(
            derive_test_key(seed, "validator", i).public,
            powers[i] if powers else 1,
            peer_id_of(derive_test_key(seed, "node", i).public),
        )
        for i in range(validators)
    )
    ordered = tuple(sorted(accounts, key=lambda a: a.address))
    return Genesis(name, time_ms, engine, scheme, members, parameters, ordered)


def account_key(seed: int, index: int) -> SecretKey:
    """Return the key of an account for people."""
    return derive_test_key(seed, "account", index)


def load_key(seed: int, index: int) -> SecretKey:
    """Return the key of an account of the synthetic load."""
    return derive_test_key(seed, "load", index)


def faucet_key(seed: int, index: int) -> SecretKey:
    """Return the key of a faucet."""
    return derive_test_key(seed, "faucet", index)


def funded_accounts(
    seed: int, extra: Mapping[bytes, tuple[tuple[int, int], ...]]
) -> tuple[GenesisAccount, ...]:
    """Return every account of a testnet's genesis.

    Args:
        seed: The testnet's.
        extra: Address to balances of further accounts, such as the senders of a trace.
    """
    found: dict[bytes, tuple[tuple[int, int], ...]] = dict(extra)
    for index in range(ACCOUNTS):
        found[address_of(account_key(seed, index).public)] = ((0, ACCOUNT_BALANCE),)
    for index in range(LOAD_ACCOUNTS):
        found[address_of(load_key(seed, index).public)] = ((0, LOAD_BALANCE),)
    both = ((0, FAUCET_BALANCE), (1, FAUCET_BALANCE))
    for index in range(FAUCETS):
        found[address_of(faucet_key(seed, index).public)] = both
    return tuple(GenesisAccount(address, found[address]) for address in sorted(found))
