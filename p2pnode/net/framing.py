"""Frames on a byte stream: a 4-byte big-endian length, then that many bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from p2pnode.errors import LocalProtocolError, RemoteProtocolError

_LENGTH: Final = struct.Struct(">I")


class FrameTooLargeError(RemoteProtocolError):
    """A peer announces a frame longer than its stream allows."""

    penalty = 50.0

    def __init__(self, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"frame of {size_bytes} bytes, at most {size_bytes_max} allowed")
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max


class OwnFrameTooLargeError(LocalProtocolError):
    """We were asked to send more than a peer would take."""

    def __init__(self, what: str, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"{what} of {size_bytes} bytes, at most {size_bytes_max} allowed")
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max


def frame(payload: bytes) -> bytes:
    """Return the frame of a payload."""
    return _LENGTH.pack(len(payload)) + payload


class FrameDecoder:
    """Cuts the payloads of frames out of a byte stream that comes in pieces of any size."""

    __slots__ = ("_buffer", "_on_change", "_size_bytes_max")

    def __init__(
        self, size_bytes_max: int, on_change: Callable[[int, int], None] | None = None
    ) -> None:
        """Start at the beginning of a stream.

        Args:
            size_bytes_max: Longest payload accepted; the bound holds before anything is stored.
            on_change: Told how many bytes of an unfinished frame were held before and are now, and
                may raise; `close` is due at the end.
        """
        self._buffer = bytearray()
        self._size_bytes_max = size_bytes_max
        self._on_change = on_change

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece of the stream and return the payloads completed by it.

        Raises:
            FrameTooLargeError: A length above the maximum; the stream cannot be used any more.
        """
        buffer = self._buffer
        before_bytes = len(buffer)
        buffer += data
        payloads = []
        at = 0
        while len(buffer) - at >= 4:
            (size,) = _LENGTH.unpack_from(buffer, at)
            if size > self._size_bytes_max:
                del buffer[before_bytes:]
                raise FrameTooLargeError(size, self._size_bytes_max)
            if len(buffer) - at - 4 < size:
                break
            payloads.append(bytes(buffer[at + 4 : at + 4 + size]))
            at += 4 + size
        if at:
            del buffer[:at]
        if self._on_change is not None and len(buffer) != before_bytes:
            self._on_change(before_bytes, len(buffer))
        return payloads

    def close(self) -> None:
        """Drop what is unfinished."""
        before_bytes = len(self._buffer)
        self._buffer.clear()
        if self._on_change is not None and before_bytes:
            self._on_change(before_bytes, 0)

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that has begun and is not complete."""
        return len(self._buffer)
