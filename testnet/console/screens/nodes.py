"""Screen 1: all nodes, a row each; and below them blocks and the newest log lines. Pure."""

from __future__ import annotations

from itertools import islice
from typing import Final

from p2pnode.tui.screens.common import LEGEND, cells, count, percent, size
from p2pnode.tui.text import Line, Size, Span
from p2pnode.tui.widgets import Column, Row, Table, heading, sparkline, window
from testnet.console import logview
from testnet.console.model import Model, NodeHistory, NodeRow, Screen
from testnet.console.screens.logs import log_line
from testnet.console.screens.parts import (
    block_age,
    quorum_line,
    selected_count,
    since,
    state_of,
)

SPARK: Final = 24
"""Widest sparkline."""

QUIET: Final = frozenset(("block_finalized", "status"))
"""Events that the rest of the screen shows already."""

_SHORT: Final = {"validator": "val", "executor": "exec", "bootstrap": "boot"}

_COLUMNS: Final = (
    Column("node", 7, grows=1, width_max=16),
    Column("state", 9),
    Column("since", 7, optional=7),
    Column("height", 6, right=True),
    Column("final", 6, right=True, optional=6),
    Column("view", 6, right=True, optional=1),
    Column("cpu", 5, right=True),
    Column("memory", 9, right=True, optional=2),
    Column("peers", 5, right=True, optional=3),
    Column("block", 6, right=True),
    Column("late", 6, right=True, optional=4),
    Column("blocks/s", 8, grows=2, width_max=SPARK),
    Column("roles", 8, optional=5, grows=1, width_max=18),
)


def nodes(model: Model, room: Size) -> list[Line]:
    """Return the screen."""
    width, height = room
    network = model.network
    assert network is not None
    rows = model.rows
    lines: list[Line] = [_heading(model, width)]
    if not rows:
        lines.append((Span(f"no node is like {model.node_filter!r}; esc shows all", "dim"),))
        return lines
    # A quarter of the screen stays for what is below, where there are many nodes.
    table_rows = min(len(rows), max(3, height - 2 - max(4, height // 4)))
    cursor = min(model.ui.cursor, len(rows) - 1)
    first = window(cursor, len(rows), table_rows)
    table = Table(
        _COLUMNS,
        [_row(model, node, at == cursor, width) for at, node in enumerate(rows)],
    )
    lines += table.lines(width, table_rows + 1, first)
    if len(rows) > table_rows:
        left = len(rows) - table_rows
        lines[0] = _heading(model, width, f"{left} of {len(rows)} more, up and down")
    left = height - len(lines)
    if left >= 1:
        lines.append(quorum_line(model, width))
    if left >= 3:
        lines.append(heading("blocks", width, LEGEND if width >= 80 else ()))
        lines.append(cells(model.views, width))
    left = height - len(lines)
    if left >= 2:
        whose = "events of the selected" if selected_count(model) else "events"
        lines.append(heading(whose, width, Span("without blocks; 3 shows all", "dim")))
        passing = (entry for entry in logview.shown(model) if entry.event not in QUIET)
        newest = list(islice(passing, left - 1))
        lines += [log_line(model, entry, width) for entry in reversed(newest)]
    return lines


def _heading(model: Model, width: int, more: str = "") -> Line:
    selected = selected_count(model)
    parts = []
    if more:
        parts.append(more)
    if selected:
        parts.append(f"{selected} selected, esc clears")
    if model.ui.filters.get(Screen.NODES):
        parts.append(f"only {model.node_filter!r}")
    return heading("nodes", width, Span(" · ".join(parts), "warn" if parts else "dim"))


def _row(model: Model, node: NodeRow, is_current: bool, width: int) -> Row:
    status = node.status
    history = model.histories.get(node.name, NodeHistory())
    alive = node.state in ("running", "paused")
    style = "text" if alive else "dim"
    mark = "●" if node.name in model.ui.selected else " "
    name = Span(f"{mark}{node.name}", "own" if mark == "●" else "strong" if alive else "dim")
    late = "-" if status is None else _late(status.device.lateness_p99_ms)
    cpu = history.cpu[-1] if history.cpu and node.state == "running" else None
    known = status is not None
    return Row(
        (
            name,
            state_of(model, node),
            since(model, node),
            Span(count(status.height) if status else "-", style),
            Span(count(status.finalized_height) if status else "-", style),
            Span(count(status.view) if status else "-", style),
            Span("-" if cpu is None else percent(cpu).replace(" ", ""), style),
            Span(size(status.memory_bytes) if status and alive else "-", style),
            Span(count(status.peers_count) if status and alive else "-", style),
            block_age(model, node),
            Span(late if alive and known else "-", style),
            sparkline(history.blocks_per_s, SPARK if width >= 150 else 8),
            Span(_roles(node, width), "dim"),
        ),
        selected=is_current,
    )


def _roles(node: NodeRow, width: int) -> str:
    if width >= 150:
        return " ".join(node.roles)
    return " ".join(_SHORT.get(role, role[:4]) for role in node.roles)


def _late(p99_ms: float | None) -> str:
    return "-" if p99_ms is None else f"{p99_ms:.0f}ms"
