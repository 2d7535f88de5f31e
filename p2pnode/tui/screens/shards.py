"""Screen 5: the account shards, who runs them, and how far they are."""

from __future__ import annotations

from p2pnode.node.status import NodeStatus, ShardStatus
from p2pnode.tui import rows as lists
from p2pnode.tui.model import Model
from p2pnode.tui.screens.common import count, percent, ratio, short, validator_name
from p2pnode.tui.text import Line, Size, Span
from p2pnode.tui.widgets import Column, Row, Table, bar, box, heading, label, overlay, window

ADDRESSES = 1 << 256
"""How many addresses there are: 32 bytes."""


def shards(model: Model, room: Size) -> list[Line]:
    """Return the screen."""
    status = model.status
    assert status is not None
    width, height = room
    shown = lists.shards(model)
    if not status.shard_rows:
        return _roots_only(status, room)
    own = sum(row.own for row in status.shard_rows)
    waiting = sum(row.receipts_waiting for row in status.shard_rows)
    title = f"{count(len(status.shard_rows))} shards, {count(own)} run here"
    lines = [heading(title, width, Span(f"{count(waiting)} outboxes waiting", "dim"))]
    if not shown:
        text = f"no shard is {model.filter!r}; type a number, or own"
        return [*lines, (), (Span(text, "warn"),)]
    map_width = max(12, min(40, width - 62))
    columns = (
        Column("shard", 6),
        Column("range", map_width),
        Column("executors", 14, grows=1, width_max=40),
        Column("executed", 8, right=True),
        Column("certified", 9, right=True),
        Column("accounts", 8, right=True, optional=2),
        Column("tx here", 8, right=True),
        Column("waiting", 7, right=True, optional=1),
    )
    selected = min(model.ui.selected, len(shown) - 1)
    rows = [_row(status, row, map_width, place == selected) for place, row in enumerate(shown)]
    first = window(selected, len(rows), height - len(lines) - 1)
    lines += Table(columns, rows).lines(width, height - len(lines), first)
    if height - len(lines) >= 4:
        lines += _load(status, width)[: height - len(lines)]
    if model.ui.detail:
        lines += [()] * (height - len(lines))
        return overlay(lines, _detail(status, shown[selected], min(width, 76)), width)
    return lines


def _row(status: NodeStatus, row: ShardStatus, width: int, selected: bool) -> Row:
    executors = ", ".join(validator_name(status, index) for index in row.executors[:16])
    if len(row.executors) == len(status.consensus.validators) > 2:
        executors = f"all {len(row.executors)}"
    behind = status.height - row.executed_height
    late = row.own and behind > 5
    return Row(
        (
            Span("system" if row.uid == 0 else str(row.uid), "own" if row.own else "text"),
            Span(_map(row, width), "final" if row.own else "dim"),
            Span(executors or "-"),
            Span(count(row.executed_height) if row.own else "-", "warn" if late else "text"),
            Span(_certified(row)),
            Span(count(row.accounts_count) if row.own else "-", "dim"),
            Span(count(row.transactions_count) if row.own else "-"),
            Span(count(row.receipts_waiting), "warn" if row.receipts_waiting else "dim"),
        ),
        selected,
    )


def _certified(row: ShardStatus) -> str:
    """Return the certified height; the system shard, with nothing to do, has no result."""
    return "-" if row.uid == 0 and not row.certified_height else count(row.certified_height)


def _map(row: ShardStatus, width: int) -> str:
    """Return where in all addresses the shard's range is."""
    if row.uid == 0:
        return "validators, stakes"
    first, last = _address(row.first), _address(row.last)
    if first is None or last is None or last < first:
        return "range not told"
    begin = first * width // ADDRESSES
    end = max(begin + 1, -(-(last + 1) * width // ADDRESSES))
    return "░" * begin + "█" * (end - begin) + "░" * (width - end)


def _address(text: str) -> int | None:
    try:
        value = int(text[:64].ljust(64, "0"), 16)
    except ValueError:
        return None
    return value if text and 0 <= value < ADDRESSES else None


def _load(status: NodeStatus, width: int) -> list[Line]:
    """Return how the transactions executed here fall on the shards."""
    rows = [row for row in status.shard_rows if row.own and row.uid != 0]
    total = sum(row.transactions_count for row in rows)
    lines: list[Line] = [(), heading("load: transactions executed here since start", width)]
    for row in rows:
        part = ratio(row.transactions_count, total)
        lines.append(
            label(
                f"shard {row.uid}",
                bar(part, min(60, width // 2), "accent"),
                f" {count(row.transactions_count)}  ",
                Span(percent(part), "dim"),
            )
        )
    return lines


def _detail(status: NodeStatus, row: ShardStatus, width: int) -> list[Line]:
    root = status.state_roots.get(row.uid)
    lines = [
        label("from", row.first or "-"),
        label("to", row.last or "-"),
        label("executors", ", ".join(validator_name(status, i) for i in row.executors[:32]) or "-"),
        label("run here", "yes" if row.own else "no"),
        label("state root", "not computed here" if root is None else root.root),
        label("", "" if root is None else f"after height {count(root.height)}"),
        (Span("y", "key"), Span(" copy the root  "), Span("esc", "key"), Span(" close")),
    ]
    return box("system shard" if row.uid == 0 else f"shard {row.uid}", lines, width)


def _roots_only(status: NodeStatus, room: Size) -> list[Line]:
    """Return what is known where the node tells of no shards but its own states."""
    columns = (
        Column("shard", 8),
        Column("state after height", 18, right=True),
        Column("state root", 20, grows=1, width_max=64),
    )
    rows = [
        Row(
            (
                Span("system" if uid == 0 else str(uid), "own"),
                Span(count(root.height)),
                Span(short(root.root, 64), "dim"),
            )
        )
        for uid, root in sorted(status.state_roots.items())
    ]
    lines = [heading(f"{count(len(rows))} states held here", room.width)]
    return lines + Table(columns, rows).lines(room.width, room.height - 1)
