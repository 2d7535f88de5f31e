from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from p2pnode.tui.text import Span, line_width, plain
from p2pnode.tui.widgets import (
    Column,
    Row,
    Table,
    bar,
    box,
    column_widths,
    overlay,
    plot,
    sparkline,
    window,
)

COLUMNS = st.lists(
    st.builds(
        Column,
        st.just("title"),
        st.integers(1, 12),
        grows=st.integers(0, 3),
        optional=st.integers(0, 3),
        width_max=st.integers(12, 40),
    ),
    min_size=1,
    max_size=6,
).map(tuple)


@given(COLUMNS, st.integers(1, 200))
def test_columns_fit_unless_those_that_must_stay_do_not(
    columns: tuple[Column, ...], width: int
) -> None:
    widths = column_widths(columns, width)
    kept = [(c, w) for c, w in zip(columns, widths, strict=True) if w]
    taken = sum(w for _, w in kept) + 2 * (len(kept) - 1)
    least = [c for c in columns if not c.optional]
    assert taken <= max(width, sum(c.width_min for c in least) + 2 * (len(least) - 1))
    assert all(c in [k for k, _ in kept] for c in least)
    assert all(c.width_min <= w <= max(c.width_min, c.width_max) for c, w in kept)


def test_a_selected_row_is_one_bar_with_a_mark() -> None:
    table = Table(
        (Column("name", 6), Column("n", 3, right=True)),
        [Row((Span("a", "good"), Span("1")), selected=True), Row((Span("b"), Span("2")))],
    )
    head, first, second = table.lines(14, 10)
    assert plain(head) == " name      n"
    assert first == (Span("▸a         1  ", "selected"),)
    assert plain(second) == " b         2"
    assert table.lines(14, 2, first=1)[1] == second


@given(st.lists(st.floats(0, 1e9), max_size=50), st.integers(0, 40), st.integers(1, 5))
@example([5e-324, 1e-308], 2, 2)
def test_charts_have_their_size_and_the_newest_value_at_the_right(
    values: list[float], width: int, height: int
) -> None:
    rows = plot(values, width, height)
    assert len(rows) == (height if width and height > 1 else 1)
    assert all(len(row.text) == width for row in rows)
    assert len(sparkline(values, width).text) == width


def test_a_sparkline_is_scaled_from_zero() -> None:
    assert sparkline([0, 4, 8], 5).text == "  ▁▅█"
    assert sparkline([0, 0], 2).text == "▁▁"
    assert [row.text for row in plot([0, 1, 2], 3, 2)] == ["  █", "▁██"]


def test_a_bar_is_filled_to_the_eighth_of_a_cell() -> None:
    assert plain(bar(0.5, 4)) == "██░░"
    assert plain(bar(1 / 32, 4)) == "▏░░░"
    assert plain(bar(7.0, 2)) == "██"
    assert plain(bar(-1.0, 2)) == "░░"


@given(st.integers(0, 60), st.integers(1, 60), st.integers(0, 30), st.integers(0, 60))
def test_a_window_always_has_the_selected_row(
    selected: int, count: int, height: int, first: int
) -> None:
    selected = min(selected, count - 1)
    begin = window(selected, count, height, first)
    assert 0 <= begin <= max(0, count - max(1, height))
    if height:
        assert begin <= selected < begin + height or height >= count


def test_a_box_lies_over_the_middle() -> None:
    block = box("title", [(Span("x" * 50),)], 20)
    assert [line_width(line) for line in block] == [20, 20, 20]
    over = overlay([(Span("under"),)] * 7, block, 40)
    assert [plain(line).strip()[:1] for line in over] == ["u", "u", "╭", "│", "╰", "u", "u"]
