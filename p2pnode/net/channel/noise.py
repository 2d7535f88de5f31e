"""Noise records after the handshake: sealed and opened many at a time, without I/O.

A record is a 2-byte big-endian length, then that many bytes of ChaCha20-Poly1305 output (Noise
Protocol Framework, revision 34, §5.1 and §12.3): the plaintext, then a 16-byte tag. The nonce is
the number of the record in its direction: 4 zero bytes, then 8 bytes, little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from p2pnode.net.channel.errors import RecordForgedError, RecordTooShortError

TAG_BYTES: Final = 16
RECORD_BYTES_MAX: Final = 65535
"""Largest record, its length not counted."""
PLAINTEXT_BYTES_MAX: Final = RECORD_BYTES_MAX - TAG_BYTES
"""Most that one record carries."""

SMALL_BYTES: Final = 1024
"""A record that carries less costs more to open than it brings."""

_NONCE: Final = struct.Struct("<4xQ")
_LENGTH: Final = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class RecordStatistics:
    """Totals of one direction since the handshake."""

    records: int
    """Records sealed or opened."""
    plaintext_bytes: int
    """Bytes they carried."""


class Sealer:
    """Seals one direction of a channel."""

    __slots__ = ("_encrypt", "_number", "_plaintext_bytes")

    def __init__(self, key: bytes, *, number: int = 0) -> None:
        """Begin a direction.

        Args:
            key: The direction's ChaCha20-Poly1305 key, 32 bytes.
            number: Of the next record.
        """
        self._encrypt = ChaCha20Poly1305(key).encrypt
        self._number = number
        self._plaintext_bytes = 0

    def seal(self, data: bytes) -> bytes:
        """Return the records that carry the data: as few as can be, one after the other.

        What is returned has to be sent before what is returned by the next call.
        """
        size = len(data)
        self._plaintext_bytes += size
        number = self._number
        if size <= PLAINTEXT_BYTES_MAX:
            self._number = number + 1
            sealed = self._encrypt(_NONCE.pack(number), data, None)
            return _LENGTH.pack(len(sealed)) + sealed
        pieces = []
        with memoryview(data) as view:
            for start in range(0, size, PLAINTEXT_BYTES_MAX):
                piece = view[start : start + PLAINTEXT_BYTES_MAX]
                sealed = self._encrypt(_NONCE.pack(number), piece, None)
                number += 1
                pieces.append(_LENGTH.pack(len(sealed)))
                pieces.append(sealed)
                piece.release()
        self._number = number
        return b"".join(pieces)

    def statistics(self) -> RecordStatistics:
        """Return totals."""
        return RecordStatistics(self._number, self._plaintext_bytes)


class Opener:
    """Opens the other direction; holds at most one record that is not complete."""

    __slots__ = ("_decrypt", "_number", "_plaintext_bytes", "_rest", "small_records")

    def __init__(self, key: bytes, *, number: int = 0) -> None:
        """Begin a direction.

        Args:
            key: The direction's ChaCha20-Poly1305 key, 32 bytes.
            number: Of the next record.
        """
        self._decrypt = ChaCha20Poly1305(key).decrypt
        self._number = number
        self._plaintext_bytes = 0
        self._rest = bytearray()
        self.small_records = 0
        """Those that carried less than SMALL_BYTES."""

    def open(self, data: bytes) -> bytes:
        """Take the next piece of the stream and return what its complete records carry.

        Raises:
            RecordTooShortError: A record without room for a tag.
            RecordForgedError: A record that does not open. The direction is then at its end.
        """
        rest = self._rest
        source: bytes | bytearray = data
        if rest:
            rest += data
            source = rest
        pieces = []
        at, size = 0, len(source)
        with memoryview(source) as view:
            while size - at >= 2:
                (length,) = _LENGTH.unpack_from(view, at)
                if length < TAG_BYTES:
                    raise RecordTooShortError(length, TAG_BYTES)
                end = at + 2 + length
                if end > size:
                    break
                with view[at + 2 : end] as sealed:
                    try:
                        piece = self._decrypt(_NONCE.pack(self._number), sealed, None)
                    except InvalidTag:
                        raise RecordForgedError(self._number) from None
                self._number += 1
                self.small_records += length < SMALL_BYTES + TAG_BYTES
                pieces.append(piece)
                at = end
        if source is rest:
            del rest[:at]
        elif at < size:
            rest += data[at:]
        plaintext = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._plaintext_bytes += len(plaintext)
        return plaintext

    @property
    def pending_bytes(self) -> int:
        """Bytes held of a record that is not complete."""
        return len(self._rest)

    def statistics(self) -> RecordStatistics:
        """Return totals."""
        return RecordStatistics(self._number, self._plaintext_bytes)
