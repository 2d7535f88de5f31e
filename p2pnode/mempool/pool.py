"""The pool: transactions that wait for a batch, and those in batches that wait to be executed.

A transaction in a batch stays until the batch was executed, since batches die: void, passed over by
a later one of their feed, or never certified. Then it is ready again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from p2pnode.errors import RejectedTransaction
from p2pnode.mempool.admission import (
    BadSignature,
    DuplicateTransaction,
    Expired,
    NonceTaken,
    NonceTooLow,
    PoolBytesFull,
    PoolFull,
    Rules,
)
from p2pnode.mempool.line import Entry, Line, PackedBatch, item_bytes
from p2pnode.mempool.report import Batched, Dropped, Pooled, PoolStatistics
from p2pnode.types.transaction import Transaction

ARRAY_HEAD_BYTES: Final = 3
"""Bytes kept free for the head of a batch's array."""


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """What a pool is made with."""

    rules: Rules
    collator: bytes
    """This node's public key, under which `take` files what it hands out, 32 bytes."""
    transactions_max: int = 50_000
    """Most transactions held, those whose signature is being checked included."""
    bytes_max: int = 64 * 1024 * 1024
    """Most bytes of envelopes held."""
    batches_max: int = 1024
    """Most batches remembered; beyond it the oldest count as dead."""
    batched_ids_max: int = 200_000
    """Most transaction ids remembered as batched."""
    batch_timeout_ns: int = 3_000_000_000
    """A batch seen but not certified for so long counts as dead."""
    certified_timeout_ns: int = 30_000_000_000
    """A certified batch not ordered for so long counts as dead."""


@dataclass(slots=True, eq=False)
class _Checking:
    transaction: Transaction
    account_nonce: int


