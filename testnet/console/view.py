"""A frame of the network TUI: header, screen, doctor line, keys, and what lies over them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from p2pnode.explain import Explanation, Kind, Severity
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
from p2pnode.tui.screens.common import count, span_s
from p2pnode.tui.text import Line, Size, Span, cut, line, wrap
from p2pnode.tui.widgets import overlay
from testnet.console.dialogs import help_box, question_box
from testnet.console.model import Model, Network, Screen
from testnet.console.screens.links import links
from testnet.console.screens.load import load
from testnet.console.screens.logs import logs
from testnet.console.screens.node import node
from testnet.console.screens.nodes import nodes

SIZE_MIN: Final = Size(40, 12)

SCREENS: Final[Mapping[Screen, Callable[[Model, Size], list[Line]]]] = {
    Screen.NODES: nodes,
    Screen.LINKS: links,
    Screen.LOGS: logs,
    Screen.LOAD: load,
    Screen.NODE: node,
}

NAMES: Final[Mapping[Screen, str]] = {
    Screen.NODES: "nodes",
    Screen.LINKS: "links",
    Screen.LOGS: "logs",
    Screen.LOAD: "load & chain",
    Screen.NODE: "node",
}

_ACT: Final = (("k", "kill"), ("p", "pause"), ("r", "restart"), ("c", "cut"), ("h", "heal"))
HINTS: Final[Mapping[Screen, tuple[tuple[str, str], ...]]] = {
    Screen.NODES: (
        ("space", "select"),
        *_ACT,
        ("l", "profile"),
        ("L", "load"),
        ("u", "undo"),
        ("enter", "detail"),
        ("/", "filter"),
    ),
    Screen.LINKS: (
        ("space", "select"),
        ("c", "cut"),
        ("h", "heal"),
        ("l", "profile"),
        ("u", "undo"),
        ("/", "filter"),
    ),
    Screen.LOGS: (
        ("/", "filter"),
        ("m", "level"),
        ("e", "event"),
        ("space", "pause"),
        ("f", "follow"),
        ("a", "all nodes"),
        ("y", "copy"),
    ),
    Screen.LOAD: (("L", "load"), ("u", "undo"), ("y", "copy")),
    Screen.NODE: (*_ACT, ("l", "profile"), ("u", "undo"), ("esc", "back"), ("y", "copy")),
}


def view(model: Model, size: Size) -> list[Line]:
    """Return the lines of a frame; `Program.view` of the network TUI."""
    width, height = size
    if width < SIZE_MIN.width or height < SIZE_MIN.height:
        return too_small(size, SIZE_MIN)
    said = _doctor(model, size)
    room = Size(width, height - 3 - len(said))
    lines = SCREENS[model.ui.screen](model, room) if model.network else _waiting(model, room)
    lines = body(lines, room)
    if model.ui.help:
        lines = overlay(lines, help_box(width), width)
    if model.ui.question is not None:
        lines = overlay(lines, question_box(model, model.ui.question, room), width)
    return [
        _header(model, width),
        tabs(NAMES, model.ui.screen, width),
        *lines,
        *said,
        _footer(model, width),
    ]


def _waiting(model: Model, room: Size) -> list[Line]:
    lines: list[Line] = [()] * max(0, room.height // 3)
    if model.lost is not None:
        lines.append(line("  ", Span(f"testnet {cut(model.name, 40)} does not answer", "strong")))
        lines += [line("  ", Span(p, "dim")) for p in wrap(model.lost.reason, room.width - 4, 3)]
        lines.append(line("  ", Span("testnet up starts one; this screen goes on looking", "dim")))
    else:
        lines.append(line("  ", Span(f"asking the supervisor of {cut(model.name, 40)}", "strong")))
    return lines


def _header(model: Model, width: int) -> Line:
    network = model.network
    left = line(Span(f" {cut(model.name, 28)} ", "bar"))
    if network is not None:
        running = sum(n.state == "running" for n in network.nodes)
        best = network.best
        away = running < len(network.nodes)
        left = line(
            left,
            Span(f" {running} of {len(network.nodes)} run", "warn" if away else "text"),
            Span(f"  h {count(best.height)}" if best is not None else "", "strong"),
            Span(f"  {cut(network.engine, 16)}  seed {network.seed}", "dim") if width >= 72 else "",
        )
        if network.load.running:
            left = line(left, Span(f"  load {network.load.rate_tx_s:g}/s", "accent"))
        cuts = len(network.cuts)
        if cuts:
            left = line(left, Span(f"  {cuts} cut", "bad"))
    return header(left, _fresh(model), width)


def _fresh(model: Model) -> Line:
    """Return how fresh the data is: always in sight."""
    if model.network is None:
        return (Span(" connecting ", "bar_warn"),)
    if model.lost is not None:
        return (Span(f" data {span_s(model.age_s)} old, no supervisor ", "bar_bad"),)
    if model.age_s > STALE_S:
        return (Span(f" data {span_s(model.age_s)} old ", "bar_warn"),)
    if not model.network.ready:
        return (Span(f" starting, {span_s(model.now_s - model.begin_s)} ", "bar_warn"),)
    return (Span("● live ", "good"),)


def _doctor(model: Model, size: Size) -> list[Line]:
    """Return what is wrong and what to do: one line where that is enough, three at most."""
    return verdict_lines(*_verdict(model), size)


def _verdict(model: Model) -> tuple[int, str, str]:
    if model.lost is not None:
        age = span_s(model.now_s - model.lost.since_s)
        name = cut(model.name, 28)
        text = f"no supervisor of {name} for {age}: {model.lost.reason}; its nodes end with it"
        return 2, text, "testnet up, or q"
    network, found = model.network, model.explanation
    if network is None or found is None:
        return 1, f"asking the supervisor of {cut(model.name, 28)}", ""
    if model.age_s > STALE_S:
        text = f"the supervisor has said nothing for {span_s(model.age_s)}"
        return 1, text, "the machine may be overloaded: top"
    if not network.ready:
        waiting = [n.name for n in network.nodes if n.status is None or not n.status.ready]
        ready = len(network.nodes) - len(waiting)
        text = f"starting: {ready} of {len(network.nodes)} nodes ready, waiting for"
        return 1, f"{text} {', '.join(waiting[:5])}", "3 shows what they log"
    level = {Severity.OK: 0, Severity.WARNING: 1, Severity.STALLED: 2}[found.severity]
    return level, found.sentence, _key_for(network, found)


def _key_for(network: Network, found: Explanation) -> str:
    """Return what to do, with the key that does it here."""
    step = found.next_step
    states = {node.name: node.state for node in network.nodes}
    match found.kind:
        case Kind.WELL | Kind.IDLE if network.cuts:
            return "h heals the links that are cut"
        case Kind.PARTITION | Kind.ISOLATED if network.cuts:
            return f"{step}: h"
        case Kind.SLOW_LINK | Kind.PARTITION if found.facts.detail:
            return f"{step}: l, none"
        case Kind.TOO_FEW | Kind.DEGRADED | Kind.STALLED:
            away = {states.get(name) for name in found.nodes}
            keys = ["p resumes"] if "paused" in away else []
            if away & {"killed", "crashed", "stopped"}:
                keys.append("r restarts")
            if not keys and network.cuts:
                keys.append("h heals")
            return f"{step}: {', '.join(keys)}" if keys else step
    return step


def _footer(model: Model, width: int) -> Line:
    ui = model.ui
    if ui.prompt is not None:
        sign = {"filter": " / ", "rate": " load, tx/s: ", "profile": " profile: "}[ui.prompt.kind]
        hint = "enter keeps" if ui.prompt.kind == "filter" else "enter goes on"
        return prompt_line(sign, ui.prompt.text, f"{hint}, esc drops", width - 46)
    if ui.toast is not None:
        return toast_line(ui.toast, width)
    hints = (("?", "help"), ("q", "quit"), *HINTS[ui.screen])
    return hints_line(hints, model.filter, width)
