"""A shard's state: its accounts, the tree that commits to them, and the shard's record.

In the store, table `accounts` holds it all: an account under its shard's uid (4 bytes, big endian)
followed by its address, the record under the uid alone. So one scan loads a shard, and one list of
writes makes a block durable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from p2pnode import codec
from p2pnode.execution.accounts import (
    ABSENT,
    Account,
    Flat,
    StateCorruptError,
    account_of,
    decode_account,
    encode_account,
    flatten,
)
from p2pnode.execution.ranges import Shard
from p2pnode.execution.record import ShardRecord, add_to, decode_record, supply_of
from p2pnode.execution.tree import BucketTree, Proof
from p2pnode.types.effects import Write
from p2pnode.types.genesis import GenesisAccount

TABLE: Final = "accounts"
"""The store's table."""

UID_BYTES: Final = 4


def key_prefix(uid: int) -> bytes:
    """Return what all keys of a shard begin with; also the key of its record."""
    return uid.to_bytes(UID_BYTES, "big")


def key_range(uid: int) -> tuple[bytes, bytes]:
    """Return (start, stop) of the scan that finds everything of a shard."""
    return key_prefix(uid), key_prefix(uid + 1)


@dataclass(frozen=True, slots=True)
class StateStatistics:
    """Size of a shard's state."""

    accounts_count: int
    height: int
    """Last height with input."""
    bucket_bits: int


class ShardState:
    """Accounts of one range in memory, committed to by a root."""

    def __init__(self, shard: Shard, bucket_bits: int) -> None:
        """Start empty.

        Args:
            shard: The range.
            bucket_bits: Bits below its prefix that choose a bucket.
        """
        self.shard = shard
        self.record = ShardRecord()
        self._bucket_bits = bucket_bits
        self._accounts: dict[bytes, Flat] = {}
        self._tree = BucketTree(shard.prefix_bits, bucket_bits)

    def fund(self, accounts: Iterable[GenesisAccount]) -> list[Write]:
        """Take the accounts of this range from genesis; once, into an empty state.

        Args:
            accounts: All accounts of genesis, ascending by address.

        Returns:
            The writes that put them into the store, the record among them.
        """
        assert not self._accounts, len(self._accounts)
        values = []
        for account in accounts:
            if not self.shard.contains(account.address):
                continue
            flat = flatten(0, account.balances)
            if flat != ABSENT:
                self._accounts[account.address] = flat
                values.append((account.address, encode_account(flat)))
        self._tree.fill(values)
        prefix = key_prefix(self.shard.uid)
        return [Write(TABLE, prefix, self.record.encode())] + [
            Write(TABLE, prefix + address, value) for address, value in values
        ]

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Take a shard's pairs from the store, ascending by key; once, into an empty state.

        Raises:
            StateCorruptError: The store holds something else.
        """
        assert not self._accounts, len(self._accounts)
        prefix = key_prefix(self.shard.uid)
        accounts = self._accounts
        record: ShardRecord | None = None

        def values() -> Iterable[tuple[bytes, bytes]]:
            nonlocal record
            for key, value in items:
                address = key[UID_BYTES:]
                try:
                    if not address:
                        record = decode_record(value)
                        continue
                    accounts[address] = decode_account(value)
                except codec.NotCanonicalError as error:
                    raise StateCorruptError(f"key {key.hex()}: {error}") from error
                except codec.WrongShapeError as error:
                    raise StateCorruptError(f"key {key.hex()}: {error}") from error
                if not key.startswith(prefix) or len(address) != 32:
                    raise StateCorruptError(f"key {key.hex()} is none of shard {self.shard.uid}")
                yield address, value

        self._tree.fill(values())
        if record is None:
            raise StateCorruptError(f"shard {self.shard.uid}: the store holds no record of it")
        self.record = record

    def flat(self, address: bytes) -> Flat:
        """Return an account as a flat tuple; `ABSENT` where there is none."""
        return self._accounts.get(address, ABSENT)

    def account(self, address: bytes) -> Account:
        """Return an account; one without nonce and balances where there is none."""
        return account_of(self.flat(address))

    def commit(self, changes: Mapping[bytes, Flat], record: ShardRecord) -> list[Write]:
        """Take the changes of a block.

        Args:
            changes: New values by address; unchanged ones are left out here.
            record: The record after the block.

        Returns:
            The writes that make it durable.
        """
        accounts = self._accounts
        # Ascending: the same block gives the same writes, and LMDB inserts are fastest in order.
        changed: list[tuple[bytes, bytes | None]] = []
        for address in sorted(changes):
            flat = changes[address]
            if flat == accounts.get(address, ABSENT):
                continue
            changed.append((address, None if flat == ABSENT else encode_account(flat)))
        for address, value in changed:
            if value is None:
                del accounts[address]
            else:
                accounts[address] = changes[address]
        self._tree.update(changed)
        self.record = record
        prefix = key_prefix(self.shard.uid)
        return [Write(TABLE, prefix, record.encode())] + [
            Write(TABLE, prefix + address, value) for address, value in changed
        ]

    def root(self) -> bytes:
        """Return the state root, 32 bytes."""
        return self._tree.root()

    def prove(self, address: bytes) -> tuple[bytes | None, Proof]:
        """Return an account's encoded value (None where there is none) and its proof."""
        flat = self.flat(address)
        value = None if flat == ABSENT else encode_account(flat)
        return value, self._tree.prove(address)

    def supply(self) -> dict[int, int]:
        """Return what this shard answers for, by asset; see `record.supply_of`.

        Walks every account (0.5 s a million): for checks, not for every block.
        """
        sums = dict(self.record.pot)
        for flat in self._accounts.values():
            for asset, amount in zip(flat[1::2], flat[2::2], strict=True):
                add_to(sums, asset, amount)
        return supply_of(sums, self.record)

    def statistics(self) -> StateStatistics:
        """Return the state's size."""
        return StateStatistics(len(self._accounts), self.record.height, self._bucket_bits)
