"""What the screens share: numbers as people read them, names, and the row of view cells.

Nothing here fails on any number a node could send.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from p2pnode.node.status import (
    NodeStatus,
    SkipReason,
    ViewOutcome,
    ViewRow,
)
from p2pnode.node.units import human_size
from p2pnode.tui.model import Data
from p2pnode.tui.text import Line, Span

CELLS: Final = {
    ViewOutcome.FINAL: Span("█", "final"),
    ViewOutcome.NOTARIZED: Span("▓", "notarized"),
    ViewOutcome.SKIPPED: Span("✗", "skipped"),
    ViewOutcome.OPEN: Span("░", "open"),
}
"""A view as a cell: told apart by shape as well as by colour."""

LEGEND: Final[Line] = (
    Span("█", "final"),
    Span(" final ", "dim"),
    Span("▓", "notarized"),
    Span(" notarized ", "dim"),
    Span("✗", "skipped"),
    Span(" skipped ", "dim"),
    Span("░", "open"),
    Span(" open", "dim"),
)


def number(value: float) -> float:
    """Return a number that can be computed with: finite, and below 10^18."""
    try:
        found = float(value)
    except OverflowError:
        return 1e18 if value > 0 else -1e18
    return min(1e18, max(-1e18, found)) if math.isfinite(found) else 0.0


def count(value: float) -> str:
    """Return how many: all digits up to a million, then shortened."""
    found = number(value)
    for unit in ("", " M", " G", " T"):
        if abs(found) < (1e6 if not unit else 1e3) or unit == " T":
            break
        found /= 1e6 if not unit else 1e3
    return f"{found:.0f}" if not unit else f"{found:.2f}{unit}"


def size(value: float) -> str:
    """Return a size, such as `12.3 KiB`."""
    return human_size(number(value))


def rate(value: float) -> str:
    """Return bytes per second."""
    return f"{size(value)}/s"


def span_s(value: float) -> str:
    """Return a stretch of time: `0.2 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(0.0, number(value))
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400 * 2:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def milliseconds(value: float) -> str:
    """Return a short time: `4.2 ms`, `180 ms`, `2.3 s`."""
    found = number(value)
    if abs(found) >= 10_000:
        return span_s(found / 1000)
    return f"{found:.1f} ms" if abs(found) < 10 else f"{found:.0f} ms"


def percent(fraction: float) -> str:
    """Return a fraction as a percentage."""
    value = number(fraction) * 100
    return f"{value:.1f} %" if abs(value) < 10 else f"{value:.0f} %"


def ratio(part: float, whole: float) -> float:
    """Return part of whole, 0 where there is no whole."""
    below = number(whole)
    return number(part) / below if below > 0 else 0.0


def clock(time_ms: int, offset_s: int) -> str:
    """Return the time of day, `12:34:56.789`."""
    day_ms = (time_ms + offset_s * 1000) % 86_400_000
    seconds, ms = divmod(day_ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"


def short(text: str, length: int = 8) -> str:
    """Return the start of an id."""
    return text if len(text) <= length else f"{text[:length]}…"


def validator_name(status: NodeStatus, index: int | None) -> str:
    """Return what people call a validator."""
    if index is None:
        return "-"
    validators = status.consensus.validators
    if 0 <= index < len(validators) and validators[index].name:
        return validators[index].name
    if index == status.proposer and status.proposer_name:
        return status.proposer_name
    return f"validator {index}"


def views_of(data: Data) -> Sequence[ViewRow]:
    """Return the views to draw as cells; of blocks alone where the engine tells of no views."""
    if data.views:
        return data.views
    rows: list[ViewRow] = []
    for block in data.blocks:
        if rows:
            # A view between two blocks that has none was given up.
            for view in range(max(rows[-1].view + 1, block.view - 8), block.view):
                rows.append(ViewRow(view, None, ViewOutcome.SKIPPED))
        rows.append(ViewRow(block.view, block.proposer, ViewOutcome.FINAL, block.height))
    return rows


def cells(rows: Sequence[ViewRow], width: int) -> Line:
    """Return the last views as cells, the newest at the right."""
    shown = rows[-width:] if width > 0 else ()
    made: list[Span] = []
    for row in shown:
        text, style = CELLS[row.outcome]
        if made and made[-1].style == style:
            made[-1] = Span(made[-1].text + text, style)
        else:
            made.append(Span(text, style))
    return (Span(" " * (width - len(shown))), *made)


def skip_text(status: NodeStatus, row: ViewRow) -> str:
    """Return why a view was skipped, as a sentence."""
    proposer = validator_name(status, row.proposer)
    match row.skip:
        case SkipReason.SILENT:
            return f"nothing came from {proposer}"
        case SkipReason.LATE:
            late = "" if row.late_ms is None else f" {milliseconds(row.late_ms)}"
            return f"the proposal of {proposer} came{late} after the timer"
        case SkipReason.UNAVAILABLE:
            return f"the proposal of {proposer} could not be had or was refused"
        case SkipReason.VOTES:
            return f"too few votes came in time for the proposal of {proposer}"
        case SkipReason.OTHERS:
            return f"others gave it up (proposer {proposer})"
    return f"no reason known (proposer {proposer})"
