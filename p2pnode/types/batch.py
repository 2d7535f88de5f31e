"""Batches: transactions of one shard packed together by a collator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pnode import codec, crypto

VERSION: Final = 1

KIND_TRANSACTIONS: Final = 1
KIND_OUTBOX: Final = 2
KIND_SNAPSHOT: Final = 3

TRANSACTIONS_MAX: Final = 8192
"""Most transactions in one batch."""

DATA_BYTES_MAX: Final = 4 * 1024 * 1024
"""Largest data of one batch, whatever the scheme and genesis say."""


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """What a collator signs about a batch and what a validator's "stored" refers to."""

    chain: bytes
    """Chain id, 32 bytes."""
    epoch: int
    """Epoch whose executors collate and whose validators store."""
    uid: int
    """The shard."""
    collator: bytes
    """Public key of the executor that packed it, 32 bytes."""
    sequence: int
    """Number of the batch in its feed, from 1; a feed is what one collator packs for one shard."""
    kind: int
    """`KIND_TRANSACTIONS`, `KIND_OUTBOX` or `KIND_SNAPSHOT`."""
    tx_root: bytes
    """RFC 6962 Merkle root over the transactions' envelopes, 32 bytes."""
    scheme: str
    """Name of the availability scheme."""
    k: int
    """Data rows."""
    n: int
    """Parity rows."""
    row_size: int
    """Bytes a row."""
    data_bytes: int
    """Length of the data before padding."""
    commitment: bytes
    """The scheme's commitment to all rows, 32 bytes."""

    def encode(self) -> bytes:
        """Return the canonical body that the collator signs under the kind `batch`."""
        return codec.encode(
            [
                VERSION,
                self.chain,
                self.epoch,
                self.uid,
                self.collator,
                self.sequence,
                self.kind,
                self.tx_root,
                self.scheme.encode(),
                self.k,
                self.n,
                self.row_size,
                self.data_bytes,
                self.commitment,
            ]
        )

    def digest(self) -> bytes:
        """Return the SHA-256 of the header's bytes, 32 bytes: the batch's name."""
        return crypto.sha256(self.encode())


def decode_batch_header(data: bytes) -> BatchHeader:
    """Decode a header's bytes.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    fields = codec.array(codec.decode(data, size_bytes_max=1024), "batch header", length=14)
    version = codec.unsigned(fields[0], "version")
    if version != VERSION:
        raise codec.WrongShapeError(f"batch version {version}, this node knows {VERSION}")
    kind = codec.unsigned(fields[6], "kind", value_max=KIND_SNAPSHOT)
    if kind < KIND_TRANSACTIONS:
        raise codec.WrongShapeError(
            f"batch header: kind {kind} is none of {KIND_TRANSACTIONS} to {KIND_SNAPSHOT}"
        )
    try:
        scheme = codec.octets(fields[8], "scheme", length_max=32).decode("ascii")
    except UnicodeDecodeError:
        raise codec.WrongShapeError("batch header: the scheme's name is not ASCII") from None
    return BatchHeader(
        chain=codec.octets(fields[1], "chain", length=32),
        epoch=codec.unsigned(fields[2], "epoch"),
        uid=codec.unsigned(fields[3], "uid"),
        collator=codec.octets(fields[4], "collator", length=32),
        sequence=codec.unsigned(fields[5], "sequence"),
        kind=kind,
        tx_root=codec.octets(fields[7], "tx root", length=32),
        scheme=scheme,
        k=codec.unsigned(fields[9], "k", value_max=65536),
        n=codec.unsigned(fields[10], "n", value_max=65536),
        row_size=codec.unsigned(fields[11], "row size", value_max=DATA_BYTES_MAX),
        data_bytes=codec.unsigned(fields[12], "data bytes", value_max=DATA_BYTES_MAX),
        commitment=codec.octets(fields[13], "commitment", length=32),
    )


def encode_transactions(raws: list[bytes]) -> bytes:
    """Return a batch's data: the canonical array of its transactions' envelopes."""
    return codec.encode(raws)


def decode_transactions(data: bytes) -> tuple[bytes, ...]:
    """Return the envelopes in a batch's data; they are not decoded further.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not such
        data.
    """
    items = codec.array(
        codec.decode(data, size_bytes_max=DATA_BYTES_MAX, items_max=2 * TRANSACTIONS_MAX),
        "batch",
        length_max=TRANSACTIONS_MAX,
    )
    return tuple(codec.octets(item, "transaction", length_max=4096) for item in items)
