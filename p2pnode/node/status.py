"""What a node says about itself: the values that its surfaces show.

Everything here is plain data: hex text for hashes and addresses, numbers with units. The API turns
it into JSON by its type hints (p2pnode/node/jsonform.py), the client turns it back into the same
types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import lru_cache
from typing import Final

from p2pnode import crypto
from p2pnode.node.details import (
    AvailabilityStatus,
    ConsensusStatus,
    DeviceStatus,
    ShardStatus,
)
from p2pnode.node.jsonform import Amount
from p2pnode.types.genesis import SYSTEM_UID, Genesis

BLOCKS_MAX: Final = 100
"""Most blocks in one answer."""


class TransactionState(StrEnum):
    """How far a transaction has come; the last three are ends without effect."""

    POOLED = "pooled"
    """Admitted here; in no batch yet."""
    BATCHED = "batched"
    """In a batch that is being certified."""
    ORDERED = "ordered"
    """In a finalized block; its outcome is not known here yet."""
    EXECUTED = "executed"
    """Executed; the result is not certified yet."""
    CERTIFIED = "certified"
    """Executed, and a quorum has signed the result."""
    FAILED = "failed"
    """Executed, paid its fee, and had no other effect; `reason` says why."""
    SKIPPED = "skipped"
    """Finalized without effect and without a fee; `reason` says why."""
    VOID = "void"
    """Its batch was not usable; it stays in the pools."""


FINAL_STATES: Final = frozenset(
    (
        TransactionState.EXECUTED,
        TransactionState.CERTIFIED,
        TransactionState.FAILED,
        TransactionState.SKIPPED,
    )
)
"""States that say what a transaction did; only `executed` still moves, to `certified`."""


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


@dataclass(frozen=True, slots=True)
class SubmitOutcome:
    """What became of one submitted transaction at admission."""

    id: str | None
    """Transaction id, hex; None where the envelope could not be decoded."""
    accepted: bool
    """Held in the pool, whether now or before."""
    kind: str = ""
    """Why it was refused: the error's name, such as `nonce_too_low`; empty when accepted."""
    message: str = ""
    """The refusal as a sentence with its numbers."""


@dataclass(frozen=True, slots=True)
class TransactionStatus:
    """A transaction as this node knows it."""

    id: str
    """Hex, 32 bytes."""
    state: TransactionState
    height: int | None = None
    """The block that orders it; None before."""
    reason: str = ""
    """Why it failed, was skipped or is void."""
    fee: Amount | None = None
    """Fee paid in asset 0; None before execution."""
    finalized_time_ms: int | None = None
    """When this node saw its block become final, wall clock; None before."""


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """An account in the newest state this node has."""

    address: str
    """Hex, 32 bytes."""
    nonce: int
    """Transactions of the account that were executed or failed."""
    balances: Mapping[int, Amount] = field(default_factory=dict)
    """Asset to amount; assets it has none of are absent."""
    uid: int = 1
    """Shard that holds it."""
    height: int = 0
    """Height of the state it was read from."""
    root: str | None = None
    """The state root it can be proved under, hex; None when the node gives no proof."""
    proof: str | None = None
    """Canonical proof under `root`, hex."""


@dataclass(frozen=True, slots=True)
class BlockStatus:
    """A finalized block."""

    height: int
    hash: str
    """Digest of the payload in its place, hex, 32 bytes: equal on all nodes."""
    parent: str
    """Hash of the block before, hex."""
    epoch: int
    view: int
    proposer: int | None
    """Index in the epoch's validator set."""
    time_ms: int
    """The header's time, milliseconds since 1970."""
    items: tuple[str, ...] = ()
    """Digests of the statements it lists, hex."""
    batches_count: int = 0
    """Batch certificates among them."""
    results_count: int = 0
    """Result certificates among them."""
    transactions_count: int = 0
    """Distinct transactions in its usable batches, known once they were fetched."""
    finalized_time_ms: int | None = None
    """When this node saw it become final, wall clock."""


@dataclass(frozen=True, slots=True)
class BlockEvent:
    """A block has become final at this node."""

    height: int
    hash: str
    """As `BlockStatus.hash`."""
    time_ms: int
    """When this node saw it become final, wall clock."""
    view: int
    epoch: int = 0
    proposer: int | None = None
    transactions_count: int = 0
    """Transactions in its batches, as far as this node has them."""


