"""Where a node's status comes from: what its core, shell and network know at the moment.

Asked several times a second by surfaces, so nothing here looks at every account or transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from p2pnode import __version__
from p2pnode.consensus.standing import Whereabouts
from p2pnode.execution.executor import ShardExecutor
from p2pnode.execution.ranges import genesis_layout
from p2pnode.keys.safesigner import SafeSigner
from p2pnode.node.clocks import Clocks
from p2pnode.node.core import Core
from p2pnode.node.history import BlockHistory
from p2pnode.node.peer_ids import peer_id_text
from p2pnode.node.shell import Shell
from p2pnode.node.status import (
    AvailabilityStatus,
    ConsensusStatus,
    DeviceStatus,
    MempoolStatus,
    NodeStatus,
    ShardStatus,
    ValidatorSeen,
)
from p2pnode.ports import Clock, Network
from p2pnode.sync.fetcher import PAYLOAD
from p2pnode.types.genesis import FIRST_UID, SYSTEM_UID

NS_PER_S: Final = 1_000_000_000

BEHIND_MAX: Final = 8
"""Blocks that may wait to be executed while a node is ready."""


class Names:
    """What people call the validators' nodes."""

    def __init__(self, own_index: int | None, own: str, validators: Sequence[str] = ()) -> None:
        """Take the names.

        Args:
            own_index: This node's place among the validators.
            own: Its name.
            validators: Names of all of them, in genesis' order, where the operator knows them.
        """
        self._own_index = own_index
        self._own = own
        self._validators = tuple(validators)

    def of(self, index: int) -> str:
        """Return the name of a validator's node, else `validator <index>`."""
        if index == self._own_index:
            return self._own
        if index < len(self._validators):
            return self._validators[index]
        return f"validator {index}"


@dataclass(frozen=True, slots=True)
class StatusSource:
    """Makes the status of a node from its parts."""

    name: str
    """What people call the node."""
    core: Core
    shell: Shell
    network: Network
    clock: Clock
    """The clock that the core's inputs are stamped with."""
    history: BlockHistory
    names: Names
    signer: SafeSigner | None

    def status(self) -> NodeStatus:
        """Return the node at this moment."""
        core, network = self.core, self.network.statistics()
        ordering, pipeline = core.ordering.statistics(), core.pipeline.statistics()
        host = core.ordering.host.statistics()
        peers = self.network.peers()
        reasons = self._not_ready()
        uid = FIRST_UID
        last_ns = self.history.last_block_ns()
        now_ns = self.clock.now_ns()
        index = core.identity.index
        shell, error = self.shell.statistics(), self.shell.storage_error
        return NodeStatus(
            name=self.name,
            chain=core.chain.id.hex(),
            chain_name=core.chain.genesis.name,
            engine=core.chain.genesis.engine,
            scheme=core.chain.genesis.scheme,
            roles=("validator", "executor") if index is not None else (),
            version=__version__,
            height=ordering.height,
            finalized_height=ordering.height,
            executed_height=pipeline.executed_height,
            certified_height=core.ordering.pool.certified_height(uid),
            view=host.view[-1] if host.view else 0,
            epoch=host.epoch,
            proposer=host.proposer,
            proposer_name="" if host.proposer is None else self.names.of(host.proposer),
            state_roots=dict(self.history.roots),
            peers_count=len(peers),
            peers_in_count=sum(p.inbound for p in peers),
            mempool=mempool_status(core),
            syncing=core.catchup.syncing,
            ready=not reasons,
            not_ready_reasons=reasons,
            observing=self._observing(),
            last_block_age_s=None if last_ns is None else (now_ns - last_ns) / NS_PER_S,
            bytes_sent=network.bytes_sent,
            bytes_received=network.bytes_received,
            best_height=max(ordering.height, core.catchup.best_height),
            consensus=consensus_status(
                core, now_ns, dict.fromkeys(p.peer for p in peers), self.names, self.history.clocks
            ),
            device=DeviceStatus(storage_error="" if error is None else str(error)),
            availability=availability_status(core),
            shard_rows=shard_rows(core),
            counters={
                "views_entered": host.views_entered,
                "views_skipped": host.views_skipped,
                "transactions_executed": pipeline.transactions_executed,
                "transactions_failed": pipeline.transactions_failed,
                "transactions_skipped": pipeline.transactions_skipped,
                "batches_executed": pipeline.batches_executed,
                "batches_void": pipeline.batches_void,
                "payloads_refused": ordering.payloads_refused,
                "drafts_signed": host.drafts_signed,
                "signatures_refused": shell.signatures_refused,
                "items_invalid": host.items_invalid,
                "log_syncs": shell.syncs_count,
                "inputs": shell.inputs_count,
                "frames_sent": network.frames_sent,
                "frames_received": network.frames_received,
                "frames_dropped": network.frames_dropped,
                "messages_published": network.messages_published,
                "messages_received": network.messages_received,
                "consensus_p50_ms": self.history.finality_ms.percentile(50) or 0,
                "consensus_p99_ms": self.history.finality_ms.percentile(99) or 0,
            },
        )

    def _observing(self) -> bool:
        until = None if self.signer is None else self.signer.observing_until_epoch
        return until is not None and self.core.ordering.host.epoch.number <= until

    def _not_ready(self) -> tuple[str, ...]:
        reasons: list[str] = []
        core = self.core
        if self.shell.storage_error is not None:
            reasons.append(f"the disk refuses writes: {self.shell.storage_error}")
        if core.catchup.syncing:
            reasons.append(
                f"syncing: at height {core.ordering.height}, others at {core.catchup.best_height}"
            )
        behind = core.ordering.height - core.pipeline.height
        if behind > BEHIND_MAX:
            reasons.append(f"executing: {behind} blocks wait for their batches")
        validators = core.chain.validators_of(core.ordering.host.epoch.number)
        connected = dict.fromkeys(p.peer for p in self.network.peers())
        total = sum(v.power for v in validators)
        reached = sum(
            v.power
            for i, v in enumerate(validators)
            if i == core.identity.index or v.peer_id in connected
        )
        if 3 * reached <= 2 * total:
            reasons.append(
                f"validators of power {reached} of {total} reached, more than 2/3 needed"
            )
        return tuple(reasons)


