"""Testnets as their supervisor tells of them: what the network TUI is drawn from in tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Final

from p2pnode.net.links.profile import PROFILES
from p2pnode.node.status import NodeStatus
from p2pnode.tui.app import Tick
from testnet.console.model import (
    LinkRow,
    Load,
    LogLine,
    LogsCame,
    Model,
    Network,
    NetworkCame,
    NodeRow,
    Pair,
    SupervisorLost,
)
from testnet.console.update import update
from tests.tui.worlds import BEGIN_MS, COUNT, SECONDS, peer_of, status_at, validators

NOW_S: Final = 1_000.0
NAMES: Final = tuple(f"node{i}" for i in range(COUNT))


def status_of(index: int, second: int, count: int = COUNT) -> NodeStatus:
    """Return the status of a node of a healthy testnet."""
    status = status_at(second)
    seen = tuple(replace(v, own=v.index == index) for v in validators()[:count])
    consensus = status.consensus
    if count != COUNT:
        consensus = replace(
            consensus,
            quorum=2 * count // 3 + 1,
            power_total=count,
            votes=(),
            proposer=0,
            recent=tuple(replace(r, proposer=0, voters=(0,)) for r in consensus.recent),
        )
    return replace(
        status,
        name=f"node{index}",
        peers_count=count - 1,
        consensus=replace(consensus, validators=seen),
    )


def row(index: int, second: int, now_s: float, count: int = COUNT) -> NodeRow:
    name = f"node{index}"
    return NodeRow(
        name=name,
        roles=("validator", "executor"),
        changed_s=NOW_S - SECONDS,
        validator=index,
        power=1,
        rpc=f"http://127.0.0.1:{41001 + 2 * index}",
        p2p=f"/ip4/127.0.0.1/tcp/{41000 + 2 * index}/p2p/{peer_of(index)}",
        pid=20114 + index,
        rtt_ms={
            other: 0.4 + (index * 7 + to * 3) % 11 / 10
            for to, other in enumerate(NAMES[:count])
            if other != name
        },
        looks=second,
        status=status_of(index, second, count),
        status_s=now_s - 0.2,
    )


def network_at(second: int, count: int = COUNT) -> Network:
    now_s = NOW_S - SECONDS + second
    return Network(
        name="amber-fox",
        seed=7,
        engine="simplex",
        nodes=tuple(row(i, second, now_s, count) for i in range(count)),
        load=Load(True, 300.0, second * 300, second * 300, max(0, second * 300 - 90), 0, 210, 340),
        came_s=now_s,
    )


EVENTS: Final = (
    ("block_finalized", "height=812 hash=5297ed80e987… view=[71]"),
    ("peer_connected", f"peer={peer_of(3)[:20]} address=/ip4/127.0.0.1/tcp/41000"),
    ("engine_nullified", "view=812"),
    ("peer_forgiven", f"peer={peer_of(4)[:20]}"),
)


def log() -> tuple[LogLine, ...]:
    lines = []
    for at in range(60):
        event, text = EVENTS[at % len(EVENTS)]
        level = ("info", "info", "info", "warning")[at % len(EVENTS)]
        lines.append(LogLine(BEGIN_MS + at * 730, NAMES[at % COUNT], level, event, text))
    return tuple(lines)


def after(networks: list[Network]) -> Model:
    model = Model("amber-fox", begin_s=NOW_S - SECONDS)
    for network in networks:
        model, _ = update(model, Tick(network.came_s))
        model, _ = update(model, NetworkCame(network))
    model, _ = update(model, LogsCame(log()))
    return model


@cache
def healthy() -> Model:
    return after([network_at(second) for second in range(SECONDS - 30, SECONDS + 1)])


def then(model: Model, **changes: object) -> Model:
    """Return a model after one more answer, a second later."""
    assert model.network is not None
    came_s = model.network.came_s + 1.0
    network = replace(model.network, came_s=came_s, **changes)  # type: ignore[arg-type]
    model, _ = update(model, Tick(came_s))
    return update(model, NetworkCame(network))[0]


def changed(model: Model, what: Mapping[str, Mapping[str, object]]) -> tuple[NodeRow, ...]:
    assert model.network is not None
    return tuple(replace(n, **what.get(n.name, {})) for n in model.network.nodes)  # type: ignore[arg-type]


def cut(group: tuple[str, ...], others: tuple[str, ...]) -> dict[Pair, LinkRow]:
    row = LinkRow(cut=True, cut_since_s=NOW_S - 12.3)
    pairs = [(a, b) for a in group for b in others] + [(b, a) for a in group for b in others]
    return dict.fromkeys(pairs, row)


def without_blocks(model: Model, age_s: float) -> tuple[NodeRow, ...]:
    """Return the nodes with nothing final for some time."""
    assert model.network is not None
    rows = []
    for node in model.network.nodes:
        assert node.status is not None
        consensus = replace(node.status.consensus, demand=True, demand_s=age_s)
        status = replace(node.status, last_block_age_s=age_s, consensus=consensus)
        rows.append(replace(node, status=status, status_s=NOW_S + 0.8, looks=node.looks + 1))
    return tuple(rows)


def partitioned() -> Model:
    """Three of seven are cut off, and a link is slow."""
    model = healthy()
    numbers = PROFILES["satellite"].to_json()
    slow = LinkRow("satellite", 290.0, numbers)
    links = {("node0", "node1"): slow, ("node1", "node0"): slow}
    links |= cut(NAMES[:3], NAMES[3:])
    return then(model, nodes=without_blocks(model, 12.3), links=links)


def stalled() -> Model:
    """Three of seven are away: killed, paused, crashed."""
    model = healthy()
    model = then(model, nodes=without_blocks(model, 8.0))
    gone_s = NOW_S - 8.0
    away: dict[str, dict[str, object]] = {
        "node2": {"state": "killed", "pid": None, "changed_s": gone_s, "rtt_ms": {}},
        "node4": {"state": "paused", "changed_s": gone_s},
        "node5": {
            "state": "crashed",
            "pid": None,
            "changed_s": gone_s,
            "rtt_ms": {},
            "crash": "ended with exit code 1: OSError: No space left on device (see node5.err)",
        },
    }
    return then(model, nodes=changed(model, away))


def starting() -> Model:
    """Nobody has answered but one."""
    whole = network_at(0)
    nodes = [replace(n, state="starting", status=None, looks=0, rtt_ms={}) for n in whole.nodes]
    one = status_of(0, 0)
    one = replace(one, height=0, finalized_height=0, ready=False, last_block_age_s=None)
    one = replace(one, not_ready_reasons=("validators of power 1 of 7 reached",))
    nodes[0] = replace(whole.nodes[0], status=one)
    return after([replace(whole, ready=False, nodes=tuple(nodes), load=Load())])


def alone() -> Model:
    """A testnet of one node."""
    return after([network_at(second, 1) for second in range(SECONDS - 10, SECONDS + 1)])


def lost() -> Model:
    """The supervisor has gone."""
    model = healthy()
    model, _ = update(model, SupervisorLost("the supervisor has ended", NOW_S + 1))
    return update(model, Tick(NOW_S + 12.5))[0]


TESTNETS: Final[Mapping[str, Callable[[], Model]]] = {
    "healthy": healthy,
    "partitioned": partitioned,
    "stalled": stalled,
    "starting": starting,
    "alone": alone,
    "lost": lost,
}
