"""Sizes and durations as people write them: `16MiB`, `250ms`."""

from __future__ import annotations

import re
from typing import Final

SIZE_UNITS: Final = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
"""Bytes by unit; binary and decimal units are told apart as their names say."""

DURATION_UNITS: Final = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
"""Nanoseconds by unit."""

_QUANTITY: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,9}))? ?([A-Za-z]*)", re.ASCII)


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `16MiB` or `1.5GiB`; without a unit, of bytes.

    Raises:
        ValueError: It is no size, or no whole number of bytes.
    """
    return _parse(text, SIZE_UNITS, "B", "a size such as 16MiB")


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as `250ms`, `5s` or `1.5h`; the unit is required.

    Raises:
        ValueError: It is no duration, or finer than a nanosecond.
    """
    return _parse(text, DURATION_UNITS, "", "a duration such as 250ms") / 10**9


def format_size(size_bytes: int) -> str:
    """Return the shortest exact text of a size: in the greatest binary unit that divides it."""
    return _format(size_bytes, {u: n for u, n in SIZE_UNITS.items() if u == "B" or "i" in u}, "B")


def format_duration(duration_s: float) -> str:
    """Return the shortest exact text of a duration, to the nanosecond."""
    return _format(round(duration_s * 10**9), DURATION_UNITS, "s")


def human_size(size_bytes: float) -> str:
    """Return a size for people, such as `12.3 KiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size_bytes) < 1024:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def _parse(text: str, units: dict[str, int], default: str, expected: str) -> int:
    match = _QUANTITY.fullmatch(text.strip())
    if match and not (match[3] or default):
        number = match[1] + (f".{match[2]}" if match[2] else "")
        raise ValueError(f"{number} what? write {number}s, {number}m or {number}ms")
    unit = units.get(match[3] or default) if match else None
    if match is None or unit is None:
        raise ValueError(f"{expected} expected (units: {', '.join(units)})")
    fraction = match[2] or ""
    scaled = int(match[1] + fraction) * unit
    whole, rest = divmod(scaled, int(10 ** len(fraction)))
    if rest:
        raise ValueError(f"a whole number of {next(iter(units))} expected")
    return whole


def _format(value: int, units: dict[str, int], zero: str) -> str:
    if value == 0:
        return f"0{zero}"
    best = max((n, u) for u, n in units.items() if value % n == 0)
    return f"{value // best[0]}{best[1]}"
