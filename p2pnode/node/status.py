"""What a node says about itself at one moment: a `NodeStatus` and its parts.

Everything here is plain data: hex text for hashes and addresses, numbers with units. The API turns
it into JSON by its type hints (p2pnode/node/jsonform.py), the client turns it back into the same
types. The parts have a default for everything: a node says what it knows, and a client of a newer
or older one reads what it understands. status_source.py makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from p2pnode.consensus.standing import VIEWS_MAX as VIEWS_MAX
from p2pnode.consensus.standing import SkipReason as SkipReason
from p2pnode.consensus.standing import ViewOutcome as ViewOutcome
from p2pnode.consensus.standing import ViewRow as ViewRow
from p2pnode.consensus.standing import VoteCount as VoteCount
from p2pnode.node.jsonform import Amount
from p2pnode.types.genesis import SYSTEM_UID


@dataclass(frozen=True, slots=True)
class StateRoot:
    """A shard's state, as this node has computed it."""

    height: int
    """Height after which the shard has this state."""
    root: str
    """Root of the shard's bucket tree, hex, 32 bytes."""


@dataclass(frozen=True, slots=True)
class MempoolStatus:
    """What waits to be packed into a batch."""

    transactions_count: int = 0
    size_bytes: int = 0
    """Sum of the envelopes' sizes."""
    ready_count: int = 0
    """In no batch yet, and may be packed now."""
    batched_count: int = 0
    """In a batch that is not executed yet."""
    checking_count: int = 0
    """Their signature is being checked."""
    senders_count: int = 0
    transactions_max: int = 0
    """More are refused."""
    size_bytes_max: int = 0
    admitted_count: int = 0
    """Since start."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Refused since start, by the error's name."""


@dataclass(frozen=True, slots=True)
class ValidatorSeen:
    """A validator, as this node sees it."""

    index: int
    power: int
    name: str = ""
    """The operator's name where known, else `validator <index>`."""
    peer: str = ""
    """Its node's peer id (base58)."""
    own: bool = False
    connected: bool = False
    """This node is connected to it, or is it."""
    heard_s: float | None = None
    """Time since its last valid consensus message came here; None when none ever did."""
    view: int | None = None
    """Newest view it is known to be in."""
    height: int | None = None
    """Newest height it is known to have."""
    clock_ms: int | None = None
    """How far its clock is ahead of this node's at least, by the times in its final payloads; 0
    when delays explain them, None when too few are known."""


@dataclass(frozen=True, slots=True)
class ConsensusStatus:
    """The engine at one moment."""

    height: int = 0
    """Height being decided: the newest final one, plus 1."""
    view: int = 0
    view_age_s: float = 0.0
    """Time since this node entered the view."""
    proposer: int | None = None
    """Index of the view's proposer."""
    proposal_seen: bool = False
    """Its proposal has come here."""
    timer_s: float | None = None
    """Length of the timer after which this node gives the view up; None when none runs."""
    timer_left_s: float | None = None
    delta_s: float | None = None
    """The message delay the engine assumes at the moment."""
    delta_max_s: float | None = None
    """The most it will ever assume."""
    demand: bool = False
    """There is something to propose; without it no view timer runs and nothing is wrong."""
    demand_s: float | None = None
    """For so long; None when there is none."""
    quorum: int = 0
    """Voting power that a certificate needs."""
    power_total: int = 0
    votes: tuple[VoteCount, ...] = ()
    """Of the current view."""
    recent: tuple[ViewRow, ...] = ()
    """The last views, oldest first; the last of them is the current one."""
    validators: tuple[ValidatorSeen, ...] = ()
    """The epoch's set, in its order."""
    waiting: str = ""
    """What this node itself lacks to vote, such as `payload 3f2a… of node2`; empty for nothing."""


