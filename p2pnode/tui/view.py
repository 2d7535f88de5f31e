"""A frame of the node's TUI: header, screen, doctor line, keys, and what lies over them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from p2pnode.tui.chrome import (
    STALE_S,
    body,
    header,
    hints_line,
    prompt_line,
    tabs,
    toast_line,
    too_small,
    verdict_lines,
)
from p2pnode.tui.doctor import doctor
from p2pnode.tui.model import LinkState, Model, ScreenName
from p2pnode.tui.screens.availability import availability
from p2pnode.tui.screens.common import short, span_s
from p2pnode.tui.screens.consensus import consensus
from p2pnode.tui.screens.device import device
from p2pnode.tui.screens.log import log
from p2pnode.tui.screens.mempool import mempool
from p2pnode.tui.screens.overview import overview
from p2pnode.tui.screens.peers import peers
from p2pnode.tui.screens.shards import shards
from p2pnode.tui.text import Line, Size, Span, cut, line, pad, wrap
from p2pnode.tui.widgets import box, overlay

SIZE_MIN: Final = Size(40, 10)

SCREENS: Final[Mapping[ScreenName, Callable[[Model, Size], list[Line]]]] = {
    ScreenName.OVERVIEW: overview,
    ScreenName.CONSENSUS: consensus,
    ScreenName.PEERS: peers,
    ScreenName.AVAILABILITY: availability,
    ScreenName.SHARDS: shards,
    ScreenName.MEMPOOL: mempool,
    ScreenName.LOG: log,
    ScreenName.DEVICE: device,
}

NAMES: Final = {screen: screen.name.lower() for screen in ScreenName}
SHORT: Final[Mapping[ScreenName, str]] = {
    ScreenName.AVAILABILITY: "avail",
    ScreenName.MEMPOOL: "pool",
}
"""Names for narrow terminals."""

KEYS: Final[tuple[tuple[str, str], ...]] = (
    ("1 to 8", "go to a screen"),
    ("tab  left  right", "the next screen, the one before"),
    ("up  down  j  k", "select a row; on 7, move through the log"),
    ("page up/down  g  G", "move further, to the first, to the last"),
    ("enter", "show all of the selected row"),
    ("esc", "close; show all rows again"),
    ("/", "show only rows with a text in them (2 3 5 7)"),
    ("p  space", "pause: keep the screen as it is"),
    ("y", "copy the selected id, or the newest block's hash"),
    ("d  b", "on 3: disconnect, ban; both ask first"),
    ("l  f", "on 7: least level, follow the newest line"),
    ("ctrl-l  ctrl-z", "paint anew, suspend"),
    ("q  ctrl-c", "quit"),
)


def view(model: Model, size: Size) -> list[Line]:
    """Return the lines of a frame; `Program.view` of the node's TUI."""
    width, height = size
    if width < SIZE_MIN.width or height < SIZE_MIN.height:
        return too_small(size, SIZE_MIN)
    verdict = _doctor(model, size)
    room = Size(width, height - 3 - len(verdict))
    lines = SCREENS[model.ui.screen](model, room) if model.status else _waiting(model, room)
    lines = body(lines, room)
    if model.ui.help:
        lines = overlay(lines, _help(min(width, 72)), width)
    if model.ui.confirm is not None:
        lines = overlay(lines, _confirm(model, min(width, 64)), width)
    return [
        _header(model, width),
        tabs(NAMES, model.ui.screen, width, SHORT),
        *lines,
        *verdict,
        _footer(model, width),
    ]


def _waiting(model: Model, room: Size) -> list[Line]:
    link = model.link
    lines: list[Line] = [()] * max(0, room.height // 3)
    if link.state is LinkState.LOST:
        lines.append(line("  ", Span(f"{link.url} does not answer", "strong")))
        lines += [line("  ", Span(part, "dim")) for part in wrap(link.reason, room.width - 4, 3)]
        left_s = max(0.0, link.retry_s - model.now_s)
        lines.append(line("  ", Span(f"next try in {span_s(left_s)}", "dim")))
    else:
        lines.append(line("  ", Span(f"calling {link.url}", "strong")))
    return lines


def _header(model: Model, width: int) -> Line:
    status = model.status
    if status is None:
        left = line(Span(" p2pnode ", "bar"))
    else:
        roles = " ".join(status.roles)
        left = line(
            Span(f" {cut(status.name, 24)} ", "bar"),
            Span(f" {cut(status.chain_name, 24)} {short(status.chain)}", "text"),
            Span(f"  {status.engine}", "dim") if width >= 60 else "",
            Span(f"  {roles}  {status.version}", "dim") if width >= 100 else "",
        )
    return header(left, _link(model), width)


def _link(model: Model) -> Line:
    """Return how fresh the data is: always in sight."""
    link = model.link
    if model.ui.paused is not None:
        mark = Span(f" PAUSED {span_s(model.now_s - model.ui.paused_s)} ", "bar_warn")
        if link.state is LinkState.LIVE:
            return (Span(" PAUSED, p goes on ", "bar_warn"),)
        return (mark,)
    if link.state is LinkState.LIVE:
        if model.age_s > STALE_S:
            return (Span(f" data {span_s(model.age_s)} old ", "bar_warn"),)
        return (Span("● live ", "good"),)
    if model.status is None:
        return (Span(" connecting ", "bar_warn"),)
    return (Span(f" data {span_s(model.age_s)} old, reconnecting ", "bar_bad"),)


def _doctor(model: Model, size: Size) -> list[Line]:
    """Return what is wrong and what to do: one line where that is enough, three at most."""
    if model.ui.toast is not None:
        return [toast_line(model.ui.toast, size.width)]
    verdict = doctor(model)
    return verdict_lines(verdict.level, verdict.text, verdict.hint, size)


def _footer(model: Model, width: int) -> Line:
    ui = model.ui
    if ui.prompt is not None:
        return prompt_line(" / ", ui.prompt, "enter keeps, esc drops", width - 40)
    hints: list[tuple[str, str]] = [("?", "help"), ("p", "pause"), ("q", "quit"), ("y", "copy")]
    match ui.screen:
        case ScreenName.PEERS:
            hints += [("enter", "detail"), ("d", "disconnect"), ("b", "ban"), ("/", "filter")]
        case ScreenName.LOG:
            hints += [("/", "search"), ("l", "level"), ("f", "follow"), ("enter", "detail")]
        case ScreenName.SHARDS:
            hints += [("enter", "detail"), ("/", "filter")]
        case ScreenName.CONSENSUS:
            hints += [("/", "filter")]
    return hints_line(hints, model.filter, width)


def _help(width: int) -> list[Line]:
    room = 20 if width >= 60 else 12
    lines: list[Line] = [line(Span(pad(keys, room), "key"), text) for keys, text in KEYS]
    return box("keys", lines, width)


def _confirm(model: Model, width: int) -> list[Line]:
    confirm = model.ui.confirm
    assert confirm is not None
    lines: list[Line] = [(Span(part),) for part in wrap(confirm.text, width - 4, 5)]
    lines += [(), line(Span("y", "key"), " yes   ", Span("n", "key"), " no")]
    return box(confirm.title, lines, width, "warn")
