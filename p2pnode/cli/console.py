"""Where a command prints: data on stdout, words on stderr.

Much of both was written by others, peers of the node included; none of it moves a cursor.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from p2pnode.telemetry.harmless import harmless


@dataclass(frozen=True, slots=True)
class Console:
    """The two streams of a command, and the time it waits by."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    """Data: what a pipe should get."""
    err: TextIO = field(default_factory=lambda: sys.stderr)
    """Words: what a person should read."""
    quiet: bool = False
    """Say nothing but data and errors."""
    json: bool = False
    """Data as JSON."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    @property
    def colours(self) -> bool:
        """Whether words may be coloured: on a terminal, unless NO_COLOR is set."""
        return self.err.isatty() and not os.environ.get("NO_COLOR")

    def data(self, text: str) -> None:
        """Print a line of data."""
        print(harmless(text), file=self.out, flush=True)

    def sentence(self, text: str) -> None:
        """Print a sentence as data: whole in a pipe, between words on lines of a terminal."""
        self.data(_wrapped(text, self.out))

    def document(self, value: Any) -> None:
        """Print data as JSON: one object on one line, indented on a terminal."""
        indent = 2 if self.out.isatty() else None
        self.data(json.dumps(value, indent=indent, ensure_ascii=False))

    def pairs(self, rows: Sequence[tuple[str, object]]) -> None:
        """Print names and values in two columns."""
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            self.data(f"{name:<{width}}  {value}")

    def say(self, text: str) -> None:
        """Print words, unless quiet."""
        if not self.quiet:
            print(harmless(text), file=self.err, flush=True)

    def tell(self, text: str) -> None:
        """Say a sentence, broken between words on a terminal."""
        self.say(_wrapped(text, self.err))

    def to_do(self, text: str) -> None:
        """Say what a person may do about it; nothing for an empty text."""
        if text:
            self.tell(f"to do: {text}")

    def next(self, *commands: str) -> None:
        """Name the commands that come next."""
        self.say(f"next: {' · '.join(commands)}")

    def error(self, text: str) -> None:
        """Print an error, quiet or not."""
        mark = "\x1b[31merror:\x1b[0m" if self.colours else "error:"
        print(f"{mark} {harmless(text)}", file=self.err, flush=True)


def _wrapped(text: str, stream: TextIO) -> str:
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    # Names, URLs and paths stay whole, to be copied.
    return textwrap.fill(text, max(20, width), break_long_words=False, break_on_hyphens=False)
