"""The pre-shared key of a private network: its file, and the cipher it makes of a connection.

As libp2p's private networks do
(github.com/libp2p/specs/blob/master/pnet/Private-Networks-PSK-V1.md), each side sends a random
nonce of 24 bytes in clear, and everything after it under XSalsa20. Who lacks the key sees noise and
can say nothing. It is a wall around a network and no secrecy of what is in it: that is Noise's,
which runs inside.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
import struct
from pathlib import Path
from typing import Final

from Crypto.Cipher import Salsa20

from p2pnode.errors import ConfigError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
FILE_BYTES_MAX: Final = 1024

HEAD: Final = "/key/swarm/psk/1.0.0/"
"""First line of the file, as go-, js- and rust-libp2p write it."""

_SIGMA: Final = struct.unpack("<4I", b"expand 32-byte k")


class NetworkKeyError(ConfigError):
    """A file holds no pre-shared key."""


def read_key(path: Path) -> bytes:
    """Return the key in a file, 32 bytes.

    Raises:
        NetworkKeyError: It can't be read, or is of another form.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise NetworkKeyError(f"network key {path}: {error.strerror}") from None
    if mode & 0o077:
        raise NetworkKeyError(f"network key {path}: mode {mode:04o}, others may read it; chmod 600")
    if len(data) > FILE_BYTES_MAX:
        raise NetworkKeyError(f"network key {path}: more than {FILE_BYTES_MAX} bytes")
    head, _, rest = data.partition(b"\n")
    encoding, _, body = rest.partition(b"\n")
    if head.strip() != HEAD.encode():
        raise NetworkKeyError(f"network key {path}: its first line is not {HEAD}")
    try:
        match encoding.strip():
            case b"/base16/":
                key = bytes.fromhex(body.decode("ascii"))
            case b"/base64/":
                key = base64.b64decode(body.strip(), validate=True)
            case b"/bin/":
                key = body[:KEY_BYTES]
            case _:
                raise NetworkKeyError(
                    f"network key {path}: its second line is none of /base16/, /base64/, /bin/"
                )
    except (ValueError, binascii.Error):
        raise NetworkKeyError(f"network key {path}: its third line is not encoded so") from None
    if len(key) != KEY_BYTES:
        raise NetworkKeyError(f"network key {path}: {len(key)} bytes instead of {KEY_BYTES}")
    return key


def key_file(key: bytes) -> str:
    """Return the text of a file that holds a key."""
    assert len(key) == KEY_BYTES, len(key)
    return f"{HEAD}\n/base16/\n{key.hex()}\n"


class KeyStream:
    """One direction of a connection: XSalsa20 from its beginning, whatever the pieces."""

    def __init__(self, key: bytes, nonce: bytes) -> None:
        """Begin at the first byte.

        Args:
            key: Pre-shared, 32 bytes.
            nonce: The sender's, 24 bytes, never used before with the key.
        """
        assert len(key) == KEY_BYTES, len(key)
        assert len(nonce) == NONCE_BYTES, len(nonce)
        # XSalsa20 is Salsa20 under a key made of the first 16 bytes of its nonce.
        self._cipher = Salsa20.new(key=_hsalsa20(key, nonce[:16]), nonce=nonce[16:])

    def apply(self, data: bytes) -> bytes:
        """Return the next bytes, sealed or opened: both are the same."""
        return self._cipher.encrypt(data)


def _hsalsa20(key: bytes, nonce: bytes) -> bytes:
    """Return the 32-byte subkey of XSalsa20 (Bernstein, Extending the Salsa20 nonce, §2).

    Once a connection and direction. Nothing in the libraries here gives it by itself; the tests
    hold it against libsodium's SecretBox, which contains it.
    """
    k, n = struct.unpack("<8I", key), struct.unpack("<4I", nonce)
    s = _SIGMA
    x = [s[0], *k[:4], s[1], *n, s[2], *k[4:], s[3]]
    rounds = ((4, 0, 12, 7), (8, 4, 0, 9), (12, 8, 4, 13), (0, 12, 8, 18))
    # Columns first, then rows: the same quarter round on other indices.
    columns = [[(index + 5 * i) % 16 for index in range(0, 16, 4)] for i in range(4)]
    rows = [[5 * i - i % 4 + (i + step) % 4 for step in range(4)] for i in range(4)]
    for _ in range(10):
        for lines in (columns, rows):
            for line in lines:
                a = {4 * place: line[place] for place in range(4)}
                for to, one, two, turn in rounds:
                    total = (x[a[one]] + x[a[two]]) & 0xFFFFFFFF
                    x[a[to]] ^= (total << turn | total >> (32 - turn)) & 0xFFFFFFFF
    return struct.pack("<8I", x[0], x[5], x[10], x[15], *x[6:10])
