"""Screen 1: whether the node is well, at one glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pnode.node.status import NodeStatus
from p2pnode.tui.model import Data, Model, Sample
from p2pnode.tui.screens.common import (
    LEGEND,
    cells,
    clock,
    count,
    milliseconds,
    number,
    percent,
    rate,
    ratio,
    size,
    span_s,
    validator_name,
    views_of,
)
from p2pnode.tui.text import Line, Size, Span, beside, line
from p2pnode.tui.widgets import Column, Row, Table, heading, label, plot

CHART_SIDE: Final = 24
"""Cells of a chart's name and value."""


def overview(model: Model, room: Size) -> list[Line]:
    """Return the screen."""
    status = model.status
    assert status is not None
    data = model.shown
    width, height = room
    wide = width >= 100
    left_width = width // 2 - 1 if wide else width
    lines = [heading("health", left_width), *_health(model, status)]
    if wide:
        right_width = width - left_width - 2
        lines = beside(lines, left_width, _validators(status, right_width, len(lines)))
    lines.append(heading("blocks", width, LEGEND))
    rows = 1 if height < 30 else 2
    views = views_of(data)
    lines += [cells(views[: len(views) - width * back], width) for back in range(rows - 1, -1, -1)]
    left = height - len(lines)
    if left < 7:
        return lines + _series(data, width, 1)[: max(0, left)]
    pairs = width >= 100
    tall = 1
    if left >= 24:
        tall = min(4, (left - 8) // (3 if pairs else 6) - pairs)
    series = _series(data, width, tall)
    lines += series
    left = height - len(lines)
    if left >= 4:
        lines += _blocks(model, status, Size(width, left))
    return lines


def _health(model: Model, status: NodeStatus) -> list[Line]:
    age = status.last_block_age_s
    behind = max(0, status.best_height - status.height)
    height = Span(count(status.height), "strong")
    if status.ready:
        state = Span("ready", "good")
    elif status.syncing:
        state = Span(f"syncing, {count(behind)} blocks behind", "warn")
    else:
        state = Span("not ready", "bad")
    if status.observing:
        state = Span("observing: signs nothing until the next epoch", "warn")
    if age is None:
        block = Span("no block since start", "warn")
    else:
        age = number(age) + model.age_s
        style = "good" if age < 3 else "warn" if age < 10 else "bad"
        block = Span(f"{span_s(age)} ago", style)
    consensus = status.consensus
    connected = sum(row.connected for row in consensus.validators)
    pool = status.mempool
    lines = [
        label("state", state, *_uptime(status)),
        label(
            "height",
            height,
            Span("  final ", "dim"),
            count(status.finalized_height),
            Span("  executed ", "dim"),
            count(status.executed_height),
            Span("  certified ", "dim"),
            count(status.certified_height),
        ),
        label("last block", block, Span("  view ", "dim"), count(status.view), *_proposer(status)),
        label(
            "peers",
            Span(count(status.peers_count), "strong" if status.peers_count else "bad"),
            Span(f" ({count(status.peers_in_count)} in)", "dim"),
            *(
                (
                    Span("  validators ", "dim"),
                    Span(
                        f"{connected} of {len(consensus.validators)}",
                        "good" if connected * 3 > 2 * len(consensus.validators) else "bad",
                    ),
                    Span(f" here, {count(consensus.quorum)} needed", "dim"),
                )
                if consensus.validators
                else ()
            ),
        ),
        label(
            "mempool",
            f"{count(pool.transactions_count)} transactions  {size(pool.size_bytes)}",
            *(
                (
                    Span(
                        f"  {percent(ratio(pool.transactions_count, pool.transactions_max))}", "dim"
                    ),
                )
                if pool.transactions_max
                else ()
            ),
        ),
    ]
    return lines


def _uptime(status: NodeStatus) -> tuple[Span, ...]:
    if status.device.uptime_s <= 0:
        return ()
    return (Span("  up ", "dim"), Span(span_s(status.device.uptime_s)))


def _proposer(status: NodeStatus) -> tuple[Span, ...]:
    if status.proposer is None:
        return ()
    return (Span("  proposer ", "dim"), Span(validator_name(status, status.proposer)))


def _validators(status: NodeStatus, width: int, height: int) -> list[Line]:
    """Return the validator set, where there is room beside the health."""
    rows = status.consensus.validators
    if not rows:
        return _machine(status, width)
    shown = rows if len(rows) <= height - 1 else rows[: height - 2]
    title = f"validators, {status.consensus.quorum} of {status.consensus.power_total} votes needed"
    lines = [heading(title, width)]
    for row in shown:
        here = Span("●", "good") if row.connected else Span("○", "bad")
        heard = "never heard"
        style = "bad"
        if row.own:
            heard, style = "this node", "own"
        elif row.heard_s is not None:
            heard = f"heard {span_s(row.heard_s)} ago"
            style = "dim" if row.heard_s < 5 else "warn"
        name = row.name or f"validator {row.index}"
        behind = ""
        if row.height is not None and row.height + 1 < status.height:
            behind = f"  {count(status.height - row.height)} blocks behind"
        lines.append(
            line(here, " ", Span(f"{name[:14]:<14}"), Span(heard, style), Span(behind, "warn"))
        )
    if len(shown) < len(rows):
        away = sum(not row.connected for row in rows[len(shown) :])
        more = f"  and {len(rows) - len(shown)} more, {away} of them not connected"
        lines.append((Span(more, "warn" if away else "dim"),))
    return lines


def _machine(status: NodeStatus, width: int) -> list[Line]:
    device = status.device
    return [
        heading("machine", width),
        label("memory", f"{size(status.memory_bytes)} of {size(device.memory_total_bytes)}"),
        label("cpu", f"{span_s(status.cpu_s)} since start"),
        label("roles", ", ".join(status.roles) or "none"),
        label("engine", f"{status.engine}, {status.scheme}"),
    ]


def _series(data: Data, width: int, tall: int) -> list[Line]:
    """Return the sparklines: name, value now, columns."""
    samples = data.samples
    now = samples[-1] if samples else Sample()
    seconds = min(len(samples), max(0, (width // 2 if width >= 100 else width) - CHART_SIDE))
    lines = [heading(f"last {span_s(seconds)}", width)]
    series: tuple[tuple[str, str, Sequence[float], str], ...] = (
        (
            "tx/s",
            f"{number(now.transactions_per_s):.0f}",
            [s.transactions_per_s for s in samples],
            "good",
        ),
        ("latency", milliseconds(now.latency_ms), [s.latency_ms for s in samples], "spark"),
        ("cpu", percent(now.cpu), [s.cpu for s in samples], "spark"),
        ("memory", size(now.memory_bytes), [s.memory_bytes for s in samples], "spark"),
        (
            "received",
            rate(now.received_bytes_per_s),
            [s.received_bytes_per_s for s in samples],
            "accent",
        ),
        ("sent", rate(now.sent_bytes_per_s), [s.sent_bytes_per_s for s in samples], "accent"),
    )
    # Two beside each other where there is room: seconds need less of it than the eye does.
    pairs = width >= 100
    chart_width = width // 2 - 1 if pairs else width
    charts = [_chart(*entry, chart_width, tall) for entry in series]
    if pairs:
        for left, right in zip(charts[::2], charts[1::2], strict=True):
            lines += beside(left, chart_width, right)
            if tall > 1:
                lines.append(())
        return lines
    for chart in charts:
        lines += chart
    return lines


def _chart(
    name: str, shown: str, values: Sequence[float], style: str, width: int, tall: int
) -> list[Line]:
    """Return a series: its name and value now, and columns up to the greatest value."""
    columns = plot(values, width - CHART_SIDE, tall, style)
    side: list[Line] = [line(" " * CHART_SIDE)] * (len(columns) - 1)
    side.append(label(name, Span(f"{shown:>12}", "strong"), " ", width=CHART_SIDE - 13))
    return [line(*head, span) for head, span in zip(side, columns, strict=True)]


def _blocks(model: Model, status: NodeStatus, room: Size) -> list[Line]:
    """Return the newest blocks, newest first."""
    columns = (
        Column("height", 9, right=True),
        Column("view", 9, right=True),
        Column("final at", 12),
        Column("tx", 6, right=True),
        Column("proposer", 14, grows=1, width_max=24),
        Column("hash", 18, grows=1, width_max=64, optional=1),
    )
    rows = [
        Row(
            (
                Span(count(block.height), "strong"),
                Span(count(block.view)),
                Span(clock(block.time_ms, model.offset_s), "dim"),
                Span(
                    count(block.transactions_count), "good" if block.transactions_count else "dim"
                ),
                Span(validator_name(status, block.proposer)),
                Span(block.hash, "dim"),
            )
        )
        for block in reversed(model.shown.blocks[-room.height :])
    ]
    if not rows:
        return []
    return [
        heading("newest blocks", room.width),
        *Table(columns, rows).lines(room.width, room.height - 1),
    ]
