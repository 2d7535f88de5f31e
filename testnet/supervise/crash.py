"""How a process ended by itself, in a sentence for whoever watches."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

REASON_CHARS_MAX: Final = 300
"""More of the error is in the file that the sentence names."""

_FRAME: Final = " \t|+"
"""What a traceback draws before the lines of an exception group."""

_ERROR_LINE: Final = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Warning)(: .*)?$")


def how_it_ended(code: int, errors: Path) -> str:
    """Return how a process ended, and why as far as it said so.

    Args:
        code: Its exit code; below 0 the signal that killed it.
        errors: The file of what it wrote as errors.
    """
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = f": {last_error(lines)[:REASON_CHARS_MAX]}" if lines else ""
    return f"{how}{last} (see {errors})"


def last_error(lines: Sequence[str]) -> str:
    """Return the line that says why a process ended, such as `SomeError: message`.

    Args:
        lines: What it wrote as errors. The last one may only close the frame of an exception group.
    """
    bare = [text for line in lines if (text := line.strip(_FRAME + "-"))]
    errors = [text for text in bare if _ERROR_LINE.match(text)]
    return (errors or bare or [""])[-1]
