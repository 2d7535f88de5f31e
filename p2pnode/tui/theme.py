"""How a terminal shows styles: dark or light, many colours, few or none, Unicode or ASCII.

Everything is chosen from the environment; flags force it. Views use names of styles and Unicode
characters; what a terminal can't show is replaced when a frame is painted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rich.color import ColorSystem
from rich.style import Style

from p2pnode.tui.text import SUBSTITUTE


class Background(StrEnum):
    """What a theme is made for."""

    DARK = "dark"
    LIGHT = "light"
    NONE = "none"
    """No colours at all: attributes only."""


STYLES: Final[Mapping[str, tuple[str, str, str, str]]] = {
    # name: (dark, light, dark with 16 colours, light with 16 colours)
    "text": ("", "", "", ""),
    "strong": ("bold", "bold", "bold", "bold"),
    "dim": ("#8a8a8a", "#6c6c6c", "bright_black", "bright_black"),
    "faint": ("#585858", "#b2b2b2", "bright_black", "bright_black"),
    "title": ("bold #87d7ff", "bold #005f87", "bold cyan", "bold blue"),
    "key": ("bold #ffd787", "bold #875f00", "bold yellow", "bold magenta"),
    "good": ("#87d787", "#008700", "green", "green"),
    "warn": ("#ffd75f", "#af5f00", "yellow", "magenta"),
    "bad": ("bold #ff6b6b", "bold #d70000", "bold red", "bold red"),
    "accent": ("#87afff", "#0057d7", "cyan", "blue"),
    "own": ("bold #d7afff", "bold #8700af", "bold magenta", "bold magenta"),
    "spark": ("#5fafd7", "#0087af", "cyan", "cyan"),
    "final": ("#5faf5f", "#008700", "green", "green"),
    "notarized": ("#5fafff", "#005fd7", "cyan", "blue"),
    "skipped": ("#ff8787", "#d70000", "red", "red"),
    "open": ("#ffd75f", "#af8700", "yellow", "magenta"),
    "selected": ("reverse", "reverse", "reverse", "reverse"),
    "bar": ("reverse bold", "reverse bold", "reverse bold", "reverse bold"),
    "bar_bad": (
        "bold #ffffff on #af0000",
        "bold #ffffff on #d70000",
        "bold white on red",
        "bold white on red",
    ),
    "bar_warn": (
        "bold #000000 on #ffd75f",
        "bold #000000 on #ffd75f",
        "bold black on yellow",
        "bold black on yellow",
    ),
    "bar_good": (
        "bold #000000 on #87d787",
        "bold #ffffff on #008700",
        "bold black on green",
        "bold black on green",
    ),
}
"""Every style, by name. Without colours their attributes stay; meaning is never in colour alone."""

ASCII: Final[Mapping[str, str]] = {
    "…": "~",
    "·": "-",
    "─": "-",
    "━": "=",
    "│": "|",
    "┃": "|",
    "┌": "+",
    "┐": "+",
    "└": "+",
    "┘": "+",
    "├": "+",
    "┤": "+",
    "┬": "+",
    "┴": "+",
    "┼": "+",
    "╭": "+",
    "╮": "+",
    "╰": "+",
    "╯": "+",
    "▁": "_",
    "▂": ".",
    "▃": "-",
    "▄": "=",
    "▅": "+",
    "▆": "*",
    "▇": "%",
    "█": "#",
    "▉": "#",
    "▊": "#",
    "▋": "#",
    "▌": "=",
    "▍": "-",
    "▎": "-",
    "▏": ".",
    "░": ".",
    "▒": ":",
    "▓": "=",
    "■": "#",
    "□": "o",
    "●": "*",
    "○": "o",
    "◐": "+",
    "◆": "*",
    "◇": "o",
    "▸": ">",
    "▶": ">",
    "▲": "^",
    "▼": "v",
    "↑": "^",
    "↓": "v",
    "→": ">",
    "←": "<",
    "✓": "+",
    "✗": "x",
    "≥": ">",
    "≤": "<",
    "°": "'",
    "µ": "u",
    "—": "-",
    "“": '"',
    "”": '"',
    "⚠": "!",
    SUBSTITUTE: "?",
}
"""A character in ASCII for each that views use, of the same width."""


class _Ascii(dict[int, str]):
    """Translates to ASCII; what it does not know becomes as many `?` as it has cells."""

    def __missing__(self, code: int) -> str:
        if code < 0x80:
            return chr(code)
        from rich.cells import get_character_cell_size

        return "?" * get_character_cell_size(chr(code))


_TO_ASCII: Final = _Ascii({ord(key): value for key, value in ASCII.items()})


@dataclass(frozen=True, slots=True)
class Theme:
    """How frames are painted."""

    background: Background
    colours: ColorSystem | None
    """How many colours the terminal has; None: none are used."""
    ascii: bool
    codes: Mapping[str, str]
    """Escape sequence that switches each style on, by its name."""

    def characters(self, text: str) -> str:
        """Return a text in the characters that the terminal has."""
        return text.translate(_TO_ASCII) if self.ascii and not text.isascii() else text

    def style(self, name: str) -> Style:
        """Return a style for rich, as pictures of screens need it."""
        return _style(name, self.background, self.colours)


def make_theme(
    background: Background = Background.DARK,
    colours: ColorSystem | None = ColorSystem.EIGHT_BIT,
    *,
    ascii: bool = False,
) -> Theme:
    """Return a theme."""
    if background is Background.NONE:
        colours = None
    codes: dict[str, str] = {}
    for name in STYLES:
        style = _style(name, background, colours)
        # Without a colour system rich leaves out attributes too; in a style without colours the
        # standard one adds none.
        system = ColorSystem.STANDARD if colours is None else colours
        codes[name] = style.render("\0", color_system=system).partition("\0")[0]
    return Theme(background, colours, ascii, codes)


def choose_theme(
    environment: Mapping[str, str],
    *,
    background: Background | None = None,
    ascii: bool | None = None,
) -> Theme:
    """Return the theme for the terminal that an environment describes.

    Args:
        environment: Of the process.
        background: Forced; None: by NO_COLOR and COLORFGBG, else dark.
        ascii: Forced; None: by locale and terminal.
    """
    if background is None:
        background = _background(environment)
    if ascii is None:
        ascii = not _speaks_unicode(environment)
    return make_theme(background, _colours(environment), ascii=ascii)


def asks_background(environment: Mapping[str, str]) -> bool:
    """Tell whether only the terminal itself knows its background, and can be asked."""
    if environment.get("NO_COLOR") or environment.get("COLORFGBG"):
        return False
    return environment.get("TERM", "") not in ("", "linux", "dumb", "vt100", "vt220", "cons25")


_COLOUR_ANSWER: Final = re.compile(
    r"11;rgba?:([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})"
)


def background_of(answer: str) -> Background | None:
    """Return what a terminal answers to `OSC 11 ; ?`; None when it answers something else."""
    match = _COLOUR_ANSWER.match(answer)
    if match is None:
        return None
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in match.groups())
    # Rec. 709.
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return Background.LIGHT if luminance > 0.5 else Background.DARK


def _background(environment: Mapping[str, str]) -> Background:
    if environment.get("NO_COLOR"):
        return Background.NONE
    last = environment.get("COLORFGBG", "").rpartition(";")[2]
    # 7 and 9 to 15 are the light ones of the sixteen colours.
    if last.isdecimal() and (int(last) == 7 or 9 <= int(last) <= 15):
        return Background.LIGHT
    return Background.DARK


def _colours(environment: Mapping[str, str]) -> ColorSystem | None:
    if environment.get("NO_COLOR"):
        return None
    terminal = environment.get("TERM", "")
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return ColorSystem.TRUECOLOR
    if "256" in terminal or "direct" in terminal or "kitty" in terminal:
        return ColorSystem.EIGHT_BIT
    if terminal in ("", "dumb", "vt100", "vt220"):
        return None
    return ColorSystem.STANDARD


def _speaks_unicode(environment: Mapping[str, str]) -> bool:
    """Tell whether the locale is UTF-8 and the terminal's font has more than Latin."""
    if environment.get("TERM", "") in ("linux", "dumb", "vt100", "vt220", "cons25"):
        return False
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = environment.get(name)
        if value:
            return "utf8" in value.lower().replace("-", "")
    return False


def _style(name: str, background: Background, colours: ColorSystem | None) -> Style:
    dark, light, dark_16, light_16 = STYLES[name]
    few = colours is ColorSystem.STANDARD
    if background is Background.LIGHT:
        definition = light_16 if few else light
    else:
        definition = dark_16 if few else dark
    parsed = Style.parse(definition)
    # Made anew: rich shares parsed styles, and each remembers the first colour system it was
    # painted for.
    style = Style(
        color=parsed.color, bgcolor=parsed.bgcolor, bold=parsed.bold, reverse=parsed.reverse
    )
    if colours is not None:
        return style
    plain = style.without_color
    if name.startswith("bar"):
        plain += Style(reverse=True)
    return plain
