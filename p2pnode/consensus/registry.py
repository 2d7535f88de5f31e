"""Engines by name: the entry points of the group `p2pnode.engines`, and the two built in."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Final, cast

from p2pnode.consensus.engine import Engine
from p2pnode.errors import ConfigError, UsageError

GROUP: Final = "p2pnode.engines"
"""Entry point group by which an installed package adds an engine."""

_BUILTIN: Final = {
    "simplex": "p2pnode.consensus.simplex:SimplexEngine",
    "solo": "p2pnode.consensus.solo:SoloEngine",
}
# Found even when p2pnode runs from a source tree that was never installed.


class UnknownEngineError(UsageError):
    """No engine has the name asked for."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no consensus engine named {name!r}; there are: {', '.join(known)}")
        self.name = name
        self.known = known


class BrokenEngineError(ConfigError):
    """An entry point names something that cannot be imported or is no engine of that name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"consensus engine {name!r} cannot be loaded: {reason}")
        self.name = name


def engine_names() -> tuple[str, ...]:
    """Return the names of all engines, sorted."""
    return tuple(sorted({*_BUILTIN, *(point.name for point in entry_points(group=GROUP))}))


def load_engine(name: str) -> type[Engine]:
    """Return the engine class of a name.

    Raises:
        UnknownEngineError: No built-in engine and no entry point has the name.
        BrokenEngineError: The entry point cannot be loaded, or is another engine.
    """
    # Built-in names come first: an installed package must not be able to replace them silently.
    target = _BUILTIN.get(name)
    try:
        if target is not None:
            module, _, attribute = target.partition(":")
            found: object = getattr(import_module(module), attribute)
        else:
            points = entry_points(group=GROUP, name=name)
            if not points:
                raise UnknownEngineError(name, engine_names())
            found = next(iter(points)).load()
    except (ImportError, AttributeError) as error:
        raise BrokenEngineError(name, str(error)) from error
    if not isinstance(found, type) or getattr(found, "name", None) != name:
        raise BrokenEngineError(name, f"{found!r} is not an engine of that name")
    return cast("type[Engine]", found)
