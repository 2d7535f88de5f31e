"""Whatever a supervisor, its nodes and their logs say, every frame of the network TUI fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.node.status import NodeStatus
from p2pnode.tui.app import Tick
from p2pnode.tui.keys import Key, Paste
from p2pnode.tui.paint import Painter
from p2pnode.tui.text import Size, clean, fit_all, line_width, plain
from p2pnode.tui.theme import STYLES, make_theme
from testnet.console.model import (
    Done,
    LinkRow,
    Load,
    LogLine,
    LogsCame,
    Model,
    Network,
    NetworkCame,
    NodeRow,
    SupervisorLost,
)
from testnet.console.update import update
from testnet.console.view import view
from tests.tui.test_any_status import HOSTILE, RELAXED, STATUSES
from tests.tui.testnets import TESTNETS, healthy, network_at, row

TEXTS = st.one_of(st.text(max_size=20), HOSTILE)
STATES = st.sampled_from(["starting", "running", "paused", "killed", "crashed", "stopped", "\x1b"])
SIZES = st.builds(Size, st.integers(40, 210), st.integers(12, 64))
KEYS = st.sampled_from(
    [
        *("1", "2", "3", "4", "5", "tab", "up", "down", "G", "g", "pageup", "enter", "escape"),
        *(" ", "a", "v", "i", "k", "p", "s", "r", "c", "h", "l", "L", "u", "Q", "y", "n", "/"),
        *("m", "e", "f", "?", "q", "ctrl-c", "backspace", "ctrl-u", "shift-down", "9", "é", "f12"),
    ]
)


def check_frame(model: Model, size: Size) -> None:
    lines = view(model, size)
    # A screen that counts its own lines wrongly would push the doctor line out of sight.
    assert len(lines) == size.height
    for line in fit_all(lines, size):
        assert line_width(line) == size.width
        for span in line:
            assert span.style in STYLES
            assert clean(span.text) == span.text
    assert Painter(make_theme(ascii=True)).paint(lines, size).isascii()


@st.composite
def networks(draw: st.DrawFn) -> Network:
    names = draw(st.lists(TEXTS, min_size=0, max_size=6, unique=True))
    nodes = []
    for index, name in enumerate(names):
        status = draw(st.one_of(st.none(), STATUSES)) if index < 2 else None
        nodes.append(
            NodeRow(
                name,
                roles=tuple(draw(st.lists(TEXTS, max_size=2))),
                state=draw(STATES),
                validator=draw(st.one_of(st.none(), st.just(index))),
                power=draw(st.integers(0, 1 << 70)),
                rpc=draw(TEXTS),
                crash=draw(TEXTS),
                rtt_ms={other: draw(st.one_of(st.none(), st.floats())) for other in names[:2]},
                looks=draw(st.integers(0, 9)),
                status=status,
                status_s=draw(st.floats(0, 100)),
            )
        )
    pairs = draw(st.lists(st.tuples(TEXTS, TEXTS), max_size=3))
    pairs += [(a, b) for a in names[:2] for b in names[:2] if a != b]
    numbers = {"latency_ms_min": 1.0, "latency_ms_max": 9.0, "loss": 0.1}
    link = st.sampled_from([LinkRow(cut=True), LinkRow("lan", 5.0, numbers)])
    return Network(
        draw(TEXTS),
        seed=draw(st.integers()),
        engine=draw(TEXTS),
        ready=draw(st.booleans()),
        nodes=tuple(nodes),
        links={pair: draw(link) for pair in pairs},
        load=draw(st.builds(Load, submitted=st.integers(), p50_ms=st.integers())),
        came_s=draw(st.floats(0, 1e6)),
    )


LINES = st.builds(LogLine, st.integers(0, 1 << 60), TEXTS, TEXTS, TEXTS, TEXTS)
EVENTS = st.one_of(
    KEYS.map(Key),
    KEYS.map(Key),
    st.builds(NetworkCame, networks()),
    st.builds(LogsCame, st.lists(LINES, max_size=5).map(tuple), st.integers(0, 9)),
    st.builds(SupervisorLost, TEXTS, st.floats(0, 1e6)),
    st.builds(Done, st.just(()), st.just(()), TEXTS, st.integers(0, 2)),
    st.builds(Paste, TEXTS),
    st.builds(Tick, st.floats(0, 1e6)),
)


@RELAXED
@given(st.lists(EVENTS, max_size=14), SIZES)
def test_any_events_and_keys_lead_to_a_frame_that_fits(events: list[object], size: Size) -> None:
    model = Model("amber-fox")
    for event in events:
        model, _ = update(model, event)
        check_frame(model, size)


@RELAXED
@given(st.lists(KEYS, max_size=20), SIZES, st.sampled_from(sorted(TESTNETS)))
def test_any_keys_in_any_testnet_lead_to_a_frame_that_fits(
    keys: list[str], size: Size, name: str
) -> None:
    model = healthy() if name == "healthy" else TESTNETS[name]()
    for key in keys:
        model, _ = update(model, Key(key))
    check_frame(model, size)


@pytest.mark.parametrize("screen", "12345")
@pytest.mark.parametrize("count", [1, 2, 30])
def test_one_to_thirty_nodes_fit_every_size(count: int, screen: str) -> None:
    base = network_at(80)
    nodes = tuple(
        replace(row(i % 7, 80, base.came_s), name=f"node{i}", validator=i) for i in range(count)
    )
    model, _ = update(Model("amber-fox"), NetworkCame(replace(base, nodes=nodes)))
    model, _ = update(model, Key(screen))
    for size in (Size(40, 12), Size(80, 24), Size(120, 40), Size(200, 60)):
        check_frame(model, size)
    last, _ = update(model, Key("G"))
    if screen == "1":
        shown = "\n".join(plain(line) for line in view(last, Size(80, 24)))
        assert f"node{count - 1} " in shown


@RELAXED
@given(STATUSES)
def test_any_status_is_drawn_on_every_screen(status: NodeStatus) -> None:
    base = network_at(80, 1)
    node = replace(base.nodes[0], status=status)
    model = Model("amber-fox")
    for second in (0.0, 1.0):
        came = replace(base, came_s=base.came_s + second, nodes=(node,))
        model, _ = update(model, NetworkCame(came))
    for screen in "12345":
        check_frame(update(model, Key(screen))[0], Size(80, 24))
