"""What may pass a decoder, said a second time: a strict reader, and the shapes of the messages.

Written from docs/wire.md and shared with nothing in the package, so that "past the decoder" is
counted by somebody else than the decoder, and the two can be held against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Read: TypeAlias = "int | bytes | list[Read] | None"
Shape: TypeAlias = Callable[[object], bool]


class NoDocumentError(Exception):
    """The bytes are not one canonical document."""


def read(data: bytes, *, depth_max: int = 8) -> Read:
    """Read one canonical document: integers below 2^128, byte strings, nulls and arrays.

    Raises:
        NoDocumentError: It is none.
    """
    value, end = _read(data, 0, depth_max)
    if end != len(data):
        raise NoDocumentError("bytes after the end")
    return value


def read_at(data: bytes, at: int) -> tuple[Read, int]:
    """Read one document within others; return it and the position after it.

    Raises:
        NoDocumentError: There is none.
    """
    return _read(data, at, 8)


def _read(data: bytes, at: int, depth: int) -> tuple[Read, int]:
    major, number, at = _head(data, at)
    match major:
        case 0:
            return number, at
        case 1:
            return -1 - number, at
        case 2:
            if len(data) - at < number:
                raise NoDocumentError("a string cut short")
            return data[at : at + number], at + number
        case 4:
            if depth <= 0:
                raise NoDocumentError("nested too deeply")
            items = []
            for _ in range(number):
                item, at = _read(data, at, depth - 1)
                items.append(item)
            return items, at
        case 6 if number == 2:
            raw, end = _read(data, at, 0)
            if data[at] >> 5 != 2 or not isinstance(raw, bytes) or not 9 <= len(raw) <= 16:
                raise NoDocumentError("no bignum")
            if raw[0] == 0:
                raise NoDocumentError("a bignum with zeros before it")
            return int.from_bytes(raw, "big"), end
        case 7 if data[at - 1] == 0xF6:
            return None, at
    raise NoDocumentError(f"major type {major}")


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    if at >= len(data):
        raise NoDocumentError("cut short")
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if low < 24:
        return major, low, at
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(low)
    if size is None or len(data) - at < size:
        raise NoDocumentError("no length")
    number = int.from_bytes(data[at : at + size], "big")
    if number < (24, 1 << 8, 1 << 16, 1 << 32)[low - 24]:
        raise NoDocumentError("a longer head than needed")
    return major, number, at + size


def number(value_max: int = (1 << 64) - 1) -> Shape:
    """Return the shape of an unsigned integer."""
    return lambda value: isinstance(value, int) and 0 <= value <= value_max


def octets(length_max: int, length_min: int = 0) -> Shape:
    """Return the shape of a byte string."""
    return lambda value: isinstance(value, bytes) and length_min <= len(value) <= length_max


def row(*shapes: Shape) -> Shape:
    """Return the shape of an array of so many items."""
    return lambda value: (
        isinstance(value, list)
        and len(value) == len(shapes)
        and all(shape(item) for shape, item in zip(shapes, value, strict=True))
    )


def series(shape: Shape, count_max: int, count_min: int = 0) -> Shape:
    """Return the shape of an array of up to so many items."""
    return lambda value: (
        isinstance(value, list)
        and count_min <= len(value) <= count_max
        and all(shape(item) for item in value)
    )


def either(*shapes: Shape) -> Shape:
    """Return the shape that is one of several."""
    return lambda value: any(shape(value) for shape in shapes)


def nothing(value: object) -> bool:
    """Tell whether it is null."""
    return value is None


def code(number: int) -> Shape:
    """Return the shape of one number."""
    return lambda value: isinstance(value, int) and value == number


INDEX = number(65535)
DIGEST = octets(32, 32)
SIGNATURE = octets(64, 64)
SIGNED = either(nothing, row(INDEX, octets(4096), SIGNATURE))
MESSAGE = either(
    row(code(1), number(), SIGNED, octets(65536), octets(4096)),
    row(code(2), number(), number(), octets(4096)),
    row(code(3), octets(1024), SIGNATURE, octets(1 << 20)),
    row(code(4), DIGEST, INDEX, SIGNATURE),
    row(code(5), octets(1024), octets(4096), INDEX, SIGNATURE),
    row(code(6), series(octets(65536), 64)),
    row(code(7), series(octets(4096), 8192)),
)
FRAME = series(MESSAGE, 4096)
PUBLISHED = series(octets(4096), 1024, 1)
BLOCKS_REQUEST = row(number(), number(64))
BLOCKS_ANSWER = series(row(octets(1 << 20), series(octets(65536), 1 << 16)), 64)
NAMES = series(octets(33), 64)
THINGS = series(octets(1 << 20), 64)
RECORDS = series(octets(1280), 16)


def passes(shape: Shape, data: bytes, *, size_bytes_max: int = 1 << 20, depth_max: int = 8) -> bool:
    """Tell whether bytes are a canonical document of a shape."""
    if len(data) > size_bytes_max:
        return False
    try:
        return shape(read(data, depth_max=depth_max))
    except NoDocumentError:
        return False
