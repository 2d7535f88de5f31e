"""Screen 2: what the engine does, and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pnode.node.status import (
    ConsensusStatus,
    NodeStatus,
    ValidatorSeen,
    ViewOutcome,
    ViewRow,
    VoteCount,
)
from p2pnode.tui import rows as lists
from p2pnode.tui.model import Model
from p2pnode.tui.screens.common import (
    CELLS,
    LEGEND,
    cells,
    count,
    milliseconds,
    number,
    ratio,
    skip_text,
    span_s,
    validator_name,
    views_of,
)
from p2pnode.tui.text import Line, Size, Span, line, pad
from p2pnode.tui.widgets import Column, Row, Table, bar, heading, label, window

LABEL: Final = 13
NAME_WIDTH: Final = 12
SIDE_WIDTH: Final = NAME_WIDTH + 2 + 10


def consensus(model: Model, room: Size) -> list[Line]:
    """Return the screen."""
    status = model.status
    assert status is not None
    now = status.consensus
    width, height = room
    if not now.validators:
        return _without_details(model, status, room)
    title = f"view {count(now.view)} for height {count(now.height)}"
    lines = [
        heading(title, width, Span(f"{span_s(number(now.view_age_s) + model.age_s)} old", "dim"))
    ]
    lines += _view(model, status, width)
    room_rows = height - len(lines)
    known = len(lists.validators(model))
    # What the grid leaves, when it shows all.
    left = room_rows - max(1, known) - 2
    grid_rows = room_rows - left if left >= 5 else room_rows
    lines += _grid(model, Size(width, grid_rows))
    if left >= 5:
        lines += _recent(model, status, Size(width, height - len(lines)))
    return lines


def _view(model: Model, status: NodeStatus, width: int) -> list[Line]:
    now = status.consensus
    seen = Span("its proposal is here", "good")
    if not now.proposal_seen:
        seen = Span("no proposal yet", "warn" if now.demand else "dim")
    lines = [
        label(
            "proposer",
            Span(validator_name(status, now.proposer), "strong"),
            "  ",
            seen,
            width=LABEL,
        ),
    ]
    lines += [_votes(status, kind, width) for kind in now.votes[:4]]
    if not now.votes:
        lines.append(label("votes", Span("none yet", "dim"), width=LABEL))
    lines.append(_timer(model, now, width))
    if now.waiting:
        lines.append(label("waiting for", Span(now.waiting, "warn"), width=LABEL))
    skipped = [row for row in model.shown.views if row.outcome is ViewOutcome.SKIPPED]
    if skipped:
        row = skipped[-1]
        ago = now.view - row.view
        when = f"view {count(row.view)}" + (f" ({count(ago)} ago): " if ago > 0 else ": ")
        lines.append(
            label("last skipped", when, Span(skip_text(status, row), "skipped"), width=LABEL)
        )
    else:
        lines.append(label("last skipped", Span("none seen", "good"), width=LABEL))
    return lines


def _votes(status: NodeStatus, kind: VoteCount, width: int) -> Line:
    now = status.consensus
    enough = kind.power >= now.quorum > 0
    style = "final" if enough else "open"
    room = min(30, width // 4)
    names = ", ".join(validator_name(status, index) for index in kind.signers[:64])
    missing = [row.index for row in now.validators if row.index not in kind.signers]
    tail = f"  {names}"
    if not enough and kind.signers:
        lacking = ", ".join(validator_name(status, index) for index in missing[:64])
        tail = f"  missing {lacking}"
    return label(
        kind.kind,
        _quorum_bar(kind.power, now, room, style),
        f" {count(kind.power)} of {count(now.power_total)}",
        Span(f", {count(now.quorum)} needed", "dim"),
        Span(tail, "dim" if enough else "warn"),
        width=LABEL,
    )


def _quorum_bar(power: int, now: ConsensusStatus, width: int, style: str) -> Line:
    """Return a bar of the votes, with a mark where the quorum is."""
    plain = bar(ratio(power, now.power_total), width, style)
    place = min(width - 1, int(ratio(now.quorum, now.power_total) * width))
    if place <= 0:
        return plain
    text = "".join(span.text for span in plain)
    filled = len(plain[0].text)
    mark = "│"
    made = text[: place - 1] + mark + text[place:]
    return (Span(made[:filled], style), Span(made[filled:], "faint"))


def _timer(model: Model, now: ConsensusStatus, width: int) -> Line:
    if now.timer_s is None or now.timer_left_s is None:
        why = "nothing to propose: none runs" if not now.demand else "none runs"
        return label("timer", Span(why, "dim"), width=LABEL)
    left_s = max(0.0, number(now.timer_left_s) - model.age_s)
    part = ratio(left_s, now.timer_s)
    style = "good" if part > 0.5 else "warn" if part > 0.2 else "bad"
    tail = f" {span_s(left_s)} of {span_s(now.timer_s)} left"
    delta: tuple[Span, ...] = ()
    if now.delta_s is not None:
        text = f"  delay assumed {number(now.delta_s) * 1000:.0f} ms"
        if now.delta_max_s is not None:
            text += f" (≤ {span_s(now.delta_max_s)})"
        delta = (Span(text, "dim"),)
    return label("timer", bar(part, min(30, width // 4), style), tail, *delta, width=LABEL)


def _grid(model: Model, room: Size) -> list[Line]:
    """Return validators times views: whose votes came here in which view."""
    width, height = room
    if height < 4:
        return []
    columns = max(0, width - SIDE_WIDTH)
    shown = views_of(model.shown)[-columns:] if columns else ()
    title = "votes seen"
    if shown:
        title += f" in views {count(shown[0].view)} to {count(shown[-1].view)}"
    legend = LEGEND if width >= 80 else ()
    lines = [heading(title, width, legend)]
    lines.append(line(" " * SIDE_WIDTH, cells(shown, columns)))
    validators = lists.validators(model)
    room_rows = height - len(lines)
    selected = min(model.ui.selected, max(0, len(validators) - 1))
    first = window(selected, len(validators), room_rows)
    for place, row in enumerate(validators[first : first + room_rows]):
        lines.append(_validator(row, shown, columns, first + place == selected))
    if not validators:
        lines.append((Span(f"no validator is named like {model.filter!r}", "dim"),))
    return lines


def _validator(row: ValidatorSeen, shown: Sequence[ViewRow], columns: int, selected: bool) -> Line:
    name = row.name or f"validator {row.index}"
    style = "own" if row.own else "text" if row.connected else "bad"
    if row.own:
        side = "this node"
    elif row.view is not None:
        side = f"v {count(row.view)}"
    elif row.heard_s is not None:
        side = span_s(row.heard_s)
    else:
        side = "-"
    made = [
        Span("▸" if selected else " ", "key"),
        Span(pad(name, NAME_WIDTH), style),
        Span(" "),
        Span(pad(side, 9) + " ", "dim"),
        Span(" " * (columns - len(shown))),
    ]
    text: list[str] = []
    styles: list[str] = []
    for view in shown:
        if row.index in view.voters:
            text.append("●")
            styles.append(CELLS[view.outcome].style)
        else:
            text.append("·")
            styles.append("faint")
    begin = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or styles[place] != styles[begin]:
            made.append(Span("".join(text[begin:place]), styles[begin]))
            begin = place
    return tuple(made)


VIEWS: Final = (
    Column("view", 9, right=True),
    Column("height", 9, right=True),
    Column("proposer", 12, grows=1, width_max=24),
    Column("outcome", 9),
    Column("took", 7, right=True),
    Column("votes", 5, right=True),
    Column("", 14, grows=4),
)


def _recent(model: Model, status: NodeStatus, room: Size) -> list[Line]:
    """Return the newest views, newest first."""
    rows: list[Row] = []
    for row in reversed(views_of(model.shown)[-room.height :]):
        style = CELLS[row.outcome].style
        why = skip_text(status, row) if row.outcome is ViewOutcome.SKIPPED else ""
        rows.append(
            Row(
                (
                    Span(count(row.view), "strong"),
                    Span("-" if row.height is None else count(row.height)),
                    Span(validator_name(status, row.proposer)),
                    Span(row.outcome.value, style),
                    Span("-" if row.duration_ms is None else milliseconds(row.duration_ms)),
                    Span(count(len(row.voters)), "dim"),
                    Span(why, "skipped"),
                )
            )
        )
    if not rows:
        return []
    head = heading("newest views", room.width)
    return [head, *Table(VIEWS, rows).lines(room.width, room.height - 1)]


def _without_details(model: Model, status: NodeStatus, room: Size) -> list[Line]:
    """Return what can be said of an engine that tells nothing of its votes."""
    width = room.width
    skipped = status.counters.get("views_skipped", 0)
    entered = status.counters.get("views_entered", 0)
    return [
        heading(f"view {count(status.view)}, height {count(status.height)}", width),
        label("engine", status.engine),
        label("proposer", Span(validator_name(status, status.proposer), "strong")),
        label(
            "views",
            f"{count(entered)} entered, {count(skipped)} skipped since start",
        ),
        heading("blocks", width, LEGEND),
        cells(views_of(model.shown), width),
        (),
        (Span("This engine tells nothing of its votes and timers.", "dim"),),
    ]
