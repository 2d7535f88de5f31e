"""Key files: one Ed25519 key a file, in JSON, readable by its owner only.

    {"type": "ed25519", "purpose": "validator", "public": "…hex…", "cipher": "none",
     "secret": "…hex…", "created": "2026-01-31T12:00:00Z", "test": false}

`cipher` says how `secret` is protected; `none` is the only one so far, and a file that names
another is refused rather than misread. A key with `test` true is derived from a public seed:
everybody has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Final

from p2pnode import crypto
from p2pnode.errors import ConfigError

TYPE: Final = "ed25519"
CIPHER_NONE: Final = "none"
FILE_BYTES_MAX: Final = 16 * 1024
SEED_BYTES: Final = 32


class Purpose(Enum):
    """What a key signs; one key never has two purposes."""

    VALIDATOR = "validator"
    """Votes, "stored", results, batches."""
    NODE = "node"
    """The node's identity on the network."""
    ACCOUNT = "account"
    """Transactions."""


class KeyFileMissingError(ConfigError):
    """There is no key file where one is needed."""


class KeyFileExistsError(ConfigError):
    """A key file would be overwritten; keys are never lost that way."""


class KeyFilePermissionsError(ConfigError):
    """Others than the owner can read or change a key file."""

    def __init__(self, path: Path, mode: int) -> None:
        super().__init__(
            f"{path} has mode {mode:04o}, others may read or change it; run `chmod 600 {path}`"
        )
        self.path = path
        self.mode = mode


class KeyFileFormatError(ConfigError):
    """A key file can't be understood."""


class KeyCipherError(ConfigError):
    """A key file is encrypted in a way that this program doesn't know."""


class KeyPurposeError(ConfigError):
    """A key file is for something else."""

    def __init__(self, path: Path, found: Purpose, wanted: Purpose) -> None:
        super().__init__(f"{path} holds a key for {found.value}, one for {wanted.value} is needed")
        self.path = path
        self.found = found
        self.wanted = wanted


class KeyMismatchError(ConfigError):
    """The public key in a file is not that of its secret: the file was edited or mixed up."""

    def __init__(self, path: Path, found: str, derived: str) -> None:
        super().__init__(f"{path} names public key {found}, its secret gives {derived}")
        self.path = path
        self.found = found
        self.derived = derived


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key, and what its file says about it."""

    secret: crypto.SecretKey
    purpose: Purpose
    created: str
    """UTC, ISO 8601 to the second; empty for derived keys."""
    test: bool
    """Derived from a public seed; worthless outside a testnet."""


def generate(purpose: Purpose) -> StoredKey:
    """Make a new key from the operating system's randomness."""
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return StoredKey(crypto.SecretKey(secrets.token_bytes(SEED_BYTES)), purpose, created, False)


def derive_test_key(seed: int, role: str, index: int) -> crypto.SecretKey:
    """Return a testnet's key: the same for the same arguments, on every machine.

    Args:
        seed: The testnet's seed.
        role: What it is for, such as `validator`, `node` or `account`.
        index: Which one of that role.
    """
    return crypto.SecretKey(crypto.sha256(f"p2pnode test key/{seed}/{role}/{index}".encode()))


def derive_test_stored_key(seed: int, purpose: Purpose, index: int) -> StoredKey:
    """Return a testnet's key as it is written to a file, marked as one."""
    return StoredKey(derive_test_key(seed, purpose.value, index), purpose, "", True)


def write(path: Path, key: StoredKey) -> None:
    """Write a new key file with mode 0600, durably.

    Raises:
        KeyFileExistsError: The file is there already.
        ConfigError: The operating system refuses.
    """
    document = {
        "type": TYPE,
        "purpose": key.purpose.value,
        "public": key.secret.public.hex(),
        "cipher": CIPHER_NONE,
        "secret": key.secret.seed.hex(),
        "created": key.created,
        "test": key.test,
    }
    text = json.dumps(document, indent=1) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL: neither an existing key nor the target of somebody's symbolic link is written.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except FileExistsError:
        raise KeyFileExistsError(f"{path} exists; move it away first") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def load(path: Path, purpose: Purpose) -> StoredKey:
    """Read a key file.

    Args:
        path: The file.
        purpose: What the key is needed for.

    Raises:
        KeyFileMissingError, KeyFilePermissionsError, KeyFileFormatError, KeyCipherError,
        KeyPurposeError, KeyMismatchError: It can't be used.
    """
    found = _parse(path, _read(path))
    if found.purpose is not purpose:
        raise KeyPurposeError(path, found.purpose, purpose)
    return found


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileFormatError(f"{path} is not a file")
            mode = stat.S_IMODE(status.st_mode)
            if mode & 0o077:
                raise KeyFilePermissionsError(path, mode)
            return file.read(FILE_BYTES_MAX)
    except FileNotFoundError:
        raise KeyFileMissingError(f"{path} is missing; `p2pnode init` makes one") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _parse(path: Path, raw: bytes) -> StoredKey:
    # No message here repeats the file's content: it may be a secret.
    try:
        document = json.loads(raw)
    except ValueError:
        raise KeyFileFormatError(f"{path} is not JSON") from None
    if not isinstance(document, dict):
        raise KeyFileFormatError(f"{path} is not a JSON object")
    texts: dict[str, str] = {}
    for name in ("type", "purpose", "public", "cipher", "secret", "created"):
        text = document.get(name)
        if not isinstance(text, str):
            raise KeyFileFormatError(f"{path}: {name!r} is missing or no string")
        texts[name] = text
    test = document.get("test", False)
    if not isinstance(test, bool):
        raise KeyFileFormatError(f"{path}: 'test' is neither true nor false")
    if texts["type"] != TYPE:
        raise KeyFileFormatError(f"{path}: keys of type {texts['type']!r} are unknown")
    if texts["cipher"] != CIPHER_NONE:
        raise KeyCipherError(f"{path}: cipher {texts['cipher']!r} is unknown to this program")
    try:
        purpose = Purpose(texts["purpose"])
    except ValueError:
        raise KeyFileFormatError(f"{path}: purpose {texts['purpose']!r} is unknown") from None
    try:
        seed = bytes.fromhex(texts["secret"])
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise KeyFileFormatError(f"{path}: 'secret' is not {SEED_BYTES} bytes in hex")
    secret = crypto.SecretKey(seed)
    if texts["public"] != secret.public.hex():
        raise KeyMismatchError(path, texts["public"], secret.public.hex())
    return StoredKey(secret, purpose, texts["created"], test)
