"""The live part of `testnet up`: lines every few seconds, or a picture on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import trio

from p2pnode.cli.console import Console
from testnet.cli.screen import status_line, status_table

LINE_PERIOD_S: Final = 5.0
FRAME_PERIOD_S: Final = 0.5

Look = Callable[[], dict[str, Any]]


async def show(console: Console, look: Look, for_s: float | None) -> None:
    """Show a testnet until cancelled.

    Args:
        console: Where to.
        look: Returns the testnet, as `status_json` has it; asks no node.
        for_s: How long it runs.
    """
    if console.quiet:
        await trio.sleep_forever()
    if console.err.isatty():
        await _show_picture(console, look, for_s)
    else:
        await _show_lines(console, look, for_s)


async def _show_lines(console: Console, look: Look, for_s: float | None) -> None:
    start = trio.current_time()
    before: dict[str, Any] | None = None
    while True:
        await trio.sleep(LINE_PERIOD_S)
        status = look()
        left_s = None if for_s is None else for_s - (trio.current_time() - start)
        console.say(status_line(status, before, LINE_PERIOD_S, left_s))
        before = status


async def _show_picture(console: Console, look: Look, for_s: float | None) -> None:
    # rich costs a tenth of a second to import, and only terminals need it.
    from rich.console import Console as RichConsole
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    rich = RichConsole(file=console.err, no_color=not console.colours)
    bar = Progress(TextColumn("{task.description}"), BarColumn(40), TimeRemainingColumn())
    task = bar.add_task("running", total=for_s) if for_s is not None else None
    start = trio.current_time()
    history: list[tuple[float, dict[str, Any]]] = []
    with Live(console=rich, auto_refresh=False, transient=True) as live:
        while True:
            now = trio.current_time()
            status = look()
            history = [*history[-10:], (now, status)]
            then, before = history[0]
            explained = status.get("explain") or {}
            # The line alone would say it a second time.
            line = status_line({**status, "explain": None}, before, now - then)
            parts: list[Any] = [Text(status_table(status)), Text("")]
            parts += [Text(explained.get("sentence", "")), Text(line)]
            if task is not None:
                bar.update(task, completed=min(now - start, for_s or 0.0))
                parts.append(bar.get_renderable())
            live.update(Group(*parts), refresh=True)
            await trio.sleep(FRAME_PERIOD_S)
