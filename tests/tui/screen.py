"""A terminal for tests: what a screen shows after some output, and nothing clever."""

from __future__ import annotations

import re

from rich.cells import get_character_cell_size

_TOKEN = re.compile(
    r"\x1b\[(?P<parameters>[0-9;?]*)(?P<final>[a-zA-Z])|\x1b\](?P<osc>[^\x07\x1b]*)(?:\x07|\x1b\\)"
    r"|(?P<text>[^\x00-\x1f\x7f\x1b]+)|(?P<other>.)",
    re.DOTALL,
)


class Screen:
    """Takes output, keeps cells; refuses every control it does not expect."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.cells: list[list[tuple[str, str]]] = []
        self.row = self.column = 0
        self.style = ""
        self.modes: dict[str, bool] = {}
        self.strings: list[str] = []
        self._clear()

    def feed(self, text: str) -> None:
        for match in _TOKEN.finditer(text):
            if match["text"] is not None:
                for character in match["text"]:
                    self._put(character)
            elif match["final"] is not None:
                self._control(match["parameters"], match["final"])
            elif match["osc"] is not None:
                self.strings.append(match["osc"])
            elif match["other"] != "\x18":
                raise AssertionError(f"unexpected {match['other']!r} in the output")

    def lines(self) -> list[str]:
        return ["".join(character for character, _ in row) for row in self.cells]

    def _clear(self) -> None:
        self.cells = [[(" ", "")] * self.width for _ in range(self.height)]

    def _put(self, character: str) -> None:
        cells = get_character_cell_size(character)
        assert cells in (1, 2), f"{character!r} has {cells} cells"
        assert self.column + cells <= self.width, "written beyond the right edge"
        row = self.cells[self.row]
        row[self.column] = (character, self.style)
        if cells == 2:
            row[self.column + 1] = ("", self.style)
        self.column += cells

    def _control(self, parameters: str, final: str) -> None:
        if final == "H":
            row, column = (int(part) for part in parameters.split(";"))
            assert 1 <= row <= self.height
            assert 1 <= column <= self.width
            self.row, self.column = row - 1, column - 1
        elif final == "m":
            self.style = "" if parameters == "0" else parameters
        elif final == "J":
            assert parameters == "2"
            self._clear()
        elif final in "hl":
            self.modes[parameters] = final == "h"
        elif final not in "cn":
            raise AssertionError(f"unexpected sequence {parameters}{final}")
