"""The collator: whether it is our turn to pack ready transactions of a shard, and the packing.

Executor number (height + i) mod p may pack a transaction that waited i x 2Δ. So exactly
one is first in turn, and a dead one costs a wait, nothing more. In two cases executors keep back
longer than they must, since what two of them pack is carried twice and executes once:

* The wait of i x 2Δ starts again with every sign that somebody in turn works (a certificate, a
  block): under overload everything waits long, and all p would be entitled to it at once.
* At a new height the executor in turn waits `hold_ns`, so that the last batch of its predecessor
  can arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from p2pnode import crypto
from p2pnode.availability.scheme import Scheme
from p2pnode.mempool.pool import Pool
from p2pnode.types.batch import KIND_TRANSACTIONS, BatchHeader, encode_transactions
from p2pnode.types.genesis import Parameters


@dataclass(frozen=True, slots=True)
class CollatorConfig:
    """What a collator is made with."""

    chain: bytes
    """Chain id, 32 bytes."""
    uid: int
    """The shard."""
    public_key: bytes
    """This node's key, which signs its headers, 32 bytes."""
    batch_wait_ns: int
    """A batch that is not full waits this long for more."""
    hold_ns: int
    """At a new height, wait this long for the predecessor's last batch."""
    batch_bytes_max: int
    """Largest data of a batch."""
    batch_transactions_max: int
    """Most transactions in a batch."""
    batches_unordered_max: int
    """Own batches that may wait to be ordered."""
    feed_bytes_max: int = 8 * 1024 * 1024
    """Data of own batches that wait to be ordered."""

    @classmethod
    def of(
        cls, chain: bytes, uid: int, public_key: bytes, parameters: Parameters
    ) -> CollatorConfig:
        """Return the numbers of a chain."""
        wait_ns = parameters.batch_wait_ms * 1_000_000
        return cls(
            chain=chain,
            uid=uid,
            public_key=public_key,
            batch_wait_ns=wait_ns,
            # Heights may follow each other faster than batch_wait_ms: a hold must end in its turn.
            hold_ns=min(wait_ns, parameters.block_interval_ms * 1_000_000 // 4),
            batch_bytes_max=parameters.batch_bytes_max,
            batch_transactions_max=parameters.batch_transactions_max,
            batches_unordered_max=parameters.batches_unordered_max,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch is due now."""

    position: int
    """0 for the executor in turn, i for the one that steps in after i x 2Δ."""
    since_max_ns: int
    """Only transactions that are ready since then or longer."""


@dataclass(frozen=True, slots=True)
class Built:
    """A packed batch, to be signed (kind `batch`, body `header.encode()`) and sent."""

    header: BatchHeader
    data: bytes
    """The canonical array of the transactions' envelopes."""
    ids: tuple[bytes, ...]
    """The transactions, in order."""


@dataclass(frozen=True, slots=True)
class CollatorStatistics:
    """What a collator has on its way, and what it did since start."""

    next_sequence: int
    unordered_count: int
    unordered_bytes: int
    batches_count: int
    """Packed since start."""
    transactions_count: int
    """Packed since start."""
    stepped_in_count: int
    """Batches packed out of turn since start."""


class Collator:
    """Decides when this node packs a batch of one shard, and packs it."""

    def __init__(
        self, config: CollatorConfig, pool: Pool, scheme: Scheme, *, next_sequence: int
    ) -> None:
        """Start without executors; `enter_epoch` makes it work.

        Args:
            config: Numbers.
            pool: Where the transactions are.
            scheme: The chain's.
            next_sequence: Above every sequence this key ever signed in the feed, at least 1.
        """
        assert next_sequence >= 1, next_sequence
        self._config = config
        self._pool = pool
        self._scheme = scheme
        self._next_sequence = next_sequence
        self._epoch = 0
        self._executors_count = 0
        self._own_index: int | None = None
        self._height = -1
        self._turn_ns = 0
        self._progress_ns = 0
        self._unordered: dict[int, int] = {}
        self._batches_count = 0
        self._transactions_count = 0
        self._stepped_in_count = 0

    def enter_epoch(self, epoch: int, executors: Sequence[bytes]) -> None:
        """Follow the chain into an epoch; `executors` are the shard's public keys, in order."""
        keys = list(executors)
        self._epoch = epoch
        self._executors_count = len(keys)
        own = self._config.public_key
        self._own_index = keys.index(own) if own in keys else None

    def position(self, height: int) -> int | None:
        """Return how many executors come before us at a height; None when we are none."""
        if self._own_index is None:
            return None
        return (self._own_index - height) % self._executors_count

    def follow(self, now_ns: int, height: int) -> None:
        """Note when a height was executed: the turn, and its hold, begin then."""
        if height > self._height:
            self._height = height
            self._turn_ns = now_ns

    def due(self, now_ns: int, height: int, delta_ns: int) -> Plan | int | None:
        """Decide whether to pack a batch.

        Args:
            now_ns: Monotonic time.
            height: Last executed height.
            delta_ns: Bound on the network delay, as the engine sees it now.

        Returns:
            A plan for `build`; or when to ask again, at the latest; or None when nothing can become
            due by time alone. Ask again too after transactions, certificates and blocks came.
        """
        self._pool.release(now_ns)
        self.follow(now_ns, height)
        release_ns = self._pool.release_at_ns
        position = self.position(height)
        since_ns = self._pool.waiting_since_ns
        if position is None or since_ns is None or not self._has_room():
            return release_ns
        config = self._config
        if position == 0:
            wait_ns = 0 if self._is_full() else config.batch_wait_ns
            at_ns = max(since_ns + wait_ns, self._turn_ns + config.hold_ns)
            since_max_ns = now_ns
        else:
            behind_ns = max(position * 2 * delta_ns, config.batch_wait_ns)
            at_ns = max(since_ns, self._turn_ns, self._progress_ns) + behind_ns
            since_max_ns = now_ns - behind_ns
        if at_ns <= now_ns:
            return Plan(position, since_max_ns)
        return at_ns if release_ns is None else min(at_ns, release_ns)

    def build(self, now_ns: int, plan: Plan) -> Built | None:
        """Pack the batch that `due` planned; its sequence is used up, whatever becomes of it.

        Returns:
            The batch, or None when the pool changed since `due` and has nothing for it.
        """
        config = self._config
        sequence = self._next_sequence
        transactions = self._pool.take(
            now_ns,
            sequence,
            bytes_max=config.batch_bytes_max,
            count_max=config.batch_transactions_max,
            since_max_ns=plan.since_max_ns,
        )
        if not transactions:
            return None
        self._next_sequence += 1
        raws = [transaction.raw for transaction in transactions]
        data = encode_transactions(raws)
        assert len(data) <= config.batch_bytes_max, (len(data), config.batch_bytes_max)
        encoded = self._scheme.encode(data)
        header = BatchHeader(
            chain=config.chain,
            epoch=self._epoch,
            uid=config.uid,
            collator=config.public_key,
            sequence=sequence,
            kind=KIND_TRANSACTIONS,
            tx_root=crypto.merkle_root(raws),
            scheme=self._scheme.name,
            k=encoded.params.k,
            n=encoded.params.n,
            row_size=encoded.params.row_size,
            data_bytes=len(data),
            commitment=encoded.commitment,
        )
        self._unordered[sequence] = len(data)
        self._batches_count += 1
        self._transactions_count += len(transactions)
        self._stepped_in_count += plan.position > 0
        return Built(header, data, tuple(t.id for t in transactions))

    def restore(self, sequence: int, data_bytes: int) -> None:
        """Note an own batch from before a restart that may still be ordered."""
        assert sequence < self._next_sequence, (sequence, self._next_sequence)
        self._unordered[sequence] = data_bytes

    def progressed(self, now_ns: int) -> None:
        """Note a sign that the shard's collators work: a certificate, or a block with a batch."""
        self._progress_ns = max(self._progress_ns, now_ns)

    def ordered(self, sequence: int) -> None:
        """Note that an own batch was ordered: it and all before it leave the feed."""
        for earlier in [s for s in self._unordered if s <= sequence]:
            del self._unordered[earlier]

    def abandoned(self, now_ns: int, sequence: int) -> None:
        """Give an own batch up (not signed, not certified); its transactions are ready again."""
        self._unordered.pop(sequence, None)
        self._pool.unbatch(now_ns, self._config.public_key, sequence)

    def statistics(self) -> CollatorStatistics:
        """Return what is on its way and what was done."""
        return CollatorStatistics(
            next_sequence=self._next_sequence,
            unordered_count=len(self._unordered),
            unordered_bytes=sum(self._unordered.values()),
            batches_count=self._batches_count,
            transactions_count=self._transactions_count,
            stepped_in_count=self._stepped_in_count,
        )

    def _has_room(self) -> bool:
        config = self._config
        held_bytes = sum(self._unordered.values())
        return (
            len(self._unordered) < config.batches_unordered_max
            and held_bytes + config.batch_bytes_max <= config.feed_bytes_max
        )

    def _is_full(self) -> bool:
        config = self._config
        return (
            self._pool.ready_bytes >= config.batch_bytes_max
            or self._pool.ready_count >= config.batch_transactions_max
        )
