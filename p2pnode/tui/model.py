"""What the TUI of a node knows and shows at one moment: values without behaviour.

`update.py` folds events into them, `view.py` draws them. Every history has a limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final

from p2pnode.node.answers import BlockEvent, PeerRow
from p2pnode.node.status import NodeStatus, ViewRow
from p2pnode.telemetry.ring import LogRecord
from p2pnode.tui.chrome import Toast
from p2pnode.tui.meter import AppStatistics

BLOCKS_MAX: Final = 400
LOG_MAX: Final = 1000
PEERS_MAX: Final = 1024


class ScreenName(IntEnum):
    """The screens, by their digit."""

    OVERVIEW = 1
    CONSENSUS = 2
    PEERS = 3
    AVAILABILITY = 4
    SHARDS = 5
    MEMPOOL = 6
    LOG = 7
    DEVICE = 8


class LinkState(Enum):
    """Whether the node answers."""

    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Link:
    """The connection to the node."""

    url: str
    state: LinkState = LinkState.CONNECTING
    since_s: float = 0.0
    """When the state began."""
    reason: str = ""
    """Why it was lost, in words."""
    retry_s: float = 0.0
    """When it is tried again."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one second was like."""

    transactions_per_s: float = 0.0
    """Executed."""
    latency_ms: float = 0.0
    """Median from proposal to finality of the last blocks."""
    cpu: float = 0.0
    """Share of one core."""
    memory_bytes: float = 0.0
    received_bytes_per_s: float = 0.0
    sent_bytes_per_s: float = 0.0
    pool_count: float = 0.0
    """Transactions in the pool."""
    views_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Data:
    """What the node has told."""

    status: NodeStatus | None = None
    status_s: float = 0.0
    """When it came, monotonic."""
    samples: tuple[Sample, ...] = ()
    """One a status, the newest last."""
    views: tuple[ViewRow, ...] = ()
    """Ascending."""
    blocks: tuple[BlockEvent, ...] = ()
    """Ascending; seen since the TUI was attached."""
    peers: tuple[PeerRow, ...] = ()
    peers_s: float | None = None
    """When they came; None: not yet."""
    log: tuple[LogRecord, ...] = ()
    """Ascending."""
    refused: dict[str, str] = field(default_factory=dict)
    """Topics that the node does not give, and why."""


@dataclass(frozen=True, slots=True)
class Admin:
    """Whether this TUI may command the node."""

    path: str = ""
    """The admin socket; empty when there is none."""
    why_not: str = ""
    """Why there is none, and what to do."""


@dataclass(frozen=True, slots=True)
class PeerAction:
    """Something to do to a peer, over the admin socket."""

    method: str
    """`peers_disconnect` or `peers_ban`."""
    peer: str
    """Base58."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """A question before something happens."""

    title: str
    text: str
    action: object
    """What is wished when the answer is yes."""


@dataclass(frozen=True, slots=True)
class Ui:
    """What the person has chosen."""

    screen: ScreenName = ScreenName.OVERVIEW
    help: bool = False
    paused: Data | None = None
    """What is shown instead of the newest data."""
    paused_s: float = 0.0
    selected: int = 0
    """Row of the screen's list."""
    detail: bool = False
    """Shows the selected row in full."""
    filters: dict[ScreenName, str] = field(default_factory=dict)
    prompt: str | None = None
    """A filter being typed."""
    level: str = "info"
    """Least level of the log that is shown."""
    back: int = 0
    """Log lines between the newest and the lowest shown; 0 follows."""
    confirm: Confirm | None = None
    toast: Toast | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """Everything."""

    link: Link
    now_s: float = 0.0
    """Monotonic."""
    data: Data = field(default_factory=Data)
    ui: Ui = field(default_factory=Ui)
    admin: Admin = field(default_factory=Admin)
    inside: bool = False
    """The node runs in this process: quitting stops it."""
    offset_s: int = 0
    """Of local time to UTC."""
    cost: AppStatistics | None = None
    """What showing all this has cost so far."""

    @property
    def shown(self) -> Data:
        """The data on the screen."""
        return self.data if self.ui.paused is None else self.ui.paused

    @property
    def status(self) -> NodeStatus | None:
        """The status on the screen."""
        return self.shown.status

    @property
    def clock_s(self) -> float:
        """The time on the screen: it stands still while paused."""
        return self.now_s if self.ui.paused is None else self.ui.paused_s

    @property
    def age_s(self) -> float:
        """Age of the status on the screen."""
        return max(0.0, self.clock_s - self.shown.status_s)

    @property
    def filter(self) -> str:
        """The screen's filter; while one is typed, that."""
        if self.ui.prompt is not None:
            return self.ui.prompt
        return self.ui.filters.get(self.ui.screen, "")


# --- events that the feed and actions post --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connecting:
    """The node is being called."""

    now_s: float


@dataclass(frozen=True, slots=True)
class Lost:
    """The node does not answer, or has stopped to."""

    reason: str
    now_s: float
    retry_s: float
    """When it is tried again."""


@dataclass(frozen=True, slots=True)
class StatusCame:
    """A status of the node."""

    status: NodeStatus
    now_s: float


@dataclass(frozen=True, slots=True)
class PeersCame:
    """All connected peers."""

    rows: tuple[PeerRow, ...]
    now_s: float


@dataclass(frozen=True, slots=True)
class BlockCame:
    """A block became final."""

    block: BlockEvent


@dataclass(frozen=True, slots=True)
class LogCame:
    """New records of the log."""

    records: tuple[LogRecord, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The node does not give a topic."""

    topic: str
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """An action has ended."""

    text: str
    failed: bool = False
