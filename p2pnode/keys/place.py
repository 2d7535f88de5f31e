"""Tells whether a node's folder is where it was left: a restored copy of it has forgotten votes.

The log of signatures remembers what a validator signed. A log brought back from a backup remembers
less, and nothing in it says so: the whole folder is consistent, only old. So each life of the node,
and each minute of it, a small file is made anew, and the time of its last change (ctime, which no
program can set) is noted beside it. A copy of the two, made by cp, tar or rsync, has another ctime:
the node then signs nothing until the next epoch, as after the loss of its log.

What this does not see: images of a whole disk and snapshots of virtual machines, which bring back
ctimes too. Before such a node starts, `place.json` is to be deleted.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import trio

from p2pnode.errors import StorageError

FILE_NAME: Final = "place.json"
"""`{"file": name, "changed_ns": ctime, "forgetful": why or ""}`."""

WITNESS_PREFIX: Final = "place-"

PERIOD_S: Final = 60.0
"""Tools that leave alike files alone (rsync) would not touch a witness as old as the backup: only a
backup of the last minute before a crash, brought back by such a tool, goes unnoticed."""

FILE_BYTES_MAX: Final = 4096
NS_PER_S: Final = 1_000_000_000


class Forgetful(Enum):
    """Why a node may not know everything that its key has signed."""

    NO = ""
    NEW = "new"
    """Its log was made in this folder, and has signed nothing yet."""
    MOVED = "moved"
    """The folder is a copy, or nothing says that it is none."""


@dataclass(frozen=True, slots=True)
class PlaceFound:
    """What a node's folder says at start."""

    moved: bool
    """It was copied or restored since a node last ran in it."""
    forgetful: Forgetful
    """What is to be remembered over restarts until the node signs."""


class Place:
    """The two files; opened under the store's lock."""

    def __init__(self, folder: Path) -> None:
        """Take a node's folder, which is there."""
        self._folder = folder
        self._path = folder / FILE_NAME
        self._forgetful = Forgetful.NO

    def check(self, *, log_is_there: bool) -> PlaceFound:
        """Look, before the log is opened; nothing is written.

        Args:
            log_is_there: Whether there is a log of signatures.
        """
        noted = self._read()
        if not log_is_there:
            found = PlaceFound(False, Forgetful.NEW)
        elif noted is None or not self._is_same(*noted[:2]):
            found = PlaceFound(True, Forgetful.MOVED)
        else:
            found = PlaceFound(False, noted[2])
        self._forgetful = found.forgetful
        return found

    def settle(self) -> None:
        """Mark the folder as this life's; once the log itself holds that nothing may be signed.

        Raises:
            StorageError: The files can't be written.
        """
        self.renew()

    def trust(self) -> None:
        """Declare that nothing newer than this folder ever signed."""
        self._forgetful = Forgetful.NO
        self.renew()

    def renew(self) -> None:
        """Make the witness anew; whenever this is interrupted, one pair is whole."""
        witness = self._folder / f"{WITNESS_PREFIX}{secrets.token_hex(8)}"
        new = self._path.with_suffix(".new")
        try:
            _write(witness, "")
            document = {
                "file": witness.name,
                "changed_ns": witness.stat().st_ctime_ns,
                "forgetful": self._forgetful.value,
            }
            _write(new, json.dumps(document) + "\n")
            new.replace(self._path)
            # Without its order on disk, a power cut could leave a note of a witness that is gone.
            directory = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
            for old in sorted(self._folder.glob(f"{WITNESS_PREFIX}*")):
                if old != witness:
                    old.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from None

    async def keep(self, has_signed: Callable[[], bool]) -> None:
        """Renew the witness every `PERIOD_S`, and once more at the end; runs until cancelled.

        Args:
            has_signed: Whether the node has signed anything in this life.
        """
        try:
            while True:
                await trio.sleep(PERIOD_S)
                if has_signed():
                    self._forgetful = Forgetful.NO
                await trio.to_thread.run_sync(self._try_to_renew)
        finally:
            if has_signed():
                self._forgetful = Forgetful.NO
            self._try_to_renew()

    def _try_to_renew(self) -> None:
        # On a full disk the old pair stays, which is as good.
        with contextlib.suppress(StorageError):
            self.renew()

    def _read(self) -> tuple[str, int, Forgetful] | None:
        try:
            with self._path.open("rb") as file:
                document = json.loads(file.read(FILE_BYTES_MAX))
            name, changed_ns = document["file"], document["changed_ns"]
            forgetful = Forgetful(document["forgetful"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if not isinstance(name, str) or not isinstance(changed_ns, int) or os.sep in name:
            return None
        return name, changed_ns, forgetful

    def _is_same(self, name: str, noted_ns: int) -> bool:
        try:
            found_ns = (self._folder / name).stat().st_ctime_ns
        except OSError:
            return False
        if found_ns == noted_ns:
            return True
        # Some file systems keep nanoseconds in memory and whole seconds on disk.
        return found_ns % NS_PER_S == 0 and found_ns // NS_PER_S == noted_ns // NS_PER_S


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
