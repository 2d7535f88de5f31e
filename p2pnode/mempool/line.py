"""The line: which transactions are ready, and in whose turn they leave.

A transaction is *ready* when all nonces from its account's next one up to its own are here. Ready
transactions outside batches leave in turns: one of each sender, senders in the order in which their
heads became ready.

Every operation costs O(1) amortized a transaction, or at most one walk over a sender's 65 nonces.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from p2pnode.types.transaction import Transaction

_NOT_QUEUED: Final = -1


@dataclass(slots=True, eq=False)
class PackedBatch:
    """A batch on its way, whose transactions nobody else should pack."""

    collator: bytes
    """Public key, 32 bytes."""
    sequence: int
    ids: tuple[bytes, ...]
    """Its transactions."""
    until_ns: int
    """When it counts as dead."""
    certified: bool = False
    blocked: dict[bytes, None] = field(default_factory=dict)
    """Senders whose next transaction waits until this batch is sure to come first."""


@dataclass(slots=True, eq=False)
class Entry:
    """A transaction held."""

    transaction: Transaction
    since_ns: int
    """When it became ready, or ready again."""
    batch: PackedBatch | None
    """The batch it is in."""


@dataclass(slots=True, eq=False)
class _Sender:
    address: bytes
    next_nonce: int
    """The account's."""
    frontier: int
    """First nonce from `next_nonce` that is not here: all below it are ready."""
    cursor: int
    """First ready nonce in no batch, or `frontier`."""
    queued_nonce: int = _NOT_QUEUED
    """The nonce this sender stands in the rotation with."""
    entries: dict[int, Entry] = field(default_factory=dict)


