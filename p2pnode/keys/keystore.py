"""Key files: one Ed25519 key a file, in JSON, readable by its owner only.

    {"type": "ed25519", "purpose": "validator", "public": "…hex…", "cipher": "none",
     "secret": "…hex…", "created": "2026-01-31T12:00:00Z", "test": false}

`cipher` says how `secret` is protected: `none`, or `argon2id-secretbox` (p2pnode/keys/sealing.py),
which brings the fields `salt`, `passes` and `memory_bytes`. A file that names another is refused
rather than misread. A key with `test` true is derived from a public seed: everybody has it.
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
from p2pnode.keys import sealing
from p2pnode.keys.sealing import Cost, Passphrase, Sealed

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


class KeyEncryptedError(ConfigError):
    """A key file is encrypted and no passphrase was given."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is encrypted: name the file with its passphrase with --passphrase-file or"
            " P2PNODE_PASSPHRASE_FILE"
        )
        self.path = path


class WrongPassphraseError(ConfigError):
    """The passphrase does not open a key file, or the file was damaged."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is not opened by this passphrase, or was damaged")
        self.path = path


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


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What a key file says of its key without its passphrase."""

    public: bytes
    """32 bytes; an encrypted file proves it only once it is opened."""
    purpose: Purpose
    created: str
    test: bool
    cipher: str


@dataclass(frozen=True, slots=True)
class _File:
    """A key file, read but not opened."""

    facts: KeyFacts
    secret: bytes
    """As the cipher left it."""
    sealed: Sealed | None
    """Where it is encrypted."""


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


def write(
    path: Path, key: StoredKey, passphrase: bytes | None = None, *, cost: Cost | None = None
) -> None:
    """Write a new key file with mode 0600, durably.

    Args:
        path: The file; its folder is made where it is missing.
        key: What to write.
        passphrase: Encrypts it; None writes the secret as it is.
        cost: Of guessing the passphrase.

    Raises:
        KeyFileExistsError: The file is there already.
        ConfigError: The operating system refuses.
    """
    text = encode(key, passphrase, cost=cost)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_new(path, text)
        _sync_folder(path.parent)
    except FileExistsError:
        raise KeyFileExistsError(f"{path} exists; move it away first") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def replace(
    path: Path, key: StoredKey, passphrase: bytes | None = None, *, cost: Cost | None = None
) -> None:
    """Write a key over its own file, atomically: at any moment one of the two is there, whole.

    The old file's blocks may stay on the medium: flash keeps what was overwritten.

    Raises:
        ConfigError: The operating system refuses.
    """
    text = encode(key, passphrase, cost=cost)
    new = path.with_name(f"{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        before = path.stat()
        _write_new(new, text)
        if before.st_uid != os.geteuid():
            # Root does this for the user of a service, who is to read it at the next start.
            os.chown(new, before.st_uid, before.st_gid)
        new.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def encode(key: StoredKey, passphrase: bytes | None, *, cost: Cost | None = None) -> str:
    """Return the content of a key file."""
    document: dict[str, object] = {
        "type": TYPE,
        "purpose": key.purpose.value,
        "public": key.secret.public.hex(),
        "cipher": CIPHER_NONE,
        "secret": key.secret.seed.hex(),
        "created": key.created,
        "test": key.test,
    }
    if passphrase is not None:
        sealed = sealing.seal(key.secret.seed, passphrase, cost or Cost())
        document |= {
            "cipher": sealing.CIPHER,
            "secret": sealed.box.hex(),
            "salt": sealed.salt.hex(),
            "passes": sealed.cost.passes,
            "memory_bytes": sealed.cost.memory_bytes,
        }
    return json.dumps(document, indent=1) + "\n"


def _write_new(path: Path, text: str) -> None:
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


def _sync_folder(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def load(path: Path, purpose: Purpose, passphrase: Passphrase = None) -> StoredKey:
    """Read a key file.

    Args:
        path: The file.
        purpose: What the key is needed for.
        passphrase: Opens an encrypted file: the bytes, or what is called for them once it is
            known that they are needed.

    Raises:
        KeyFileMissingError, KeyFilePermissionsError, KeyFileFormatError, KeyCipherError,
        KeyEncryptedError, WrongPassphraseError, KeyPurposeError, KeyMismatchError: It can't be
            used.
    """
    found = _parse(path, _read(path))
    if found.facts.purpose is not purpose:
        raise KeyPurposeError(path, found.facts.purpose, purpose)
    return _open(path, found, passphrase)


def load_any(path: Path, passphrase: Passphrase = None, *, private: bool = True) -> StoredKey:
    """Read a key file whatever its purpose; raises what `load` does.

    Args:
        path: The file.
        passphrase: As for `load`.
        private: Whether a file that others can read is refused.
    """
    return _open(path, _parse(path, _read(path, private=private)), passphrase)


def inspect(path: Path, *, private: bool = True) -> KeyFacts:
    """Return what a key file says without a passphrase; raises what `load` does."""
    found = _parse(path, _read(path, private=private))
    if found.sealed is None:
        _open(path, found, None)
    return found.facts


def _open(path: Path, found: _File, passphrase: Passphrase) -> StoredKey:
    seed = found.secret
    if found.sealed is not None:
        given = passphrase() if callable(passphrase) else passphrase
        if given is None:
            raise KeyEncryptedError(path)
        opened = sealing.unseal(found.sealed, given)
        if opened is None:
            raise WrongPassphraseError(path)
        seed = opened
    if len(seed) != SEED_BYTES:
        raise KeyFileFormatError(f"{path}: 'secret' is not {SEED_BYTES} bytes in hex")
    secret = crypto.SecretKey(seed)
    facts = found.facts
    if facts.public != secret.public:
        raise KeyMismatchError(path, facts.public.hex(), secret.public.hex())
    return StoredKey(secret, facts.purpose, facts.created, facts.test)


def _read(path: Path, *, private: bool = True) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileFormatError(f"{path} is not a file")
            mode = stat.S_IMODE(status.st_mode)
            if private and mode & 0o077:
                raise KeyFilePermissionsError(path, mode)
            return file.read(FILE_BYTES_MAX)
    except FileNotFoundError:
        raise KeyFileMissingError(f"{path} is missing; `p2pnode init` makes one") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _parse(path: Path, raw: bytes) -> _File:
    # No message here repeats the file's content: it may be a secret.
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
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
    cipher = texts["cipher"]
    if cipher not in (CIPHER_NONE, sealing.CIPHER):
        raise KeyCipherError(f"{path}: cipher {cipher!r} is unknown to this program")
    try:
        purpose = Purpose(texts["purpose"])
    except ValueError:
        raise KeyFileFormatError(f"{path}: purpose {texts['purpose']!r} is unknown") from None
    facts = KeyFacts(_hex(path, "public", texts["public"]), purpose, texts["created"], test, cipher)
    secret = _hex(path, "secret", texts["secret"])
    if cipher == CIPHER_NONE:
        return _File(facts, secret, None)
    try:
        cost = Cost(document.get("passes"), document.get("memory_bytes"))  # type: ignore[arg-type]
        sealed = Sealed(_hex(path, "salt", document.get("salt")), cost, secret)
    except ValueError as error:
        raise KeyFileFormatError(f"{path}: {error}") from None
    return _File(facts, secret, sealed)


def _hex(path: Path, name: str, text: object) -> bytes:
    try:
        return bytes.fromhex(text)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise KeyFileFormatError(f"{path}: {name!r} is not hex") from None