def consensus_status(
    core: Core, now_ns: int, connected: Collection[bytes], names: Names, clocks: Clocks
) -> ConsensusStatus:
    """Return the engine at one moment.

    Args:
        core: The node's core.
        now_ns: The clock that its inputs are stamped with.
        connected: Peer ids connected.
        names: What people call the validators' nodes.
        clocks: How far the validators' clocks are off.
    """
    host = core.ordering.host
    standing = host.standing(now_ns)
    epoch = host.epoch
    power_total = epoch.power_total()
    entered_ns = now_ns if standing.entered_ns is None else standing.entered_ns
    at_ns = standing.timer_at_ns
    return ConsensusStatus(
        height=core.ordering.height + 1,
        view=host.view[-1] if host.view else 0,
        view_age_s=max(0, now_ns - entered_ns) / NS_PER_S,
        proposer=host.proposer,
        proposal_seen=standing.proposal_seen,
        timer_s=_seconds(standing.timer_ns),
        timer_left_s=None if at_ns is None else max(0, at_ns - now_ns) / NS_PER_S,
        delta_s=_seconds(standing.delta_ns),
        delta_max_s=_seconds(standing.delta_max_ns),
        demand=host.demanded,
        demand_s=_seconds(host.demand_age_ns(now_ns)),
        quorum=host.engine_type.tolerance(power_total)[1],
        power_total=power_total,
        votes=standing.votes,
        recent=standing.recent,
        validators=_validators(core, now_ns, standing.whereabouts, connected, names, clocks),
        waiting=_waiting(core, standing.checking, names),
    )


def _seconds(value_ns: int | None) -> float | None:
    return None if value_ns is None else value_ns / NS_PER_S


