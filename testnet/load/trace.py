"""Recorded Ethereum transactions, as transfers of this chain.

A native transfer becomes a transfer of asset 0, a token transfer one of asset 1, amounts as
recorded. The keys are derived from the testnet's seed and the recorded addresses. When the
recording ends it repeats with other keys, since its balances are spent and its nonces are used.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from p2pnode.crypto import SecretKey, address_of, sha256
from p2pnode.errors import ConfigError
from p2pnode.types.transaction import AMOUNT_MAX
from testnet.genesis import FAUCET_BALANCE, FAUCETS, SUPPLY_MAX

NATIVE: Final = 0
TOKEN: Final = 1

_COLUMNS: Final = ("kind", "sender", "recipient", "value_wei", "token_recipient", "token_amount")

_FIRST_LINE: Final = (
    "block,index,kind,sender,recipient,value_wei,token_recipient,token_amount,gas_limit,input_bytes"
)
"""As recordings begin; only the columns above are read."""


class TraceError(ConfigError):
    """A file is no recording of transactions."""


class NoTraceError(TraceError):
    """A file does not begin as recordings do."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} is no trace ({why}); the first line of one should be {_FIRST_LINE}"
        )


@dataclass(frozen=True, slots=True)
class Transfer:
    """A recorded transfer."""

    sender: bytes
    """Ethereum address, 20 bytes."""
    to: bytes
    """Ethereum address, 20 bytes."""
    asset: int
    amount: int
    """At most 2^128 - 1."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A recording."""

    transfers: tuple[Transfer, ...]
    skipped: tuple[tuple[int, str], ...]
    """What is no transfer: how many transfers precede it, and its kind."""

    def skipped_before(self, count: int) -> dict[str, int]:
        """Return how many of each kind were passed over while `count` transfers were taken.

        Args:
            count: Transfers taken since the beginning, repetitions included.
        """
        whole, part = divmod(count, len(self.transfers)) if self.transfers else (0, 0)
        found: dict[str, int] = {}
        for at, kind in self.skipped:
            times = whole + (at < part)
            if times:
                found[kind] = found.get(kind, 0) + times
        return found

    def at(self, index: int) -> tuple[int, Transfer]:
        """Return the repetition and the transfer at an index that counts through repetitions."""
        repetition, place = divmod(index, len(self.transfers))
        return repetition, self.transfers[place]


def read_trace(path: Path) -> Trace:
    """Read a recording: CSV, gzipped or not.

    Raises:
        TraceError: It is no such file, or a row can't be understood.
    """
    transfers: list[Transfer] = []
    skipped: list[tuple[int, str]] = []
    number = 1
    try:
        for number, row in _rows(path):  # noqa: B007 - named in the error
            kind = row["kind"]
            if kind == "transfer":
                transfers.append(_transfer(row, row["recipient"], NATIVE, row["value_wei"]))
            elif kind == "token_transfer":
                to, amount = row["token_recipient"], row["token_amount"]
                transfers.append(_transfer(row, to, TOKEN, amount))
            else:
                skipped.append((len(transfers), kind))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise TraceError(f"{path}, row {number}: {error}") from None
    if not transfers:
        raise TraceError(f"{path} holds no transfer")
    return Trace(tuple(transfers), tuple(skipped))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    with _open(path) as file:
        reader = csv.DictReader(file)
        try:
            names = reader.fieldnames or ()
        except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile) as error:
            raise NoTraceError(path, str(error)) from None
        missing = [name for name in _COLUMNS if name not in names]
        if missing:
            raise NoTraceError(path, f"no column {', '.join(missing)}")
        yield from enumerate(reader, 2)


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="ascii", newline="")
    return path.open("rt", encoding="ascii", newline="")


def _transfer(row: dict[str, str], to: str, asset: int, amount: str) -> Transfer:
    found = Transfer(_address(row["sender"]), _address(to), asset, int(amount))
    if not 0 <= found.amount <= AMOUNT_MAX:
        raise ValueError(f"amount {found.amount} is not from 0 to 2^128 - 1")
    return found


def _address(text: str) -> bytes:
    found = bytes.fromhex(text.removeprefix("0x"))
    if len(found) != 20:
        raise ValueError(f"address {text!r} has {len(found)} bytes, 20 expected")
    return found


class Keys:
    """Keys of recorded addresses, made when they are needed."""

    def __init__(self, seed: int) -> None:
        """Derive from a testnet's seed."""
        self._seed = seed.to_bytes(8, "big")
        self._keys: dict[tuple[bytes, int], SecretKey] = {}
        self._addresses: dict[tuple[bytes, int], bytes] = {}

    def key(self, address: bytes, repetition: int) -> SecretKey:
        """Return the key that stands for a recorded address in a repetition."""
        at = (address, repetition)
        key = self._keys.get(at)
        if key is None:
            key = SecretKey(sha256(self._seed + address + repetition.to_bytes(4, "big")))
            self._keys[at] = key
        return key

    def address(self, address: bytes, repetition: int) -> bytes:
        """Return the account that stands for a recorded address in a repetition, 32 bytes."""
        at = (address, repetition)
        found = self._addresses.get(at)
        if found is None:
            found = self._addresses[at] = address_of(self.key(address, repetition).public)
        return found


def needs(
    trace: Trace, first: int, last: int, fee: int
) -> dict[tuple[bytes, int], tuple[int, int]]:
    """Return what senders must own before the first of their transfers.

    Nobody counts on what others send them: transfers of different senders may execute in any order.

    Args:
        trace: The recording.
        first: Index of the first transfer, counted through repetitions.
        last: Index after the last one.
        fee: What a transfer costs, in asset 0.

    Returns:
        (recorded address, repetition) to amounts of assets 0 and 1, each below 2^128.
    """
    found: dict[tuple[bytes, int], tuple[int, int]] = {}
    for index in range(first, last):
        repetition, transfer = trace.at(index)
        at = (transfer.sender, repetition)
        native, token = found.get(at, (0, 0))
        if transfer.asset == NATIVE:
            native = min(native + transfer.amount, AMOUNT_MAX)
        else:
            token = min(token + transfer.amount, AMOUNT_MAX)
        found[at] = (min(native + fee, AMOUNT_MAX), token)
    return found


def genesis_balances(
    trace: Trace, keys: Keys, count: int, fee: int
) -> dict[bytes, tuple[tuple[int, int], ...]]:
    """Return the accounts that let the first `count` transfers execute.

    Args:
        trace: The recording.
        keys: Derives the accounts.
        count: Transfers, repetitions included.
        fee: What a transfer costs, in asset 0.
    """
    budget = [SUPPLY_MAX - FAUCETS * FAUCET_BALANCE - 10**30] * 2
    found: dict[bytes, tuple[tuple[int, int], ...]] = {}
    for (address, repetition), amounts in needs(trace, 0, count, fee).items():
        balances = []
        for asset in (NATIVE, TOKEN):
            # The recording has token amounts near 2^128: what exceeds the supply fails, as it
            # should, by the rules of execution.
            amount = min(amounts[asset], budget[asset])
            budget[asset] -= amount
            if amount:
                balances.append((asset, amount))
        found[keys.address(address, repetition)] = tuple(balances)
    return found
