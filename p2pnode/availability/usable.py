"""The gate before every consumer of a batch: is the data what the header says?

However the bytes came (from the collator, from another executor, rebuilt from rows), the verdict is
a function of the header and the data alone; executors that had the plain bytes and those that
rebuilt them must not differ.
"""

from __future__ import annotations

from p2pnode import codec, crypto
from p2pnode.availability.scheme import DataSizeError, Params, Scheme
from p2pnode.errors import RemoteProtocolError
from p2pnode.types.batch import KIND_TRANSACTIONS, BatchHeader, decode_transactions


class VoidBatchError(RemoteProtocolError):
    """A certified batch counts as zero transactions, or an offered one is not stored."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"void batch, {reason}: {detail}")
        self.reason = reason
        """`kind`, `scheme`, `shape`, `length`, `commitment`, `encoding`, `empty` or `tx_root`."""

    @property
    def proved_by_commitment(self) -> bool:
        """Whether everyone comes to this verdict.

        The header alone, or data that has the header's commitment, is void for everyone. Data that
        has not may simply be other data, altered on the way or by whoever offers it: no verdict on
        the batch.
        """
        return self.reason not in ("length", "commitment")


def params_of(header: BatchHeader) -> Params:
    """Return the shape that a header claims."""
    return Params(header.k, header.n, header.row_size, header.data_bytes)


def check_shape(header: BatchHeader, scheme: Scheme) -> None:
    """Refuse a header whose scheme or shape is not the only one allowed; needs no data.

    Raises:
        VoidBatchError: Reason `kind`, `scheme` or `shape`.
    """
    if header.kind != KIND_TRANSACTIONS:
        raise VoidBatchError("kind", f"{header.kind}, only {KIND_TRANSACTIONS} is known")
    if header.scheme != scheme.name:
        raise VoidBatchError("scheme", f"{header.scheme!r}, this chain uses {scheme.name!r}")
    try:
        planned = scheme.plan(header.data_bytes)
    except DataSizeError as error:
        raise VoidBatchError("shape", str(error)) from None
    if params_of(header) != planned:
        raise VoidBatchError("shape", f"{params_of(header)}, only {planned} is allowed")


def usable(header: BatchHeader, data: bytes, scheme: Scheme) -> tuple[bytes, ...]:
    """Return the transactions' envelopes of a batch whose data is what the header says.

    Args:
        header: Its signature is another matter.
        data: However it came.
        scheme: The chain's.

    Returns:
        The envelopes in order; none of them is decoded or verified.

    Raises:
        VoidBatchError: It is not; the verdict is the same on every node.
    """
    check_shape(header, scheme)
    if len(data) != header.data_bytes:
        raise VoidBatchError("length", f"{len(data)} bytes, the header says {header.data_bytes}")
    commitment = scheme.encode(data).commitment
    if commitment != header.commitment:
        raise VoidBatchError(
            "commitment", f"{commitment.hex()}, the header says {header.commitment.hex()}"
        )
    try:
        raws = decode_transactions(data)
    except (codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError) as error:
        raise VoidBatchError("encoding", str(error)) from None
    if not raws:
        raise VoidBatchError("empty", "no transaction")
    tx_root = crypto.merkle_root(list(raws))
    if tx_root != header.tx_root:
        raise VoidBatchError("tx_root", f"{tx_root.hex()}, the header says {header.tx_root.hex()}")
    return raws
