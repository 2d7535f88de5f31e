"""The scheme `inline`: everyone gets the whole data, as the only row.

For small batches a sampler would fetch most of the data anyway, and a certificate of a quorum that
holds all of it needs nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from p2pnode import crypto
from p2pnode.availability.scheme import (
    BadEncodingError,
    DataSizeError,
    Encoded,
    NotEnoughRowsError,
    Params,
)
from p2pnode.types.batch import DATA_BYTES_MAX

_DOMAIN: Final = b"p2pnode/inline/1"


class InlineScheme:
    """One data row, no parity row; the commitment is `H("p2pnode/inline/1" ‖ data)`."""

    name: ClassVar[str] = "inline"

    def plan(self, data_bytes: int) -> Params:
        """Return a single row as long as the data."""
        if not 1 <= data_bytes <= DATA_BYTES_MAX:
            raise DataSizeError(self.name, data_bytes, DATA_BYTES_MAX)
        return Params(k=1, n=0, row_size=data_bytes, data_bytes=data_bytes)

    def encode(self, data: bytes) -> Encoded:
        """Return the data as its only row."""
        return Encoded(self.plan(len(data)), crypto.sha256(_DOMAIN + data), b"", (data,))

    def prove(self, encoded: Encoded, indices: Sequence[int]) -> bytes:
        """Return nothing: the row proves itself."""
        assert list(indices) in ([], [0]), indices
        return b""

    def check(
        self,
        params: Params,
        commitment: bytes,
        side: bytes,
        rows: Mapping[int, bytes],
        proof: bytes,
    ) -> bool:
        """Tell whether the only row has the commitment."""
        if list(rows) != [0] or side or proof or (params.k, params.n) != (1, 0):
            return False
        row = rows[0]
        return (
            len(row) == params.row_size == params.data_bytes
            and crypto.sha256(_DOMAIN + row) == commitment
        )

    def decode(self, params: Params, commitment: bytes, rows: Mapping[int, bytes]) -> bytes:
        """Return the only row."""
        row = rows.get(0)
        if row is None:
            raise NotEnoughRowsError(0, 1)
        if not self.check(params, commitment, b"", {0: row}, b""):
            raise BadEncodingError(
                f"inline: {len(row)} bytes are not those of commitment {commitment.hex()[:16]}…"
            )
        return row

    def miss_probability(self, params: Params, samples: int) -> float:
        """Return 0 for any sample at all: it is the whole data."""
        return 0.0 if samples > 0 else 1.0

    def bad_encoding_proof(
        self, params: Params, commitment: bytes, side: bytes, rows: Mapping[int, bytes]
    ) -> bytes | None:
        """Return None: a row that has the commitment is a valid encoding."""
        return None
