"""Every screen as text, in every world and size: `UPDATE_SNAPSHOTS=1` writes them anew."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path

import pytest
from rich.color import ColorSystem

from p2pnode.tui.doctor import Level, examine
from p2pnode.tui.keys import Key
from p2pnode.tui.model import Model, ScreenName
from p2pnode.tui.paint import Painter
from p2pnode.tui.text import Lines, Size, fit_all, line_width, plain
from p2pnode.tui.theme import Background, Theme, make_theme
from p2pnode.tui.update import update
from p2pnode.tui.view import view
from tests.tui.worlds import WORLDS

FOLDER = Path(__file__).parent / "snapshots"
SIZES = (Size(80, 24), Size(120, 40), Size(200, 60))


@cache
def world(name: str) -> Model:
    return WORLDS[name]()


def on(name: str, screen: ScreenName, *keys: str) -> Model:
    model = world(name)
    for key in (str(screen.value), *keys):
        model, _ = update(model, Key(key))
    return model


def text_of(lines: Lines, size: Size, theme: Theme | None = None) -> str:
    rows = [plain(line) for line in fit_all(lines, size)]
    if theme is not None:
        rows = [theme.characters(row) for row in rows]
    assert len(rows) == size.height
    return "".join(f"{row.rstrip()}\n" for row in rows)


def check(name: str, text: str) -> None:
    path = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return
    assert path.exists(), f"no {path.name}: make it with UPDATE_SNAPSHOTS=1, and read it"
    assert text == path.read_text()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.width}x{size.height}")
@pytest.mark.parametrize("name", WORLDS)
def test_each_screen_looks_as_its_picture(name: str, size: Size) -> None:
    pages = []
    for screen in ScreenName:
        pages.append(text_of(view(on(name, screen), size), size))
    check(f"{name}-{size.width}x{size.height}", "\f\n".join(pages))


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("help", ("1", "?")),
        ("peer", ("3", "down", "down", "enter")),
        ("filter", ("3", "/", "n", "o", "d", "e", "2")),
        ("search", ("7", "/", "f", "r", "a", "m", "e", "enter")),
        ("record", ("7", "k", "k", "enter")),
        ("shard", ("5", "down", "enter")),
        ("paused", ("1", "p")),
        ("copied", ("1", "y")),
        ("no-admin", ("3", "b")),
    ],
)
def test_what_keys_show_looks_as_its_picture(name: str, keys: Sequence[str]) -> None:
    model = world("healthy")
    for key in keys:
        model, _ = update(model, Key(key))
    size = Size(80, 24)
    check(f"keys-{name}", text_of(view(model, size), size))


@pytest.mark.parametrize("screen", ScreenName, ids=lambda screen: screen.name.lower())
def test_ascii_has_the_same_layout_in_ascii(screen: ScreenName) -> None:
    size = Size(80, 24)
    lines = view(on("healthy", screen), size)
    text = text_of(lines, size, make_theme(ascii=True))
    assert text.isascii()
    unicode_text = text_of(lines, size)
    assert [len(row) for row in text.splitlines()] == [len(r) for r in unicode_text.splitlines()]
    check(f"ascii-{screen.name.lower()}", text)


@pytest.mark.parametrize(
    ("name", "theme"),
    [
        ("dark", make_theme(Background.DARK, ColorSystem.EIGHT_BIT)),
        ("light", make_theme(Background.LIGHT, ColorSystem.EIGHT_BIT)),
        ("sixteen", make_theme(Background.DARK, ColorSystem.STANDARD)),
        ("none", make_theme(Background.NONE)),
    ],
)
def test_painted_frames_are_as_recorded(name: str, theme: Theme) -> None:
    size = Size(80, 24)
    model = on("partitioned", ScreenName.CONSENSUS)
    painted = Painter(theme).paint(view(model, size), size)
    check(f"painted-{name}", painted.replace("\x1b", "␛").replace("␛[0m", "␛[0m\n"))


def test_too_small_a_terminal_is_told_so() -> None:
    for size in (Size(39, 24), Size(80, 9), Size(1, 1), Size(12, 3)):
        lines = view(on("healthy", ScreenName.OVERVIEW), size)
        assert len(lines) <= size.height
        assert all(line_width(line) <= size.width for line in lines)
    text = text_of(view(world("healthy"), Size(30, 5)), Size(30, 5))
    assert "terminal too small" in text
    assert "30x5" in text


def test_what_is_wrong_is_said_on_every_screen() -> None:
    for size in SIZES:
        for screen in ScreenName:
            text = " ".join(text_of(view(on("partitioned", screen), size), size).split())
            assert "missing node2 (unreachable for 14 s), node5" in text
            assert "look at node2, node5, node6" in text


def test_a_healthy_node_shows_no_error_on_any_screen() -> None:
    for screen in ScreenName:
        text = text_of(view(on("healthy", screen), Size(120, 40)), Size(120, 40))
        assert "ERROR" not in text
        assert "✗ " not in text.replace("✗ skipped", "")
    assert "ERROR storage_failed" in text_of(
        view(on("stalled", ScreenName.LOG), Size(120, 40)), Size(120, 40)
    )


def test_a_full_disk_is_named_with_what_to_do() -> None:
    size = Size(120, 40)
    text = " ".join(text_of(view(on("stalled", ScreenName.LOG), size), size).split())
    assert "its disk refuses writes: No space left on device" in text
    assert "free some space on node0" in text


def test_what_slows_the_machine_down_is_said_when_the_network_is_well() -> None:
    model = world("healthy")
    assert model.status is not None
    for changes, words in (
        ({"throttled": "under-voltage"}, "look at power supply"),
        ({"lateness_p99_ms": 600.0}, "600 ms late"),
        ({"disk_free_bytes": 1 << 20}, "only 1 MiB of disk"),
    ):
        device = replace(model.status.device, **changes)
        assert words in " ".join(astuple(examine(replace(model.status, device=device)))[1:])
    assert examine(model.status).level is Level.GOOD
