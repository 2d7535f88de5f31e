"""What a node answers about single things: a transaction, an account, a block, a peer, genesis.

Plain data like the `NodeStatus` (p2pnode/node/status.py), turned into JSON in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Final

from p2pnode.node.jsonform import Amount
from p2pnode.types.genesis import Genesis

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
    rtt_age_s: float | None = None
    """Seconds since the last ping that was answered; None before the first."""


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
