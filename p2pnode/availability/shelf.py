"""The shelf: batches whose data this node holds in memory, on their way to execution.

A batch is ready when its data passed `usable`, its transactions are decoded, and every signature in
it has been checked. Whether it came from its collator, from a peer that was asked, or from our own
disk makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from p2pnode import codec
from p2pnode.availability.scheme import Scheme
from p2pnode.availability.usable import VoidBatchError, usable
from p2pnode.errors import RemoteProtocolError
from p2pnode.execution.block import ReadyBatch
from p2pnode.sync.fetcher import BATCH, Fetcher
from p2pnode.types.batch import BatchHeader, decode_batch_header
from p2pnode.types.desk import Desk
from p2pnode.types.transaction import MalformedTransactionError, Transaction, decode_transaction

READY_MAX: Final = 64
"""Batches ready in memory, decoded; beyond it the oldest go. Most are never ordered then, and one
that is comes back from our own disk."""


@dataclass(frozen=True, slots=True)
class HeldBatch:
    """A batch's parts as they travel and as they are stored."""

    header: BatchHeader
    header_bytes: bytes
    signature: bytes
    """The collator's, 64 bytes."""
    data: bytes

    def encode(self) -> bytes:
        """Return `[header, signature, data]`, as stored and as served to `fetch`."""
        return codec.encode([self.header_bytes, self.signature, self.data])


def decode_held_batch(raw: bytes, size_bytes_max: int) -> HeldBatch:
    """Decode what `HeldBatch.encode` gave.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    header, signature, data = codec.array(
        codec.decode(raw, size_bytes_max=size_bytes_max), "held batch", length=3
    )
    header_bytes = codec.octets(header, "header", length_max=1024)
    return HeldBatch(
        decode_batch_header(header_bytes),
        header_bytes,
        codec.octets(signature, "signature", length=64),
        codec.octets(data, "data"),
    )


class Shelf:
    """Batches by digest, from arrival until they have executed."""

    def __init__(
        self,
        desk: Desk,
        fetcher: Fetcher,
        schemes: Callable[[str], Scheme],
        verified_before: Callable[[Transaction], bool],
        on_ready: Callable[[ReadyBatch], None],
        data_bytes_max: int,
    ) -> None:
        """Start empty.

        Args:
            desk: Where effects go.
            fetcher: Gets batches that did not come.
            schemes: Gives a scheme by name.
            verified_before: Tells whether this very transaction's signature was checked already.
            on_ready: Called once for each batch, when it is ready.
            data_bytes_max: Largest data accepted.
        """
        self._desk = desk
        self._fetcher = fetcher
        self._schemes = schemes
        self._verified_before = verified_before
        self._on_ready = on_ready
        self._size_max = data_bytes_max + 2048
        self._ready: dict[bytes, ReadyBatch] = {}
        self._preparing: dict[bytes, None] = {}

    def __len__(self) -> int:
        """Return how many batches are held."""
        return len(self._ready) + len(self._preparing)

    def ready(self, digest: bytes) -> ReadyBatch | None:
        """Return a batch if it is ready."""
        return self._ready.get(digest)

    def forget(self, digest: bytes) -> None:
        """A batch has executed, or never will."""
        self._ready.pop(digest, None)

    def put(self, held: HeldBatch) -> bool:
        """Take a batch whose header is known to be what it claims.

        Returns:
            Whether its data is usable.
        """
        digest = held.header.digest()
        known = self._ready.get(digest)
        if known is not None:
            return not known.void
        if digest in self._preparing:
            return True
        self._fetcher.arrived(BATCH + digest)
        try:
            raws = usable(held.header, held.data, self._schemes(held.header.scheme))
        except VoidBatchError as error:
            if not error.proved_by_commitment:
                return False  # these bytes are not the batch's: no verdict on the batch
            self._desk.emit("batch_void", digest=digest.hex(), reason=str(error))
            self._finish(ReadyBatch(held.header, digest, (), (), True))
            return False
        self._preparing[digest] = None
        self._prepare(digest, held.header, raws)
        return True

    def want(self, header: BatchHeader, hints: Sequence[bytes]) -> None:
        """Fetch the data of a batch that a final block lists."""
        digest = header.digest()
        if digest in self._ready or digest in self._preparing:
            return

        def accept(peer: bytes, raw: bytes) -> bool:
            try:
                held = decode_held_batch(raw, self._size_max)
            except RemoteProtocolError:
                return False
            if held.header.digest() != digest:
                return False
            # Other bytes than the header's own are no verdict on the batch, only on who sent them.
            try:
                usable(held.header, held.data, self._schemes(held.header.scheme))
            except VoidBatchError as error:
                if not error.proved_by_commitment:
                    return False
            self.put(held)
            return True

        self._fetcher.want(BATCH + digest, hints, accept, final=True)

    def _prepare(self, digest: bytes, header: BatchHeader, raws: Sequence[bytes]) -> None:
        transactions: list[Transaction | None] = []
        for raw in raws:
            try:
                transactions.append(decode_transaction(raw))
            except MalformedTransactionError:
                transactions.append(None)
        unknown = [
            i for i, t in enumerate(transactions) if t is not None and not self._verified_before(t)
        ]
        checks = [
            (t.sender_key, t.signed, t.signature)
            for i in unknown
            if (t := transactions[i]) is not None
        ]

        def verified(ok: tuple[bool, ...]) -> None:
            good = [t is not None for t in transactions]
            for i, fine in zip(unknown, ok, strict=True):
                good[i] = fine
            self._preparing.pop(digest, None)
            self._finish(ReadyBatch(header, digest, tuple(transactions), tuple(good), False))

        self._desk.verify(checks, verified)

    def _finish(self, batch: ReadyBatch) -> None:
        self._ready[batch.digest] = batch
        if len(self._ready) > READY_MAX:
            del self._ready[next(iter(self._ready))]
        self._on_ready(batch)
