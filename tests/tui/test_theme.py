from __future__ import annotations

import pytest
from rich.color import ColorSystem

from p2pnode.tui.paint import Painter
from p2pnode.tui.text import Span
from p2pnode.tui.theme import (
    ASCII,
    STYLES,
    Background,
    asks_background,
    background_of,
    choose_theme,
    make_theme,
)

UTF8 = {"LANG": "C.UTF-8", "TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("environment", "background", "colours", "ascii"),
    [
        (UTF8, Background.DARK, ColorSystem.EIGHT_BIT, False),
        ({**UTF8, "COLORTERM": "truecolor"}, Background.DARK, ColorSystem.TRUECOLOR, False),
        ({**UTF8, "COLORFGBG": "0;15"}, Background.LIGHT, ColorSystem.EIGHT_BIT, False),
        ({**UTF8, "COLORFGBG": "15;default;0"}, Background.DARK, ColorSystem.EIGHT_BIT, False),
        ({**UTF8, "NO_COLOR": "1"}, Background.NONE, None, False),
        ({**UTF8, "LC_ALL": "C"}, Background.DARK, ColorSystem.EIGHT_BIT, True),
        ({"TERM": "xterm"}, Background.DARK, ColorSystem.STANDARD, True),
        ({**UTF8, "TERM": "linux"}, Background.DARK, ColorSystem.STANDARD, True),
        ({**UTF8, "TERM": "vt100"}, Background.DARK, None, True),
    ],
)
def test_a_theme_is_chosen_from_the_environment(
    environment: dict[str, str],
    background: Background,
    colours: ColorSystem | None,
    ascii: bool,
) -> None:
    theme = choose_theme(environment)
    assert (theme.background, theme.colours, theme.ascii) == (background, colours, ascii)


def test_flags_force_a_theme() -> None:
    theme = choose_theme(UTF8, background=Background.NONE, ascii=True)
    assert (theme.colours, theme.ascii) == (None, True)
    assert choose_theme({**UTF8, "NO_COLOR": "1"}, background=Background.LIGHT).ascii is False


def test_no_colours_means_none_and_keeps_attributes() -> None:
    theme = make_theme(Background.NONE)
    assert set(theme.codes) == set(STYLES)
    colours = ("3", "4", "9", "10")
    for name, code in theme.codes.items():
        numbers = code.removeprefix("\x1b[").removesuffix("m").split(";")
        assert not any(n.startswith(colours) and len(n) > 1 for n in numbers), name
    assert theme.codes["bad"] == "\x1b[1m"
    assert theme.codes["bar_bad"] == "\x1b[1;7m"
    assert theme.codes["good"] == ""


def test_a_theme_does_not_depend_on_those_made_before() -> None:
    few = make_theme(Background.DARK, ColorSystem.STANDARD).codes["dim"]
    many = make_theme(Background.DARK, ColorSystem.TRUECOLOR)
    many.style("dim").render("x", color_system=ColorSystem.TRUECOLOR)
    assert many.codes["dim"] == "\x1b[38;2;138;138;138m"
    assert make_theme(Background.DARK, ColorSystem.EIGHT_BIT).codes["dim"] == "\x1b[38;5;245m"
    assert make_theme(Background.DARK, ColorSystem.STANDARD).codes["dim"] == few


@pytest.mark.parametrize("background", Background)
@pytest.mark.parametrize("colours", list(ColorSystem))
def test_every_theme_has_every_style(background: Background, colours: ColorSystem) -> None:
    theme = make_theme(background, colours)
    assert set(theme.codes) == set(STYLES)
    assert all(code == "" or code.startswith("\x1b[") for code in theme.codes.values())


def test_ascii_has_a_character_of_the_same_width_for_each() -> None:
    assert all(len(key) == len(value) == 1 and value.isascii() for key, value in ASCII.items())
    theme = make_theme(ascii=True)
    assert theme.characters("▁█ · 節é") == "_# - ???"
    assert Painter(theme).spans((Span("…"),)) == "~"


@pytest.mark.parametrize(
    ("answer", "background"),
    [
        ("11;rgb:ffff/ffff/ffff", Background.LIGHT),
        ("11;rgb:fd/f6/e3", Background.LIGHT),
        ("11;rgb:0000/2b2b/3636", Background.DARK),
        ("11;rgba:1c/1c/1c/ff", Background.DARK),
        ("10;rgb:ffff/ffff/ffff", None),
        ("11;red", None),
    ],
)
def test_a_terminal_tells_its_background(answer: str, background: Background | None) -> None:
    assert background_of(answer) is background


def test_only_terminals_that_may_know_are_asked() -> None:
    assert asks_background(UTF8)
    assert not asks_background({**UTF8, "NO_COLOR": "1"})
    assert not asks_background({**UTF8, "COLORFGBG": "0;15"})
    assert not asks_background({**UTF8, "TERM": "linux"})
