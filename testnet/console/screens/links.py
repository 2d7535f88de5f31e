"""Screen 2: the links, as a matrix of round trips, and what was made of them. Pure."""

from __future__ import annotations

from typing import Final

from p2pnode.tui.screens.common import number, span_s
from p2pnode.tui.text import Line, Size, Span, cut, pad, pad_left
from p2pnode.tui.widgets import Column, Row, Table, heading, window
from testnet.console.model import LinkRow, Model, Network, Pair
from testnet.console.screens.parts import quorum_line, state_of

CELL: Final = 8
SIDE: Final = 20
NARROW: Final = 10

_COLUMNS: Final = (
    Column("link", 15, grows=1, width_max=32),
    Column("round trip", 10, right=True),
    Column("cut for", 9, right=True),
    Column("profile", 12, grows=1, width_max=24),
    Column("one way", 16, optional=2),
    Column("lost", 6, optional=1),
)


def links(model: Model, room: Size) -> list[Line]:
    """Return the screen: the matrix where it fits, else a list."""
    network = model.network
    assert network is not None
    if len(network.nodes) < 2:
        return [
            heading("links", room.width),
            (Span("one node: there are no links", "dim"),),
        ]
    side = SIDE if room.width >= SIDE + CELL * len(network.nodes) else NARROW
    fits = room.width >= side + CELL * len(network.nodes)
    if fits and not model.filter and room.height >= len(network.nodes) + 3:
        return _matrix(model, network, room, side)
    rest = Size(room.width, room.height - 1)
    return [quorum_line(model, room.width), *_list(model, network, rest)]


def _matrix(model: Model, network: Network, room: Size, side: int) -> list[Line]:
    width, height = room
    title = "round trips in ms, from row to column"
    lines = [heading(title, width, Span("c cut  h heal  l profile", "dim"))]
    head = [Span(" " * side)]
    head += [Span(pad_left(cut(name, CELL - 1), CELL), "dim") for name in network.names]
    lines.append(tuple(head))
    current = model.current
    for node in network.nodes:
        here = current is not None and node.name == current.name
        mark = "●" if node.name in model.ui.selected else " "
        parts = [
            Span("▸" if here else " ", "key"),
            Span(pad(f"{mark}{node.name}", 9), "own" if mark == "●" else "strong"),
        ]
        if side == SIDE:
            state = state_of(model, node)
            parts.append(Span(pad(state.text, 10), state.style))
        parts += [_cell(network, (node.name, other)) for other in network.names]
        lines.append(tuple(parts))
    lines.append(quorum_line(model, room.width))
    if any(row.profile for row in network.links.values()):
        lines.append((Span("~ a profile is set on the link", "dim"),))
    left = height - len(lines)
    if left >= 3:
        changed = _changed(network)
        others = [(a, b) for a in network.names for b in network.names if a != b]
        pairs = changed + [pair for pair in others if pair not in network.links]
        title = "links, the changed ones first" if changed else "links: none is cut or slowed down"
        lines += _table(model, network, pairs, Size(width, left), title)
    return lines


def _cell(network: Network, pair: Pair) -> Span:
    sender, receiver = pair
    if sender == receiver:
        return Span(pad_left("·", CELL), "faint")
    row = network.links.get(pair, LinkRow())
    node, other = network.node(sender), network.node(receiver)
    assert node is not None
    assert other is not None
    if row.cut:
        return Span(pad_left("✗ cut", CELL), "bad")
    if not (node.alive and other.alive):
        return Span(pad_left("-", CELL), "faint")
    if receiver not in node.rtt_ms:
        return Span(pad_left("none", CELL), "warn")
    rtt_ms = node.rtt_ms[receiver]
    text = "…" if rtt_ms is None else _ms(rtt_ms)
    return Span(
        pad_left(f"~{text}" if row.profile else text, CELL), "accent" if row.profile else "text"
    )


def _ms(value: float) -> str:
    found = number(value)
    return f"{found:.1f}" if abs(found) < 100 else f"{found:.0f}"


def _changed(network: Network) -> list[Pair]:
    order = {name: place for place, name in enumerate(network.names)}
    pairs = [pair for pair in network.links if pair[0] in order and pair[1] in order]
    return sorted(pairs, key=lambda p: (not network.links[p].cut, order[p[0]], order[p[1]]))


def _list(model: Model, network: Network, room: Size) -> list[Line]:
    """Return the links that were changed, then those of the current node; with a filter, all."""
    pairs = _changed(network)
    current = model.current
    everything = [(a, b) for a in network.names for b in network.names if a != b]
    if model.filter:
        words = model.filter.lower().split()
        kept = [p for p in everything if all(w in _words(network, p) for w in words)]
        title = f"links with {model.filter!r}"
    else:
        own = [p for p in everything if current is not None and p[0] == current.name]
        kept = pairs + [pair for pair in own if pair not in network.links]
        name = "" if current is None else current.name
        title = f"changed links, and those of {name}"
    return _table(model, network, kept, room, title)


def _words(network: Network, pair: Pair) -> str:
    row = network.links.get(pair, LinkRow())
    return f"{pair[0]}→{pair[1]} {row.profile} {'cut' if row.cut else ''}".lower()


def _table(model: Model, network: Network, pairs: list[Pair], room: Size, title: str) -> list[Line]:
    """Return links as rows, both directions in one where they are alike."""
    rows: list[Row] = []
    there = set(pairs)
    done: set[Pair] = set()
    for pair in pairs:
        if pair in done:
            continue
        back = (pair[1], pair[0])
        both = back in there and _alike(network, pair, back)
        done |= {pair, back} if both else {pair}
        rows.append(_row(model, network, pair, both))
    shown = max(0, room.height - 2)
    more = len(rows) - shown
    note = Span(f"{more} more; / filters", "warn") if more > 0 else Span("")
    first = window(0, len(rows), shown)
    return [
        heading(title, room.width, note),
        *Table(_COLUMNS, rows).lines(room.width, shown + 1, first),
    ]


def _alike(network: Network, pair: Pair, back: Pair) -> bool:
    a, b = network.links.get(pair, LinkRow()), network.links.get(back, LinkRow())
    return a.cut == b.cut and a.numbers == b.numbers


def _row(model: Model, network: Network, pair: Pair, both: bool) -> Row:
    row = network.links.get(pair, LinkRow())
    node = network.node(pair[0])
    rtt_ms = None if node is None else node.rtt_ms.get(pair[1])
    low, high = row.numbers.get("latency_ms_min"), row.numbers.get("latency_ms_max")
    latency = "" if low is None or high is None else f"{low:g}-{high:g} ms"
    loss = row.numbers.get("loss") or 0.0
    cut_for = span_s(model.now_s - row.cut_since_s) if row.cut else "-"
    return Row(
        (
            Span(f"{pair[0]}{'-' if both else '→'}{pair[1]}", "strong"),
            Span("-" if rtt_ms is None or row.cut else f"{_ms(rtt_ms)} ms"),
            Span(cut_for, "bad" if row.cut else "dim"),
            Span(row.profile or "-", "accent" if row.profile else "dim"),
            Span(latency, "dim"),
            Span(f"{loss * 100:g} %" if loss else "", "dim"),
        )
    )
