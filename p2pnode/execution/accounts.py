"""Accounts: a nonce and a balance per asset, in one canonical encoding.

In memory an account is a flat tuple of integers, `(nonce, asset, amount, asset, amount, …)`: a
million of them with two balances each take 290 MiB with their addresses, and reading one decodes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from p2pnode import codec
from p2pnode.errors import StorageError

Flat: TypeAlias = tuple[int, ...]
"""`(nonce, asset, amount, …)`, ascending by asset, amounts above zero."""

ABSENT: Final[Flat] = (0,)
"""An account that was never used or funded; it is not stored, so it leaves no trace in the root."""

ASSET_FEE: Final = 0
"""The asset in which fees are paid."""

VALUE_BYTES_MAX: Final = 1 << 20
"""Largest encoded account: 30,000 assets; each was paid for by whoever sent it."""


class StateCorruptError(StorageError):
    """The disk holds an account or a shard's record that this program did not write."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account as API and mempool see it."""

    nonce: int
    """Number of the transactions executed for it; what its next one must carry."""
    balances: tuple[tuple[int, int], ...]
    """(asset, amount), ascending by asset, amounts above zero."""

    def balance(self, asset: int) -> int:
        """Return the amount of an asset."""
        return next((amount for held, amount in self.balances if held == asset), 0)


def account_of(flat: Flat) -> Account:
    """Return the account that a flat tuple holds."""
    return Account(flat[0], tuple(zip(flat[1::2], flat[2::2], strict=True)))


def flatten(nonce: int, balances: Iterable[tuple[int, int]]) -> Flat:
    """Return the flat tuple of a nonce and of balances in any order; zero balances are dropped."""
    flat = [nonce]
    for asset, amount in sorted(balances):
        if amount:
            flat += (asset, amount)
    return tuple(flat)


def encode_account(flat: Flat) -> bytes:
    """Return the canonical value `[nonce, [[asset, amount], …]]` that tree and store hold."""
    return codec.encode([flat[0], list(zip(flat[1::2], flat[2::2], strict=True))])


def decode_account(value: bytes) -> Flat:
    """Read what `encode_account` gave.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    nonce, balances = codec.array(
        codec.decode(value, size_bytes_max=VALUE_BYTES_MAX), "account", length=2
    )
    flat = [codec.unsigned(nonce, "nonce")]
    previous = -1
    for pair in codec.array(balances, "balances"):
        asset, amount = codec.array(pair, "balance", length=2)
        number = codec.unsigned(asset, "asset", value_max=(1 << 32) - 1)
        held = codec.unsigned(amount, "amount", value_max=codec.INTEGER_MAX)
        if number <= previous or not held:
            raise codec.WrongShapeError(f"account: asset {number} out of order or without amount")
        previous = number
        flat += (number, held)
    return tuple(flat)
