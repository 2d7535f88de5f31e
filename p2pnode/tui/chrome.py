"""What full-screen programs have around their screens, the same in each. Pure.

Tabs, the line that says what is wrong, key hints, a line being typed, messages that go away, and
moves through a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeVar

from p2pnode.tui.keys import Key
from p2pnode.tui.text import (
    Line,
    Size,
    Span,
    cut,
    fit,
    line,
    line_width,
    pad,
    width_of,
    wrap,
)
from p2pnode.tui.widgets import spread

HISTORY_MAX: Final = 240
"""Samples in a sparkline, one a second."""
VIEWS_MAX: Final = 400
"""Views remembered for a row of cells."""
TYPED_MAX: Final = 80
"""Characters of a filter, and of whatever else is typed into the last line."""
STALE_S: Final = 2.5
"""Data older than this is said to be; nodes tell every second, supervisors twice a second."""
VERDICT_LINES_MAX: Final = 3

PAGE: Final = 10
"""Rows of page up and page down."""
_END: Final = 1 << 30
STEPS: Final[Mapping[str, int]] = {
    "up": -1,
    "down": 1,
    "pageup": -PAGE,
    "ctrl-b": -PAGE,
    "pagedown": PAGE,
    "ctrl-f": PAGE,
    "home": -_END,
    "g": -_END,
    "end": _END,
    "G": _END,
}
"""Rows that keys move by."""

S = TypeVar("S", bound=IntEnum)


@dataclass(frozen=True, slots=True)
class Toast:
    """A short message that goes away."""

    text: str
    until_s: float
    style: str = "bar_good"


# --- a line being typed ---------------------------------------------------------------------------


def typed(text: str, key: Key) -> str:
    """Return a text after a key that types, or takes back what was typed."""
    match key.name:
        case "backspace":
            return text[:-1]
        case "ctrl-u":
            return ""
    return (text + key.text)[:TYPED_MAX]


def pasted(text: str, paste: str) -> str:
    """Return a text after the first line of what was pasted."""
    return (text + paste.partition("\n")[0].strip("\r"))[:TYPED_MAX]


def prompt_line(sign: str, text: str, hint: str, room: int) -> Line:
    """Return the line in which something is typed; its end is in sight."""
    return line(
        Span(sign, "key"), text[-max(1, room) :], Span("█", "accent"), Span(f"  {hint}", "dim")
    )


# --- lines ----------------------------------------------------------------------------------------


def too_small(size: Size, least: Size) -> list[Line]:
    """Return a frame that says how large the terminal should be."""
    text = f"terminal too small: {size.width}x{size.height}, {least.width}x{least.height} needed"
    return [(Span(part),) for part in wrap(text, size.width, size.height)]


def body(lines: list[Line], room: Size) -> list[Line]:
    """Return a screen as high as its room: what lies over it must cover what it means to."""
    return lines[: room.height] + [()] * (room.height - len(lines))


def header(left: Line, right: Line, width: int) -> Line:
    """Return the first line: what is shown, and how fresh it is."""
    return fit(spread(left, right, width), width)


def tabs(
    names: Mapping[S, str], current: S, width: int, short: Mapping[S, str] | None = None
) -> Line:
    """Return the screens' names, as long as they fit, then shorter ones, then digits.

    Args:
        names: By screen, in order.
        current: The screen on the screen.
        width: Of the terminal.
        short: Names for narrow terminals, where they differ.
    """
    gap = "  "
    shown = {screen: f"{screen.value} {name}" for screen, name in names.items()}
    if short is not None and _width(shown, gap) > width:
        gap = " "
        shown = {screen: f"{screen.value} {short.get(screen, names[screen])}" for screen in names}
    if _width(shown, gap) > width:
        shown = {s: shown[s] if s is current else str(s.value) for s in names}
    parts: list[Span] = []
    for screen, name in shown.items():
        digit, space, word = name.partition(" ")
        if screen is current:
            parts.append(Span(name, "selected"))
        else:
            parts += [Span(digit, "key"), Span(space + word, "dim")]
        parts.append(Span(gap))
    return (Span(" "), *parts)


def _width(shown: Mapping[S, str], gap: str) -> int:
    return sum(width_of(name) + len(gap) for name in shown.values())


def verdict_lines(level: int, text: str, hint: str, size: Size) -> list[Line]:
    """Return what is wrong and what to do: one line where that is enough, three at most.

    Args:
        level: 0 well, 1 a warning, 2 bad.
        text: What is.
        hint: What to do; empty for nothing.
        size: Of the terminal.
    """
    width = size.width
    style, mark = (("good", "✓"), ("bar_warn", "⚠"), ("bar_bad", "✗"))[level]
    text = f"{mark} {text}"
    hint = f"→ {hint}" if hint else ""
    lines_max = VERDICT_LINES_MAX if size.height >= 20 and level else 1
    said = wrap(f"{text} {hint}", width - 2, lines_max + 1)
    if len(said) > lines_max:
        # What to do is worth a line of its own; where there is but one, what is wrong has it.
        said = wrap(text, width - 2, max(1, lines_max - 1))
        said += wrap(hint, width - 2, lines_max - 1)[:1]
    return [(Span(pad(f" {part}", width), style),) for part in said]


def toast_line(toast: Toast, width: int) -> Line:
    """Return a message as a line of its own."""
    return (Span(pad(f" {toast.text}", width), toast.style),)


def hints_line(hints: Sequence[tuple[str, str]], filter: str, width: int) -> Line:
    """Return the last line: as many keys as fit, and what the screen is filtered by."""
    left: Line = ()
    for key, word in hints:
        more = line(Span(f" {key}", "key"), Span(f" {word} ", "dim"))
        if line_width(left) + line_width(more) > width:
            break
        left = line(left, more)
    where = line(Span(f"filter {cut(filter, 20)!r} ", "warn")) if filter else ()
    return spread(left, where, width)
