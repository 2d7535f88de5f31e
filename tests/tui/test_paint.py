from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.tui.paint import BEGIN, END, Painter
from p2pnode.tui.text import Line, Size, Span
from p2pnode.tui.theme import STYLES, make_theme
from tests.tui.screen import Screen

SPANS = st.builds(
    Span, st.text(st.sampled_from("ab 高é\x1b\n"), max_size=9), st.sampled_from(sorted(STYLES))
)
FRAMES = st.lists(st.lists(SPANS, max_size=5).map(tuple), max_size=7)
SIZES = st.builds(Size, st.integers(1, 20), st.integers(1, 6))


@given(st.lists(st.tuples(FRAMES, SIZES), max_size=5), FRAMES, SIZES)
def test_changes_lead_to_the_screen_that_painting_anew_makes(
    before: list[tuple[list[Line], Size]], frame: list[Line], size: Size
) -> None:
    painter = Painter(make_theme())
    screen = Screen(*size)
    for old, old_size in before:
        if old_size == size:
            screen.feed(painter.paint(old, old_size))
        else:
            # A resize: the terminal may show anything now.
            painter.paint(old, old_size)
    screen.feed(painter.paint(frame, size))
    fresh = Screen(*size)
    fresh.feed(Painter(make_theme()).paint(frame, size))
    assert screen.cells == fresh.cells
    assert painter.paint(frame, size) == ""


def test_only_what_changed_is_sent_in_one_text() -> None:
    painter = Painter(make_theme())
    size = Size(30, 3)

    def frame(number: int) -> list[Line]:
        return [(Span("height ", "dim"), Span(str(number), "good"), Span(" final")), (Span("x"),)]

    first = painter.paint(frame(7), size)
    assert first.startswith(BEGIN)
    assert first.endswith(END)
    code = make_theme().codes["good"]
    assert painter.paint(frame(8), size) == f"{BEGIN}\x1b[1;8H{code}8\x1b[0m{END}"
    assert painter.paint(frame(8), size) == ""
    painter.forget()
    assert painter.paint(frame(8), size) != ""
