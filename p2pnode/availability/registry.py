"""Schemes by name: the entry points of the group `p2pnode.schemes`, and the one built in."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Final, cast

from p2pnode.availability.scheme import Scheme
from p2pnode.errors import ConfigError, UsageError

GROUP: Final = "p2pnode.schemes"
"""Entry point group by which an installed package adds a scheme."""

_BUILTIN: Final = {
    "inline": "p2pnode.availability.inline:InlineScheme",
}
# Found even when p2pnode runs from a source tree that was never installed.


class UnknownSchemeError(UsageError):
    """No scheme has the name asked for."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no availability scheme named {name!r}; there are: {', '.join(known)}")
        self.name = name
        self.known = known


class BrokenSchemeError(ConfigError):
    """An entry point names something that cannot be imported or is no scheme of that name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"availability scheme {name!r} cannot be loaded: {reason}")
        self.name = name


def scheme_names() -> tuple[str, ...]:
    """Return the names of all schemes, sorted."""
    return tuple(sorted({*_BUILTIN, *(point.name for point in entry_points(group=GROUP))}))


def load_scheme(name: str) -> Scheme:
    """Return the scheme of a name.

    Raises:
        UnknownSchemeError: No built-in scheme and no entry point has the name.
        BrokenSchemeError: The entry point cannot be loaded, or is another scheme.
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
                raise UnknownSchemeError(name, scheme_names())
            found = next(iter(points)).load()
    except (ImportError, AttributeError) as error:
        raise BrokenSchemeError(name, str(error)) from error
    if not isinstance(found, type) or getattr(found, "name", None) != name:
        raise BrokenSchemeError(name, f"{found!r} is not a scheme of that name")
    return cast("Scheme", found())
