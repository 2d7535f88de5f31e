"""Pieces of screens: headings, bars, sparklines, tables, cells. Pure, and without any subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from p2pnode.tui.text import (
    PLAIN,
    Line,
    Lines,
    Part,
    Span,
    cut,
    fit,
    line,
    line_width,
    pad,
    pad_left,
    width_of,
)

LEVELS: Final = "▁▂▃▄▅▆▇█"
NOTHING: Final = 1e-300
"""A chart of nothing greater is a chart of zeros: what is so small can't be divided by."""
_EIGHTH_COLUMNS: Final = " " + LEVELS
EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


def heading(title: str, width: int, *parts: Part) -> Line:
    """Return a rule with a title, and parts at its end."""
    end = line(*parts)
    left = width - width_of(title) - line_width(end) - 4
    rule = Span("─" * max(0, left) + (" " if end else "─"), "faint")
    return line(Span("─ ", "faint"), Span(title, "title"), " ", rule, end)


def sparkline(values: Sequence[float], width: int, style: str = "spark") -> Span:
    """Return the last values as columns of one row, the newest at the right.

    The scale begins at 0; a row of zeros is a row of the lowest columns.
    """
    if width <= 0:
        return Span("", style)
    shown = values[-width:]
    top = max(shown, default=0.0)
    scale = (len(LEVELS) - 1) / top if top > NOTHING else 0.0
    columns = "".join(LEVELS[min(7, max(0, round(value * scale)))] for value in shown)
    return Span(" " * (width - len(shown)) + columns, style)


def plot(values: Sequence[float], width: int, height: int, style: str = "spark") -> list[Span]:
    """Return the last values as columns of several rows, top row first; the scale begins at 0."""
    if width <= 0 or height <= 1:
        return [sparkline(values, width, style)]
    shown = values[-width:]
    top = max(shown, default=0.0)
    scale = height * 8 / top if top > NOTHING else 0.0
    # At least one eighth, so that zero is told from nothing.
    levels = [max(1, round(max(0.0, value) * scale)) for value in shown]
    blank = " " * (width - len(shown))
    rows: list[Span] = []
    for row in range(height - 1, -1, -1):
        eighths = (min(8, max(0, level - row * 8)) for level in levels)
        rows.append(Span(blank + "".join(_EIGHTH_COLUMNS[level] for level in eighths), style))
    return rows


def bar(fraction: float, width: int, style: str = "accent") -> Line:
    """Return a horizontal bar of eighths of a cell, filled to a fraction."""
    if width <= 0:
        return ()
    eighths = round(min(1.0, max(0.0, fraction)) * width * 8)
    full, part = divmod(eighths, 8)
    filled = "█" * full + (EIGHTHS[part] if part else "")
    return (Span(filled, style), Span("░" * (width - len(filled)), "faint"))


def label(name: str, *parts: Part, width: int = 11) -> Line:
    """Return a name in a column of its own, and its value."""
    return line(Span(pad(name, width), "dim"), *parts)


def spread(left: Line, right: Line, width: int) -> Line:
    """Return two lines in one, the second at the right end; it gives way when both don't fit."""
    room = width - line_width(left) - line_width(right)
    if room < 1:
        return fit(left, width)
    return line(left, " " * room, right)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    width_min: int
    grows: int = 0
    """Share of the room that is left over; 0: keeps its least width."""
    right: bool = False
    """Numbers stand at the right."""
    optional: int = 0
    """Left out when the table is too narrow, the greatest number first; 0: never."""
    width_max: int = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: a cell for each column."""

    cells: tuple[Span, ...]
    selected: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table that fits the room there is."""

    columns: tuple[Column, ...]
    rows: Sequence[Row] = field(default_factory=tuple)

    def lines(self, width: int, height: int, first: int = 0) -> list[Line]:
        """Return the titles and as many rows as fit, from a row on."""
        if height <= 0:
            return []
        widths = column_widths(self.columns, width - 1)
        head: list[Span] = [Span(" ")]
        for column, room in zip(self.columns, widths, strict=True):
            if room > 0:
                align = pad_left if column.right else pad
                head.append(
                    Span(("  " if len(head) > 1 else "") + align(column.title, room), "dim")
                )
        lines: list[Line] = [tuple(head)]
        lines += [self._row(row, widths, width) for row in self.rows[first : first + height - 1]]
        return lines

    def _row(self, row: Row, widths: Sequence[int], width: int) -> Line:
        spans: list[Span] = [Span("▸" if row.selected else " ", "key")]
        for column, room, (text, style) in zip(self.columns, widths, row.cells, strict=True):
            if room > 0:
                align = pad_left if column.right else pad
                if len(spans) > 1:
                    spans.append(Span("  "))
                spans.append(Span(align(text, room), style))
        if not row.selected:
            return tuple(spans)
        # The bar over the whole width, in one style: colours under it are hard to read.
        text = "".join(span.text for span in spans)
        return (Span(pad(cut(text, width), width), "selected"),)


def column_widths(columns: Sequence[Column], width: int) -> list[int]:
    """Return the width of each column, 0 for those left out; two cells stand between columns."""
    left_out: set[int] = set()
    order = sorted(
        (index for index, column in enumerate(columns) if column.optional),
        key=lambda index: -columns[index].optional,
    )

    def room() -> int:
        kept = [c for index, c in enumerate(columns) if index not in left_out]
        return width - sum(column.width_min + 2 for column in kept) + 2

    for index in order:
        if room() >= 0:
            break
        left_out.add(index)
    rest = max(0, room())
    widths = [0 if index in left_out else c.width_min for index, c in enumerate(columns)]
    for _ in range(3):
        growing = [
            index
            for index, column in enumerate(columns)
            if column.grows and index not in left_out and widths[index] < column.width_max
        ]
        shares = sum(columns[index].grows for index in growing)
        if rest <= 0 or not growing:
            break
        given = 0
        for index in growing:
            column = columns[index]
            more = min(rest * column.grows // shares, column.width_max - widths[index])
            widths[index] += more
            given += more
        rest -= given
        if given == 0:
            break
    return widths


def window(selected: int, count: int, height: int, first: int = 0) -> int:
    """Return the first row to show so that the selected one is seen, moving as little as needed."""
    if height <= 0 or count <= height:
        return 0
    if selected < first:
        first = selected
    elif selected >= first + height:
        first = selected - height + 1
    return max(0, min(first, count - height))


def box(title: str, lines: Lines, width: int, style: str = "accent") -> list[Line]:
    """Return lines in a frame with a title."""
    inner = width - 4
    top = pad(f"─ {cut(title, inner - 2)} ", 0) if inner < 3 else f"─ {cut(title, inner - 2)} "
    framed: list[Line] = [(Span("╭" + top + "─" * (width - 2 - width_of(top)) + "╮", style),)]
    for entry in lines:
        framed.append((Span("│ ", style), *fit(entry, inner), Span(" │", style)))
    framed.append((Span("╰" + "─" * (width - 2) + "╯", style),))
    return framed


def overlay(under: Sequence[Line], over: Lines, width: int) -> list[Line]:
    """Return lines with a block over their middle; what is under its rows is not shown."""
    block_width = max((line_width(entry) for entry in over), default=0)
    indent = " " * max(0, (width - block_width) // 2)
    top = max(0, (len(under) - len(over)) // 2)
    made = list(under)
    for index, entry in enumerate(over[: len(under)]):
        made[top + index] = (Span(indent, PLAIN), *entry)
    return made
