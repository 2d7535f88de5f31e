"""Retention: old blocks, their statements and batches leave the store height by height."""

from __future__ import annotations

from typing import Final

from p2pnode.ports import Store
from p2pnode.types.effects import Write
from p2pnode.types.payload import decode_block, decode_payload
from p2pnode.types.statement import BatchCertificate, decode_statement

KEY_PRUNED: Final = b"pruned"
"""Key in `meta` of the newest pruned height, 8 bytes big endian."""

HEIGHTS_AT_ONCE_MAX: Final = 16
"""Heights pruned with one block: a shortened retention is reached in steps."""


class Retention:
    """Knows what a new height lets go."""

    def __init__(self, store: Store, heights: int) -> None:
        """Keep the newest `heights` heights of a store."""
        self._store = store
        self._heights = heights
        raw = store.get("meta", KEY_PRUNED)
        self._pruned = 0 if raw is None else int.from_bytes(raw, "big")

    def executed(self, height: int) -> list[Write]:
        """Return the writes that delete what is too old once `height` has executed."""
        last = min(height - self._heights, self._pruned + HEIGHTS_AT_ONCE_MAX)
        if last <= self._pruned:
            return []
        writes: list[Write] = []
        for old in range(self._pruned + 1, last + 1):
            key = old.to_bytes(8, "big")
            raw = self._store.get("blocks", key)
            if raw is None:
                continue
            block = decode_block(raw)
            for digest in decode_payload(block.payload).items:
                statement = self._store.get("statements", digest)
                if statement is None:
                    continue
                decoded = decode_statement(statement)
                if isinstance(decoded, BatchCertificate):
                    writes.append(Write("batches", decoded.header.digest(), None))
                writes.append(Write("statements", digest, None))
            writes.append(Write("bodies", block.hash, None))
            writes.append(Write("blocks", key, None))
        self._pruned = last
        writes.append(Write("meta", KEY_PRUNED, last.to_bytes(8, "big")))
        return writes
