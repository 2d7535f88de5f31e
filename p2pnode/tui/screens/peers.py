"""Screen 3: who this node is connected to."""

from __future__ import annotations

from p2pnode.node.answers import PeerRow
from p2pnode.tui import rows as lists
from p2pnode.tui.model import Model
from p2pnode.tui.screens.common import count, milliseconds, number, short, span_s
from p2pnode.tui.text import Line, Size, Span, wrap
from p2pnode.tui.widgets import Column, Row, Table, box, heading, label, overlay, window

COLUMNS = (
    Column("name", 14, grows=1, width_max=24),
    Column("role", 9),
    Column("dir", 3),
    Column("rtt", 7, right=True),
    Column("height", 8, right=True),
    Column("score", 6, right=True),
    Column("against it", 16, grows=1, width_max=40, optional=3),
    Column("id", 14, grows=2, width_max=54, optional=1),
    Column("address", 22, grows=1, width_max=48, optional=2),
)

REASONS_MAX = 4
"""Reasons shown in full."""


def peers(model: Model, room: Size) -> list[Line]:
    """Return the screen."""
    status = model.status
    assert status is not None
    width, height = room
    shown = lists.peers(model)
    selected = min(model.ui.selected, max(0, len(shown) - 1))
    inbound = sum(row.inbound for row in model.shown.peers)
    title = f"{count(len(model.shown.peers))} peers, {count(inbound)} dialled us"
    if model.filter:
        title = f"{count(len(shown))} of {title}"
    lines = [heading(title, width, Span("score: 0 neutral, -100 banned", "dim"))]
    if not shown:
        return [*lines, (), *_nobody(model, width)]
    rows = [_row(model, row, place == selected) for place, row in enumerate(shown)]
    first = window(selected, len(rows), height - len(lines) - 1)
    lines += Table(COLUMNS, rows).lines(width, height - len(lines), first)
    if model.ui.detail:
        lines += [()] * (height - len(lines))
        return overlay(lines, _detail(model, shown[selected], min(width, 76)), width)
    return lines


def _row(model: Model, row: PeerRow, selected: bool) -> Row:
    status = model.status
    assert status is not None
    rtt_ms = None if row.rtt_ms is None else number(row.rtt_ms)
    score = number(row.score)
    lag = row.height is not None and row.height + 3 < status.height
    return Row(
        (
            Span(row.name or short(row.id, 12), "strong" if row.validator is not None else "text"),
            Span("validator" if row.validator is not None else "peer", "dim"),
            Span("in" if row.inbound else "out", "dim"),
            Span(
                "-" if rtt_ms is None else milliseconds(rtt_ms),
                "dim" if rtt_ms is None else "good" if rtt_ms < 150 else "warn",
            ),
            Span("-" if row.height is None else count(row.height), "warn" if lag else "text"),
            Span(f"{score:.1f}", "good" if score >= 0 else "warn" if score > -50 else "bad"),
            Span(row.reasons[0].reason if row.reasons else "-", "warn" if row.reasons else "dim"),
            Span(row.id, "dim"),
            Span(row.address, "dim"),
        ),
        selected,
    )


def _nobody(model: Model, width: int) -> list[Line]:
    if "peers" in model.shown.refused:
        text = f"the node does not tell its peers: {model.shown.refused['peers']}"
    elif model.shown.peers_s is None:
        text = "no answer yet"
    elif model.filter:
        text = f"no peer has {model.filter!r} in its name, id or address; esc shows all"
    else:
        text = (
            "no peers: nothing can become final that needs others. Check network.bootstrap in the"
            " configuration, and that the first peers can be reached: p2pnode doctor"
        )
    return [(Span(part, "warn"),) for part in wrap(text, width, 4)]


def _detail(model: Model, row: PeerRow, width: int) -> list[Line]:
    seen = "" if model.shown.peers_s is None else span_s(model.clock_s - model.shown.peers_s)
    lines: list[Line] = [
        label("id", row.id),
        label("address", row.address),
        label("direction", "it dialled us" if row.inbound else "we dialled it"),
        label("validator", "no" if row.validator is None else f"number {row.validator} of the set"),
        label("round trip", "no ping yet" if row.rtt_ms is None else milliseconds(row.rtt_ms)),
        label("height", "not told" if row.height is None else count(row.height)),
        label("seen", f"{seen} ago"),
        label("score", f"{number(row.score):.1f}", Span(f"  {_score_text(row)}", "dim")),
        *_reasons(row),
        (),
    ]
    if model.admin.path:
        lines.append((Span("d", "key"), Span(" disconnect  "), Span("b", "key"), Span(" ban  ")))
    else:
        why = f"no disconnect or ban: {model.admin.why_not}"
        lines += [(Span(part, "dim"),) for part in wrap(why, width - 4, 3)]
    lines.append((Span("y", "key"), Span(" copy the id  "), Span("esc", "key"), Span(" close")))
    return box(row.name or short(row.id, 20), lines, width)


def _reasons(row: PeerRow) -> list[Line]:
    """Return what the peer has lost points for, newest first."""
    return [
        label(
            "",
            Span(f"{-number(lost.points):+.1f}  ", "warn"),
            lost.reason,
            Span(f", {span_s(lost.age_s)} ago", "dim"),
        )
        for lost in row.reasons[:REASONS_MAX]
    ]


def _score_text(row: PeerRow) -> str:
    score = number(row.score)
    if score >= 0:
        return "nothing against it"
    if score > -50:
        return "sent something invalid or too much"
    return "misbehaves: banned at -100"