def _validators(
    core: Core,
    now_ns: int,
    whereabouts: Sequence[Whereabouts],
    connected: Collection[bytes],
    names: Names,
    clocks: Clocks,
) -> tuple[ValidatorSeen, ...]:
    host, roll = core.ordering.host, core.roll
    own_index = core.identity.index
    seen: list[ValidatorSeen] = []
    for index, validator in enumerate(core.chain.validators_of(host.epoch.number)):
        own = index == own_index
        heard_ns = now_ns if own else roll.heard_ns(validator.peer_id)
        told = core.ordering.height if own else roll.height(validator.peer_id)
        where = whereabouts[index] if whereabouts else None
        heights = [h for h in (told, None if where is None else where.height) if h is not None]
        view = host.view[-1] if own and host.view else None if where is None else where.view
        seen.append(
            ValidatorSeen(
                index=index,
                power=validator.power,
                name=names.of(index),
                peer=peer_id_text(validator.peer_id),
                own=own,
                connected=own or validator.peer_id in connected,
                heard_s=None if heard_ns is None else max(0, now_ns - heard_ns) / NS_PER_S,
                view=view,
                height=told if own else max(heights, default=None),
                clock_ms=0 if own else clocks.ahead_ms(index),
            )
        )
    return tuple(seen)


def _waiting(core: Core, checking: bytes | None, names: Names) -> str:
    """Return what this node itself lacks to vote, empty for nothing."""
    if checking is None:
        return ""
    proposer = core.ordering.host.proposer
    whose = "" if proposer is None else f" of {names.of(proposer)}"
    text = f"payload {checking.hex()[:8]}…{whose}"
    if core.fetcher.wants(PAYLOAD + checking):
        return text
    return f"the certificates that {text} lists"


def availability_status(core: Core) -> AvailabilityStatus:
    """Return the batches as this node keeps them."""
    scheme = core.chain.genesis.scheme
    if core.certifier is None:
        return AvailabilityStatus(scheme)
    certifier = core.certifier.statistics()
    custody, dispersal = certifier.custody, certifier.dispersal
    return AvailabilityStatus(
        scheme=scheme,
        rows_count=custody.batches_count,
        batches_count=custody.batches_count,
        held_bytes=custody.held_bytes,
        unordered_count=custody.unordered_count,
        own_pending_count=dispersal.batches_count,
        certified_count=dispersal.certified_count,
        given_up_count=dispersal.given_up_count,
        equivocations_count=custody.equivocations_count,
    )


def shard_rows(core: Core) -> tuple[ShardStatus, ...]:
    """Return the shards of the epoch, the system shard first."""
    executors = tuple(range(len(core.chain.validators_of(core.ordering.host.epoch.number))))
    done = core.pipeline.statistics()
    rows = [_shard_row(core, SYSTEM_UID, executors)]
    for shard in genesis_layout().shards:
        executor = core.executors.get(shard.uid)
        row = _shard_row(core, shard.uid, executors)
        if isinstance(executor, ShardExecutor):
            row = replace(
                row,
                accounts_count=executor.state.statistics().accounts_count,
                # One shard of accounts so far: all of them are its.
                transactions_count=done.transactions_executed,
            )
        rows.append(replace(row, first=shard.first().hex(), last=shard.last().hex()))
    return tuple(rows)


def _shard_row(core: Core, uid: int, executors: tuple[int, ...]) -> ShardStatus:
    own = uid in core.executors
    return ShardStatus(
        uid=uid,
        executors=executors,
        own=own,
        executed_height=core.pipeline.height if own else 0,
        certified_height=core.ordering.pool.certified_height(uid),
    )


def mempool_status(core: Core) -> MempoolStatus:
    """Return what waits to be packed into a batch."""
    pool = core.pool.statistics()
    config = core.pool.config
    return MempoolStatus(
        transactions_count=pool.transactions_count,
        size_bytes=pool.held_bytes,
        ready_count=pool.ready_count,
        batched_count=pool.batched_count,
        checking_count=pool.checking_count,
        senders_count=pool.senders_count,
        transactions_max=config.transactions_max,
        size_bytes_max=config.bytes_max,
        admitted_count=pool.admitted_count,
        refused=dict(pool.refused),
    )