class Line:
    """Entries by sender and nonce, and the rotation of senders."""

    def __init__(self, collator: bytes) -> None:
        """Start empty.

        Args:
            collator: This node's public key: its own batches are ordered by sequence, 32 bytes.
        """
        self._collator = collator
        self._senders: dict[bytes, _Sender] = {}
        # Address -> since when; `since` never falls from front to back, so the front is the oldest.
        self._rotation: OrderedDict[bytes, int] = OrderedDict()
        self.ready_count = 0
        """Entries ready and in no batch."""
        self.ready_bytes = 0
        """What they take in a batch."""

    def __len__(self) -> int:
        """Return how many senders have entries."""
        return len(self._senders)

    # --- questions -------------------------------------------------------------------------------

    def next_nonce(self, address: bytes, account_nonce: int) -> int:
        """Return the account's next nonce as far as it is known here."""
        sender = self._senders.get(address)
        return account_nonce if sender is None else max(account_nonce, sender.next_nonce)

    def frontier(self, address: bytes, account_nonce: int) -> int:
        """Return the first nonce that neither the account has used nor a ready entry holds."""
        sender = self._senders.get(address)
        return account_nonce if sender is None else max(account_nonce, sender.frontier)

    def holder(self, address: bytes, nonce: int) -> Entry | None:
        """Return the entry that holds a sender's nonce."""
        sender = self._senders.get(address)
        return None if sender is None else sender.entries.get(nonce)

    def front(self) -> Entry | None:
        """Return the entry whose turn it is."""
        for address in self._rotation:
            sender = self._senders[address]
            return sender.entries[sender.cursor]
        return None

    @property
    def front_since_ns(self) -> int | None:
        """Since when the entry in turn is ready; no other one waits longer in its turn."""
        for since_ns in self._rotation.values():
            return since_ns
        return None

    # --- entries come and go ---------------------------------------------------------------------

    def insert(self, now_ns: int, entry: Entry, account_nonce: int) -> list[Entry]:
        """Add an entry whose nonce nobody holds.

        Args:
            now_ns: Monotonic time.
            entry: Perhaps in a batch already.
            account_nonce: The account's next nonce.

        Returns:
            Entries of nonces below the account's, which are gone.
        """
        address = entry.transaction.sender
        sender = self._senders.get(address)
        if sender is None:
            sender = _Sender(address, account_nonce, account_nonce, account_nonce)
            self._senders[address] = sender
        assert entry.transaction.nonce not in sender.entries, entry.transaction.nonce
        sender.entries[entry.transaction.nonce] = entry
        if account_nonce > sender.next_nonce:
            return self.advance(now_ns, address, account_nonce)
        self._extend(now_ns, sender)
        self._requeue(sender)
        return []

    def advance(self, now_ns: int, address: bytes, nonce: int) -> list[Entry]:
        """Follow an account to its next nonce; return the entries below it, which are gone."""
        sender = self._senders.get(address)
        if sender is None or nonce <= sender.next_nonce:
            return []
        gone: list[Entry] = []
        for used in [n for n in sender.entries if n < nonce]:
            entry = sender.entries.pop(used)
            if used < sender.frontier and entry.batch is None:
                self._count_ready(entry, -1)
            gone.append(entry)
        sender.next_nonce = nonce
        sender.frontier = max(sender.frontier, nonce)
        sender.cursor = max(sender.cursor, nonce)
        self._extend(now_ns, sender)
        self._requeue(sender)
        return gone

    def remove(self, entry: Entry) -> None:
        """Take out one whose nonce stays unused: what follows it is no longer ready."""
        sender = self._senders[entry.transaction.sender]
        nonce = entry.transaction.nonce
        for later in range(nonce, sender.frontier):
            if sender.entries[later].batch is None:
                self._count_ready(sender.entries[later], -1)
        del sender.entries[nonce]
        sender.frontier = min(sender.frontier, nonce)
        sender.cursor = min(sender.cursor, nonce)
        self._requeue(sender)

    # --- batches ---------------------------------------------------------------------------------

    def join(self, entry: Entry, batch: PackedBatch) -> None:
        """Put an entry into a batch, or into a later one than it was in."""
        sender = self._senders[entry.transaction.sender]
        if entry.batch is None and entry.transaction.nonce < sender.frontier:
            self._count_ready(entry, -1)
        entry.batch = batch

    def leave(self, now_ns: int, entry: Entry) -> None:
        """Take an entry out of its batch, which is dead."""
        entry.batch = None
        entry.since_ns = now_ns
        sender = self._senders[entry.transaction.sender]
        if entry.transaction.nonce < sender.frontier:
            self._count_ready(entry, 1)
            sender.cursor = min(sender.cursor, entry.transaction.nonce)

    def requeue(self, addresses: Iterable[bytes]) -> None:
        """Let senders take their places again after `join`, `leave`, or a change of a batch."""
        for address in addresses:
            sender = self._senders.get(address)
            if sender is not None:
                self._requeue(sender)

    # --- inside ----------------------------------------------------------------------------------

    def _count_ready(self, entry: Entry, sign: int) -> None:
        self.ready_count += sign
        self.ready_bytes += sign * item_bytes(entry.transaction)

    def _extend(self, now_ns: int, sender: _Sender) -> None:
        """Move the frontier over everything that is contiguous now."""
        while (entry := sender.entries.get(sender.frontier)) is not None:
            entry.since_ns = now_ns
            if entry.batch is None:
                self._count_ready(entry, 1)
            sender.frontier += 1

    def _requeue(self, sender: _Sender) -> None:
        """Put a sender's place in the rotation right after any change of its entries."""
        entries, frontier, cursor = sender.entries, sender.frontier, sender.cursor
        while cursor < frontier and entries[cursor].batch is not None:
            cursor += 1
        sender.cursor = cursor
        if cursor == frontier or self._is_blocked(sender):
            if sender.queued_nonce != _NOT_QUEUED:
                sender.queued_nonce = _NOT_QUEUED
                del self._rotation[sender.address]
            if not entries:
                del self._senders[sender.address]
        elif sender.queued_nonce != cursor:
            rotation = self._rotation
            since_ns = entries[cursor].since_ns
            if rotation:
                since_ns = max(since_ns, rotation[next(reversed(rotation))])
            rotation[sender.address] = since_ns
            rotation.move_to_end(sender.address)
            sender.queued_nonce = cursor

    def _is_blocked(self, sender: _Sender) -> bool:
        """Tell whether the transaction before the next one may still be ordered after it.

        Batches of one feed are ordered by sequence. One of another feed may come late or never, and
        what we packed behind it would be skipped for the gap: wait for its certificate.
        """
        before = sender.entries.get(sender.cursor - 1)
        if before is None or sender.cursor == sender.next_nonce:
            return False
        batch = before.batch
        if batch is None or batch.certified or batch.collator == self._collator:
            return False
        batch.blocked[sender.address] = None
        return True


def item_bytes(transaction: Transaction) -> int:
    """Return what an envelope takes in a batch's canonical array."""
    size_bytes = len(transaction.raw)
    return size_bytes + (1 if size_bytes < 24 else 2 if size_bytes < 256 else 3)
