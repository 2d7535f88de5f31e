"""Whatever a node and its peers send, every frame fits the terminal and can do it no harm."""

from __future__ import annotations

import math
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pnode.node.answers import BlockEvent, PeerRow
from p2pnode.node.status import NodeStatus
from p2pnode.telemetry.ring import LogRecord
from p2pnode.tui.app import Tick
from p2pnode.tui.keys import Key, Paste
from p2pnode.tui.model import (
    Admin,
    BlockCame,
    Done,
    Link,
    LogCame,
    Lost,
    Model,
    PeersCame,
    Refused,
    StatusCame,
)
from p2pnode.tui.paint import Painter
from p2pnode.tui.text import Size, clean, fit_all, line_width, plain, width_of
from p2pnode.tui.theme import STYLES, make_theme
from p2pnode.tui.update import update
from p2pnode.tui.view import view
from tests.tui.worlds import WORLDS

HOSTILE = st.sampled_from(
    ["\x1b[2J", "\x9b31m", "a\nb\r", "\u202eevil", "\u05d0", "e\u0301" * 9, "高" * 40, "\x07", ""]
)
st.register_type_strategy(str, st.one_of(st.text(max_size=30), HOSTILE))
STATUSES = st.from_type(NodeStatus)
SIZES = st.builds(Size, st.integers(40, 210), st.integers(10, 64))
KEYS = st.sampled_from(
    [
        *("1", "2", "3", "4", "5", "6", "7", "8", "tab", "shift-tab", "up", "down", "j", "k", "G"),
        *("home", "pageup", "pagedown", "enter", "escape", "?", "p", "/", "y", "n", "q", "d", "b"),
        *("l", "f", "backspace", "ctrl-c", "ctrl-z", "ctrl-l", "ctrl-u", "x", "é", "f12"),
    ]
)
RECORDS = st.lists(
    st.builds(
        LogRecord,
        st.integers(1, 50),
        st.integers(),
        st.sampled_from(["debug", "info", "warning", "error", "\x1b"]),
        st.from_type(str),
        st.from_type(str),
        st.dictionaries(
            st.from_type(str), st.one_of(st.from_type(str), st.floats(), st.integers()), max_size=4
        ),
    ),
    max_size=4,
).map(lambda records: tuple(sorted(records, key=lambda record: record.number)))
EVENTS = st.one_of(
    st.builds(StatusCame, STATUSES, st.floats(0, 1e6)),
    st.builds(PeersCame, st.lists(st.from_type(PeerRow), max_size=4).map(tuple), st.floats(0, 1e6)),
    st.builds(BlockCame, st.from_type(BlockEvent)),
    st.builds(LogCame, RECORDS),
    st.builds(Lost, st.from_type(str), st.floats(0, 1e6), st.floats(0, 1e6)),
    st.builds(Refused, st.sampled_from(["log", "peers"]), st.from_type(str)),
    st.builds(Done, st.from_type(str), st.booleans()),
    st.builds(Paste, st.from_type(str)),
    st.builds(Tick, st.floats(0, 1e6)),
    KEYS.map(Key),
)
RELAXED = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def check_frame(model: Model, size: Size) -> None:
    lines = view(model, size)
    assert len(lines) == size.height
    # A screen that counts its own lines wrongly would push the doctor line out of sight.
    fitted = fit_all(lines, size)
    for line in fitted:
        assert line_width(line) == size.width
        for span in line:
            assert span.style in STYLES
            assert clean(span.text) == span.text
    for text in (plain(line) for line in fitted):
        assert width_of(text) == size.width
        assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text)
    painted = Painter(make_theme(ascii=True)).paint(lines, size)
    assert painted.isascii()


@RELAXED
@given(STATUSES, st.integers(1, 8), SIZES)
def test_any_status_is_drawn_on_any_screen_and_fits(
    status: NodeStatus, screen: int, size: Size
) -> None:
    model = Model(Link("http://127.0.0.1:1"))
    for event in (StatusCame(status, 1.0), StatusCame(status, 2.0), Key(str(screen))):
        model, _ = update(model, event)
    check_frame(model, size)


@RELAXED
@given(st.lists(EVENTS, max_size=12), SIZES, st.booleans())
def test_any_events_and_keys_lead_to_a_frame_that_fits(
    events: list[object], size: Size, inside: bool
) -> None:
    model = Model(Link("http://127.0.0.1:1"), admin=Admin("/tmp/admin.sock"), inside=inside)
    for event in events:
        model, _ = update(model, event)
        check_frame(model, size)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("screen", "12345678")
def test_every_size_fits(name: str, screen: str) -> None:
    model, _ = update(WORLDS[name](), Key(screen))
    detail, _ = update(model, Key("enter"))
    for width in (40, 59, 80, 99, 100, 200):
        for height in (10, 11, 15, 24, 40, 60):
            check_frame(model, Size(width, height))
    check_frame(detail, Size(40, 10))
    check_frame(detail, Size(80, 24))


@given(st.floats() | st.integers())
def test_numbers_of_any_size_have_a_text(value: float) -> None:
    from p2pnode.tui.screens import common

    for shown in (
        common.count,
        common.size,
        common.rate,
        common.span_s,
        common.milliseconds,
        common.percent,
    ):
        assert len(shown(value)) < 40
    assert common.ratio(1, value) >= 0 or not math.isfinite(value)
