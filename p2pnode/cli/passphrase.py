"""Where commands get the passphrase of an encrypted key: a file, or the terminal."""

from __future__ import annotations

import getpass
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Final

from p2pnode.errors import ConfigError
from p2pnode.keys.sealing import PASSPHRASE_BYTES_MAX, read_passphrase

VARIABLE: Final = "P2PNODE_PASSPHRASE_FILE"


class BadPassphraseError(ConfigError):
    """What was typed can't be a passphrase."""


class NoPassphraseError(ConfigError):
    """A passphrase is needed, none is named, and there is nobody to ask."""

    def __init__(self, flag: str) -> None:
        super().__init__(f"a passphrase is needed: name a file with {flag}, first line counts")


def passphrase_file(arguments: Namespace) -> Path | None:
    """Return the file that --passphrase-file or P2PNODE_PASSPHRASE_FILE names, if any."""
    named = getattr(arguments, "passphrase_file", None) or os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else None


class Asked:
    """The passphrase of a command's keys: read or asked for when first needed, and only then."""

    def __init__(self, arguments: Namespace) -> None:
        """Note where to look."""
        self._file = passphrase_file(arguments)
        self._known: bytes | None = None

    def __call__(self) -> bytes | None:
        """Return it; None when no file is named and nobody sits at a terminal."""
        if self._known is None:
            if self._file is not None:
                self._known = read_passphrase(self._file)
            elif _somebody():
                self._known = _typed("passphrase: ")
        return self._known

    @property
    def named(self) -> bool:
        """Whether a file is named."""
        return self._file is not None


def new_passphrase(file: str | None, flag: str) -> bytes:
    """Return a passphrase to encrypt with, typed twice where no file is named.

    Raises:
        NoPassphraseError: There is neither file nor terminal.
        BadPassphraseError: The two differ, or it is empty.
    """
    if file:
        return read_passphrase(Path(file).expanduser())
    if not _somebody():
        raise NoPassphraseError(flag)
    first = _typed("new passphrase: ")
    if _typed("again: ") != first:
        raise BadPassphraseError("the two are not the same; nothing was changed")
    return first


def _somebody() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _typed(prompt: str) -> bytes:
    found = getpass.getpass(prompt).encode()
    if not 0 < len(found) <= PASSPHRASE_BYTES_MAX:
        raise BadPassphraseError(f"a passphrase has 1 to {PASSPHRASE_BYTES_MAX} bytes")
    return found
