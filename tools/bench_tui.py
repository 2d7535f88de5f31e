"""What a frame of the node's TUI costs: CPU milliseconds by screen and size, at 300 tx/s.

    .venv/bin/python tools/bench_tui.py [--frames 200]

A node's status stream is scripted (a status a second, five blocks a second, log lines, as JSON, the
way they come); each frame folds what came since the one before, draws, and paints the difference.
`share` is what frames alone take of a core at the frames per second given. bench_tui_live.py looks
at whole processes; --pid PID --for 60 at one that runs already.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from p2pnode.node.answers import BlockEvent
from p2pnode.node.jsonform import from_json, to_json
from p2pnode.node.status import NodeStatus
from p2pnode.tui.app import Tick
from p2pnode.tui.keys import Key
from p2pnode.tui.model import BlockCame, LogCame, Model, ScreenName, StatusCame
from p2pnode.tui.paint import Painter
from p2pnode.tui.text import Size
from p2pnode.tui.theme import make_theme
from p2pnode.tui.update import update
from p2pnode.tui.view import view
from tests.tui import worlds

SIZES = ((Size(80, 24), 4), (Size(120, 40), 4), (Size(200, 60), 2))
"""Sizes, and the frames per second they are measured for."""


def second_of(number: int) -> tuple[str, list[str]]:
    """Return the status of a second, and its blocks and log lines, as JSON."""
    status = worlds.status_at(worlds.SECONDS + number)
    blocks = [
        BlockEvent(
            height=status.height + k,
            hash=worlds.hash_of(f"{number}.{k}"),
            time_ms=worlds.BEGIN_MS + number * 1_000 + k * 200,
            view=status.view + k,
            proposer=k,
            transactions_count=60,
        )
        for k in range(5)
    ]
    texts = [json.dumps(to_json(BlockEvent, block)) for block in blocks]
    return json.dumps(to_json(NodeStatus, status)), texts


def measure(screen: ScreenName, size: Size, frames_per_s: int, frames: int) -> tuple[float, float]:
    """Return CPU milliseconds and bytes a frame."""
    model: Model = worlds.healthy()
    model, _ = update(model, Key(str(screen.value)))
    painter = Painter(make_theme())
    script = [second_of(number) for number in range(frames // frames_per_s + 1)]
    written = 0
    begin_s = time.process_time()
    for frame in range(frames):
        second, part = divmod(frame, frames_per_s)
        now_s = worlds.NOW_S + second + part / frames_per_s
        status, blocks = script[second]
        if part == 0:
            model, _ = update(model, StatusCame(from_json(NodeStatus, json.loads(status)), now_s))
        for place, text in enumerate(blocks):
            if place * frames_per_s // 5 == part:
                block = from_json(BlockEvent, json.loads(text))
                model, _ = update(model, BlockCame(block))
                record = replace(worlds.log_records()[0], number=100 + second * 5 + place)
                fields = {"height": block.height, "hash": block.hash, "view": block.view}
                model, _ = update(model, LogCame((replace(record, fields=fields),)))
        model, _ = update(model, Tick(now_s))
        written += len(painter.paint(view(model, size), size).encode())
    return (time.process_time() - begin_s) * 1000 / frames, written / frames


def watch(pid: int, for_s: float) -> None:
    """Print what a process takes."""
    process = psutil.Process(pid)
    before, begin_s = process.cpu_times(), time.monotonic()
    most = 0
    while time.monotonic() - begin_s < for_s:
        time.sleep(1)
        most = max(most, process.memory_info().rss)
    after, elapsed_s = process.cpu_times(), time.monotonic() - begin_s
    used_s = after.user + after.system - before.user - before.system
    print(f"{used_s / elapsed_s:.1%} of a core over {elapsed_s:.0f} s, {most / 2**20:.1f} MiB")


def main() -> None:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--pid", type=int, help="measure a running TUI instead")
    parser.add_argument("--for", dest="for_s", type=float, default=60.0)
    arguments = parser.parse_args()
    if arguments.pid is not None:
        watch(arguments.pid, arguments.for_s)
        return
    print(f"{'size':<8} {'fps':>3}  {'screen':<13} {'ms a frame':>10} {'share':>7} {'bytes':>7}")
    for size, frames_per_s in SIZES:
        for screen in ScreenName:
            cpu_ms, size_bytes = measure(screen, size, frames_per_s, arguments.frames)
            share = cpu_ms * frames_per_s / 1000
            name = screen.name.lower()
            print(
                f"{size.width}x{size.height:<4} {frames_per_s:>3}  {name:<13} {cpu_ms:>10.2f}"
                f" {share:>7.1%} {size_bytes:>7.0f}"
            )


if __name__ == "__main__":
    main()
