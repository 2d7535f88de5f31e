from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.tui.text import (
    SUBSTITUTE,
    Line,
    Span,
    beside,
    clean,
    cut,
    fit,
    line_width,
    pad,
    pad_left,
    plain,
    width_of,
    wrap,
)

TEXTS = st.text(max_size=60)
WIDTHS = st.integers(min_value=0, max_value=70)
LINES = st.lists(st.builds(Span, TEXTS, st.sampled_from(["text", "bad"])), max_size=6)

HOSTILE = {
    "an escape sequence": "\x1b[2J\x1b[1;1H",
    "a control of eight bits": "\x9b2J",
    "a new line": "a\nb\rc",
    "right to left": "a\u202eb",
    "a right-to-left letter": "\u05d0\u0661",
    "a combining mark": "a" + "\u0301" * 40,
    "a joiner": "\U0001f468\u200d\U0001f469",
    "a variation": "\u26a0\ufe0f",
    "no width": "\u200b\ufeff",
    "half a pair": "\ud800",
    "a private character": "\ue000",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_could_move_the_cursor_is_replaced(text: str) -> None:
    shown = clean(text)
    assert shown != text
    assert len(shown) == len(text)
    assert all(c == SUBSTITUTE or c.isascii() or c == "\u26a0" for c in shown)
    assert width_of(shown) >= len(shown)


@given(TEXTS)
def test_cleaned_text_has_only_harmless_characters(text: str) -> None:
    shown = clean(text)
    assert clean(shown) == shown
    for character in shown:
        assert unicodedata.category(character)[0] in "LNPS" or character == " "
        assert unicodedata.bidirectional(character) not in ("R", "AL", "AN")


def test_text_of_other_scripts_is_kept() -> None:
    for text in ("node-0", "København", "узел", "節点", "…·─█▁°"):
        assert clean(text) == text


@given(LINES, WIDTHS)
def test_a_fitted_line_has_its_width_exactly(spans: list[Span], width: int) -> None:
    line: Line = tuple(spans)
    fitted = fit(line, width)
    assert line_width(fitted) == width
    assert fit(fitted, width) == fitted
    full = clean(plain(line))
    if line_width(line) <= width:
        assert plain(fitted).rstrip() == full.rstrip()
    elif width > 0:
        assert "…" in plain(fitted)


@given(TEXTS, WIDTHS)
def test_cut_and_padded_text_keeps_within_its_width(text: str, width: int) -> None:
    assert width_of(cut(text, width)) <= width
    assert width_of(pad(text, width)) == width
    assert width_of(pad_left(text, width)) == width
    if width_of(clean(text)) <= width:
        assert cut(text, width) == clean(text)


@given(st.text(st.sampled_from("ab 高\n"), max_size=80), st.integers(0, 20), st.integers(0, 5))
def test_wrapped_lines_fit_and_lose_nothing_but_what_is_too_much(
    text: str, width: int, lines_max: int
) -> None:
    lines = wrap(text, width, lines_max)
    assert len(lines) <= lines_max
    assert all(0 < width_of(line) <= width for line in lines)
    if width > 1 and lines_max > 4 and len(text) < width:
        assert "".join(lines).replace(" ", "") == clean(text).replace(" ", "")


def test_blocks_stand_side_by_side() -> None:
    left: list[Line] = [(Span("a"),), (Span("longer than that"),)]
    right: list[Line] = [(Span("x"),)]
    assert [plain(line) for line in beside(left, 6, right)] == ["a       x", "longe…  "]