class Pool:
    """Transactions of one node, from admission to execution.

    Admission has two steps: `admit` applies every rule that is cheaper than the signature; then the
    signature is checked elsewhere and `verified` lets the transaction in. In between it holds its
    place by its bytes, not by its nonce or id: a forger can make neither a sender's nonce nor a
    copy with a broken signature stand in the way of the true transaction.
    """

    def __init__(self, config: PoolConfig) -> None:
        """Start empty."""
        self._config = config
        self._line = Line(config.collator)
        self._checking: dict[bytes, _Checking] = {}
        self._entries: dict[bytes, Entry] = {}
        self._batches: dict[tuple[bytes, int], PackedBatch] = {}
        self._batch_of: dict[bytes, PackedBatch] = {}
        self._last_ordered: dict[bytes, int] = {}
        self._expiries: dict[int, dict[bytes, None]] = {}
        self._expired_height = 0
        self._held_bytes = 0
        self._checking_bytes = 0
        self._batched_count = 0
        self._admitted_count = 0
        self._executed_count = 0
        self._dropped_count = 0
        self._dropped: list[Dropped] = []
        self._refused: dict[str, int] = {}

    # --- admission -------------------------------------------------------------------------------

    @property
    def rules(self) -> Rules:
        """The rules that need no pool."""
        return self._config.rules

    def admit(
        self, now_ns: int, transaction: Transaction, account: tuple[int, int], height: int
    ) -> None:
        """Apply every rule but the signature's; `verified` must follow.

        Args:
            now_ns: Monotonic time.
            transaction: Decoded strictly.
            account: The sender's next nonce and balance of asset 0, in the executed state.
            height: Last executed height.

        Raises:
            RejectedTransaction: By the first rule broken.
        """
        try:
            if transaction.id in self._entries or transaction.raw in self._checking:
                raise DuplicateTransaction(transaction.id)
            nonce = self._line.next_nonce(transaction.sender, account[0])
            self._config.rules.check(transaction, nonce, account[1], height)
            self._check_slot(transaction)
            self._check_room(len(transaction.raw))
        except RejectedTransaction as refusal:
            self._count_refusal(refusal)
            raise
        self._checking[transaction.raw] = _Checking(transaction, nonce)
        self._checking_bytes += len(transaction.raw)

    def verified(self, now_ns: int, transaction: Transaction, ok: bool) -> None:
        """Let an admitted transaction in, or forget it, by its signature.

        Raises:
            RejectedTransaction: The signature is bad, or the place was taken meanwhile.
        """
        held = self._checking.pop(transaction.raw, None)
        assert held is not None, f"{transaction.id.hex()} was not admitted"
        self._checking_bytes -= len(transaction.raw)
        try:
            if not ok:
                raise BadSignature(transaction.id)
            if transaction.id in self._entries:
                raise DuplicateTransaction(transaction.id)
            nonce = self._line.next_nonce(transaction.sender, held.account_nonce)
            if transaction.nonce < nonce:
                raise NonceTooLow(transaction.nonce, nonce)
            if transaction.last_valid_height <= self._expired_height:
                raise Expired(transaction.last_valid_height, self._expired_height)
            self._check_slot(transaction)
        except RejectedTransaction as refusal:
            self._count_refusal(refusal)
            raise
        self._insert(now_ns, transaction, nonce)

    # --- batches ---------------------------------------------------------------------------------

    def take(
        self, now_ns: int, sequence: int, *, bytes_max: int, count_max: int, since_max_ns: int
    ) -> list[Transaction]:
        """Hand out ready transactions for our own batch `sequence`; they stay, marked as batched.

        Args:
            now_ns: Monotonic time.
            sequence: Number of the batch in our feed.
            bytes_max: Largest data: their canonical array.
            count_max: Most transactions.
            since_max_ns: Only those that are ready since then or longer.

        Returns:
            One of each sender in turn, a sender's in the order of nonces. If empty, nothing was
            marked.
        """
        own = self._config.collator
        assert (own, sequence) not in self._batches, sequence
        batch = PackedBatch(own, sequence, (), now_ns + self._config.batch_timeout_ns)
        taken: list[Transaction] = []
        data_bytes = ARRAY_HEAD_BYTES
        line = self._line
        while len(taken) < count_max and (entry := line.front()) is not None:
            since_ns = line.front_since_ns
            data_bytes += item_bytes(entry.transaction)
            if since_ns is None or since_ns > since_max_ns or data_bytes > bytes_max:
                break
            taken.append(entry.transaction)
            line.join(entry, batch)
            line.requeue((entry.transaction.sender,))
        if taken:
            self._batched_count += len(taken)
            batch.ids = tuple(t.id for t in taken)
            self._remember(now_ns, batch)
        return taken

    def mark_batched(self, now_ns: int, ids: Sequence[bytes], by: bytes, sequence: int) -> None:
        """Leave the transactions of a batch out of ours, whether they are here or still to come.

        Args:
            now_ns: Monotonic time.
            ids: All of the batch's transactions.
            by: The collator's public key, 32 bytes.
            sequence: Number of the batch in the collator's feed.
        """
        if (by, sequence) in self._batches or sequence <= self._last_ordered.get(by, 0):
            return
        batch = PackedBatch(by, sequence, tuple(ids), now_ns + self._config.batch_timeout_ns)
        touched: dict[bytes, None] = {}
        for transaction_id in batch.ids:
            entry = self._entries.get(transaction_id)
            if entry is not None:
                self._batched_count += entry.batch is None
                self._line.join(entry, batch)
                touched[entry.transaction.sender] = None
        self._remember(now_ns, batch)
        self._line.requeue(touched)

    def certified(self, now_ns: int, by: bytes, sequence: int) -> None:
        """Note a batch's certificate: it will be ordered, so its senders' next may follow it."""
        batch = self._batches.get((by, sequence))
        if batch is None or batch.certified:
            return
        batch.certified = True
        batch.until_ns = now_ns + self._config.certified_timeout_ns
        blocked, batch.blocked = batch.blocked, {}
        self._line.requeue(blocked)

    def unbatch(self, now_ns: int, by: bytes, sequence: int) -> None:
        """Make a dead batch's transactions ready again, last in the rotation.

        Last, and with a new waiting time: otherwise every executor would be entitled to all of them
        at the moment when a batch is given up.
        """
        batch = self._batches.pop((by, sequence), None)
        if batch is None:
            return
        touched: dict[bytes, None] = {}
        for transaction_id in batch.ids:
            if self._batch_of.get(transaction_id) is not batch:
                continue
            del self._batch_of[transaction_id]
            entry = self._entries.get(transaction_id)
            if entry is not None:
                self._batched_count -= 1
                self._line.leave(now_ns, entry)
                touched[entry.transaction.sender] = None
        # Whoever was blocked by this batch has a transaction in it, or in a later one by now.
        self._line.requeue(touched)

    def release(self, now_ns: int) -> None:
        """Unbatch every batch whose time is over."""
        over = [b for b in self._batches.values() if b.until_ns <= now_ns]
        for batch in over:
            self.unbatch(now_ns, batch.collator, batch.sequence)

    @property
    def release_at_ns(self) -> int | None:
        """When `release` has something to do, or None while no batch is remembered."""
        return min((b.until_ns for b in self._batches.values()), default=None)

    # --- blocks ----------------------------------------------------------------------------------

    def on_block(
        self,
        now_ns: int,
        height: int,
        *,
        ordered: Sequence[tuple[bytes, int]],
        finished: Iterable[bytes],
        next_nonces: Mapping[bytes, int],
    ) -> list[Dropped]:
        """Follow an executed height.

        Args:
            now_ns: Monotonic time.
            height: The height whose execution is known.
            ordered: (collator, sequence) of the batches it ordered, void ones included. What they
                held and `finished` does not name is ready again, and so is what earlier batches of
                the same feeds held.
            finished: Ids that were executed, failed, or skipped for a reason that waiting does not
                cure; not those skipped for a nonce gap.
            next_nonces: New next nonces, by address, of the accounts that used one.

        Returns:
            What left the pool for another reason since the last call.
        """
        done = dict.fromkeys(finished)
        for held in self._checking.values():
            nonce = next_nonces.get(held.transaction.sender, 0)
            held.account_nonce = max(held.account_nonce, nonce)
        for address, nonce in next_nonces.items():
            self._used(self._line.advance(now_ns, address, nonce), nonce, done)
        for transaction_id in done:
            entry = self._entries.get(transaction_id)
            if entry is not None:
                self._executed_count += 1
                self._line.remove(entry)
                self._forget(entry)
        for by, sequence in ordered:
            self._last_ordered[by] = max(self._last_ordered.get(by, 0), sequence)
            for earlier in [s for b, s in self._batches if b == by and s <= sequence]:
                self.unbatch(now_ns, by, earlier)
        return self.expire(height)

    def expire(self, height: int) -> list[Dropped]:
        """Drop what no block above `height` can execute; return all that was dropped lately."""
        if height > self._expired_height:
            heights: Iterable[int] = range(self._expired_height + 1, height + 1)
            if height - self._expired_height > len(self._expiries):
                heights = sorted(h for h in self._expiries if h <= height)
            for last_valid_height in heights:
                for transaction_id in self._expiries.pop(last_valid_height, {}):
                    entry = self._entries[transaction_id]
                    self._dropped.append(
                        Dropped(transaction_id, Expired(last_valid_height, height))
                    )
                    self._dropped_count += 1
                    self._line.remove(entry)
                    self._forget(entry)
            self._expired_height = height
        dropped, self._dropped = self._dropped, []
        return dropped

    # --- questions -------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return how many transactions are held."""
        return len(self._entries)

    def __contains__(self, transaction_id: bytes) -> bool:
        """Tell whether a transaction is held."""
        return transaction_id in self._entries

    def get(self, transaction_id: bytes) -> Transaction | None:
        """Return a transaction held, or None."""
        entry = self._entries.get(transaction_id)
        return None if entry is None else entry.transaction

    def next_nonce(self, address: bytes, account_nonce: int) -> int:
        """Return the first nonce of a sender that neither its account nor the pool has used."""
        return self._line.frontier(address, account_nonce)

    def status(self, transaction_id: bytes) -> Pooled | Batched | None:
        """Tell where a transaction waits; None when it is not here."""
        batch = self._batch_of.get(transaction_id)
        if batch is not None:
            return Batched(batch.collator, batch.sequence, batch.certified)
        entry = self._entries.get(transaction_id)
        if entry is None:
            return None
        nonce = entry.transaction.nonce
        frontier = self._line.frontier(entry.transaction.sender, 0)
        return Pooled(nonce, None if nonce < frontier else frontier)

    @property
    def waiting_since_ns(self) -> int | None:
        """Since when the transaction that `take` would hand out first is ready; None without one.

        It is the oldest one in turn: no other can be handed out earlier.
        """
        return self._line.front_since_ns

    @property
    def ready_count(self) -> int:
        """Transactions ready and in no batch."""
        return self._line.ready_count

    @property
    def ready_bytes(self) -> int:
        """What those take in a batch."""
        return self._line.ready_bytes

    @property
    def config(self) -> PoolConfig:
        """Its limits."""
        return self._config

    def statistics(self) -> PoolStatistics:
        """Return what the pool holds and did."""
        return PoolStatistics(
            transactions_count=len(self._entries),
            held_bytes=self._held_bytes,
            checking_count=len(self._checking),
            ready_count=self._line.ready_count,
            ready_bytes=self._line.ready_bytes,
            batched_count=self._batched_count,
            senders_count=len(self._line),
            batches_count=len(self._batches),
            admitted_count=self._admitted_count,
            executed_count=self._executed_count,
            dropped_count=self._dropped_count,
            refused=tuple(sorted(self._refused.items())),
        )

    # --- inside ----------------------------------------------------------------------------------

    def _check_slot(self, transaction: Transaction) -> None:
        holder = self._line.holder(transaction.sender, transaction.nonce)
        if holder is not None:
            raise NonceTaken(transaction.nonce, holder.transaction.id)

    def _check_room(self, size_bytes: int) -> None:
        count = len(self._entries) + len(self._checking)
        if count >= self._config.transactions_max:
            raise PoolFull(count, self._config.transactions_max)
        held_bytes = self._held_bytes + self._checking_bytes
        if held_bytes + size_bytes > self._config.bytes_max:
            raise PoolBytesFull(held_bytes, size_bytes, self._config.bytes_max)

    def _count_refusal(self, refusal: RejectedTransaction) -> None:
        self._refused[refusal.kind] = self._refused.get(refusal.kind, 0) + 1

    def _insert(self, now_ns: int, transaction: Transaction, account_nonce: int) -> None:
        batch = self._batch_of.get(transaction.id)
        entry = Entry(transaction, now_ns, batch)
        self._entries[transaction.id] = entry
        self._expiries.setdefault(transaction.last_valid_height, {})[transaction.id] = None
        self._held_bytes += len(transaction.raw)
        self._admitted_count += 1
        self._batched_count += batch is not None
        self._used(self._line.insert(now_ns, entry, account_nonce), account_nonce, {})

    def _used(self, gone: Iterable[Entry], nonce: int, done: Mapping[bytes, None]) -> None:
        """Count and forget entries whose nonces are used: by themselves, or by others."""
        for entry in gone:
            transaction = entry.transaction
            self._forget(entry)
            if transaction.id in done:
                self._executed_count += 1
            else:
                self._dropped_count += 1
                reason = NonceTooLow(transaction.nonce, nonce)
                self._dropped.append(Dropped(transaction.id, reason))

    def _forget(self, entry: Entry) -> None:
        """Take an entry out of everything but the line."""
        transaction = entry.transaction
        del self._entries[transaction.id]
        self._held_bytes -= len(transaction.raw)
        self._batched_count -= entry.batch is not None
        expiring = self._expiries.get(transaction.last_valid_height)
        if expiring is not None:
            expiring.pop(transaction.id, None)
            if not expiring:
                del self._expiries[transaction.last_valid_height]

    def _remember(self, now_ns: int, batch: PackedBatch) -> None:
        """File a batch; where two hold one transaction, the later one counts."""
        self._batches[batch.collator, batch.sequence] = batch
        self._batch_of.update(dict.fromkeys(batch.ids, batch))
        while len(self._batches) > 1 and (
            len(self._batches) > self._config.batches_max
            or len(self._batch_of) > self._config.batched_ids_max
        ):
            oldest = next(iter(self._batches.values()))
            self.unbatch(now_ns, oldest.collator, oldest.sequence)
