"""Screen 3: what all nodes log, merged by time. Pure."""

from __future__ import annotations

from itertools import islice
from typing import Final

from p2pnode.tui.screens.common import clock, count
from p2pnode.tui.text import Line, Size, Span, pad, wrap
from p2pnode.tui.widgets import heading
from testnet.console import logview
from testnet.console.model import LogLine, Model

STYLES: Final = {"debug": "dim", "info": "text", "warning": "warn", "error": "bad"}
MARKS: Final = {"debug": "debug", "info": "info", "warning": "WARN", "error": "ERROR"}
_COLOURS: Final = ("accent", "good", "own", "notarized", "key", "title")
"""Nodes are told apart by colour too; their names stand in every line."""


def logs(model: Model, room: Size) -> list[Line]:
    """Return the screen."""
    width, height = room
    ui = model.ui
    known = len(logview.lines(model))
    whom = ""
    if ui.selected and model.network is not None:
        names = [name for name in model.network.names if name in ui.selected]
        whom = f" of {', '.join(names[:4])}" + (" …" if len(names) > 4 else "")
    title = f"log{whom} from level {ui.level}"
    if model.filter:
        title += f" with {model.filter!r}"
    place, style = "following", "dim"
    if ui.frozen is not None:
        newer = sum(
            1 for entry in model.log if not ui.frozen or entry.time_ms > ui.frozen[-1].time_ms
        )
        place, style = f"PAUSED, {count(newer)} newer, f follows", "warn"
    if model.log_missed_count:
        place += f", {count(model.log_missed_count)} too fast to read"
    lines = [heading(title, width, Span(f"{count(known)} lines, {place}", style))]
    shown = list(islice(logview.shown(model), ui.back, ui.back + height - 1))
    if not shown:
        hint = "esc shows all, m lowers the level" if known else "nothing was logged yet"
        return [*lines, (), (Span(f"no line passes; {hint}", "dim"),)]
    detail: list[Line] = []
    if ui.frozen is not None and height >= 12:
        # The lowest line in full: it is the one that y copies and e takes the event from.
        entry = shown[0]
        whole = f"{entry.event}  {entry.text}"
        detail = [heading(f"{entry.node} {clock(entry.time_ms, model.offset_s)}", width)]
        detail += [(Span(part),) for part in wrap(whole, width, 4)]
    rows = shown[: max(0, height - 1 - len(detail))]
    for place_from_end, entry in reversed(list(enumerate(rows))):
        chosen = place_from_end == 0 and ui.frozen is not None
        lines.append(log_line(model, entry, width, chosen=chosen))
    lines += [()] * (height - len(lines) - len(detail))
    return lines + detail


def log_line(model: Model, entry: LogLine, width: int, *, chosen: bool = False) -> Line:
    """Return a line of the merged log."""
    style = STYLES.get(entry.level, "bad")
    time = clock(entry.time_ms, model.offset_s)
    names = () if model.network is None else model.network.names
    place = names.index(entry.node) if entry.node in names else 0
    return (
        Span("▸" if chosen else " ", "key"),
        Span(f"{time if width >= 100 else time[:8]} ", "dim"),
        Span(f"{pad(entry.node, 7)} ", _COLOURS[place % len(_COLOURS)]),
        Span(f"{MARKS.get(entry.level, entry.level[:5]):<5} ", style),
        Span(entry.event, "strong" if style == "text" else style),
        Span(f" {entry.text}", "dim" if style == "text" else style),
    )
