"""Screen 6: what waits to be packed into a batch, and what was refused."""

from __future__ import annotations

from p2pnode.tui.model import Model
from p2pnode.tui.screens.common import count, number, percent, ratio, size, span_s
from p2pnode.tui.text import Line, Size, Span, pad, pad_left
from p2pnode.tui.widgets import bar, heading, label, plot


def mempool(model: Model, room: Size) -> list[Line]:
    """Return the screen."""
    status = model.status
    assert status is not None
    pool = status.mempool
    width, height = room
    bar_width = min(40, width // 3)
    lines = [
        heading("held", width),
        _fill("transactions", pool.transactions_count, pool.transactions_max, bar_width, count),
        _fill("size", pool.size_bytes, pool.size_bytes_max, bar_width, size),
        label("senders", count(pool.senders_count), width=14),
    ]
    lines += [
        label(
            name,
            bar(ratio(value, pool.transactions_count), bar_width, style),
            f" {count(value)}",
            Span(f"  {text}", "dim"),
            width=14,
        )
        for name, value, style, text in (
            ("checking", pool.checking_count, "open", "their signature is being checked"),
            ("ready", pool.ready_count, "accent", "may be packed now"),
            ("batched", pool.batched_count, "final", "in a batch that is not executed yet"),
        )
    ]
    samples = model.shown.samples
    rate = samples[-1].transactions_per_s if samples else 0.0
    drain = ""
    if rate > 0:
        drain = f"  {span_s(number(pool.transactions_count) / rate)} of work"
    lines.append(
        label("executed", f"{rate:.0f} per second", Span(drain, "dim"), width=14),
    )
    refused = sorted(pool.refused.items(), key=lambda item: (-item[1], item[0]))
    refused_rows = min(len(refused), max(3, height // 3)) if refused else 1
    left = height - len(lines) - refused_rows - 2
    if left >= 3:
        tall = min(8, left - 2)
        lines += [(), heading("transactions held", width)]
        lines += [(span,) for span in plot([s.pool_count for s in samples], width, tall, "accent")]
    total = sum(value for _, value in refused)
    lines.append(
        heading(
            f"since start: {count(pool.admitted_count)} admitted, {count(total)} refused", width
        )
    )
    if not refused:
        lines.append((Span("nothing was refused", "good"),))
    for name, value in refused[:refused_rows]:
        lines.append(
            (
                Span(pad(name.replace("_", " "), 26)),
                Span(pad_left(count(value), 10) + "  ", "strong"),
                *bar(ratio(value, total), bar_width, "warn"),
                Span(f" {percent(ratio(value, total))}", "dim"),
            )
        )
    return lines


def _fill(name: str, value: int, limit: int, width: int, shown: object) -> Line:
    assert callable(shown)
    if limit <= 0:
        return label(name, Span(shown(value), "strong"), width=14)
    part = ratio(value, limit)
    style = "good" if part < 0.5 else "warn" if part < 0.9 else "bad"
    tail = f" {shown(value)}"
    return label(name, bar(part, width, style), tail, Span(f" of {shown(limit)}", "dim"), width=14)
