"""What the screens share: states in words and colours, ages, and the quorum in one line. Pure."""

from __future__ import annotations

from typing import Final

from p2pnode.tui.screens.common import number, span_s
from p2pnode.tui.text import Line, Span, line, line_width
from testnet.console.actions import names_text, topology
from testnet.console.model import Model, Network, NodeRow
from testnet.supervise.facts import SILENT_S
from testnet.supervise.quorum import critical, reach

_STATES: Final = {
    "starting": "warn",
    "paused": "warn",
    "killed": "bad",
    "crashed": "bad",
    "stopped": "dim",
}


def state_of(model: Model, node: NodeRow) -> Span:
    """Return how a node is, in a word."""
    network = model.network
    assert network is not None
    if model.lost is not None:
        # Nobody knows; the nodes end with their supervisor.
        return Span("unknown", "dim")
    if node.state != "running":
        return Span(node.state, _STATES.get(node.state, "bad"))
    if node.status is None or network.came_s - node.status_s > SILENT_S:
        return Span("silent", "bad")
    if is_cut_off(network, node.name):
        return Span("cut off", "bad")
    if node.status.ready:
        return Span("ready", "good")
    return Span("syncing" if node.status.syncing else "not ready", "warn")


def since(model: Model, node: NodeRow) -> Span:
    """Return for how long a node has been in a state that is not the usual one."""
    if node.state == "running" or model.lost is not None or model.network is None:
        return Span("", "dim")
    return Span(_short(model.network.came_s - node.changed_s), "dim")


def _short(value: float) -> str:
    """Return a stretch of time in seven columns: `12 s`, `3 min`, `2 h`."""
    words = span_s(value).split()
    return " ".join(words[:2])


def selected_count(model: Model) -> int:
    """Return how many of the nodes are selected."""
    assert model.network is not None
    return len(model.ui.selected & set(model.network.names))


def is_cut_off(network: Network, name: str) -> bool:
    """Tell whether all links of a node are cut, one way at least."""
    cuts = network.cuts
    others = [other for other in network.names if other != name]
    return bool(others) and all((name, o) in cuts or (o, name) in cuts for o in others)


def block_age(model: Model, node: NodeRow) -> Span:
    """Return the age of a node's newest block."""
    status = node.status
    if status is None or status.last_block_age_s is None or node.state != "running":
        return Span("-", "dim")
    age_s = number(status.last_block_age_s) + max(0.0, model.now_s - node.status_s)
    return Span(span_s(age_s), "good" if age_s < 3 else "warn" if age_s < 10 else "bad")


def quorum_line(model: Model, width: int) -> Line:
    """Return how many validators are together, and how many more may be lost."""
    network = model.network
    assert network is not None
    found = topology(network)
    if not found.powers:
        return line(Span("quorum     ", "dim"), "no validators")
    reached = reach(found)
    if model.lost is not None or not network.ready:
        who = f"{reached.needed} of {reached.total} needed"
        return line(Span("quorum     ", "dim"), Span(who, "dim"))
    equal = set(found.powers.values()) <= {1}
    unit = "validators" if equal else "votes"
    style = "good" if reached.is_final else "bad"
    parts = line(
        Span("quorum     ", "dim"),
        Span(f"{reached.power} of {reached.total}", style),
        f" {unit} together, {reached.needed} needed",
    )
    if not reached.is_final:
        return line(parts, Span(": nothing becomes final", "bad"))
    need = critical(found)
    if need and (len(need) < len(found.powers) or len(need) == 1):
        named = line(parts, Span(f"; losing {_or(need)} stops finality", "warn"))
        if line_width(named) <= width:
            return named
    if need:
        whom = "any one" if len(need) == len(found.powers) - len(found.down) else "one of these"
        whom = whom if len(need) > 1 else need[0]
        return line(parts, Span(f"; losing {whom} stops finality", "warn"))
    if equal:
        spare = reached.power - reached.needed
        return line(parts, Span(f"; {spare} more may fail", "dim"))
    return parts


def _or(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"any of {names_text(names)}"
