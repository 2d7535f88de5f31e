"""A whole node over its ports: recovered, fed, and answering for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from p2pnode.availability.registry import load_scheme
from p2pnode.consensus.registry import load_engine
from p2pnode.crypto import SecretKey
from p2pnode.execution.pipeline import ExecutedBlock
from p2pnode.gossip.topics import transaction_topic
from p2pnode.gossip.validation import judge_transactions
from p2pnode.mempool.admission import Rules
from p2pnode.mempool.pool import PoolConfig
from p2pnode.node import recovery
from p2pnode.node.answer_source import AnswerSource, submit_outcome
from p2pnode.node.answers import (
    AccountStatus,
    BannedRow,
    BlockEvent,
    BlockStatus,
    GenesisInfo,
    PeerRow,
    SubmitOutcome,
    TransactionStatus,
    ValidatorRow,
    genesis_info,
)
from p2pnode.node.core import Core, Identity
from p2pnode.node.history import BlockHistory, SeenBlock
from p2pnode.node.metrics import node_metrics
from p2pnode.node.retention import Retention
from p2pnode.node.serve import StoreServer
from p2pnode.node.shell import Ports, Shell
from p2pnode.node.status import NodeStatus
from p2pnode.node.status_source import Names, StatusSource
from p2pnode.ports import PeerId, Verdict
from p2pnode.types.chain import Chain
from p2pnode.types.effects import Effect, Emit, Input
from p2pnode.types.genesis import decode_genesis

SUBMITTED_AT_ONCE: Final = 256
"""Transactions of a client that the core takes in one go: each costs it 50 to 100 µs."""


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
        executors = recovery.open_executors(self.chain, store)
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
            self.chain, store, log_state, executors, public, forgetful=forgetful
        )
        pool = PoolConfig(
            rules=Rules.of(self.chain.id, self.chain.genesis.parameters),
            collator=public,
            transactions_max=setup.mempool_transactions_max,
            bytes_max=setup.mempool_bytes_max,
        )
        self.core = Core(
            self.chain, engine, scheme, Identity(index, public), executors, recovered, pool
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
        self._retention = Retention(store, setup.retention_heights)
        self._history = BlockHistory(self.core, ports.clock)
        self._history.note_roots(recovered.executed_height)
        names = Names(index, setup.name, setup.validator_names)
        self._answers = AnswerSource(self.core, ports, self._history, names)
        self._status = StatusSource(
            setup.name,
            self.core,
            self.shell,
            ports.network,
            ports.clock,
            history=self._history,
            names=names,
            signer=self.signer,
        )
        self.observe_block: Callable[[SeenBlock], None] | None = None
        self.observe_executed: Callable[[ExecutedBlock], None] | None = None

    # --- life ------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Register topics and protocols with the network; before the network runs."""
        network = self._ports.network
        self._server.attach(network)
        network.subscribe(transaction_topic(0), self._judge)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once the node takes inputs."""
        try:
            await self.shell.run(task_status=task_status)
        finally:
            self._history.close()

    def _judge(self, peer: PeerId, data: bytes) -> Verdict:
        return Verdict(int(judge_transactions(data, self.core.intake.count_admissible)))

    def _current_epoch(self) -> int:
        return self.core.ordering.host.epoch.number

    # --- events ----------------------------------------------------------------------------------

    def _event(self, event: Emit) -> None:
        if event.event == "block_finalized":
            seen = self._history.finalized(event.data)
            if self.observe_block is not None:
                self.observe_block(seen)
        elif event.event == "block_executed":
            done = event.data["done"]
            assert isinstance(done, ExecutedBlock)
            self._executed(done)
            return
        if self._on_event is not None:
            self._on_event(event)

    def _executed(self, done: ExecutedBlock) -> None:
        self._history.executed(done)
        pruned = self._retention.executed(done.block.height)
        if pruned:
            self._ports.store.commit(pruned, sync=False)
        if self.observe_executed is not None:
            self.observe_executed(done)
        self._history.publish(done)

    # --- questions (api.view.NodeView) -----------------------------------------------------------

    async def submit(self, raws: Sequence[bytes]) -> list[SubmitOutcome]:
        """Offer signed envelopes to the pool; one outcome each, in order."""
        outcomes: list[object] = []
        for start in range(0, len(raws), SUBMITTED_AT_ONCE):
            outcomes += await self.shell.submit(tuple(raws[start : start + SUBMITTED_AT_ONCE]))
        return [submit_outcome(raw, outcome) for raw, outcome in zip(raws, outcomes, strict=True)]

    def status(self) -> NodeStatus:
        """Return the node at this moment."""
        return self._status.status()

    def supply(self) -> dict[int, int]:
        """Return everything that exists by asset, counted now over every account."""
        return self._answers.supply()

    def transaction(self, id: bytes) -> TransactionStatus | None:
        """Return what is known of a transaction id (32 bytes), None when nothing is."""
        return self._answers.transaction(id)

    def account(self, address: bytes) -> AccountStatus:
        """Return an account (address of 32 bytes); one never used has nonce 0 and no balance."""
        return self._answers.account(address)

    def block(self, height: int | None) -> BlockStatus | None:
        """Return the block at a height, the newest for None; None where there is none any more."""
        return self._answers.block(height)

    def peers(self) -> tuple[PeerRow, ...]:
        """Return the connected peers, ascending by id."""
        return self._answers.peers()

    def banned(self) -> tuple[BannedRow, ...]:
        """Return the peers refused for a while, ascending by id."""
        return self._answers.banned()

    def validators(self) -> tuple[ValidatorRow, ...]:
        """Return the current epoch's validator set, in its order."""
        return self._answers.validators()

    def genesis(self) -> GenesisInfo:
        """Return what the chain began with."""
        return genesis_info(self.chain.genesis, self.chain.id)

    def events(self) -> trio.MemoryReceiveChannel[BlockEvent]:
        """Open a channel of the blocks that become final from now on, without gaps."""
        return self._history.subscribe()

    def metrics(self) -> Mapping[str, float]:
        """Return totals and gauges by metric name, beside the status."""
        return node_metrics(
            self.core, self.shell.statistics(), self.signer, self._ports, self._history.finality_ms
        )
