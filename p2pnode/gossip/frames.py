"""Transaction frames: what a message on a transaction topic holds.

A frame is the canonical array of envelopes: a few large messages cost a fraction of many small
ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pnode import codec
from p2pnode.types.transaction import SIZE_BYTES_MAX

FRAME_BYTES_MAX: Final = 100 * 1024
"""Largest frame: above this, gossip's copies cost more than the messages saved."""

FRAME_TRANSACTIONS_MAX: Final = 1024
"""Most envelopes in a frame; 100 KiB hold about 500 transfers."""


class EmptyFrameError(codec.WrongShapeError):
    """A frame holds no transaction: pure noise."""


def encode_frame(raws: Sequence[bytes]) -> bytes:
    """Return the frame that holds envelopes, in order."""
    assert 1 <= len(raws) <= FRAME_TRANSACTIONS_MAX, len(raws)
    frame = codec.encode(raws)
    assert len(frame) <= FRAME_BYTES_MAX, len(frame)
    return frame


def decode_frame(frame: bytes) -> tuple[bytes, ...]:
    """Return the envelopes in a frame; they are not decoded further.

    Raises:
        EmptyFrameError: It holds none.
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is no frame.
    """
    items = codec.array(
        codec.decode(
            frame,
            size_bytes_max=FRAME_BYTES_MAX,
            depth_max=1,
            items_max=2 * FRAME_TRANSACTIONS_MAX,
        ),
        "transaction frame",
        length_max=FRAME_TRANSACTIONS_MAX,
    )
    if not items:
        raise EmptyFrameError("a transaction frame without transactions")
    return tuple(codec.octets(item, "transaction", length_max=SIZE_BYTES_MAX) for item in items)
