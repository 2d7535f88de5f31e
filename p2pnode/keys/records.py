"""Records of the log, and names of slots: their codes and encodings."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from p2pnode import codec
from p2pnode.errors import LocalProtocolError

RECORD_SIGNED: Final = 1
"""`[1, public key, chain, epoch, kind, body, signature, position, [[slot, value] …]]`."""
RECORD_FLOOR: Final = 2
"""`[2, public key, chain, epoch, kind, position]`: nothing below the position is signed any more;
with kind and position null, nothing of an epoch below `epoch`."""
RECORD_ENGINE: Final = 3
"""What an engine wants kept; not the signer's."""
RECORD_EPOCH: Final = 4
"""An epoch began; not the signer's."""
RECORD_OBSERVE: Final = 5
"""`[5, epoch]`: the log was lost, nothing is signed up to and including the epoch; null stands for
the epoch in which the record is first read."""

SIGNER_CODES: Final = (RECORD_SIGNED, RECORD_FLOOR, RECORD_OBSERVE)

OBSERVE_MARK: Final = codec.encode([RECORD_OBSERVE, None])
"""What a repair of the log puts at its end, not knowing the epoch."""

RECORD_BYTES_MAX: Final = 64 * 1024
"""Largest record of the signer's; bodies have at most 8 KiB."""

_TAG_TEXT: Final = 0
_TAG_TUPLE: Final = 1


class SlotKeyError(LocalProtocolError):
    """A slot's key is not made of integers, byte strings, text and tuples of them."""


def record_code(record: bytes) -> int | None:
    """Return the type code that a record of the log starts with, None when there is none.

    Records are canonical arrays of at most 23 items whose first is a number below 24; the rest is
    not looked at.
    """
    if len(record) < 2 or not 0x81 <= record[0] <= 0x97 or record[1] > 23:
        return None
    return record[1]


def encode_slot(key: Hashable) -> bytes:
    """Return the one encoding of a slot's key.

    Integers and byte strings stand for themselves, text for `[0, UTF-8]`, a tuple for
    `[1, items …]`; so no two different keys share an encoding.

    Raises:
        SlotKeyError: It holds something else. A boolean too: it equals an integer.
    """
    try:
        return codec.encode(_slot_value(key))
    except (OverflowError, ValueError) as error:
        raise SlotKeyError(f"slot {key!r}: {error}") from None


def _slot_value(key: Hashable) -> codec.Encodable:
    kind = type(key)
    if kind is int:
        if not codec.INTEGER_MIN <= key <= codec.INTEGER_MAX:  # type: ignore[operator]
            raise SlotKeyError(f"slot part {key} is outside -2^64 … 2^128-1")
        return key  # type: ignore[return-value]
    if kind is bytes:
        return key  # type: ignore[return-value]
    if kind is str:
        return [_TAG_TEXT, key.encode()]  # type: ignore[attr-defined]
    if kind is tuple:
        return [_TAG_TUPLE, *(_slot_value(part) for part in key)]  # type: ignore[attr-defined]
    raise SlotKeyError(f"slot part {key!r} is a {kind.__name__}")
