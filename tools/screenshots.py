"""Pictures of every screen of the TUIs as SVG, the same bytes in every run.

The views are pure: they are drawn from the networks that the tests' snapshots are drawn from
(worlds.py and testnets.py in tests/tui), in the dark theme. The pictures name no font file, no
address and no script: they look alike on GitHub, in the site and in an editor.

    python tools/screenshots.py            # rewrites docs/img/tui-*.svg
    python tools/screenshots.py --check    # says which are out of date; exit code 1
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from rich.color import ColorSystem
from rich.style import Style
from rich.terminal_theme import TerminalTheme

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pnode.tui.keys import Key  # noqa: E402
from p2pnode.tui.model import Model, ScreenName  # noqa: E402
from p2pnode.tui.text import Line, Size, fit_all, width_of  # noqa: E402
from p2pnode.tui.theme import Background, make_theme  # noqa: E402
from p2pnode.tui.view import view  # noqa: E402
from testnet.console.model import Screen  # noqa: E402
from testnet.console.update import update as console_update  # noqa: E402
from testnet.console.view import view as console_view  # noqa: E402
from tests.tui import testnets, worlds  # noqa: E402

IMAGES = ROOT / "docs" / "img"
SIZE = Size(110, 34)

CELL_WIDTH, CELL_HEIGHT = 8.4, 18
FONT_SIZE = 14
MARGIN, TITLE_HEIGHT = 12, 26
FONTS = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"

COLOURS = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [
        *[(22, 27, 34), (248, 81, 73), (63, 185, 80), (210, 153, 34)],
        *[(88, 166, 255), (188, 140, 255), (57, 197, 207), (201, 209, 217)],
    ],
)
"""Of the terminal in the pictures."""

KILL = (" ", " ", " ", "k")
"""Keys that select three nodes and ask to kill them."""

BLOCKS = "▁▂▃▄▅▆▇█"
"""Drawn as rectangles: in a font they leave seams between rows."""

WORD = re.compile(f"(?:(?!  )[^{BLOCKS}])+")
"""Text up to a gap or a block."""

THEME = make_theme(Background.DARK, ColorSystem.TRUECOLOR)


def pictures() -> Iterator[tuple[str, str, Sequence[Line]]]:
    """Yield (file name, title, lines) of every picture."""
    for screen in ScreenName:
        model = worlds.healthy()
        yield f"tui-{screen.name.lower()}.svg", "p2pnode tui", _drawn(model, screen)
    for name, world, screen in (
        ("consensus-partitioned", worlds.partitioned, ScreenName.CONSENSUS),
        ("overview-stalled", worlds.stalled, ScreenName.OVERVIEW),
    ):
        yield f"tui-{name}.svg", "p2pnode tui", _drawn(world(), screen)
    yield from _network()


def _drawn(model: Model, screen: ScreenName) -> Sequence[Line]:
    return view(replace(model, ui=replace(model.ui, screen=screen)), SIZE)


def _network() -> Iterator[tuple[str, str, Sequence[Line]]]:
    """Yield the screens of the network TUI, and what it says before it kills."""
    for screen in Screen:
        yield f"tui-network-{screen.name.lower()}.svg", "testnet tui", _typed(str(screen.value))
    yield "tui-network-kill.svg", "testnet tui", _typed(*KILL)


def _typed(*keys: str) -> Sequence[Line]:
    model = testnets.healthy()
    for key in keys:
        model, _ = console_update(model, Key(key))
    return console_view(model, SIZE)


def render(title: str, lines: Sequence[Line], size: Size = SIZE) -> str:
    """Return lines as SVG.

    Args:
        title: In the bar above, and for who can't see the picture.
        lines: Of the screen.
        size: Of the terminal.
    """
    rectangles: list[str] = []
    texts: list[str] = []
    for row, spans in enumerate(fit_all(lines, size)):
        column = 0
        for text, name in spans:
            text = THEME.characters(text)
            cells = width_of(text)
            paint = _Paint(THEME.style(name) if name else Style())
            x, y = _x(column), _y(row)
            if paint.background is not None:
                rectangles.append(
                    f'<rect x="{x:g}" y="{y:g}" width="{cells * CELL_WIDTH:g}" '
                    f'height="{CELL_HEIGHT}" fill="{paint.background}"/>'
                )
            texts += _runs(text, column, y, paint)
            column += cells
    width = round(2 * MARGIN + size.width * CELL_WIDTH)
    height = TITLE_HEIGHT + MARGIN + size.height * CELL_HEIGHT + MARGIN
    background = _hex(COLOURS.background_color)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            f"<style>text{{font-family:{FONTS};font-size:{FONT_SIZE}px;white-space:pre}}"
            "rect~rect{shape-rendering:crispEdges}</style>",
            f'<rect width="{width}" height="{height}" rx="8" fill="{background}"/>',
            *(
                f'<circle cx="{16 + 18 * i}" cy="15" r="5" fill="{colour}"/>'
                for i, colour in enumerate(("#f85149", "#d29922", "#3fb950"))
            ),
            f'<text x="{width / 2:g}" y="19" text-anchor="middle" fill="#8b949e">'
            f"{escape(title)}</text>",
            *rectangles,
            *texts,
            "</svg>",
            "",
        )
    )


class _Paint:
    """A style as SVG knows it."""

    def __init__(self, style: Style) -> None:
        fore = style.color.get_truecolor(COLOURS) if style.color else COLOURS.foreground_color
        back = style.bgcolor.get_truecolor(COLOURS, foreground=False) if style.bgcolor else None
        if style.reverse:
            fore, back = back or COLOURS.background_color, fore
        self.background = None if back is None else _hex(back)
        parts = [f'fill="{_hex(fore)}"']
        if style.bold:
            parts.append('font-weight="bold"')
        if style.dim:
            parts.append('opacity="0.65"')
        if style.underline:
            parts.append('text-decoration="underline"')
        self.attributes = " ".join(parts)


def _runs(text: str, column: int, y: float, paint: _Paint) -> Iterator[str]:
    """Yield a span's words, each held to its cells: fonts differ in their widths."""
    place = 0
    while place < len(text):
        if text[place] == " ":
            place, column = place + 1, column + 1
            continue
        if text[place] in BLOCKS:
            block = text[place]
            count = len(text) - place - len(text[place:].lstrip(block))
            height = CELL_HEIGHT * (BLOCKS.index(block) + 1) / len(BLOCKS)
            yield (
                f'<rect x="{_x(column):g}" y="{y + CELL_HEIGHT - height:g}" '
                f'width="{count * CELL_WIDTH:g}" height="{height:g}" {paint.attributes}/>'
            )
            place, column = place + count, column + count
            continue
        found = WORD.match(text, place)
        assert found is not None
        word = found[0].rstrip(" ")
        cells = width_of(word)
        yield (
            f'<text x="{_x(column):g}" y="{y + FONT_SIZE - 0.5:g}" '
            f'textLength="{cells * CELL_WIDTH:.4g}" '
            f'lengthAdjust="spacingAndGlyphs" {paint.attributes}>{escape(word)}</text>'
        )
        place, column = place + len(word), column + cells


def _x(column: int) -> float:
    return round(MARGIN + column * CELL_WIDTH, 2)


def _y(row: int) -> float:
    return TITLE_HEIGHT + MARGIN / 2 + row * CELL_HEIGHT


def _hex(colour: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pictures, or compare; return the exit code."""
    parser = argparse.ArgumentParser(description="Pictures of the TUIs for README and docs.")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args(arguments).check
    stale: list[str] = []
    for name, title, lines in pictures():
        picture, path = render(title, lines), IMAGES / name
        if not path.exists() or path.read_text(encoding="utf-8") != picture:
            stale.append(name)
            if not check:
                path.write_text(picture, encoding="utf-8")
    print(f"{'out of date' if check else 'rewritten'}: {', '.join(stale) or 'none'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
