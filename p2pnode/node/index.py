"""The index of transactions: what became of each id, for clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from p2pnode import codec
from p2pnode.execution.outcomes import Outcome, Reason, Status, decode_outcome
from p2pnode.types.effects import Write

TABLE: Final = "outcomes"
"""Store table: id to `[height, time, outcome]`."""

RECENT_MAX: Final = 50_000
"""Outcomes kept in memory; older ones are read from the store."""

DROPPED_MAX: Final = 10_000
"""Transactions remembered that the pool gave up."""

ENTRY_BYTES_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class Entry:
    """A transaction that has executed, failed or been skipped."""

    height: int
    time_ms: int
    """Wall clock when this node executed it."""
    outcome: Outcome

    def encode(self) -> bytes:
        """Return the bytes under the id in the store."""
        return codec.encode([self.height, self.time_ms, self.outcome.encode()])


def decode_entry(data: bytes) -> Entry:
    """Decode what `Entry.encode` gave."""
    fields = codec.array(codec.decode(data, size_bytes_max=ENTRY_BYTES_MAX), "entry", length=3)
    return Entry(
        codec.unsigned(fields[0], "height"),
        codec.unsigned(fields[1], "time"),
        decode_outcome(codec.octets(fields[2], "outcome")),
    )


class TransactionIndex:
    """Recent outcomes, and ids in blocks that have not executed yet."""

    def __init__(self) -> None:
        """Start empty."""
        self._recent: dict[bytes, Entry] = {}
        self._ordered: dict[bytes, int] = {}
        self._dropped: dict[bytes, str] = {}

    def ordered(self, ids: Sequence[bytes], height: int) -> None:
        """Note ids in a final block."""
        for transaction_id in ids:
            self._ordered.setdefault(transaction_id, height)

    def passed(self, height: int) -> None:
        """Forget that ids are in blocks up to an executed height.

        Those whose outcome ends nothing (a copy with a broken signature, a nonce gap) are not ended
        by `executed`: a collator could fill memory with them.
        """
        while self._ordered and next(iter(self._ordered.values())) <= height:
            del self._ordered[next(iter(self._ordered))]

    def executed(self, outcome: Outcome, height: int, time_ms: int) -> Write | None:
        """Note an outcome; returns what the store should hold, None where an earlier one stands.

        A transaction that lands in two batches executes once; the second time it is skipped for its
        nonce, and that must not hide what it did.
        """
        self._ordered.pop(outcome.id, None)
        if outcome.status is Status.SKIPPED and outcome.id in self._recent:
            return None
        entry = Entry(height, time_ms, outcome)
        self._recent[outcome.id] = entry
        if len(self._recent) > RECENT_MAX:
            for old in list(self._recent)[: RECENT_MAX // 10]:
                del self._recent[old]
        if outcome.reason is Reason.NONCE_TOO_LOW:
            # Possibly a copy of one that executed longer ago than the memory reaches.
            return None
        return Write(TABLE, outcome.id, entry.encode())

    def dropped(self, transaction_id: bytes, reason: str) -> None:
        """Note that a pool gave a transaction up; it may still be in a batch elsewhere."""
        self._dropped[transaction_id] = reason
        if len(self._dropped) > DROPPED_MAX:
            del self._dropped[next(iter(self._dropped))]

    def dropped_reason(self, transaction_id: bytes) -> str | None:
        """Return why the pool gave a transaction up, None if it did not."""
        return self._dropped.get(transaction_id)

    def recent(self, transaction_id: bytes) -> Entry | None:
        """Return a recent outcome."""
        return self._recent.get(transaction_id)

    def ordered_height(self, transaction_id: bytes) -> int | None:
        """Return the height of the final block that holds an id which has not executed."""
        return self._ordered.get(transaction_id)
