"""What goes into the execution of a block, and what comes out; the same for every shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from p2pnode.execution.outcomes import Outcome, Status
from p2pnode.execution.receipts import Inbox, Receipt
from p2pnode.types.batch import BatchHeader
from p2pnode.types.effects import Write
from p2pnode.types.transaction import Transaction

COUNTERS: Final = ("executed", "failed", "skipped", "fees", "bytes", "outboxes_before")
"""Names of a result's counters, in order; the last one numbers outboxes without gaps."""


@dataclass(frozen=True, slots=True)
class ReadyBatch:
    """An ordered batch whose bytes are here and whose signatures have been checked."""

    header: BatchHeader
    digest: bytes
    """The header's digest, 32 bytes."""
    transactions: tuple[Transaction | None, ...]
    """In the batch's order; None where the bytes are no transaction."""
    signatures_ok: tuple[bool, ...]
    """One fact a transaction; False where there is none."""
    void: bool
    """The data does not match the header: zero transactions, but its feed moves on."""


@dataclass(frozen=True, slots=True)
class BlockExecution:
    """What one shard made of one height."""

    uid: int
    epoch: int
    height: int
    has_result: bool
    """It had input, or sent a receipt: executors sign a result. Else nothing changed at all."""
    pre_root: bytes
    """State root before, 32 bytes; the post root of the last height that had a result."""
    post_root: bytes
    """State root after, 32 bytes."""
    outcomes: tuple[Outcome, ...]
    """One for each transaction of the batches used, in order of execution."""
    outcome_root: bytes
    """RFC 6962 root over the outcomes, 32 bytes."""
    outbox: tuple[Receipt, ...]
    """Ascending by (receiver, index)."""
    outbox_root: bytes
    watermarks_root: bytes
    """Hash of the shard's record after the height (feeds, watermarks, pot), 32 bytes."""
    counters: tuple[int, ...]
    """See `COUNTERS`."""
    supply_delta: tuple[tuple[int, int], ...]
    """Change of accounts and pot together by asset: receipts consumed less receipts sent."""
    batches_ignored: tuple[bytes, ...]
    """Digests of batches that their feed had passed already."""
    inboxes_waiting: tuple[Inbox, ...]
    """Of the inboxes given, those to be given again: over budget, or an earlier one is missing."""
    writes: tuple[Write, ...]
    """What makes the height durable, ascending by key; to be committed in one piece."""


class Executor(Protocol):
    """Executes the finalized heights of one shard, in order, each once.

    `execute` either takes a whole height or raises and changes nothing. Its result depends on the
    state and its arguments alone: every executor of the shard gets the same. Heights without input
    may be left out.
    """

    @property
    def uid(self) -> int:
        """The shard."""

    @property
    def height(self) -> int:
        """Last height that had input; after a crash, execution goes on above it."""

    def execute(
        self,
        height: int,
        epoch: int,
        epoch_last: bool,
        inboxes: Sequence[Inbox],
        batches: Sequence[ReadyBatch],
    ) -> BlockExecution:
        """Execute a height.

        Args:
            height: Above every height executed before.
            epoch: Epoch of the height.
            epoch_last: Whether it is the last of its epoch; then the fee pot leaves.
            inboxes: Outboxes of other shards ordered up to here and not consumed, in payload order.
            batches: The shard's batches of this height, in payload order.
        """

    def last_sequence(self, collator: bytes) -> int:
        """Return the last batch sequence used of a feed; batches up to it are ignored."""

    def root(self) -> bytes:
        """Return the state root, 32 bytes."""

    def supply(self) -> dict[int, int]:
        """Return what the shard answers for by asset; the sum over all shards never changes."""


def count_outcomes(outcomes: Sequence[Outcome]) -> tuple[int, int, int, int]:
    """Return how many executed, failed and were skipped, and the sum of their fees."""
    counts = [0, 0, 0]
    fees = 0
    for outcome in outcomes:
        counts[outcome.status] += 1
        fees += outcome.fee
    return counts[Status.EXECUTED], counts[Status.FAILED], counts[Status.SKIPPED], fees