@dataclass(frozen=True, slots=True)
class DeductionRow:
    """Points a peer has lost."""

    reason: str
    points: float
    """Over all repetitions in a row."""
    age_s: float
    """How long ago, the last time."""


@dataclass(frozen=True, slots=True)
class BannedRow:
    """A peer that is refused for a while."""

    id: str
    """Peer id as people write it (base58)."""
    left_s: float
    """Until it is forgiven."""
    bans_count: int
    """Bans lately; each lasts twice as long as the one before."""
    reasons: tuple[DeductionRow, ...]
    """Why, newest first."""


@dataclass(frozen=True, slots=True)
class PeerRow:
    """A connected peer."""

    id: str
    """Peer id as people write it (base58)."""
    name: str
    """Its name where known, else `validator <index>` or empty."""
    address: str
    """Multiaddress of the connection."""
    inbound: bool
    """It dialled us."""
    rtt_ms: float | None
    """Median round trip of the last pings; None before the first."""
    score: float
    """0 is neutral, -100 is a ban."""
    validator: int | None = None
    """Index in the validator set, None for others."""
    height: int | None = None
    """Newest height it told us of."""
    reasons: tuple[DeductionRow, ...] = ()
    """The last points it has lost, newest first."""


@dataclass(frozen=True, slots=True)
class ValidatorRow:
    """A member of the validator set of the current epoch."""

    index: int
    public_key: str
    """Ed25519 key that signs its votes, hex."""
    power: int
    """Voting power."""
    peer: str
    """Its node's peer id (base58)."""
    own: bool = False
    """It is this node."""
    connected: bool = False
    """This node is connected to it, or is it."""


@dataclass(frozen=True, slots=True)
class GenesisInfo:
    """What everybody on the chain agreed on at the beginning."""

    chain: str
    """Chain id, hex: SHA-256 of the document."""
    name: str
    time_ms: int
    """Time of height 0, milliseconds since 1970."""
    engine: str
    scheme: str
    validators_count: int
    accounts_count: int
    parameters: Mapping[str, int]
    """Numbers of the protocol by name, units in the names."""
    supply: Mapping[int, Amount]
    """Asset to the sum of the funded balances."""


def genesis_info(genesis: Genesis, chain: bytes) -> GenesisInfo:
    """Return what the API tells of a genesis document.

    Args:
        genesis: The document, decoded.
        chain: Its hash, 32 bytes.
    """
    supply: dict[int, Amount] = {}
    for account in genesis.accounts:
        for asset, amount in account.balances:
            supply[asset] = Amount(supply.get(asset, 0) + amount)
    parameters = genesis.parameters
    return GenesisInfo(
        chain=chain.hex(),
        name=genesis.name,
        time_ms=genesis.time_ms,
        engine=genesis.engine,
        scheme=genesis.scheme,
        validators_count=len(genesis.validators),
        accounts_count=len(genesis.accounts),
        parameters={f.name: getattr(parameters, f.name) for f in fields(parameters)},
        supply=dict(sorted(supply.items())),
    )


# --- peer ids as text ---------------------------------------------------------------------

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@lru_cache(maxsize=4096)
def peer_id_text(peer_id: bytes) -> str:
    """Return a peer id as people write it: base58, `12D3Koo…` for an Ed25519 key."""
    number = int.from_bytes(peer_id, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    zeros = len(peer_id) - len(peer_id.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(digits))


def parse_peer_id(text: str) -> bytes:
    """Return the peer id that people write so.

    Raises:
        ValueError: It is not base58, or not as long as the id of an Ed25519 key.
    """
    number = 0
    for character in text:
        number = number * 58 + _BASE58.index(character)
    size = len(crypto.peer_id_of(b"")) + 32
    if number.bit_length() > 8 * size or not text:
        raise ValueError(f"{size} bytes expected")
    peer_id = number.to_bytes(size, "big")
    if peer_id_text(peer_id) != text or not peer_id.startswith(crypto.peer_id_of(b"")):
        raise ValueError("not the id of an Ed25519 key (12D3Koo…)")
    return peer_id


def validator_peer_text(node_public_key: bytes) -> str:
    """Return the peer id, as text, of a node's Ed25519 public key (32 bytes)."""
    return peer_id_text(crypto.peer_id_of(node_public_key))
