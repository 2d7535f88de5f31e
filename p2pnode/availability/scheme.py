"""The scheme plug: how the data of a batch becomes rows, and how a row is proved.

A scheme is a value found by name (registry.py). It is pure: no I/O, no clock, no random numbers;
the same data gives the same rows and the same commitment on every machine and in every version, for
the rows of old batches must still be provable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from p2pnode.errors import LocalProtocolError, RemoteProtocolError


class DataSizeError(LocalProtocolError):
    """A scheme is asked to encode no data, or more than it can."""

    def __init__(self, scheme: str, data_bytes: int, data_bytes_max: int) -> None:
        super().__init__(f"{scheme}: {data_bytes} bytes of data, 1 to {data_bytes_max} allowed")
        self.data_bytes = data_bytes
        self.data_bytes_max = data_bytes_max


class NotEnoughRowsError(RemoteProtocolError):
    """The rows at hand don't suffice to rebuild the data; nobody is to blame yet."""

    penalty = 0.0

    def __init__(self, rows_count: int, needed: int) -> None:
        super().__init__(f"{rows_count} rows, {needed} are needed")
        self.rows_count = rows_count
        self.needed = needed


class BadEncodingError(RemoteProtocolError):
    """The rows are not what the commitment's data encodes to: the batch is void for everyone."""


@dataclass(frozen=True, slots=True)
class Params:
    """The shape of a batch's rows; the signed batch header carries it."""

    k: int
    """Data rows: so many rebuild the data."""
    n: int
    """Parity rows."""
    row_size: int
    """Bytes a row."""
    data_bytes: int
    """Length of the data before padding."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch's data as rows."""

    params: Params
    commitment: bytes
    """Binds all rows, 32 bytes."""
    side: bytes
    """What a row's check needs beyond the commitment and its proof; empty where nothing."""
    rows: tuple[bytes, ...]
    """k data rows, then n parity rows, `row_size` bytes each."""


class Scheme(Protocol):
    """Spreads data over rows, any `k` of which rebuild it."""

    name: ClassVar[str]
    """As in batch headers and in genesis: ASCII, at most 32 characters."""

    def plan(self, data_bytes: int) -> Params:
        """Return the only shape allowed for data of this length.

        Raises:
            DataSizeError: No shape is allowed for it.
        """

    def encode(self, data: bytes) -> Encoded:
        """Spread data over the rows that `plan` gives.

        Raises:
            DataSizeError: No shape is allowed for its length.
        """

    def prove(self, encoded: Encoded, indices: Sequence[int]) -> bytes:
        """Return one proof for the rows `indices`, ascending."""

    def check(
        self,
        params: Params,
        commitment: bytes,
        side: bytes,
        rows: Mapping[int, bytes],
        proof: bytes,
    ) -> bool:
        """Tell whether these rows, by index, belong to the commitment.

        Never raises, whatever bytes came.
        """

    def decode(self, params: Params, commitment: bytes, rows: Mapping[int, bytes]) -> bytes:
        """Rebuild the data, and encode it again to compare it with the commitment.

        Args:
            params: From the signed header.
            commitment: From the signed header, 32 bytes.
            rows: By index; at least `k`, each of which passed `check`.

        Raises:
            NotEnoughRowsError: Fewer than `k`.
            BadEncodingError: What they rebuild has another commitment.
        """

    def miss_probability(self, params: Params, samples: int) -> float:
        """Return the probability that so many samples succeed on data that can't be rebuilt."""

    def bad_encoding_proof(
        self, params: Params, commitment: bytes, side: bytes, rows: Mapping[int, bytes]
    ) -> bytes | None:
        """Return a compact proof that the commitment is of no valid encoding.

        None when these rows don't show it, or when the scheme has no such thing.
        """
