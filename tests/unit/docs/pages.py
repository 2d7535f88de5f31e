"""The commands that the documentation shows, for tests to run or to read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"

_BLOCK = re.compile(
    r"(?:<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command as a page shows it."""

    text: str
    run: bool
    """False: full-screen, or what the tests do themselves."""
    exits: tuple[int, ...] = (0,)


def pages() -> list[Path]:
    """Return every page that shows commands."""
    return [ROOT / "README.md", ROOT / "examples/README.md", *sorted(DOCS.rglob("*.md"))]


def console_commands(page: Path) -> Iterator[Command]:
    """Yield the commands in `console` blocks, those after a `$ `."""
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block["language"] != "console":
            continue
        note = block["note"] or ""
        codes = tuple(int(code) for code in re.findall(r"\d+", note.partition(":")[0]))
        exits = codes if note.startswith("exits") else (0,)
        for line in joined(block["text"]):
            if line.startswith("$ "):
                yield Command(line[2:], not note.startswith("not run"), exits)


def shown_commands(page: Path) -> Iterator[str]:
    """Yield every line in any block that is a command of ours."""
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        for line in joined(block["text"]):
            line = line.strip().removeprefix("$ ")
            if re.match(r"(testnet|p2pnode) [a-z-]", line):
                yield line


def joined(text: str) -> list[str]:
    """Return lines, those that end in a backslash joined with the next."""
    return re.sub(r"\\\n\s*", "", text).splitlines()
