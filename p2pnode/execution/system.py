"""The system shard, uid 0: registry, parameters, fee pot; executed by every validator.

Its root is the RFC 6962 Merkle root over three leaves: the validators with their powers and peer
ids, the parameters, the pot. Account shards reach it by receipts: today the fees of an epoch. The
validator set and the layout stay what genesis says; everyone reads them through the functions of an
epoch, so that elections change nothing elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Final

from p2pnode import codec, crypto
from p2pnode.execution.accounts import StateCorruptError
from p2pnode.execution.block import BlockExecution, ReadyBatch
from p2pnode.execution.ranges import Layout, genesis_layout
from p2pnode.execution.receipts import EMPTY_ROOT, RECEIVER_SYSTEM, Inbox
from p2pnode.execution.record import ShardRecord, add_to, decode_record, supply_of
from p2pnode.execution.state import TABLE, key_prefix
from p2pnode.types.effects import Write
from p2pnode.types.genesis import SYSTEM_UID, Genesis, Parameters, Validator

_KEY_REGISTRY: Final = key_prefix(SYSTEM_UID) + b"registry"
_KEY_RECORD: Final = key_prefix(SYSTEM_UID)


class SystemExecutor:
    """State and execution of the system shard."""

    def __init__(self, genesis: Genesis) -> None:
        """Start from genesis; `load` replaces the record by the stored one."""
        self.record = ShardRecord()
        self._validators = genesis.validators
        self._parameters = genesis.parameters
        self._layout = genesis_layout()
        self._leaves = [_encode_validators(genesis.validators), _encode_numbers(genesis.parameters)]

    @property
    def uid(self) -> int:
        """The system shard's, 0."""
        return SYSTEM_UID

    @property
    def height(self) -> int:
        """Last height that had input."""
        return self.record.height

    # --- what the others read --------------------------------------------------------------------

    def validators_of(self, epoch: int) -> tuple[Validator, ...]:
        """Return the validator set of an epoch, by index; the same one in all epochs for now."""
        assert epoch >= 0, epoch
        return self._validators

    def parameters_of(self, epoch: int) -> Parameters:
        """Return the parameters of an epoch; the same ones in all epochs for now."""
        assert epoch >= 0, epoch
        return self._parameters

    def layout_of(self, epoch: int) -> Layout:
        """Return the account shards of an epoch; the same ones in all epochs for now."""
        assert epoch >= 0, epoch
        return self._layout

    def executors_of(self, uid: int, epoch: int) -> tuple[int, ...]:
        """Return the validators' indices that execute a shard in an epoch: all of them for now."""
        assert uid in self.layout_of(epoch).uids(), uid
        return tuple(range(len(self.validators_of(epoch))))

    # --- execution -------------------------------------------------------------------------------

    def genesis_writes(self) -> list[Write]:
        """Return the writes that put the shard into an empty store."""
        return [
            Write(TABLE, _KEY_RECORD, self.record.encode()),
            Write(TABLE, _KEY_REGISTRY, codec.encode(self._leaves)),
        ]

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the shard's pairs from the store.

        Raises:
            StateCorruptError: The store holds something else, or another chain's registry.
        """
        found = dict(items)
        if found.get(_KEY_REGISTRY) != codec.encode(self._leaves):
            raise StateCorruptError("the stored registry is not the one of this genesis")
        try:
            self.record = decode_record(found.get(_KEY_RECORD, b""))
        except (codec.NotCanonicalError, codec.WrongShapeError) as error:
            raise StateCorruptError(f"the system shard's record: {error}") from error

    def last_sequence(self, collator: bytes) -> int:
        """Return the last batch sequence used of a collator's feed: this shard uses none."""
        return self.record.feeds.get(collator, 0)

    def root(self) -> bytes:
        """Return the state root, 32 bytes."""
        return self._root_with(self.record)

    def supply(self) -> dict[int, int]:
        """Return what the shard answers for by asset: its pot, less what it received."""
        return supply_of(dict(self.record.pot), self.record)

    def execute(
        self,
        height: int,
        epoch: int,
        epoch_last: bool,
        inboxes: Sequence[Inbox],
        batches: Sequence[ReadyBatch],
    ) -> BlockExecution:
        """Execute a height: take the receipts meant for this shard; see `Executor`.

        It takes no batches yet; whoever orders one for uid 0 changes nothing.
        """
        del epoch_last
        assert height > self.record.height, (height, self.record.height)
        before = self.record
        record = before.copy()
        delta: dict[int, int] = {}
        used = False
        waiting: list[Inbox] = []
        for inbox in inboxes:
            if not record.use_outbox(inbox.uid, inbox.height, inbox.number):
                if inbox.number > record.outboxes_used(inbox.uid):
                    waiting.append(inbox)
                continue
            used = True
            for receipt in inbox.receipts:
                if receipt.receiver == RECEIVER_SYSTEM:
                    add_to(record.received, receipt.asset, receipt.amount)
                    add_to(record.pot, receipt.asset, receipt.amount)
                    add_to(delta, receipt.asset, receipt.amount)
        if used:
            record.height = height
        post_root = self._root_with(record)
        execution = BlockExecution(
            uid=SYSTEM_UID,
            epoch=epoch,
            height=height,
            has_result=used,
            pre_root=self._root_with(before),
            post_root=post_root,
            outcomes=(),
            outcome_root=EMPTY_ROOT,
            outbox=(),
            outbox_root=EMPTY_ROOT,
            watermarks_root=record.root(),
            counters=(0, 0, 0, 0, 0, before.outboxes),
            supply_delta=tuple(sorted(delta.items())),
            batches_ignored=tuple(batch.digest for batch in batches),
            inboxes_waiting=tuple(waiting),
            writes=(Write(TABLE, _KEY_RECORD, record.encode()),) if used else (),
        )
        self.record = record
        return execution

    def _root_with(self, record: ShardRecord) -> bytes:
        pot = [[asset, amount] for asset, amount in sorted(record.pot.items())]
        return crypto.merkle_root([*self._leaves, codec.encode(pot)])


def _encode_validators(validators: tuple[Validator, ...]) -> bytes:
    return codec.encode([[v.public_key, v.power, v.peer_id] for v in validators])


def _encode_numbers(parameters: Parameters) -> bytes:
    return codec.encode([getattr(parameters, field.name) for field in fields(parameters)])
