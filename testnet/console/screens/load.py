"""Screen 4: the load and the chain: rates, times to finality, blocks, skipped views. Pure."""

from __future__ import annotations

from typing import Final

from p2pnode.node.status import ViewOutcome
from p2pnode.tui.screens.common import LEGEND, cells, count, milliseconds, number, skip_text
from p2pnode.tui.text import Line, Size, Span, line
from p2pnode.tui.widgets import heading, label, plot
from testnet.console.model import Model, Network

LABEL: Final = 14
RECENT: Final = 10
"""Samples that a rate is the mean of."""


def load(model: Model, room: Size) -> list[Line]:
    """Return the screen."""
    width, height = room
    network = model.network
    assert network is not None
    lines = [heading("load", width, Span("L starts and stops one", "dim")), *_load(model, network)]
    lines += [heading("chain", width), *_chain(model, network)]
    lines += [heading("blocks", width, LEGEND if width >= 80 else ()), cells(model.views, width)]
    left = height - len(lines)
    skipped = _skipped(model, network)
    notes = min(len(skipped), max(0, left - 6), 6)
    if notes:
        lines.append(heading("skipped views, the newest last", width))
        lines += skipped[-notes:]
    left = height - len(lines)
    pulse = model.pulse
    series = [
        ("final tx/s", pulse.finalized_per_s),
        ("submitted tx/s", pulse.submitted_per_s),
        ("blocks/s", pulse.blocks_per_s),
        ("p50 ms", pulse.p50_ms),
    ]
    each = max(2, min(7, left // len(series)))
    for name, values in series:
        if height - len(lines) < 2:
            break
        rows = min(each - 1, height - len(lines) - 1)
        peak = max(values, default=0.0)
        lines.append(heading(name, width, Span(f"peak {count(round(peak, 1))}", "dim")))
        lines += [line(span) for span in plot(values, width, rows)]
    return lines


def _load(model: Model, network: Network) -> list[Line]:
    load = network.load
    if not load.running and not load.submitted:
        return [label("state", Span("no load runs", "dim"), width=LABEL)]
    state = Span("running", "good") if load.running else Span("ended", "dim")
    open_count = max(0, load.submitted - load.finalized)
    times = "-"
    if load.p50_ms is not None and load.p99_ms is not None:
        times = f"p50 {milliseconds(load.p50_ms)}   p99 {milliseconds(load.p99_ms)}"
    pulse = model.pulse
    return [
        label("state", state, f"  {load.rate_tx_s:g} tx/s asked for", width=LABEL),
        label(
            "transactions",
            Span(count(load.submitted), "strong"),
            Span(" submitted  ", "dim"),
            Span(count(load.finalized), "final"),
            Span(" final  ", "dim"),
            Span(count(open_count), "warn" if open_count > 5 * load.rate_tx_s else "text"),
            Span(" on their way", "dim"),
            width=LABEL,
        ),
        label(
            "rates",
            f"{_mean(pulse.submitted_per_s):.1f} submitted/s  ",
            Span(f"{_mean(pulse.finalized_per_s):.1f} final/s", "final"),
            Span(f"  over {RECENT} s", "dim"),
            width=LABEL,
        ),
        label("finalization", times, Span("  of the last few hundred", "dim"), width=LABEL),
    ]


def _chain(model: Model, network: Network) -> list[Line]:
    best = network.best
    if best is None:
        return [label("height", Span("no node has told yet", "dim"), width=LABEL)]
    counters = best.counters
    skipped, entered = counters.get("views_skipped", 0), counters.get("views_entered", 0)
    heights = [n.status.height for n in network.nodes if n.status and n.state == "running"]
    spread = f"  nodes at {min(heights)} to {max(heights)}" if heights else ""
    p50, p99 = counters.get("consensus_p50_ms"), counters.get("consensus_p99_ms")
    times = ""
    if p50 is not None and p99 is not None:
        times = f"  consensus p50 {milliseconds(p50)}  p99 {milliseconds(p99)}"
    return [
        label(
            "height",
            Span(count(best.height), "strong"),
            Span(f"  executed {count(best.executed_height)}", "dim"),
            Span(f"  certified {count(best.certified_height)}", "dim"),
            Span(spread, "dim"),
            width=LABEL,
        ),
        label(
            "views",
            f"{count(entered)} entered, ",
            Span(f"{count(skipped)} skipped", "warn" if skipped else "text"),
            Span(f"  {_mean(model.pulse.blocks_per_s):.1f} blocks/s{times}", "dim"),
            width=LABEL,
        ),
    ]


def _skipped(model: Model, network: Network) -> list[Line]:
    best = network.best
    if best is None:
        return []
    rows = [row for row in model.views if row.outcome is ViewOutcome.SKIPPED]
    return [
        line(Span(f" ✗ {count(row.view):>7}  ", "skipped"), skip_text(best, row))
        for row in rows[-6:]
    ]


def _mean(values: tuple[float, ...]) -> float:
    last = values[-RECENT:]
    return number(sum(last) / len(last)) if last else 0.0
