"""Yamux frames: headers, types and flags.

The header has 12 bytes, big-endian: version, type, flags, stream id, length
(github.com/hashicorp/yamux/blob/master/spec.md). The length is that of the body for data; for the
other types it is a value, and there is no body.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final

HEADER: Final = struct.Struct(">BBHII")
HEADER_BYTES: Final = HEADER.size

INITIAL_WINDOW_BYTES: Final = 256 * 1024
"""What each side may send on a new stream; fixed by the protocol."""

WINDOW_BYTES_MAX: Final = (1 << 32) - 1
STREAM_ID_MAX: Final = (1 << 32) - 1

# Plain integers for the decoder, which is run for every frame; the enums are for reading.
DATA: Final = 0
WINDOW_UPDATE: Final = 1
PING: Final = 2
GO_AWAY: Final = 3

SYN: Final = 1
ACK: Final = 2
FIN: Final = 4
RST: Final = 8


class FrameType(IntEnum):
    """What a frame is."""

    DATA = DATA
    WINDOW_UPDATE = WINDOW_UPDATE
    PING = PING
    GO_AWAY = GO_AWAY


class Flag(IntFlag):
    """What a frame does to its stream besides; of a ping, whether it asks or answers."""

    NONE = 0
    SYN = SYN
    ACK = ACK
    FIN = FIN
    RST = RST


class GoAway(IntEnum):
    """Why a side ends the connection; other values occur, and mean an error of the other side."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


def header(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """Encode a header."""
    return HEADER.pack(0, kind, flags, stream_id, length)


def data_frame(stream_id: int, body: bytes, flags: int = 0) -> bytes:
    """Encode a data frame."""
    return HEADER.pack(0, DATA, flags, stream_id, len(body)) + body
