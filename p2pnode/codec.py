"""Canonical CBOR: one value, one encoding.

Every protocol object is an array of integers, byte strings, nulls and arrays (docs/wire.md).
`decode` refuses everything else: maps, text, floats, booleans, tags other than the bignum of RFC
8949 §3.4.3, non-minimal integers, indefinite lengths, trailing bytes.

The decoder is cbor2's, which is lenient. It is made strict by limits before decoding, a walk over
the types, and a re-encoding that must give the same bytes; the three together cost about 4 µs for a
transaction, a decoder in Python ten times that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NoReturn, TypeAlias

import cbor2

from p2pnode.errors import RemoteProtocolError

Value: TypeAlias = "int | bytes | tuple[Value, ...] | None"
"""What a decoded document consists of."""

Encodable: TypeAlias = "int | bytes | Sequence[Encodable] | None"
"""What can be encoded: as `Value`, with lists allowed for arrays."""

INTEGER_MAX: Final = (1 << 128) - 1
"""Largest integer accepted: an amount is below 2^128; integers above 2^64-1 travel as tag 2."""

INTEGER_MIN: Final = -(1 << 64)
"""Smallest integer accepted: the least that CBOR's major type 1 holds."""

_HEAD_BYTES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
"""Bytes of the number that follows a head, by its low five bits."""

DEPTH_MAX: Final = 8
"""Default bound on nested arrays; the deepest protocol object (a genesis) needs 5."""


class EncodingTooLargeError(RemoteProtocolError):
    """A document is longer than the limit of its kind."""

    def __init__(self, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"document of {size_bytes} bytes, at most {size_bytes_max} allowed")
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max


class NotCanonicalError(RemoteProtocolError):
    """A document is not the canonical encoding of a value of allowed types."""


def _refuse_tag(*_: object) -> NoReturn:
    raise NotCanonicalError("tags other than bignums are not allowed")


# Decoders that cbor2 would run for the tags it knows (dates, decimals, patterns, shared references
# …): none of them may run on a stranger's bytes.
_NO_SEMANTICS: Final[dict[int, Any]] = dict.fromkeys(
    (
        0,
        1,
        3,
        4,
        5,
        25,
        28,
        29,
        30,
        35,
        36,
        37,
        52,
        54,
        100,
        256,
        258,
        260,
        261,
        1004,
        43000,
        55799,
    ),
    _refuse_tag,
)


def encode(value: Encodable) -> bytes:
    """Encode a value canonically.

    Args:
        value: Integers, byte strings, None and sequences of them.

    Returns:
        The one canonical encoding.
    """
    encoded: bytes = cbor2.dumps(value)
    return encoded


def decode(
    data: bytes, *, size_bytes_max: int, depth_max: int = DEPTH_MAX, items_max: int | None = None
) -> Value:
    """Decode a canonical document.

    Args:
        data: The whole document.
        size_bytes_max: Limit of this kind of document, checked before anything else.
        depth_max: How deep arrays may nest.
        items_max: How many items it may have, arrays included; for large documents, where a
            mebibyte of one-byte items would cost half a second.

    Returns:
        The value, arrays as tuples.

    Raises:
        EncodingTooLargeError: More than `size_bytes_max` bytes.
        NotCanonicalError: Anything but the canonical encoding of an allowed value.
    """
    if len(data) > size_bytes_max:
        raise EncodingTooLargeError(len(data), size_bytes_max)
    if items_max is not None and len(data) > items_max:
        _count_items(data, items_max)
    try:
        value = cbor2.loads(
            data,
            tag_hook=_refuse_tag,
            semantic_decoders=_NO_SEMANTICS,
            max_depth=depth_max + 2,
            allow_indefinite=False,
            immutable=True,
        )
    except NotCanonicalError:
        raise
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        if isinstance(error.__cause__, NotCanonicalError):
            raise error.__cause__ from None
        raise NotCanonicalError(f"not CBOR: {error}") from None
    checked = _checked(value, depth_max)
    if cbor2.dumps(checked) != data:
        raise NotCanonicalError(f"{len(data)} bytes are not the canonical encoding of their value")
    return checked


def _count_items(data: bytes, items_max: int) -> None:
    """Refuse a document of too many items by their heads alone, without making any of them."""
    count, at, end = 0, 0, len(data)
    while at < end:
        count += 1
        if count > items_max:
            raise NotCanonicalError(f"more than {items_max} items in {end} bytes")
        head = data[at]
        at += 1
        size = _HEAD_BYTES.get(head & 31, 0)
        if head >> 5 in (2, 3):
            at += int.from_bytes(data[at : at + size], "big") if size else head & 31
        at += size


def _checked(value: object, depth: int) -> Value:
    """Refuse every type but the allowed ones; `type(...) is` because bool is an int."""
    kind = type(value)
    if kind is bytes:
        return value  # type: ignore[return-value]
    if kind is int:
        if not INTEGER_MIN <= value <= INTEGER_MAX:  # type: ignore[operator]
            raise NotCanonicalError("an integer outside -2^64 … 2^128-1")
        return value  # type: ignore[return-value]
    if kind is tuple:
        if depth == 0:
            raise NotCanonicalError("arrays nest too deeply")
        for item in value:  # type: ignore[attr-defined]
            _checked(item, depth - 1)
        return value  # type: ignore[return-value]
    if value is None:
        return None
    raise NotCanonicalError(f"a value of type {kind.__name__}")


# --- reading decoded values -----------------------------------------------------------------------


class WrongShapeError(RemoteProtocolError):
    """A canonical document is not of the shape its type demands."""


def array(
    value: Value, what: str, *, length: int | None = None, length_max: int = 1 << 20
) -> tuple[Value, ...]:
    """Return `value` if it is an array of the given length, else raise WrongShapeError."""
    if type(value) is not tuple:
        raise WrongShapeError(f"{what}: an array expected, {type(value).__name__} found")
    if (length is not None and len(value) != length) or len(value) > length_max:
        wanted = length if length is not None else f"at most {length_max}"
        raise WrongShapeError(f"{what}: {wanted} items expected, {len(value)} found")
    return value


def unsigned(value: Value, what: str, *, value_max: int = (1 << 64) - 1) -> int:
    """Return `value` if it is an integer from 0 to `value_max`, else raise WrongShapeError."""
    if type(value) is not int:
        raise WrongShapeError(f"{what}: an integer expected, {type(value).__name__} found")
    if not 0 <= value <= value_max:
        raise WrongShapeError(f"{what}: {value} is not between 0 and {value_max}")
    return value


def octets(
    value: Value, what: str, *, length: int | None = None, length_max: int = 1 << 24
) -> bytes:
    """Return `value` if it is a byte string of the given length, else raise WrongShapeError."""
    if type(value) is not bytes:
        raise WrongShapeError(f"{what}: a byte string expected, {type(value).__name__} found")
    if (length is not None and len(value) != length) or len(value) > length_max:
        wanted = length if length is not None else f"at most {length_max}"
        raise WrongShapeError(f"{what}: {wanted} bytes expected, {len(value)} found")
    return value
