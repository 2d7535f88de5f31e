"""The network TUI as text, in every testnet and size: `UPDATE_SNAPSHOTS=1` writes it anew."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest

from p2pnode.tui.keys import Key
from p2pnode.tui.text import Size, line_width, plain
from p2pnode.tui.theme import make_theme
from testnet.console.model import Model, Screen
from testnet.console.screens.parts import quorum_line
from testnet.console.update import update
from testnet.console.view import view
from tests.tui.test_screens import SIZES, check, text_of
from tests.tui.testnets import TESTNETS, changed, healthy, then

WIDE = SIZES[1]


@cache
def scene(name: str) -> Model:
    return TESTNETS[name]()


def typed(name: str, *keys: str) -> Model:
    model = scene(name)
    for key in keys:
        model, _ = update(model, Key(key))
    return model


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.width}x{size.height}")
@pytest.mark.parametrize("name", TESTNETS)
def test_each_screen_looks_as_its_picture(name: str, size: Size) -> None:
    pages = [text_of(view(typed(name, str(screen.value)), size), size) for screen in Screen]
    check(f"network-{name}-{size.width}x{size.height}", "\f\n".join(pages))


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("help", ("?",)),
        ("kill", ("down", "down", "k")),
        ("cut-two", ("down", " ", " ", "c")),
        ("cut-half", ("a", "c")),
        ("profile", ("a", "l", "down", "down")),
        ("rate", ("L",)),
        ("end", ("Q",)),
        ("log-filter", ("3", "/", *"event:engine", "enter")),
        ("log-paused", ("3", "up", "up")),
    ],
)
@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size.width}x{size.height}")
def test_what_keys_show_looks_as_its_picture(name: str, keys: Sequence[str], size: Size) -> None:
    text = text_of(view(typed("healthy", *keys), size), size)
    check(f"network-keys-{name}-{size.width}x{size.height}", text)


@pytest.mark.parametrize("name", TESTNETS)
def test_ascii_terminals_get_ascii(name: str) -> None:
    theme = make_theme(ascii=True)
    for screen in Screen:
        text = text_of(view(typed(name, str(screen.value)), WIDE), WIDE, theme)
        assert text.isascii(), [c for c in text if not c.isascii()]


@pytest.mark.parametrize("name", TESTNETS)
def test_no_line_is_cut_by_the_edge_in_a_wide_terminal(name: str) -> None:
    for screen in (Screen.NODES, Screen.LINKS, Screen.LOAD):
        for entry in view(typed(name, str(screen.value)), SIZES[2]):
            assert line_width(entry) <= SIZES[2].width, entry


@pytest.mark.parametrize("size", [Size(39, 24), Size(80, 11), Size(1, 1)])
def test_a_terminal_that_is_too_small_is_told_so(size: Size) -> None:
    text = text_of(view(scene("healthy"), size), size)
    assert "terminal" in text.replace("\n", "") or size.width < 10


def test_who_may_not_be_lost_is_said_shorter_where_names_do_not_fit() -> None:
    model = healthy()
    away = changed(model, {name: {"state": "killed"} for name in ("node5", "node6")})
    model = then(model, nodes=away)
    assert plain(quorum_line(model, 200)).endswith("node3, node4 stops finality")
    assert plain(quorum_line(model, 80)).endswith("5 needed; losing any one stops finality")


def test_how_long_a_node_is_away_fits_its_column() -> None:
    model = healthy()
    assert model.network is not None
    away = changed(model, {"node2": {"state": "killed", "changed_s": model.network.came_s - 125}})
    text = text_of(view(then(model, nodes=away), Size(120, 40)), Size(120, 40))
    assert "node2    killed     2 min " in text
