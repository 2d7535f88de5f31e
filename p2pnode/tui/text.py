"""Lines of styled text, measured in terminal cells, that can't move the cursor.

A line is a tuple of spans; a span is text and the name of a style (p2pnode/tui/theme.py). Texts of
peers pass through `fit` like everything else on the screen, and `fit` lets no control character,
no right-to-left or combining character through.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from rich.cells import cell_len, get_character_cell_size

PLAIN: Final = "text"
"""Style of what is not marked."""

SUBSTITUTE: Final = "\N{REPLACEMENT CHARACTER}"
"""Stands for a character that must not reach the terminal."""

_KEPT_MAX: Final = 4096
"""Characters whose harmlessness is remembered."""


class Size(NamedTuple):
    """Size of a terminal or a part of it, in cells."""

    width: int
    height: int


class Span(NamedTuple):
    """Text in one style."""

    text: str
    style: str = PLAIN


Line: TypeAlias = tuple[Span, ...]
Lines: TypeAlias = Sequence[Line]
Part: TypeAlias = "str | Span | Line"


def line(*parts: Part) -> Line:
    """Return a line of texts, spans and lines, in their order."""
    made: list[Span] = []
    for part in parts:
        if isinstance(part, str):
            made.append(Span(part))
        elif isinstance(part, Span):
            made.append(part)
        else:
            made += part
    return tuple(made)


def plain(line: Iterable[Span]) -> str:
    """Return a line's text."""
    return "".join(span.text for span in line)


class _Harmless(dict[int, str]):
    """Maps what must not reach a terminal to a substitute, and everything else to itself."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        found = character if _is_harmless(character) else SUBSTITUTE
        if len(self) < _KEPT_MAX:
            self[code] = found
        return found


def _is_harmless(character: str) -> bool:
    """Tell whether terminals agree that a character takes its cells and does nothing else.

    Left out: control and format characters, lone surrogates, unassigned and private ones;
    combining marks; what is written from right to left; and everything beyond the basic plane,
    since terminals disagree on the width of emoji and of their combinations.
    """
    if ord(character) > 0xFFFF or not character.isprintable():
        return False
    if unicodedata.category(character)[0] in "MCZ" and character != " ":
        return False
    if unicodedata.bidirectional(character) in ("R", "AL", "AN"):
        return False
    return get_character_cell_size(character) in (1, 2)


_HARMLESS: Final = _Harmless()


def clean(text: str) -> str:
    """Return a text with a substitute for each character that could do harm on a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_HARMLESS)


def width_of(text: str) -> int:
    """Return how many cells a cleaned text takes."""
    return len(text) if text.isascii() else cell_len(text)


def line_width(line: Iterable[Span]) -> int:
    """Return how many cells a line takes."""
    return sum(width_of(clean(span.text)) for span in line)


def cut(text: str, width: int) -> str:
    """Return a text cleaned and cut to a width, with an ellipsis where something is missing."""
    # A character takes a cell at least: what is beyond the width needs no cleaning.
    shown = clean(text[: width + 1])
    if width_of(shown) <= width:
        return shown
    return _head(shown, width - 1) + "…" if width > 0 else ""


def pad(text: str, width: int) -> str:
    """Return a text cut or filled up with spaces on its right to a width."""
    shown = cut(text, width)
    return shown + " " * (width - width_of(shown))


def pad_left(text: str, width: int) -> str:
    """Return a text cut or filled up with spaces on its left to a width."""
    shown = cut(text, width)
    return " " * (width - width_of(shown)) + shown


def fit(line: Iterable[Span], width: int) -> Line:
    """Return a line of exactly this width: cleaned, cut with an ellipsis, or filled up."""
    made: list[Span] = []
    left = width
    for span in line:
        text = span.text
        if not text:
            continue
        # Far more than fits is not even looked at: a log line may have thousands of characters.
        text = clean(text[: left + 1])
        cells = width_of(text)
        if cells > left:
            if left > 0:
                head = _head(text, left - 1)
                end = "…" + " " * (left - 1 - width_of(head))
                _add(made, Span(head + end, span.style))
            elif made:
                _end_with_ellipsis(made)
            return tuple(made)
        left -= cells
        _add(made, Span(text, span.style))
    if left > 0:
        _add(made, Span(" " * left))
    return tuple(made)


def fit_all(lines: Lines, size: Size) -> list[Line]:
    """Return exactly `size.height` lines of exactly `size.width` cells."""
    made = [fit(entry, size.width) for entry in lines[: size.height]]
    blank = (Span(" " * size.width),)
    return made + [blank] * (size.height - len(made))


def beside(left: Lines, left_width: int, right: Lines, gap: str = "  ") -> list[Line]:
    """Return two blocks side by side; the left one gets exactly its width."""
    count = max(len(left), len(right))
    none: Line = ()
    return [
        (
            *fit(left[row] if row < len(left) else none, left_width),
            Span(gap),
            *(right[row] if row < len(right) else none),
        )
        for row in range(count)
    ]


def wrap(text: str, width: int, lines_max: int) -> list[str]:
    """Return a text broken at spaces into lines; the last one is cut when there are more."""
    found: list[str] = []
    rest = clean(text).strip()
    while rest and width > 0 and len(found) < lines_max:
        if width_of(rest) <= width:
            found.append(rest)
            break
        if len(found) == lines_max - 1:
            found.append(cut(rest, width))
            break
        head = _head(rest, width + 1)
        space = head.rfind(" ")
        if space <= 0:
            head = _head(rest, width)
            space = len(head)
        if space == 0:
            # A wide character in one cell.
            break
        found.append(rest[:space].rstrip())
        rest = rest[space:].lstrip()
    return found


def _head(text: str, width: int) -> str:
    """Return the start of a cleaned text that takes at most `width` cells."""
    if text.isascii():
        return text[: max(0, width)]
    cells = 0
    for index, character in enumerate(text):
        cells += get_character_cell_size(character)
        if cells > width:
            return text[:index]
    return text


def _add(made: list[Span], span: Span) -> None:
    """Add a span, to the last one where that has the same style."""
    if made and made[-1].style == span.style:
        made[-1] = Span(made[-1].text + span.text, span.style)
    else:
        made.append(span)


def _end_with_ellipsis(made: list[Span]) -> None:
    """Say that a full line goes on: its last character becomes an ellipsis."""
    text, style = made[-1]
    cells = get_character_cell_size(text[-1])
    made[-1] = Span(text[:-1] + "…" + " " * (cells - 1), style)
