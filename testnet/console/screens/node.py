"""Screen 5: one node: its process, and the engine as it sees it. Pure.

The second part is the consensus screen of the node's own TUI.
"""

from __future__ import annotations

from typing import Final

from p2pnode.tui import model as single
from p2pnode.tui.screens.common import count, percent, size, span_s
from p2pnode.tui.screens.consensus import consensus
from p2pnode.tui.text import Line, Size, Span, wrap
from p2pnode.tui.widgets import heading, label, sparkline
from testnet.console.model import Model, NodeHistory, NodeRow
from testnet.console.screens.parts import block_age, since, state_of

LABEL: Final = 11


def node(model: Model, room: Size) -> list[Line]:
    """Return the screen."""
    width, height = room
    row = model.current
    if row is None:
        return [heading("node", width), (Span("no node is under the cursor", "dim"),)]
    assert model.network is not None
    place = model.network.names.index(row.name) + 1
    note = Span(f"{place} of {len(model.network.nodes)}, up and down", "dim")
    lines = [heading(row.name, width, note), *_process(model, row, width)]
    if row.status is None:
        lines.append((Span("it has not answered since it was started", "dim"),))
        return lines
    rest = Size(width, height - len(lines))
    return lines + consensus(_as_single(model, row), rest)


def _process(model: Model, row: NodeRow, width: int) -> list[Line]:
    status = row.status
    history = model.histories.get(row.name, NodeHistory())
    cpu = percent(history.cpu[-1]) if history.cpu and row.state == "running" else "-"
    memory = "-" if status is None else size(status.memory_bytes)
    pid = "no process" if row.pid is None else f"pid {row.pid}"
    role = " ".join(row.roles)
    lines = [
        label(
            "state",
            state_of(model, row),
            Span(" for ", "dim") if since(model, row).text else "",
            since(model, row),
            Span(f"  {pid}  started {row.starts}x  {role}", "dim"),
            width=LABEL,
        ),
        label("rpc", Span(row.rpc, "accent"), Span("  p2pnode tui --node …", "dim"), width=LABEL),
        label(
            "machine",
            f"cpu {cpu}  memory {memory}  ",
            Span("last block ", "dim"),
            block_age(model, row),
            Span("  cpu ", "dim"),
            sparkline(history.cpu, max(8, min(40, width - 70))),
            width=LABEL,
        ),
    ]
    if row.crash and row.state == "crashed":
        lines += [(Span(part, "bad"),) for part in wrap(row.crash, width, 3)]
    if status is not None and row.state == "running":
        waits = status.not_ready_reasons
        if waits:
            lines.append(label("not ready", Span("; ".join(waits), "warn"), width=LABEL))
    elif status is not None and model.network is not None:
        age_s = model.network.came_s - row.status_s
        text = f"what follows it said {span_s(age_s)} ago, at height {count(status.height)}"
        lines.append((Span(text, "warn"),))
    return lines


def _as_single(model: Model, row: NodeRow) -> single.Model:
    """Return the node as its own TUI would have it."""
    assert row.status is not None
    link = single.Link(row.rpc, single.LinkState.LIVE)
    data = single.Data(status=row.status, status_s=row.status_s, views=row.status.consensus.recent)
    ui = single.Ui(screen=single.ScreenName.CONSENSUS)
    return single.Model(link, now_s=model.now_s, data=data, ui=ui, offset_s=model.offset_s)
