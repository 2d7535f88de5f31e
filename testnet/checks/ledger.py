"""Balances from the chain alone: a second, short execution of its transactions.

The rules of p2pnode/execution/executor.py in the fewest lines: transfers in one shard. Nothing of
p2pnode is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cbor2

from testnet.checks.audit import ChainFacts, Rows, batch_fault
from testnet.checks.signatures import SignatureChecks, hash_of

_AMOUNT_MAX = 2**128 - 1


class MissingBatchError(Exception):
    """A batch that the chain orders is in no store."""


@dataclass(slots=True)
class Account:
    """What an account has."""

    nonce: int = 0
    balances: dict[int, int] = field(default_factory=dict)


class Ledger:
    """The accounts after some height."""

    def __init__(self, facts: ChainFacts, signature_ok: SignatureChecks) -> None:
        """Begin at genesis."""
        self._facts = facts
        self._signature_ok = signature_ok
        self._feeds: dict[bytes, int] = {}
        self.height = 0
        self.counts: dict[int, tuple[int, int, int]] = {}
        """By height with a batch: transactions executed, failed, skipped."""
        self.accounts = {
            address: Account(0, dict(assets)) for address, assets in facts.balances.items()
        }

    def follow(self, blocks: Rows, statements: Rows, batches: Rows, height: int) -> None:
        """Execute all blocks up to and including a height.

        Raises:
            MissingBatchError: None of the stores has a batch.
        """
        while self.height < height:
            self.height += 1
            payload = cbor2.loads(blocks[self.height.to_bytes(8, "big")])[1]
            for item in cbor2.loads(payload)[10]:
                fields = cbor2.loads(statements[item])
                if fields[0] == 1:
                    self._batch(fields[1], batches)

    def _batch(self, header: bytes, batches: Rows) -> None:
        _, _, _, _, collator, sequence = cbor2.loads(header)[:6]
        if sequence <= self._feeds.get(collator, 0):
            return
        self._feeds[collator] = sequence
        self.counts.setdefault(self.height, (0, 0, 0))
        raw = batches.get(hash_of(header))
        if raw is None:
            raise MissingBatchError(f"height {self.height}: {hash_of(header).hex()}")
        data = cbor2.loads(raw)[2]
        if not batch_fault(header, data):
            for envelope in cbor2.loads(data):
                outcome = self._transaction(envelope)
                counts = list(self.counts[self.height])
                counts[outcome] += 1
                self.counts[self.height] = (counts[0], counts[1], counts[2])

    def _transaction(self, envelope: bytes) -> int:
        """Apply a transaction; return 0 when it executes, 1 when it fails, 2 when it is skipped."""
        parsed = _parse(envelope)
        if parsed is None:
            return 2
        message, signature, fields = parsed
        _, chain, key, nonce, last_height, fee_limit, actions = fields
        facts = self._facts
        fee = facts.fee_base + facts.fee_action * len(actions)
        sender = self.accounts.get(hash_of(key))
        executes = (
            sender is not None
            and chain == facts.id
            and nonce == sender.nonce
            and last_height >= self.height
            and fee <= fee_limit <= sender.balances.get(0, 0)
            and self._signature_ok(key, message, signature)
        )
        if sender is None or not executes:
            return 2
        sender.nonce += 1
        sender.balances[0] -= fee
        return 0 if self._transfer_all(sender, actions) else 1

    def _transfer_all(self, sender: Account, actions: list[Any]) -> bool:
        """Do all transfers or none; tell which."""
        done: list[tuple[Account, int, int]] = []
        for _, asset, to, amount in actions:
            receiver = self.accounts.setdefault(to, Account())
            if sender.balances.get(asset, 0) < amount or (
                receiver is not sender and receiver.balances.get(asset, 0) + amount > _AMOUNT_MAX
            ):
                for account, of, change in reversed(done):
                    account.balances[of] += change
                return False
            for account, change in ((sender, -amount), (receiver, amount)):
                account.balances[asset] = account.balances.get(asset, 0) + change
                done.append((account, asset, -change))
        return True


def compare_results(ledger: Ledger, blocks: Rows, statements: Rows) -> list[str]:
    """Return in what ordered result certificates of the account shard differ from the ledger."""
    found = []
    for raw in blocks.values():
        for item in cbor2.loads(cbor2.loads(raw)[1])[10]:
            fields = cbor2.loads(statements[item])
            if fields[0] != 2:
                continue
            result = cbor2.loads(fields[1])
            uid, height, counters = result[3], result[4], tuple(result[10][:3])
            due = ledger.counts.get(height, (0, 0, 0))
            if uid == 1 and height <= ledger.height and counters != due:
                found.append(f"height {height}: certified {counters}, the chain gives {due}")
    return found


def compare_counts(ledger: Ledger, counted: Mapping[int, tuple[int, ...]]) -> list[str]:
    """Return the heights at which the nodes counted other outcomes than the ledger.

    Args:
        ledger: Up to some height; later ones are passed over.
        counted: Transactions executed, failed and skipped, by height.
    """
    found = []
    for height, counts in counted.items():
        due = ledger.counts.get(height, (0, 0, 0))
        if height <= ledger.height and counts != due:
            found.append(f"height {height}: executed {counts}, the chain gives {due}")
    return found


def _parse(envelope: bytes) -> tuple[bytes, bytes, list[Any]] | None:
    """Return (signed message, signature, payload's fields), or None for anything not canonical."""
    try:
        outer = cbor2.loads(envelope)
        protected, unprotected, payload, signature = outer.value
        fields = cbor2.loads(payload)
        _, _, key, nonce, last_height, fee_limit, actions = fields
        shape_ok = (
            outer.tag == 18
            and (protected, unprotected) == (b"\xa1\x01\x27", {})
            and len(signature) == 64
            and len(key) == 32
            and 1 <= len(actions) <= 16
            and all(type(n) is int and n >= 0 for n in (nonce, last_height, fee_limit))
            and all(a[0] == 1 and len(a[2]) == 32 and 0 <= a[3] <= _AMOUNT_MAX for a in actions)
            and cbor2.dumps(outer) == envelope
            and cbor2.dumps(fields) == payload
        )
    except (cbor2.CBORError, ValueError, TypeError, AttributeError, IndexError):
        return None
    if not shape_ok:
        return None
    message = cbor2.dumps(["Signature1", protected, b"", payload])
    return message, signature, fields


def compare(
    node: str, ledger: Ledger, accounts: Mapping[bytes, tuple[int, Mapping[int, int]]]
) -> list[str]:
    """Return in what a node's accounts differ from the ledger.

    Args:
        node: Its name.
        ledger: At the node's executed height.
        accounts: By address: next nonce and balances, as the node has them.
    """
    found = []
    for address, (nonce, balances) in accounts.items():
        due = ledger.accounts.get(address, Account())
        has = {asset: amount for asset, amount in balances.items() if amount}
        if (nonce, has) != (due.nonce, {a: n for a, n in due.balances.items() if n}):
            found.append(
                f"{node}: account {address.hex()[:12]} has nonce {nonce}, {has}; "
                f"the chain up to {ledger.height} gives {due.nonce}, {due.balances}"
            )
    return found
