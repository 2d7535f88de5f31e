"""Screen 7: the node's log, followed or searched."""

from __future__ import annotations

import json

from p2pnode.telemetry.ring import LogRecord
from p2pnode.tui import rows as lists
from p2pnode.tui.model import Model
from p2pnode.tui.screens.common import clock, count
from p2pnode.tui.text import Line, Size, Span, clean, wrap
from p2pnode.tui.widgets import box, heading, label, overlay

STYLES = {"debug": "dim", "info": "text", "warning": "warn", "error": "bad"}
MARKS = {"debug": "debug", "info": "info ", "warning": "WARN ", "error": "ERROR"}


def log(model: Model, room: Size) -> list[Line]:
    """Return the screen."""
    width, height = room
    shown = lists.records(model)
    known = len(model.shown.log)
    back = min(model.ui.back, max(0, len(shown) - 1))
    place = "following" if back == 0 else f"{count(back)} lines back, f follows"
    title = f"log from level {model.ui.level}"
    if model.filter:
        title += f" with {model.filter!r}"
    state = f"{count(len(shown))} of {count(known)} lines, {place}"
    lines = [heading(title, width, Span(state, "dim" if back == 0 else "warn"))]
    if not shown:
        return [*lines, (), *_nothing(model, width)]
    end = len(shown) - back
    for record in shown[max(0, end - (height - 1)) : end]:
        lines.append(_record(model, record, width, record is shown[end - 1]))
    if model.ui.detail:
        lines += [()] * (height - len(lines))
        block = _detail(model, shown[end - 1], min(width, 100), height)
        return overlay(lines, block, width)
    return lines


def _record(model: Model, record: LogRecord, width: int, selected: bool) -> Line:
    style = STYLES.get(record.level, "bad")
    time = clock(record.time_ms, model.offset_s)
    if width < 60:
        time = time[:8]
    mark = Span("▸" if selected and model.ui.back else " ", "key")
    text = lists.record_text(record) if model.filter else lists.record_line(record)
    head = (
        mark,
        Span(f"{time} ", "dim"),
        Span(f"{MARKS.get(record.level, record.level[:5]):<5} ", style),
    )
    event, space, rest = text[: width * 2].partition(" ")
    body = (
        Span(event, "strong" if style == "text" else style),
        Span(space + rest, "dim" if style == "text" else style),
    )
    if not model.filter:
        return (*head, *body)
    return (*head, *(part for span in body for part in _marked(span, model.filter)))


def _marked(span: Span, wanted: str) -> list[Span]:
    """Return a span with what was searched for standing out."""
    text = clean(span.text)
    below = text.lower()
    if len(below) != len(text):
        return [span]
    parts: list[Span] = []
    begin = 0
    while True:
        place = below.find(wanted.lower(), begin)
        if place < 0:
            break
        parts.append(Span(text[begin:place], span.style))
        begin = place + len(wanted)
        parts.append(Span(text[place:begin], "key"))
    return [*parts, Span(text[begin:], span.style)]


def _nothing(model: Model, width: int) -> list[Line]:
    if "log" in model.shown.refused:
        text = f"the node does not show its log here: {model.shown.refused['log']}"
    elif model.filter:
        text = f"no line has {model.filter!r} in it; esc shows all"
    elif model.shown.log:
        text = f"no line of level {model.ui.level} or above; l changes the level"
    else:
        text = "the node has logged nothing yet"
    return [(Span(part, "dim"),) for part in wrap(text, width, 4)]


def _detail(model: Model, record: LogRecord, width: int, height: int) -> list[Line]:
    lines: list[Line] = [
        label("time", clock(record.time_ms, model.offset_s)),
        label("level", Span(record.level, STYLES.get(record.level, "bad"))),
        label("part", record.logger),
        label("event", Span(record.event, "strong")),
    ]
    room = max(0, height - 4 - len(lines))
    for name, value in record.fields.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for part in text[:4096].splitlines() or [""]:
            pieces = wrap(part, width - 15, 8) or [""]
            for number, piece in enumerate(pieces):
                lines.append(label(name if number == 0 else "", piece))
    lines = lines[: 4 + room]
    lines.append((Span("y", "key"), Span(" copy  "), Span("esc", "key"), Span(" close")))
    return box(f"line {record.number}", lines, width)
