"""Packing: transactions on their way out wait a little, so that they travel together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from p2pnode.gossip.frames import FRAME_TRANSACTIONS_MAX

Pack: TypeAlias = tuple[bytes, ...]
"""Envelopes that travel together, in order."""

GOSSIP_WAIT_NS: Final = 250_000_000
"""Transactions are published in frames at least this far apart: direct frames have already brought
them to the collators, and each published message costs every node milliseconds."""

GOSSIP_PACK_BYTES: Final = 60_000
"""A published frame goes at once when it is this large."""

PACK_BYTES: Final = 30_000
"""A pack this large goes at once: CPU per byte hardly falls beyond it."""


@dataclass(frozen=True, slots=True)
class PackerStatistics:
    """What a packer holds and did since start."""

    pending_count: int
    pending_bytes: int
    packs_count: int
    transactions_count: int


class Packer:
    """Gathers transactions for one destination until a pack is full or the first waited enough.

    Holds less than `PACK_BYTES` and one transaction, so it needs no other limit.
    """

    def __init__(self, wait_ns: int, *, pack_bytes: int = PACK_BYTES) -> None:
        """Start empty.

        Args:
            wait_ns: Longest time a transaction waits here.
            pack_bytes: Size at which a pack goes at once.
        """
        self._wait_ns = wait_ns
        self._pack_bytes = pack_bytes
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._first_ns = 0
        self._packs_count = 0
        self._transactions_count = 0

    def add(self, now_ns: int, raw: bytes) -> Pack | None:
        """Take a transaction; return a pack when that filled one."""
        if not self._pending:
            self._first_ns = now_ns
        self._pending.append(raw)
        self._pending_bytes += len(raw)
        if self._pending_bytes >= self._pack_bytes or len(self._pending) >= FRAME_TRANSACTIONS_MAX:
            return self.flush()
        return None

    def due(self, now_ns: int) -> Pack | None:
        """Return the pack whose first transaction waited long enough, if there is one."""
        at_ns = self.next_ns
        return self.flush() if at_ns is not None and at_ns <= now_ns else None

    def flush(self) -> Pack | None:
        """Return everything that waits, if anything does."""
        if not self._pending:
            return None
        pack = tuple(self._pending)
        self._pending = []
        self._pending_bytes = 0
        self._packs_count += 1
        self._transactions_count += len(pack)
        return pack

    @property
    def next_ns(self) -> int | None:
        """When `due` has a pack, or None while nothing waits."""
        return self._first_ns + self._wait_ns if self._pending else None

    def statistics(self) -> PackerStatistics:
        """Return what waits and what was packed."""
        return PackerStatistics(
            pending_count=len(self._pending),
            pending_bytes=self._pending_bytes,
            packs_count=self._packs_count,
            transactions_count=self._transactions_count,
        )
