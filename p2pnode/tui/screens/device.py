"""Screen 8: what the node costs, and how the machine under it is."""

from __future__ import annotations

from p2pnode.node.status import NodeStatus
from p2pnode.tui.meter import AppStatistics
from p2pnode.tui.model import Model
from p2pnode.tui.screens.common import (
    count,
    milliseconds,
    number,
    percent,
    rate,
    ratio,
    size,
    span_s,
)
from p2pnode.tui.text import Line, Size, Span, line
from p2pnode.tui.update import executed_count
from p2pnode.tui.widgets import bar, heading, label, plot

LABEL = 15
SLOW_MS = 500.0
"""Gaps between frames longer than this are felt."""
HOT_C = 70.0
THROTTLES_C = 80.0
"""Where a Raspberry Pi slows down."""


def device(model: Model, room: Size) -> list[Line]:
    """Return the screen."""
    status = model.status
    assert status is not None
    width, height = room
    lines = [heading("process", width), *_process(model, status, width)]
    if model.cost is not None:
        lines.append(_this_screen(model.cost, inside=model.inside))
    lines += [heading("machine", width), *_machine(status, width)]
    samples = model.shown.samples
    left = height - len(lines)
    if left < 3:
        return lines
    charts: tuple[tuple[str, list[float], str], ...] = (
        ("cpu of the process", [s.cpu for s in samples], "spark"),
        ("memory of the process", [s.memory_bytes for s in samples], "accent"),
        ("received", [s.received_bytes_per_s for s in samples], "accent"),
        ("sent", [s.sent_bytes_per_s for s in samples], "accent"),
    )
    charts = charts[: max(1, min(len(charts), left // 4))]
    for name, values, style in charts:
        top = f"at most {_top(name, values)}" if values else ""
        lines.append(heading(name, width, Span(top, "dim")))
        tall = min(6, left // len(charts) - 1)
        lines += [(span,) for span in plot(values, width, tall, style)]
    return lines


def _process(model: Model, status: NodeStatus, width: int) -> list[Line]:
    now = status.device
    bar_width = min(40, width // 3)
    samples = model.shown.samples
    cpu = samples[-1].cpu if samples else 0.0
    cores = max(1, now.cores_count)
    executed = executed_count(status)
    each = "no transaction yet"
    if executed > 0:
        each = f"{number(status.cpu_s) * 1000 / executed:.2f} ms"
    late = now.lateness_p99_ms
    lateness = Span("not measured", "dim")
    if late is not None:
        style = "good" if late < 50 else "warn" if late < 250 else "bad"
        lateness = Span(f"{milliseconds(late)} in 99 of 100 cases", style)
    return [
        label(
            "cpu",
            bar(cpu / cores, bar_width, _style(cpu / cores)),
            f" {percent(cpu)} of a core",
            Span(f"  {_cores(now.cores_count)}{span_s(status.cpu_s)} since start", "dim"),
            width=LABEL,
        ),
        label(
            "cpu per tx",
            Span(each, "strong"),
            Span(f"  over {count(executed)} executed", "dim"),
            width=LABEL,
        ),
        label("loop late by", lateness, width=LABEL),
        label(
            "memory",
            bar(ratio(status.memory_bytes, now.memory_total_bytes), bar_width, "accent"),
            f" {size(status.memory_bytes)}",
            width=LABEL,
        ),
        label(
            "threads",
            f"{count(now.threads_count)}",
            Span("  open files ", "dim"),
            count(now.files_count),
            Span("  up ", "dim"),
            span_s(now.uptime_s),
            width=LABEL,
        ),
    ]


def _this_screen(cost: AppStatistics, *, inside: bool) -> Line:
    """Say what looking at the node costs."""
    late = cost.gap.p99_ms
    style = "good" if late < SLOW_MS else "warn" if late < 4 * SLOW_MS else "bad"
    shown: list[Span | str] = [
        Span(f"{milliseconds(late)} from frame to frame in 99 of 100 cases", style),
        Span(f"  {size(cost.frame_bytes)} each", "dim"),
    ]
    if not inside:
        # In the node's own process, cpu and memory are those above.
        own = f"  {percent(cost.cpu)} of a core  {size(cost.memory_bytes_max)}"
        shown.append(Span(own, "dim"))
    return label("this screen", *shown, width=LABEL)


def _machine(status: NodeStatus, width: int) -> list[Line]:
    now = status.device
    bar_width = min(40, width // 3)
    used = max(0, now.memory_total_bytes - now.memory_free_bytes)
    memory = ratio(used, now.memory_total_bytes)
    told: Line = (Span("not told", "dim"),)
    if now.memory_total_bytes > 0:
        told = line(
            bar(memory, bar_width, _style(memory)),
            f" {size(now.memory_free_bytes)} free",
            Span(f" of {size(now.memory_total_bytes)}", "dim"),
        )
    lines = [label("memory", told, width=LABEL)]
    load = "not told" if now.load_1m is None else f"{number(now.load_1m):.2f}"
    lines.append(label("load, 1 min", load, width=LABEL))
    if now.storage_error:
        disk: tuple[Span, ...] = (Span(f"refuses writes: {now.storage_error}", "bad"),)
    elif now.disk_free_bytes is None:
        disk = (Span("not told", "dim"),)
    else:
        free = number(now.disk_free_bytes)
        style = "good" if free > 4 << 30 else "warn" if free > 256 << 20 else "bad"
        disk = (
            Span(f"{size(free)} free", style),
            Span(f"  the node's folder has {size(now.disk_used_bytes)}", "dim"),
        )
    lines.append(label("disk", *disk, width=LABEL))
    if now.disk_written_bytes is not None:
        per_s = number(now.disk_written_bytes) / max(1.0, number(now.uptime_s))
        text = f"{size(now.disk_written_bytes)} since start"
        lines.append(
            label("written", text, Span(f"  {size(per_s)}/s on average", "dim"), width=LABEL)
        )
    if now.temperature_c is None:
        lines.append(label("temperature", Span("the machine does not tell", "dim"), width=LABEL))
    else:
        degrees = number(now.temperature_c)
        style = "good" if degrees < HOT_C else "warn" if degrees < THROTTLES_C else "bad"
        lines.append(
            label(
                "temperature",
                bar(degrees / 100, bar_width, style),
                Span(f" {degrees:.0f} °C", style),
                width=LABEL,
            )
        )
    throttled = Span(now.throttled, "bad") if now.throttled else Span("no", "good")
    lines.append(label("slowed down", throttled, width=LABEL))
    return lines


def _cores(cores_count: int) -> str:
    if cores_count <= 0:
        return ""
    return "1 core, " if cores_count == 1 else f"{count(cores_count)} cores, "


def _top(name: str, values: list[float]) -> str:
    top = max(values)
    if name.startswith("cpu"):
        return percent(top)
    return size(top) if name.startswith("memory") else rate(top)


def _style(part: float) -> str:
    return "good" if part < 0.6 else "warn" if part < 0.85 else "bad"
