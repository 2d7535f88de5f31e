"""A whole node over its ports: recovered, fed, and answering for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from p2pnode import __version__
from p2pnode.availability.registry import load_scheme
from p2pnode.consensus.registry import load_engine
from p2pnode.crypto import SecretKey
from p2pnode.errors import P2PNodeError
from p2pnode.execution.executor import ShardExecutor
from p2pnode.execution.outcomes import Reason, Status
from p2pnode.execution.pipeline import ExecutedBlock
from p2pnode.gossip.topics import transaction_topic
from p2pnode.gossip.validation import judge_transactions
from p2pnode.mempool.admission import Rules
from p2pnode.mempool.pool import PoolConfig
from p2pnode.mempool.report import Batched, Pooled
from p2pnode.node import recovery
from p2pnode.node.answers import (
    AccountStatus,
    BannedRow,
    BlockEvent,
    BlockStatus,
    DeductionRow,
    GenesisInfo,
    PeerRow,
    SubmitOutcome,
    TransactionState,
    TransactionStatus,
    ValidatorRow,
    genesis_info,
)
from p2pnode.node.clocks import Clocks
from p2pnode.node.core import Core, Identity
from p2pnode.node.index import TABLE as OUTCOMES
from p2pnode.node.index import Entry, decode_entry
from p2pnode.node.jsonform import Amount
from p2pnode.node.metrics import node_metrics
from p2pnode.node.peer_ids import peer_id_text
from p2pnode.node.retention import Retention
from p2pnode.node.runtime import Ports, Shell
from p2pnode.node.serve import StoreServer
from p2pnode.node.status import DeviceStatus, NodeStatus, StateRoot
from p2pnode.node.status_source import (
    Names,
    availability_status,
    consensus_status,
    mempool_status,
    shard_rows,
)
from p2pnode.ports import Deduction, PeerId, Verdict
from p2pnode.telemetry.percentile import Newest
from p2pnode.types.chain import Chain
from p2pnode.types.effects import Effect, Emit, Input
from p2pnode.types.genesis import FIRST_UID, decode_genesis
from p2pnode.types.payload import Block, decode_block, decode_payload
from p2pnode.types.statement import BatchCertificate, ResultCertificate, decode_statement
from p2pnode.types.transaction import MalformedTransactionError, decode_transaction

EVENTS_MAX: Final = 256
"""Block events that wait for a slow reader before its channel is closed."""

LATENCIES_KEPT: Final = 2048
"""Recent propose-to-final times kept for statistics."""

NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """Who a node is."""

    name: str
    document: bytes
    """The genesis document."""
    validator_key: SecretKey | None = None
    """None for a node that only follows."""
    validator_names: tuple[str, ...] = ()
    """What people call the validators' nodes, in genesis' order; empty where nobody said."""
    retention_heights: int = 100_000
    """Blocks and batches older than this are deleted."""
    mempool_transactions_max: int = 20_000
    """Most transactions waiting."""
    mempool_bytes_max: int = 32 << 20
    """Most bytes of them."""
    log_new: bool = False
    """The log was made by this start: if the chain is under way elsewhere, this key may have signed
    in a life that is lost, so epochs reached by block sync are only observed."""
    log_lost: bool = False
    """The log was found damaged and repaired: sign nothing until the next epoch."""


@dataclass(frozen=True, slots=True)
class SeenBlock:
    """What a node tells an observer in the same process about a final block."""

    height: int
    hash: bytes
    parent: bytes
    view: tuple[int, ...]
    time_ms: int
    seen_ms: int
    """Wall clock."""


class Node:
    """A node: recovered from its disk when made, alive while `run` runs."""

    def __init__(
        self,
        setup: NodeSetup,
        ports: Ports,
        *,
        record: Callable[[int, int, Input], None] | None = None,
        before_effect: Callable[[Effect], None] | None = None,
        on_event: Callable[[Emit], None] | None = None,
    ) -> None:
        """Recover from store and log.

        Raises:
            StorageError: They can't be used.
            ConfigError: They belong to another chain, or genesis is unusable.
        """
        self.setup = setup
        self._ports = ports
        self._on_event = on_event
        self.chain = Chain.from_genesis(decode_genesis(setup.document), setup.document)
        engine = load_engine(self.chain.genesis.engine)
        scheme = load_scheme(self.chain.genesis.scheme)
        key = setup.validator_key
        index = None if key is None else self.chain.validator_index(key.public)
        kind = f"engine/{engine.name}/{engine.version}"
        store, log = ports.store, ports.log
        self.executors = recovery.open_executors(self.chain, store)
        epoch = self.chain.epoch_of(recovery.head_height(store) + 1)
        records = log.records()
        log_state = recovery.read_log(self.chain, records, epoch, kind, key)
        blank = recovery.log_is_blank(records)
        self.signer = None
        if key is not None and index is not None:
            lost = (
                setup.log_lost
                or recovery.log_is_older(store, log_state)
                or (blank and recovery.head_height(store) > 0)
            )
            self.signer = recovery.make_signer(key, self.chain, records, log_lost=lost, epoch=epoch)
            for unwritten in self.signer.unwritten:
                log.append(unwritten)
            if self.signer.unwritten:
                log.sync()
        public = b"" if key is None else key.public
        forgetful = setup.log_lost or setup.log_new or blank
        recovered = recovery.recover(
            self.chain, store, log_state, self.executors, public, forgetful=forgetful
        )
        pool = PoolConfig(
            rules=Rules.of(self.chain.id, self.chain.genesis.parameters),
            collator=public,
            transactions_max=setup.mempool_transactions_max,
            bytes_max=setup.mempool_bytes_max,
        )
        self.core = Core(
            self.chain, engine, scheme, Identity(index, public), self.executors, recovered, pool
        )
        self._server = StoreServer(store, ports.clock.now_ns)
        self.shell = Shell(
            self.core,
            ports,
            self.signer,
            on_event=self._event,
            record=record,
            before_effect=before_effect,
            engine_kind=kind,
            current_epoch=self._current_epoch,
            ask_self=self._server.answer,
        )
        self._clocks = Clocks()
        self._names = Names(index, setup.name, setup.validator_names)
        self._retention = Retention(store, setup.retention_heights)
        self._subscribers: list[trio.MemorySendChannel[BlockEvent]] = []
        self._started_ns = ports.clock.now_ns()
        self._last_block_ns: int | None = None
        self._seen_ms: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        self._finality_ms: Newest[int] = Newest(LATENCIES_KEPT)
        self._roots: dict[int, StateRoot] = {}
        self.observe_block: Callable[[SeenBlock], None] | None = None
        self.observe_executed: Callable[[ExecutedBlock], None] | None = None
        self._note_roots(recovered.executed_height)

    # --- life ------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Register topics and protocols with the network; before the network runs."""
        network = self._ports.network
        self._server.attach(network)
        network.subscribe(transaction_topic(0), self._judge)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once the node takes inputs."""
        self._started_ns = self._ports.clock.now_ns()
        try:
            await self.shell.run(task_status=task_status)
        finally:
            for subscriber in self._subscribers:
                subscriber.close()

    def _judge(self, peer: PeerId, data: bytes) -> Verdict:
        return Verdict(int(judge_transactions(data, self.core.intake.count_admissible)))

    def _current_epoch(self) -> int:
        return self.core.ordering.host.epoch.number

    # --- events ----------------------------------------------------------------------------------

    def _event(self, event: Emit) -> None:
        if event.event == "block_finalized":
            self._finalized(event.data)
        elif event.event == "block_executed":
            done = event.data["done"]
            assert isinstance(done, ExecutedBlock)
            self._executed(done)
            return
        if self._on_event is not None:
            self._on_event(event)

    def _finalized(self, data: Mapping[str, object]) -> None:
        height, digest, body = data["height"], data["hash"], data["payload"]
        view, time_ms = data["view"], data["time_ms"]
        assert isinstance(height, int)
        assert isinstance(digest, bytes)
        assert isinstance(body, bytes)
        assert isinstance(view, tuple)
        assert isinstance(time_ms, int)
        payload = decode_payload(body)
        now_ms = self._ports.clock.wall_ms()
        self._last_block_ns = self._ports.clock.now_ns()
        self._seen_ms[height] = now_ms
        self._finality_ms.add(max(0, now_ms - payload.time_ms))
        if payload.proposer is not None and not self.core.catchup.syncing:
            own = payload.proposer == self.core.identity.index
            self._clocks.saw(payload.proposer, payload.time_ms, now_ms, own=own)
        if len(self._seen_ms) > 10_000:
            for old in list(self._seen_ms)[:1000]:
                del self._seen_ms[old]
                self._counts.pop(old, None)
        if self.observe_block is not None:
            parent = payload.parent or b""
            self.observe_block(SeenBlock(height, digest, parent, view, time_ms, now_ms))

    def _executed(self, done: ExecutedBlock) -> None:
        height = done.block.height
        count = sum(len(e.outcomes) for e in done.executions)
        self._counts[height] = count
        self._note_roots(height)
        pruned = self._retention.executed(height)
        if pruned:
            self._ports.store.commit(pruned, sync=False)
        if self.observe_executed is not None:
            self.observe_executed(done)
        payload = decode_payload(done.block.payload)
        event = BlockEvent(
            height=height,
            hash=done.block.hash.hex(),
            time_ms=self._seen_ms.get(height, done.executed_ms),
            view=done.block.view[-1] if done.block.view else 0,
            epoch=payload.epoch,
            proposer=payload.proposer,
            transactions_count=count,
        )
        for subscriber in list(self._subscribers):
            try:
                subscriber.send_nowait(event)
            except (trio.WouldBlock, trio.BrokenResourceError):
                subscriber.close()
                self._subscribers.remove(subscriber)

    def _note_roots(self, height: int) -> None:
        for uid, executor in self.executors.items():
            self._roots[uid] = StateRoot(height, executor.root().hex())

    # --- questions (api.view.NodeView) -----------------------------------------------------------

    async def submit(self, raws: Sequence[bytes]) -> list[SubmitOutcome]:
        """Offer signed envelopes to the pool; one outcome each, in order."""
        outcomes = await self.shell.submit(tuple(raws))
        return [_submit_outcome(raw, outcome) for raw, outcome in zip(raws, outcomes, strict=True)]

    def status(self) -> NodeStatus:
        """Return the node at this moment."""
        core, network = self.core, self._ports.network.statistics()
        ordering, pipeline = core.ordering.statistics(), core.pipeline.statistics()
        host = core.ordering.host.statistics()
        peers = self._ports.network.peers()
        reasons = self._not_ready()
        uid = FIRST_UID
        age = self._last_block_ns
        now_ns = self._ports.clock.now_ns()
        index = core.identity.index
        shell = self.shell.statistics()
        return NodeStatus(
            name=self.setup.name,
            chain=self.chain.id.hex(),
            chain_name=self.chain.genesis.name,
            engine=self.chain.genesis.engine,
            scheme=self.chain.genesis.scheme,
            roles=("validator", "executor") if index is not None else (),
            version=__version__,
            height=ordering.height,
            finalized_height=ordering.height,
            executed_height=pipeline.executed_height,
            certified_height=core.ordering.pool.certified_height(uid),
            view=host.view[-1] if host.view else 0,
            epoch=host.epoch,
            proposer=host.proposer,
            proposer_name="" if host.proposer is None else self._names.of(host.proposer),
            state_roots=dict(self._roots),
            peers_count=len(peers),
            peers_in_count=sum(p.inbound for p in peers),
            mempool=mempool_status(core),
            syncing=core.catchup.syncing,
            ready=not reasons,
            not_ready_reasons=reasons,
            observing=self._observing(),
            last_block_age_s=None if age is None else (now_ns - age) / NS_PER_S,
            bytes_sent=network.bytes_sent,
            bytes_received=network.bytes_received,
            best_height=max(ordering.height, core.catchup.best_height),
            consensus=consensus_status(
                core, now_ns, dict.fromkeys(p.peer for p in peers), self._names, self._clocks
            ),
            device=DeviceStatus(storage_error=self._storage_error()),
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
                "consensus_p50_ms": self._finality_ms.percentile(50) or 0,
                "consensus_p99_ms": self._finality_ms.percentile(99) or 0,
            },
        )

    def supply(self) -> dict[int, int]:
        """Return everything that exists by asset, counted now over every account."""
        return self._total_supply()

    def transaction(self, id: bytes) -> TransactionStatus | None:
        """Return what is known of a transaction id (32 bytes), None when nothing is."""
        entry = self.core.index.recent(id)
        if entry is None or entry.outcome.reason is Reason.NONCE_TOO_LOW:
            # A copy of what executed before this life is skipped for its nonce: the store knows.
            raw = self._ports.store.get(OUTCOMES, id)
            entry = entry if raw is None else decode_entry(raw)
        if entry is not None:
            return self._ended(id, entry)
        height = self.core.index.ordered_height(id)
        if height is not None:
            return TransactionStatus(
                id.hex(),
                TransactionState.ORDERED,
                height=height,
                finalized_time_ms=self._seen_ms.get(height),
            )
        match self.core.pool.status(id):
            case Pooled():
                return TransactionStatus(id.hex(), TransactionState.POOLED)
            case Batched():
                return TransactionStatus(id.hex(), TransactionState.BATCHED)
            case None:
                reason = self.core.index.dropped_reason(id)
                if reason is None:
                    return None
                return TransactionStatus(id.hex(), TransactionState.SKIPPED, reason=reason)

    def _ended(self, id: bytes, entry: Entry) -> TransactionStatus:
        outcome = entry.outcome
        if outcome.status is Status.EXECUTED:
            certified = self.core.ordering.pool.certified_height(FIRST_UID) >= entry.height
            state = TransactionState.CERTIFIED if certified else TransactionState.EXECUTED
        elif outcome.status is Status.FAILED:
            state = TransactionState.FAILED
        else:
            state = TransactionState.SKIPPED
        return TransactionStatus(
            id.hex(),
            state,
            height=entry.height,
            reason="" if outcome.status is Status.EXECUTED else outcome.describe(),
            fee=Amount(outcome.fee),
            finalized_time_ms=self._seen_ms.get(entry.height, entry.time_ms),
        )

    def account(self, address: bytes) -> AccountStatus:
        """Return an account (address of 32 bytes); one never used has nonce 0 and no balance."""
        executor = self.executors[FIRST_UID]
        assert isinstance(executor, ShardExecutor)
        flat = executor.state.flat(address)
        balances = dict(zip(flat[1::2], (Amount(a) for a in flat[2::2]), strict=True))
        return AccountStatus(
            address.hex(),
            flat[0],
            balances,
            uid=FIRST_UID,
            height=self.core.pipeline.height,
            root=executor.root().hex(),
        )

    def block(self, height: int | None) -> BlockStatus | None:
        """Return the block at a height, the newest for None; None where there is none any more."""
        at = self.core.ordering.height if height is None else height
        if not 0 <= at <= self.core.ordering.height:
            return None
        raw = self._ports.store.get("blocks", at.to_bytes(8, "big"))
        return None if raw is None else self._block_status(decode_block(raw))

    def _block_status(self, block: Block) -> BlockStatus:
        payload = decode_payload(block.payload)
        batches = results = 0
        for digest in payload.items:
            raw = self._ports.store.get("statements", digest)
            statement = None if raw is None else decode_statement(raw)
            batches += isinstance(statement, BatchCertificate)
            results += isinstance(statement, ResultCertificate)
        return BlockStatus(
            height=block.height,
            hash=block.hash.hex(),
            parent=(payload.parent or b"").hex(),
            epoch=payload.epoch,
            view=block.view[-1] if block.view else 0,
            proposer=payload.proposer,
            time_ms=block.time_ms,
            items=tuple(d.hex() for d in payload.items),
            batches_count=batches,
            results_count=results,
            transactions_count=self._counts.get(block.height, 0),
            finalized_time_ms=self._seen_ms.get(block.height),
        )

    def peers(self) -> tuple[PeerRow, ...]:
        """Return the connected peers, ascending by id."""
        return tuple(
            PeerRow(
                id=peer_id_text(p.peer),
                name=""
                if (v := self.chain.validator_of_peer(p.peer)) is None
                else self._names.of(v),
                address=p.address,
                inbound=p.inbound,
                rtt_ms=None if p.rtt_s is None else p.rtt_s * 1000,
                score=p.score,
                validator=v,
                height=self.core.catchup.height_of(p.peer),
                reasons=_deductions(p.reasons),
                rtt_age_s=p.rtt_age_s,
            )
            for p in self._ports.network.peers()
        )

    def banned(self) -> tuple[BannedRow, ...]:
        """Return the peers refused for a while, ascending by id."""
        return tuple(
            BannedRow(peer_id_text(b.peer), b.left_s, b.bans_count, _deductions(b.reasons))
            for b in self._ports.network.banned()
        )

    def validators(self) -> tuple[ValidatorRow, ...]:
        """Return the current epoch's validator set, in its order."""
        connected = dict.fromkeys(p.peer for p in self._ports.network.peers())
        own = self.core.identity.index
        return tuple(
            ValidatorRow(
                index=i,
                public_key=v.public_key.hex(),
                power=v.power,
                peer=peer_id_text(v.peer_id),
                own=i == own,
                connected=i == own or v.peer_id in connected,
            )
            for i, v in enumerate(self.chain.validators_of(self._current_epoch()))
        )

    def genesis(self) -> GenesisInfo:
        """Return what the chain began with."""
        return genesis_info(self.chain.genesis, self.chain.id)

    def events(self) -> trio.MemoryReceiveChannel[BlockEvent]:
        """Open a channel of the blocks that become final from now on, without gaps."""
        send, receive = trio.open_memory_channel[BlockEvent](EVENTS_MAX)
        self._subscribers.append(send)
        return receive

    def metrics(self) -> Mapping[str, float]:
        """Return totals and gauges by metric name, beside the status."""
        return node_metrics(
            self.core, self.shell.statistics(), self.signer, self._ports, self._finality_ms
        )

    # --- inside ----------------------------------------------------------------------------------

    def _observing(self) -> bool:
        if self.signer is None or self.signer.observing_until_epoch is None:
            return False
        return self._current_epoch() <= self.signer.observing_until_epoch

    def _storage_error(self) -> str:
        return "" if self.shell.storage_error is None else str(self.shell.storage_error)

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
        if behind > 8:
            reasons.append(f"executing: {behind} blocks wait for their batches")
        validators = self.chain.validators_of(self._current_epoch())
        connected = dict.fromkeys(p.peer for p in self._ports.network.peers())
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

    def _total_supply(self) -> dict[int, int]:
        total: dict[int, int] = {}
        for executor in self.executors.values():
            for asset, amount in executor.supply().items():
                total[asset] = total.get(asset, 0) + amount
        return total


def _submit_outcome(raw: bytes, refusal: object) -> SubmitOutcome:
    try:
        transaction_id = decode_transaction(raw).id.hex()
    except MalformedTransactionError:
        transaction_id = None
    if refusal is None:
        return SubmitOutcome(transaction_id, True)
    assert isinstance(refusal, P2PNodeError), refusal
    return SubmitOutcome(transaction_id, False, refusal.kind, str(refusal))


def _deductions(found: Sequence[Deduction]) -> tuple[DeductionRow, ...]:
    return tuple(DeductionRow(d.reason, d.points, d.age_s) for d in found)