@dataclass(frozen=True, slots=True)
class AvailabilityStatus:
    """Batches as this node keeps them."""

    scheme: str = ""
    rows_count: int = 0
    """Rows stored; a whole batch counts as one where the scheme does not code."""
    batches_count: int = 0
    """Batches kept."""
    held_bytes: int = 0
    unordered_count: int = 0
    """Kept and in no final block yet."""
    own_pending_count: int = 0
    """Batches of this node that wait for their certificate."""
    certified_count: int = 0
    """Batches of this node certified since start."""
    given_up_count: int = 0
    """Batches of this node given up since start."""
    equivocations_count: int = 0
    """Collators caught with two batches of one number since start."""


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """A shard and who runs it."""

    uid: int
    """0 is the system shard."""
    first: str = ""
    """Lowest address of its range, hex; empty for the system shard."""
    last: str = ""
    executors: tuple[int, ...] = ()
    """Validator indices."""
    own: bool = False
    """This node executes it."""
    executed_height: int = 0
    certified_height: int = 0
    accounts_count: int = 0
    transactions_count: int = 0
    """Executed by this node since start."""
    receipts_waiting: int = 0
    """Outboxes of other shards not consumed yet."""


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """The process and the machine under it."""

    uptime_s: float = 0.0
    """Of the process."""
    cores_count: int = 0
    load_1m: float | None = None
    memory_total_bytes: int = 0
    memory_free_bytes: int = 0
    disk_free_bytes: int | None = None
    """Where the node's folder is."""
    disk_used_bytes: int = 0
    """By the node's folder."""
    disk_written_bytes: int | None = None
    """By the process since start."""
    temperature_c: float | None = None
    """Of the processor; None where the machine does not tell."""
    throttled: str = ""
    """What slows the machine down (`under-voltage`, `frequency capped`, …); empty for nothing."""
    lateness_p99_ms: float | None = None
    """How late the event loop ran its tasks, 99th percentile of the last minute."""
    threads_count: int = 0
    files_count: int = 0
    """Open file descriptors."""
    storage_error: str = ""
    """Why the disk refuses writes, such as `No space left on device`; empty when it does not."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node at one moment."""

    name: str
    """The operator's name for the node."""
    chain: str
    """Chain id, hex, 32 bytes."""
    chain_name: str
    """The name in genesis."""
    engine: str
    """Name of the consensus engine."""
    scheme: str
    """Name of the availability scheme."""
    roles: tuple[str, ...]
    """Of `validator`, `executor`, `light`, `bootstrap`."""
    version: str
    """Version of the p2pnode package."""
    height: int
    """Newest block this node holds; genesis is 0."""
    finalized_height: int
    """Newest finalized block; every block held is final."""
    executed_height: int
    """Newest block whose batches this node has executed, the least over its shards."""
    certified_height: int
    """Newest height covered by a result certificate, the least over all shards."""
    view: int
    """The engine's view."""
    epoch: int
    proposer: int | None = None
    """Index in the validator set of the view's proposer; None in an engine without one."""
    proposer_name: str = ""
    """Name of that node where known, else `validator <index>`."""
    state_roots: Mapping[int, StateRoot] = field(default_factory=dict)
    """Shard uid to its state; 0 is the system shard."""
    peers_count: int = 0
    """Connected peers."""
    peers_in_count: int = 0
    """Those of them that dialled us."""
    mempool: MempoolStatus = field(default_factory=MempoolStatus)
    syncing: bool = False
    """Fetches finalized blocks that others have and this node lacks."""
    ready: bool = False
    """Follows the chain and answers for it: what /ready tells."""
    not_ready_reasons: tuple[str, ...] = ()
    """A sentence with numbers each; empty iff ready."""
    observing: bool = False
    """A validator that signs nothing until the next epoch, since its log is lost or stale."""
    last_block_age_s: float | None = None
    """Time since this node saw its newest block become final; None before the first."""
    supply: Mapping[int, Amount] = field(default_factory=dict)
    """Asset to everything that exists of it: accounts, pots, and outboxes in flight."""
    bytes_sent: int = 0
    """To peers, since start."""
    bytes_received: int = 0
    """From peers, since start."""
    cpu_s: float = 0.0
    """CPU seconds of the process since start, all threads."""
    memory_bytes: int = 0
    """Resident memory of the process."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """Named totals since start, such as `views_skipped` or `transactions_executed`."""
    best_height: int = 0
    """Newest height that a peer told of, or that this node has."""
    consensus: ConsensusStatus = field(default_factory=ConsensusStatus)
    availability: AvailabilityStatus = field(default_factory=AvailabilityStatus)
    shard_rows: tuple[ShardStatus, ...] = ()
    """The shards of the epoch, the system shard first."""
    device: DeviceStatus = field(default_factory=DeviceStatus)

    @property
    def shards(self) -> tuple[int, ...]:
        """Account shards this node executes, ascending."""
        return tuple(uid for uid in sorted(self.state_roots) if uid != SYSTEM_UID)
