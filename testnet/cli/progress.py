"""A progress bar on a terminal, for commands that wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from p2pnode.cli.console import Console


@contextmanager
def progress_bar(
    console: Console, what: str, total: float | None
) -> Iterator[Callable[[float, str], None]]:
    """Show progress on a terminal; yields a function of how much is done, and a text."""
    if console.quiet or not console.err.isatty() or total is None:
        yield lambda done, text: None
        return
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, TextColumn

    rich = RichConsole(file=console.err, no_color=not console.colours)
    columns = (TextColumn("{task.description}"), BarColumn(40), TextColumn("{task.fields[text]}"))
    with Progress(*columns, console=rich, transient=True) as progress:
        task = progress.add_task(what, total=total, text="")
        yield lambda done, text: progress.update(task, completed=done, text=text)
