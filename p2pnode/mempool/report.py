"""What the pool tells about its transactions and about itself."""

from __future__ import annotations

from dataclasses import dataclass

from p2pnode.errors import RejectedTransaction


@dataclass(frozen=True, slots=True)
class Pooled:
    """A transaction waits here."""

    nonce: int
    missing_nonce: int | None
    """The nonce it waits for, or None when it is ready."""


@dataclass(frozen=True, slots=True)
class Batched:
    """A transaction is in a batch that was not executed yet."""

    collator: bytes
    """Who packed it, 32 bytes."""
    sequence: int
    """Number of the batch in the collator's feed."""
    certified: bool
    """Whether we know the batch's certificate."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A transaction left the pool without being executed."""

    id: bytes
    reason: RejectedTransaction


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """What the pool holds, and what it did since start."""

    transactions_count: int
    """Held, batched ones included, without those being checked."""
    held_bytes: int
    """Envelopes of all of them."""
    checking_count: int
    """Waiting for the result of their signature check."""
    ready_count: int
    """Ready and in no batch."""
    ready_bytes: int
    """What those take in a batch."""
    batched_count: int
    """Held and in a batch."""
    senders_count: int
    batches_count: int
    """Batches remembered."""
    admitted_count: int
    """Entered the pool since start."""
    executed_count: int
    """Left it because they were executed, or skipped for good."""
    dropped_count: int
    """Left it because they expired or another one used their nonce."""
    refused: tuple[tuple[str, int], ...]
    """How many were refused since start, by kind, ascending."""
