"""Which lines of the merged log are shown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from testnet.console.model import LogLine, Model, Screen

LEVELS: Final = ("debug", "info", "warning", "error")


def shown(model: Model) -> Iterator[LogLine]:
    """Yield the lines that pass level, selected nodes and filter, the newest first."""
    passes = matcher(model)
    return filter(passes, reversed(lines(model)))


def lines(model: Model) -> tuple[LogLine, ...]:
    """Return the lines there are: those of the moment it was paused, or all."""
    return model.log if model.ui.frozen is None else model.ui.frozen


def count(model: Model) -> int:
    """Return how many lines are shown when there is room for all."""
    return sum(1 for _ in shown(model))


def lowest(model: Model) -> LogLine | None:
    """Return the lowest line on the screen."""
    return next(islice(shown(model), model.ui.back, None), None)


def matcher(model: Model) -> Callable[[LogLine], bool]:
    """Return whether a line passes.

    The filter's words must all be in the line; `event:x`, `node:x` and `level:x` ask for that part.
    """
    least = LEVELS.index(model.ui.level)
    ranks = {name: rank for rank, name in enumerate(LEVELS)} | {"critical": 3}
    selected = model.ui.selected
    prompt = model.ui.prompt
    typed = prompt is not None and prompt.kind == "filter" and model.ui.screen is Screen.LOGS
    text = model.filter if typed else model.ui.filters.get(Screen.LOGS, "")
    words = [word.partition(":") for word in text.lower().split()]
    parts = [(k, v) for k, sign, v in words if sign and k in ("event", "node", "level")]
    free = [k + sign + v for k, sign, v in words if not (sign and k in ("event", "node", "level"))]

    def passes(entry: LogLine) -> bool:
        if ranks.get(entry.level, 1) < least or (selected and entry.node not in selected):
            return False
        if not all(value in getattr(entry, key) for key, value in parts):
            return False
        if not free:
            return True
        whole = f"{entry.node} {entry.level} {entry.event} {entry.text}".lower()
        return all(word in whole for word in free)

    return passes
