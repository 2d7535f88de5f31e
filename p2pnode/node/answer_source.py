"""Where a node's answers about single things come from: its core, its store and what it saw."""

from __future__ import annotations

from collections.abc import Sequence

from p2pnode.errors import P2PNodeError
from p2pnode.execution.executor import ShardExecutor
from p2pnode.execution.outcomes import Reason, Status
from p2pnode.mempool.report import Batched, Pooled
from p2pnode.node.answers import (
    AccountStatus,
    BannedRow,
    BlockStatus,
    DeductionRow,
    PeerRow,
    SubmitOutcome,
    TransactionState,
    TransactionStatus,
    ValidatorRow,
)
from p2pnode.node.core import Core
from p2pnode.node.history import BlockHistory
from p2pnode.node.index import TABLE as OUTCOMES
from p2pnode.node.index import Entry, decode_entry
from p2pnode.node.jsonform import Amount
from p2pnode.node.peer_ids import peer_id_text
from p2pnode.node.shell import Ports
from p2pnode.node.status_source import Names
from p2pnode.ports import Deduction
from p2pnode.types.genesis import FIRST_UID
from p2pnode.types.payload import Block, decode_block, decode_payload
from p2pnode.types.statement import BatchCertificate, ResultCertificate, decode_statement
from p2pnode.types.transaction import MalformedTransactionError, decode_transaction


class AnswerSource:
    """Answers at once, from memory or from one look into the store."""

    __slots__ = ("_core", "_history", "_names", "_ports")

    def __init__(self, core: Core, ports: Ports, history: BlockHistory, names: Names) -> None:
        """Take what is asked.

        Args:
            core: The node's core.
            ports: Its adapters.
            history: What it saw of its blocks.
            names: What people call the validators' nodes.
        """
        self._core = core
        self._ports = ports
        self._history = history
        self._names = names

    def transaction(self, id: bytes) -> TransactionStatus | None:
        """Return what is known of a transaction id (32 bytes), None when nothing is."""
        entry = self._core.index.recent(id)
        if entry is None or entry.outcome.reason is Reason.NONCE_TOO_LOW:
            # A copy of what executed before this life is skipped for its nonce: the store knows.
            raw = self._ports.store.get(OUTCOMES, id)
            entry = entry if raw is None else decode_entry(raw)
        if entry is not None:
            return self._ended(id, entry)
        height = self._core.index.ordered_height(id)
        if height is not None:
            return TransactionStatus(
                id.hex(),
                TransactionState.ORDERED,
                height=height,
                finalized_time_ms=self._history.seen_ms(height),
            )
        match self._core.pool.status(id):
            case Pooled():
                return TransactionStatus(id.hex(), TransactionState.POOLED)
            case Batched():
                return TransactionStatus(id.hex(), TransactionState.BATCHED)
            case None:
                reason = self._core.index.dropped_reason(id)
                if reason is None:
                    return None
                return TransactionStatus(id.hex(), TransactionState.SKIPPED, reason=reason)

    def _ended(self, id: bytes, entry: Entry) -> TransactionStatus:
        outcome = entry.outcome
        if outcome.status is Status.EXECUTED:
            certified = self._core.ordering.pool.certified_height(FIRST_UID) >= entry.height
            state = TransactionState.CERTIFIED if certified else TransactionState.EXECUTED
        elif outcome.status is Status.FAILED:
            state = TransactionState.FAILED
        else:
            state = TransactionState.SKIPPED
        seen_ms = self._history.seen_ms(entry.height)
        return TransactionStatus(
            id.hex(),
            state,
            height=entry.height,
            reason="" if outcome.status is Status.EXECUTED else outcome.describe(),
            fee=Amount(outcome.fee),
            finalized_time_ms=entry.time_ms if seen_ms is None else seen_ms,
        )

    def account(self, address: bytes) -> AccountStatus:
        """Return an account (address of 32 bytes); one never used has nonce 0 and no balance."""
        executor = self._core.executors[FIRST_UID]
        assert isinstance(executor, ShardExecutor)
        flat = executor.state.flat(address)
        balances = dict(zip(flat[1::2], (Amount(a) for a in flat[2::2]), strict=True))
        return AccountStatus(
            address.hex(),
            flat[0],
            balances,
            uid=FIRST_UID,
            height=self._core.pipeline.height,
            root=executor.root().hex(),
        )

    def block(self, height: int | None) -> BlockStatus | None:
        """Return the block at a height, the newest for None; None where there is none any more."""
        at = self._core.ordering.height if height is None else height
        if not 0 <= at <= self._core.ordering.height:
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
            transactions_count=self._history.transactions_count(block.height),
            finalized_time_ms=self._history.seen_ms(block.height),
        )

    def peers(self) -> tuple[PeerRow, ...]:
        """Return the connected peers, ascending by id."""
        chain = self._core.chain
        return tuple(
            PeerRow(
                id=peer_id_text(p.peer),
                name="" if (v := chain.validator_of_peer(p.peer)) is None else self._names.of(v),
                address=p.address,
                inbound=p.inbound,
                rtt_ms=None if p.rtt_s is None else p.rtt_s * 1000,
                score=p.score,
                validator=v,
                height=self._core.catchup.height_of(p.peer),
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
        own = self._core.identity.index
        validators = self._core.chain.validators_of(self._core.ordering.host.epoch.number)
        return tuple(
            ValidatorRow(
                index=i,
                public_key=v.public_key.hex(),
                power=v.power,
                peer=peer_id_text(v.peer_id),
                own=i == own,
                connected=i == own or v.peer_id in connected,
            )
            for i, v in enumerate(validators)
        )

    def supply(self) -> dict[int, int]:
        """Return everything that exists by asset, counted now over every account."""
        total: dict[int, int] = {}
        for executor in self._core.executors.values():
            for asset, amount in executor.supply().items():
                total[asset] = total.get(asset, 0) + amount
        return total


def submit_outcome(raw: bytes, refusal: object) -> SubmitOutcome:
    """Return what became of a submitted envelope.

    Args:
        raw: The envelope.
        refusal: The pool's error, None when it was admitted.
    """
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
