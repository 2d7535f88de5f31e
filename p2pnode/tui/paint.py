"""Frames as bytes for a terminal: only what has changed since the frame before.

Over a slow line most of a screen stays as it is; within a changed line, too, what is equal at both
ends is not sent again. A frame is one text, to be written at once.
"""

from __future__ import annotations

from typing import Final

from p2pnode.tui.text import Line, Lines, Size, Span, fit_all, width_of
from p2pnode.tui.theme import Theme

BEGIN: Final = "\x1b[?2026h"
END: Final = "\x1b[?2026l"
"""Around a frame: terminals that know them show it at once; others ignore them."""

_RESET: Final = "\x1b[0m"


class Painter:
    """Remembers what is on a terminal, and says how to make it something else."""

    def __init__(self, theme: Theme) -> None:
        """Know nothing of what is on the terminal."""
        self.theme = theme
        self._shown: list[Line] = []
        self._size = Size(0, 0)

    def forget(self) -> None:
        """Paint everything next time: something else has written on the terminal."""
        self._shown = []
        self._size = Size(0, 0)

    def paint(self, lines: Lines, size: Size) -> str:
        """Return what to write so that the terminal shows these lines; empty when it does.

        Args:
            lines: Top to bottom; more than fit are left out, lacking ones are blank.
            size: Of the terminal now.
        """
        frame = fit_all(lines, size)
        parts: list[str] = []
        if size != self._size:
            parts.append(f"{_RESET}\x1b[2J")
            self._shown = [()] * size.height
            self._size = size
        for row, (new, old) in enumerate(zip(frame, self._shown, strict=True)):
            if new != old:
                self._change(parts, row, old, new)
        self._shown = frame
        return f"{BEGIN}{''.join(parts)}{END}" if parts else ""

    def _change(self, parts: list[str], row: int, old: Line, new: Line) -> None:
        """Add what turns one line into another."""
        begin = 0
        column = 1
        shorter = min(len(old), len(new))
        while begin < shorter and old[begin] == new[begin]:
            column += width_of(new[begin].text)
            begin += 1
        end = 0
        # Both lines are as wide as the screen: what is equal at their ends stands at one place.
        while end < shorter - begin and old[-1 - end] == new[-1 - end]:
            end += 1
        parts.append(f"\x1b[{row + 1};{column}H")
        parts.append(self.spans(new[begin : len(new) - end]))

    def spans(self, spans: tuple[Span, ...]) -> str:
        """Return spans as text with escape sequences, which ends in the plain style."""
        codes = self.theme.codes
        parts: list[str] = []
        for text, style in spans:
            code = codes[style]
            text = self.theme.characters(text)
            parts.append(f"{code}{text}{_RESET}" if code else text)
        return "".join(parts)
