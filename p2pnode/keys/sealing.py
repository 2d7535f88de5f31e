"""Secrets under a passphrase: Argon2id makes a key of it, SecretBox encrypts with that.

Argon2id (RFC 9106) makes each guess cost memory and time; SecretBox (XSalsa20-Poly1305) notices a
wrong passphrase and any change. The cost stands in the file, so that it can grow.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import nacl.exceptions
import nacl.pwhash.argon2id
import nacl.secret
import nacl.utils

from p2pnode.errors import ConfigError

CIPHER: Final = "argon2id-secretbox"

PASSES: Final = 3
MEMORY_BYTES: Final = 64 << 20
"""RFC 9106's second choice, for where memory is short: 0.2 s on a PC, about 1 s on a Pi 4."""

PASSES_MAX: Final = 64
MEMORY_BYTES_MAX: Final = 1 << 30
"""A file that asks for more would stop the node, not protect it."""

PASSPHRASE_BYTES_MAX: Final = 1024

Passphrase: TypeAlias = bytes | Callable[[], bytes | None] | None
"""The passphrase itself, or what asks for it."""


class PassphraseFileError(ConfigError):
    """The file with the passphrase can't be used."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess costs."""

    passes: int = PASSES
    """Argon2's number of passes."""
    memory_bytes: int = MEMORY_BYTES

    def __post_init__(self) -> None:
        """Check the limits; raises ValueError."""
        for name, value, least, most in (
            ("passes", self.passes, nacl.pwhash.argon2id.OPSLIMIT_MIN, PASSES_MAX),
            (
                "memory_bytes",
                self.memory_bytes,
                nacl.pwhash.argon2id.MEMLIMIT_MIN,
                MEMORY_BYTES_MAX,
            ),
        ):
            if type(value) is not int or not least <= value <= most:
                raise ValueError(f"{name!r} is not an integer between {least} and {most}")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret under a passphrase."""

    salt: bytes
    """16 random bytes."""
    cost: Cost
    box: bytes
    """Nonce (24 bytes), authenticator (16 bytes), ciphertext."""

    def __post_init__(self) -> None:
        """Check the lengths; raises ValueError."""
        if len(self.salt) != nacl.pwhash.argon2id.SALTBYTES:
            raise ValueError(f"'salt' is not {nacl.pwhash.argon2id.SALTBYTES} bytes")
        least = nacl.secret.SecretBox.NONCE_SIZE + nacl.secret.SecretBox.MACBYTES
        if len(self.box) <= least:
            raise ValueError(f"'secret' has {len(self.box)} bytes, more than {least} expected")


def seal(secret: bytes, passphrase: bytes, cost: Cost) -> Sealed:
    """Encrypt a secret."""
    salt = nacl.utils.random(nacl.pwhash.argon2id.SALTBYTES)
    return Sealed(salt, cost, bytes(_box(salt, cost, passphrase).encrypt(secret)))


def unseal(sealed: Sealed, passphrase: bytes) -> bytes | None:
    """Decrypt a secret; None when the passphrase is wrong or a byte was changed."""
    try:
        return _box(sealed.salt, sealed.cost, passphrase).decrypt(sealed.box)
    except nacl.exceptions.CryptoError:
        return None


def _box(salt: bytes, cost: Cost, passphrase: bytes) -> nacl.secret.SecretBox:
    key = nacl.pwhash.argon2id.kdf(
        nacl.secret.SecretBox.KEY_SIZE,
        passphrase,
        salt,
        opslimit=cost.passes,
        memlimit=cost.memory_bytes,
    )
    return nacl.secret.SecretBox(key)


def read_passphrase(path: Path) -> bytes:
    """Return the passphrase in a file: its first line, without the line's end.

    Raises:
        PassphraseFileError: It is missing, empty, too long, or others can read it.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            mode = stat.S_IMODE(status.st_mode)
            # Not asked of a pipe (`<(pass show node)`): it has no lasting content. The group may
            # read: so look the credentials that systemd hands to a service.
            if stat.S_ISREG(status.st_mode) and mode & 0o027:
                raise PassphraseFileError(
                    f"{path} has mode {mode:04o}, others may read or change it;"
                    f" run `chmod 600 {path}`"
                )
            raw = file.read(PASSPHRASE_BYTES_MAX + 3)
    except OSError as error:
        raise PassphraseFileError(f"passphrase file {path}: {error.strerror}") from None
    line = raw.partition(b"\n")[0].removesuffix(b"\r")
    if not line:
        raise PassphraseFileError(f"passphrase file {path}: its first line is empty")
    if len(line) > PASSPHRASE_BYTES_MAX:
        raise PassphraseFileError(
            f"passphrase file {path}: over {PASSPHRASE_BYTES_MAX} bytes in a line"
        )
    return line
