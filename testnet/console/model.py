"""What the network TUI knows and shows at one moment: values without behaviour of their own.

`update.py` folds events into them, `view.py` draws them. Every history has a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, TypeAlias

from p2pnode.explain.facts import Explanation
from p2pnode.node.status import NodeStatus, ViewRow
from p2pnode.tui.chrome import Toast

LOG_MAX: Final = 4000
"""Log lines of all nodes together."""
UNDO_MAX: Final = 50

ALIVE: Final = frozenset(("running", "starting"))
"""States of a node that takes part, or soon will."""


class Screen(IntEnum):
    """The screens, by their digit."""

    NODES = 1
    LINKS = 2
    LOGS = 3
    LOAD = 4
    NODE = 5


# --- what the supervisor tells --------------------------------------------------------------------

Pair: TypeAlias = tuple[str, str]
"""A link in one direction: (sender, receiver)."""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node."""

    name: str
    roles: tuple[str, ...] = ()
    state: str = "running"
    """A NodeState of the supervisor."""
    changed_s: float = 0.0
    """When the state became what it is, on our clock."""
    validator: int | None = None
    """Its index; None for others."""
    power: int = 0
    """Voting power."""
    rpc: str = ""
    p2p: str = ""
    pid: int | None = None
    starts: int = 1
    crash: str = ""
    """How it ended by itself."""
    rtt_ms: Mapping[str, float | None] = field(default_factory=dict)
    """By name of the nodes it is connected to."""
    looks: int = 0
    """Number of the status."""
    status: NodeStatus | None = None
    """As it answered last."""
    status_s: float = 0.0
    """When it did, on our clock."""

    @property
    def alive(self) -> bool:
        """It runs, or is about to."""
        return self.state in ALIVE


@dataclass(frozen=True, slots=True)
class LinkRow:
    """What a link is made to be; those that do nothing have none."""

    profile: str = ""
    latency_ms: float | None = None
    """One way, mean; None for no profile."""
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    cut: bool = False
    cut_since_s: float = 0.0
    """On our clock."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load, as it is told twice a second."""

    running: bool = False
    rate_tx_s: float = 0.0
    due: int = 0
    submitted: int = 0
    finalized: int = 0
    held: int = 0
    p50_ms: int | None = None
    """From submission to finality, of the last few hundred."""
    p99_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """A testnet as its supervisor knows it."""

    name: str
    seed: int = 0
    engine: str = ""
    ready: bool = True
    nodes: tuple[NodeRow, ...] = ()
    links: Mapping[Pair, LinkRow] = field(default_factory=dict)
    load: Load = Load()
    came_s: float = 0.0
    """When it came, on our clock."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all nodes, in their order."""
        return tuple(node.name for node in self.nodes)

    def node(self, name: str) -> NodeRow | None:
        """Return a node by its name."""
        return next((node for node in self.nodes if node.name == name), None)

    @property
    def cuts(self) -> frozenset[Pair]:
        """The links that are cut."""
        return frozenset(pair for pair, row in self.links.items() if row.cut)

    @property
    def best(self) -> NodeStatus | None:
        """The status of the node that is furthest, of those that run; else of any."""
        found = [n for n in self.nodes if n.status is not None]
        alive = [n.status for n in found if n.state == "running"] or [n.status for n in found]
        known = [status for status in alive if status is not None]
        return max(known, key=lambda s: (s.height, s.view), default=None)


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """A node over the last minutes."""

    cpu: tuple[float, ...] = ()
    """Share of a core."""
    blocks_per_s: tuple[float, ...] = ()
    base: NodeRow | None = None
    """At the newest sample."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """The whole testnet over the last minutes, a sample a second."""

    at_s: float = 0.0
    """When the newest sample was taken."""
    height: int = 0
    submitted: int = 0
    finalized: int = 0
    submitted_per_s: tuple[float, ...] = ()
    finalized_per_s: tuple[float, ...] = ()
    blocks_per_s: tuple[float, ...] = ()
    p50_ms: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class LogLine:
    """An event that a node logged."""

    time_ms: int
    """Wall clock, milliseconds since 1970."""
    node: str
    level: str
    event: str
    text: str
    """Its fields, `key=value` each."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The supervisor does not answer."""

    reason: str
    since_s: float


# --- what the person does -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do to the testnet; what is asked of the supervisor is in actions.py."""

    verb: str
    """kill, pause, resume, restart, cut, heal, link, load, load_stop or end."""
    nodes: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    profile: str = ""
    """Of `link`; empty for none."""
    rate_tx_s: float = 0.0
    what: str = ""
    """What it is done to, in words: `node2-node3`."""


