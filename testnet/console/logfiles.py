"""Follows the log files of all nodes: JSON lines that are appended, rotated, and begun again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from testnet.console.model import LogLine

BEGIN_BYTES: Final = 64 << 10
"""So much of each file is shown at the beginning."""

READ_BYTES_MAX: Final = 256 << 10
"""Most that is read of a file at once; what is older is left out and counted."""

TEXT_MAX: Final = 600
"""Longest text of a line's fields that is kept."""

FILES_MAX: Final = 64

_LEFT_OUT: Final = ("time", "level", "event", "logger", "node")


@dataclass(slots=True)
class _Followed:
    inode: int
    position: int


class LogFiles:
    """The logs of one testnet."""

    def __init__(self, folder: Path) -> None:
        """Follow every `*.jsonl` in a folder, also those that come later."""
        self._folder = folder
        self._files: dict[str, _Followed] = {}

    def read(self) -> tuple[list[LogLine], int]:
        """Return the lines that came since the last call, and about how many were left out."""
        found: list[LogLine] = []
        missed_count = 0
        for path in sorted(self._folder.glob("*.jsonl"))[:FILES_MAX]:
            try:
                lines, missed = self._new(path)
            except OSError:
                # It is being rotated, or the testnet removed.
                continue
            missed_count += missed
            found += (entry for line in lines if (entry := parse(line, path.stem)) is not None)
        return found, missed_count

    def _new(self, path: Path) -> tuple[Iterator[bytes], int]:
        stat = path.stat()
        known = self._files.get(path.name)
        if known is None:
            # A line that is cut in its middle is no JSON, and left out.
            known = _Followed(stat.st_ino, max(0, stat.st_size - BEGIN_BYTES))
            self._files[path.name] = known
        elif known.inode != stat.st_ino or stat.st_size < known.position:
            known.inode, known.position = stat.st_ino, 0
        if stat.st_size == known.position:
            return iter(()), 0
        left_out = max(0, stat.st_size - known.position - READ_BYTES_MAX)
        with path.open("rb") as file:
            file.seek(known.position + left_out)
            data = file.read(READ_BYTES_MAX)
        whole, sign, rest = data.rpartition(b"\n")
        known.position += left_out + len(whole) + len(sign)
        if not sign and len(rest) == READ_BYTES_MAX:
            # One line longer than all that is read at once.
            known.position += len(rest)
        return iter(whole.splitlines()), left_out // 200


def parse(line: bytes, node: str) -> LogLine | None:
    """Return the event in a line of a log; None when it holds none."""
    try:
        body = json.loads(line)
        time_ms = round(datetime.fromisoformat(str(body["time"])).timestamp() * 1000)
        level, event = str(body["level"]), str(body["event"])
        if event == "status" and "line" in body:
            text = str(body["line"])
        else:
            text = " ".join(f"{k}={_short(v)}" for k, v in body.items() if k not in _LEFT_OUT)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return LogLine(time_ms, node, level, event, text[:TEXT_MAX])


def _short(value: object) -> str:
    """Return a field's value; hashes and keys by their beginning."""
    text = str(value)
    if len(text) >= 64 and text.isalnum():
        return f"{text[:12]}…"
    return text
