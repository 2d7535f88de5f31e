"""A frame of the node's TUI: header, screen, doctor line, keys, and what lies over them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from p2pnode.tui.doctor import doctor
from p2pnode.tui.model import STALE_S, LinkState, Model, ScreenName
from p2pnode.tui.screens.availability import availability
from p2pnode.tui.screens.common import short, span_s
from p2pnode.tui.screens.consensus import consensus
from p2pnode.tui.screens.device import device
from p2pnode.tui.screens.log import log
from p2pnode.tui.screens.mempool import mempool
from p2pnode.tui.screens.overview import overview
from p2pnode.tui.screens.peers import peers
from p2pnode.tui.screens.shards import shards
from p2pnode.tui.text import Line, Size, Span, cut, fit, line, line_width, pad, width_of, wrap
from p2pnode.tui.widgets import box, overlay, spread

SIZE_MIN: Final = Size(40, 10)

DOCTOR_LINES_MAX: Final = 3

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
        return _too_small(size)
    verdict = _doctor(model, size)
    body = Size(width, height - 3 - len(verdict))
    lines = SCREENS[model.ui.screen](model, body) if model.status else _waiting(model, body)
    # Fitted here: what lies over them must cover exactly what it means to.
    lines = lines[: body.height] + [()] * (body.height - len(lines))
    if model.ui.help:
        lines = overlay(lines, _help(min(width, 72)), width)
    if model.ui.confirm is not None:
        lines = overlay(lines, _confirm(model, min(width, 64)), width)
    return [
        _header(model, width),
        _tabs(model, width),
        *lines,
        *verdict,
        _footer(model, width),
    ]


def _too_small(size: Size) -> list[Line]:
    text = (
        f"terminal too small: {size.width}x{size.height}, {SIZE_MIN.width}x{SIZE_MIN.height} needed"
    )
    return [(Span(part),) for part in wrap(text, size.width, size.height)]


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
    return fit(spread(left, _link(model), width), width)


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


def _tabs(model: Model, width: int) -> Line:
    """Return the screens' names, as long as they fit."""
    current = model.ui.screen
    gap = "  "
    names = {screen: f"{screen.value} {screen.name.lower()}" for screen in ScreenName}
    if sum(width_of(name) + 2 for name in names.values()) > width:
        gap = " "
        names = {s: f"{s.value} {SHORT.get(s, s.name.lower())}" for s in ScreenName}
    if sum(width_of(name) + 1 for name in names.values()) > width:
        names = {s: names[s] if s is current else str(s.value) for s in ScreenName}
    parts: list[Span] = []
    for screen, name in names.items():
        digit, space, word = name.partition(" ")
        if screen is current:
            parts.append(Span(name, "selected"))
        else:
            parts += [Span(digit, "key"), Span(space + word, "dim")]
        parts.append(Span(gap))
    return (Span(" "), *parts)


def _doctor(model: Model, size: Size) -> list[Line]:
    """Return what is wrong and what to do: one line where that is enough, three at most."""
    ui = model.ui
    width = size.width
    if ui.toast is not None:
        return [(Span(pad(f" {ui.toast.text}", width), ui.toast.style),)]
    verdict = doctor(model)
    style = ("good", "bar_warn", "bar_bad")[verdict.level]
    mark = ("✓", "⚠", "✗")[verdict.level]
    text = f"{mark} {verdict.text}"
    hint = f"→ {verdict.hint}" if verdict.hint else ""
    lines_max = DOCTOR_LINES_MAX if size.height >= 20 and verdict.level else 1
    lines = wrap(f"{text} {hint}", width - 2, lines_max + 1)
    if len(lines) > lines_max:
        # What to do is worth a line of its own; where there is but one, what is wrong has it.
        lines = wrap(text, width - 2, max(1, lines_max - 1))
        lines += wrap(hint, width - 2, lines_max - 1)[:1]
    return [(Span(pad(f" {part}", width), style),) for part in lines]


def _footer(model: Model, width: int) -> Line:
    ui = model.ui
    if ui.prompt is not None:
        keep = max(1, width - 40)
        shown = ui.prompt[-keep:]
        return line(
            Span(" / ", "key"), shown, Span("█", "accent"), Span("  enter keeps, esc drops", "dim")
        )
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
    left: Line = ()
    for key, word in hints:
        more = line(Span(f" {key}", "key"), Span(f" {word} ", "dim"))
        if line_width(left) + line_width(more) > width:
            break
        left = line(left, more)
    where = line(Span(f"filter {cut(model.filter, 20)!r} ", "warn")) if model.filter else ()
    return spread(left, where, width)


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