@dataclass(frozen=True, slots=True)
class Option:
    """Something a question offers."""

    label: str
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """Asked before something is done: one option, or a choice of several."""

    title: str
    options: tuple[Option, ...]
    """Never empty."""
    chosen: int = 0
    undoes: int = 0
    """How many entries of the undo list it takes back."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A line being typed."""

    kind: str
    """`filter`, `rate` or `profile`."""
    text: str = ""
    pairs: tuple[Pair, ...] = ()
    """Links that a profile is for."""
    what: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """An action that was done, and of which the consequence is still to be seen."""

    text: str
    """What was done."""
    back: tuple[str, ...]
    """Nodes that are waited for: they were started again or resumed."""
    expects: bool
    """Blocks go on, by the arithmetic."""
    height: int
    """Newest final height then."""
    since_s: float


@dataclass(frozen=True, slots=True)
class Ui:
    """What the person has chosen."""

    screen: Screen = Screen.NODES
    cursor: int = 0
    """Row among the nodes that the filter lets through."""
    anchor: int | None = None
    """Where a range began."""
    selected: frozenset[str] = frozenset()
    filters: Mapping[Screen, str] = field(default_factory=dict)
    prompt: Prompt | None = None
    question: Question | None = None
    help: bool = False
    level: str = "info"
    """Least level of log lines shown."""
    back: int = 0
    """Log lines between the newest and the lowest shown; 0 follows."""
    frozen: tuple[LogLine, ...] | None = None
    """The log while it is paused."""
    scroll: int = 0
    """Rows a long screen is moved up by."""
    toast: Toast | None = None
    outlook: Outlook | None = None
    undo: tuple[tuple[Action, ...], ...] = ()
    """What takes back what was done here, the newest last."""


@dataclass(frozen=True, slots=True)
class Model:
    """Everything."""

    name: str
    """Of the testnet."""
    now_s: float = 0.0
    """Monotonic."""
    begin_s: float = 0.0
    network: Network | None = None
    """None until the supervisor has answered."""
    lost: Lost | None = None
    histories: Mapping[str, NodeHistory] = field(default_factory=dict)
    pulse: Pulse = Pulse()
    views: tuple[ViewRow, ...] = ()
    """Ascending."""
    log: tuple[LogLine, ...] = ()
    """By time."""
    log_missed_count: int = 0
    """Lines that came faster than they are read."""
    explanation: Explanation | None = None
    ui: Ui = field(default_factory=Ui)
    offset_s: int = 0
    """Of local time to UTC."""
    ended: bool = False
    """The person has ended the testnet."""

    @property
    def age_s(self) -> float:
        """Of the data."""
        return 0.0 if self.network is None else max(0.0, self.now_s - self.network.came_s)

    @property
    def filter(self) -> str:
        """Of the screen; while one is typed, that."""
        prompt = self.ui.prompt
        if prompt is not None and prompt.kind == "filter":
            return prompt.text
        return self.ui.filters.get(self.ui.screen, "")

    @property
    def rows(self) -> tuple[NodeRow, ...]:
        """The nodes that the filter of the node list lets through."""
        if self.network is None:
            return ()
        words = self.node_filter.lower().split()
        return tuple(
            node
            for node in self.network.nodes
            if all(w in f"{node.name} {node.state} {' '.join(node.roles)}".lower() for w in words)
        )

    @property
    def node_filter(self) -> str:
        """What the list of nodes is filtered by, on whatever screen."""
        if self.ui.screen is Screen.NODES:
            return self.filter
        return self.ui.filters.get(Screen.NODES, "")

    @property
    def current(self) -> NodeRow | None:
        """The node under the cursor."""
        rows = self.rows
        return rows[min(self.ui.cursor, len(rows) - 1)] if rows else None

    @property
    def targets(self) -> tuple[NodeRow, ...]:
        """The selected nodes, in their order; else the one under the cursor."""
        if self.network is None:
            return ()
        chosen = tuple(n for n in self.network.nodes if n.name in self.ui.selected)
        if chosen and self.ui.screen is not Screen.NODE:
            return chosen
        return () if self.current is None else (self.current,)


# --- events that the feed and the actions post ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class NetworkCame:
    """The supervisor has answered."""

    network: Network


@dataclass(frozen=True, slots=True)
class SupervisorLost:
    """The supervisor does not answer."""

    reason: str
    now_s: float


@dataclass(frozen=True, slots=True)
class LogsCame:
    """New lines of any nodes, in any order."""

    lines: tuple[LogLine, ...]
    missed_count: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """Actions have ended; the last of them may have failed."""

    actions: tuple[Action, ...]
    """Those that succeeded."""
    undo: tuple[Action, ...] = ()
    """What takes them back."""
    error: str = ""
    undoes: int = 0
    """As of the question."""


@dataclass(frozen=True, slots=True)
class Perform:
    """A wish: do these, one after the other."""

    actions: tuple[Action, ...]
    undo: tuple[Action, ...] = ()
    """What takes them back."""
    undoes: int = 0
