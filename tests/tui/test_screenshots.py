"""The pictures in the documentation show what the screens look like."""

from __future__ import annotations

import importlib.util
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from p2pnode.tui.text import Size, Span

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("screenshots", ROOT / "tools" / "screenshots.py")
assert _SPEC is not None
assert _SPEC.loader is not None
screenshots = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(screenshots)


def test_every_picture_is_up_to_date() -> None:
    if os.environ.get("UPDATE_SNAPSHOTS"):
        screenshots.main([])
    for name, title, lines in screenshots.pictures():
        kept = (ROOT / "docs" / "img" / name).read_text(encoding="utf-8")
        assert kept == screenshots.render(title, lines), f"{name}: say `make screenshots`"


def test_every_picture_is_well_formed_and_loads_nothing() -> None:
    found = sorted((ROOT / "docs" / "img").glob("tui-*.svg"))
    assert len(found) >= 10
    for path in found:
        text = path.read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        for loads in ("@font-face", "url(", "<script", "href", "<image"):
            assert loads not in text, (path.name, loads)


def test_text_of_the_screen_cannot_break_out_of_the_picture() -> None:
    picture = screenshots.render("a & b", [(Span("<script>&\"'", ""),)], Size(20, 2))
    assert "<script>" not in picture
    texts = [element.text for element in ElementTree.fromstring(picture).iter()]
    assert "<script>&\"'" in texts
