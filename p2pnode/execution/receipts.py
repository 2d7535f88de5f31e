"""Receipts: value on its way from one shard's execution to an account of another.

The receipts of one height are its outbox, ordered by (receiver, index): the order knows nothing of
the destinations' ranges, so it survives their splits. The root is the RFC 6962 Merkle root over
them. A prefix tree over the receivers (the state's `BucketTree`) takes its place when there is more
than one account shard; then a destination takes the subtree under its prefix, and its path shows
that nothing was left out. Until then every outbox travels whole inside its result certificate, at
most 4 KiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from p2pnode import codec, crypto
from p2pnode.types.statement import OUTBOX_INLINE_BYTES_MAX as OUTBOX_INLINE_BYTES_MAX

KIND_TRANSFER: Final = 1
"""An action's amount for an account of another shard."""
KIND_FEES: Final = 2
"""A shard's fee pot for the system shard."""
KIND_REFUND: Final = 3
"""A transfer that its receiver could not take, back to its sender; it cannot fail."""

RECEIVER_SYSTEM: Final = b""
"""The system shard as a receiver: it has no accounts."""

RECEIPTS_MAX: Final = 4096
"""Most receipts in an outbox; 4 KiB hold about 50."""

EMPTY_ROOT: Final = crypto.merkle_root([])
"""Root of an outbox without receipts."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """An amount that left its shard and has not arrived."""

    kind: int
    """`KIND_TRANSFER`, `KIND_FEES` or `KIND_REFUND`."""
    receiver: bytes
    """Address of 32 bytes, or `RECEIVER_SYSTEM`."""
    index: int
    """Number in order of creation within its height."""
    sender: bytes
    """Address to refund, 32 bytes; empty where nothing can fail."""
    asset: int
    amount: int
    """Above zero."""

    def encode(self) -> bytes:
        """Return the canonical bytes, a leaf under the outbox root."""
        return codec.encode(self._fields())

    def _fields(self) -> list[int | bytes]:
        return [self.kind, self.receiver, self.index, self.sender, self.asset, self.amount]

    def order(self) -> tuple[bytes, int]:
        """Return its place among the receipts of its height."""
        return self.receiver, self.index


@dataclass(frozen=True, slots=True)
class Inbox:
    """A source's outbox as a destination consumes it: whole, in order of the source's outboxes."""

    uid: int
    """The source shard."""
    height: int
    """Source height that sent it."""
    number: int
    """Number among the source's outboxes that were not empty, from 1; no gap, no repetition."""
    receipts: tuple[Receipt, ...]
    """All receipts of the source's height; a destination takes those in its range."""


def encode_outbox(receipts: Sequence[Receipt]) -> bytes:
    """Return an outbox's bytes as a result certificate carries them; of no receipt, nothing."""
    if not receipts:
        return b""
    return codec.encode([receipt.encode() for receipt in receipts])


def decode_outbox(data: bytes) -> tuple[Receipt, ...]:
    """Decode what `encode_outbox` gave.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    if not data:
        return ()
    items = codec.array(
        codec.decode(data, size_bytes_max=OUTBOX_INLINE_BYTES_MAX),
        "outbox",
        length_max=RECEIPTS_MAX,
    )
    if not items:
        raise codec.WrongShapeError("outbox: no receipts are no bytes, not an empty array")
    receipts = tuple(_decode_receipt(codec.octets(i, "receipt", length_max=256)) for i in items)
    if any(low.order() >= high.order() for low, high in pairwise(receipts)):
        raise codec.WrongShapeError(f"outbox: {len(receipts)} receipts do not ascend")
    return receipts


def outbox_root(receipts: Sequence[Receipt]) -> bytes:
    """Return the root over receipts in their order, 32 bytes."""
    return crypto.merkle_root([receipt.encode() for receipt in receipts])


def sums_of(receipts: Iterable[Receipt]) -> dict[int, int]:
    """Return the amount per asset that receipts carry."""
    sums: dict[int, int] = {}
    for receipt in receipts:
        sums[receipt.asset] = sums.get(receipt.asset, 0) + receipt.amount
    return sums


def _decode_receipt(data: bytes) -> Receipt:
    kind, receiver, index, sender, asset, amount = codec.array(
        codec.decode(data, size_bytes_max=256), "receipt", length=6
    )
    receipt = Receipt(
        kind=codec.unsigned(kind, "kind", value_max=KIND_REFUND),
        receiver=codec.octets(receiver, "receiver", length_max=32),
        index=codec.unsigned(index, "index"),
        sender=codec.octets(sender, "sender", length_max=32),
        asset=codec.unsigned(asset, "asset", value_max=(1 << 32) - 1),
        amount=codec.unsigned(amount, "amount", value_max=codec.INTEGER_MAX),
    )
    to_system = receipt.kind == KIND_FEES
    refundable = receipt.kind == KIND_TRANSFER
    if (
        receipt.kind == 0
        or not receipt.amount
        or len(receipt.receiver) != (0 if to_system else 32)
        or len(receipt.sender) != (32 if refundable else 0)
    ):
        raise codec.WrongShapeError(f"receipt: fields do not fit kind {receipt.kind}")
    return receipt
