"""What an action would do is told only of actions that can be done."""

from __future__ import annotations

import signal
from typing import Any, cast

import pytest

from p2pnode.errors import UsageError
from testnet.supervise.linkrequests import effect_of, nodes_of
from testnet.supervise.links import Links
from testnet.supervise.noderun import (
    ENDING,
    NodeRun,
    NodeState,
    NotEndingError,
    UnknownNodeError,
    WrongStateError,
    require,
)
from testnet.supervise.quorum import Topology
from testnet.supervise.supervisor import Supervisor


class Plan:
    def __init__(self, name: str) -> None:
        self.name = name


class FakeSupervisor:
    """The part of a supervisor that is asked about effects."""

    def __init__(self, **states: NodeState) -> None:
        names = [f"node{i}" for i in range(4)]
        self.links = Links({name: name.encode() for name in names})
        self.nodes = [
            NodeRun(cast(Any, Plan(n)), cast(Any, None), states.get(n, NodeState.RUNNING))
            for n in names
        ]

    def node(self, text: str) -> NodeRun:
        name = self.links.name(text)
        return next(node for node in self.nodes if node.plan.name == name)

    def topology(self) -> Topology:
        alive = (NodeState.RUNNING, NodeState.STARTING)
        down = frozenset(n.plan.name for n in self.nodes if n.state not in alive)
        return Topology(dict.fromkeys(self.links.names, 1), down, self.links.cuts)

    def effect(self, command: str, *nodes: str, **more: object) -> str:
        request = {"command": command, "nodes": list(nodes), **more}
        return effect_of(cast(Supervisor, self), request)


@pytest.mark.parametrize(
    ("command", "state", "why_not"),
    [
        ("kill", NodeState.KILLED, "node3 does not run (killed)"),
        ("kill", NodeState.CRASHED, "node3 does not run (crashed)"),
        ("pause", NodeState.KILLED, "node3 does not run (killed)"),
        ("pause", NodeState.PAUSED, "node3 is paused already"),
        ("resume", NodeState.RUNNING, "node3 is running, not paused"),
        (
            "resume",
            NodeState.KILLED,
            "node3 is killed, not paused; `testnet restart node3` starts it",
        ),
    ],
)
def test_the_effect_of_what_can_not_be_done_to_a_node_is_not_told(
    command: str, state: NodeState, why_not: str
) -> None:
    supervisor = FakeSupervisor(node3=state)
    with pytest.raises(WrongStateError) as refused:
        supervisor.effect(command, "node0" if command == "kill" else "3", "3")
    assert str(refused.value) == why_not


@pytest.mark.parametrize("command", ["kill", "pause", "restart"])
def test_what_can_be_done_is_told(command: str) -> None:
    for state in (NodeState.STARTING, NodeState.RUNNING):
        assert "node3" in FakeSupervisor(node3=state).effect(command, "node3")


def test_a_node_named_twice_is_meant_once() -> None:
    supervisor = cast(Supervisor, FakeSupervisor())
    assert nodes_of(supervisor, {"nodes": ["2", "node2", "0"]}) == ["node2", "node0"]
    with pytest.raises(UnknownNodeError, match="no node 'node9'; there are: node0, node1"):
        nodes_of(supervisor, {"nodes": ["0", "node9"]})
    assert issubclass(UnknownNodeError, UsageError)


def test_restarting_a_node_that_runs_says_what_it_is_like_in_between() -> None:
    supervisor = FakeSupervisor(node3=NodeState.KILLED)
    assert supervisor.effect("restart", "0") == (
        "Ending node0 for the restart leaves 2 of 4, 3 needed: finality stops; nothing can be"
        " reverted. Then it catches up."
    )
    assert supervisor.effect("restart", "3", "0").startswith("Ending node0 for the restart")
    assert supervisor.effect("restart", "3").startswith("Restarting node3 brings 4 of 4")


def test_cutting_what_is_cut_and_healing_what_is_not_changes_nothing_and_says_so() -> None:
    supervisor = FakeSupervisor()
    nothing = "Nothing to heal: no link is cut."
    assert supervisor.effect("heal", last=True) == nothing
    assert supervisor.effect("heal", "0") == nothing
    supervisor.links.cut(supervisor.links.between("0", "1"), 0)
    assert supervisor.effect("cut", "0", "1") == "Nothing to cut: node0-node1 is cut already."
    assert supervisor.effect("heal", "2") == "Nothing to heal: not cut: all links of node2."
    assert supervisor.effect("cut", "0").startswith("Cutting all links of node0 leaves 3 of 4")
    assert supervisor.effect("heal", last=True).startswith("Healing the last cut ")


@pytest.mark.parametrize("number", [0, signal.SIGINT, signal.SIGCONT, signal.SIGSTOP, 99])
def test_a_signal_that_ends_no_node_is_refused(number: int) -> None:
    node = FakeSupervisor().node("0")
    with pytest.raises(NotEndingError, match=f"signal {int(number)} does not end a node"):
        require(node, "kill", number)
    with pytest.raises(NotEndingError):
        FakeSupervisor().effect("kill", "0", signal=number)


def test_signals_that_end_a_node_are_taken() -> None:
    for number in ENDING:
        assert "node0" in FakeSupervisor().effect("kill", "0", signal=number)
