"""The serial executor of an account shard: the specification of execution.

Anything faster is tested against it. A block runs on an overlay of the accounts it touches; the
state changes when the last transaction is done, so an exception leaves no trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pnode import codec
from p2pnode.execution.accounts import ASSET_FEE, Flat, flatten
from p2pnode.execution.block import BlockExecution, ReadyBatch, count_outcomes
from p2pnode.execution.outcomes import ID_NONE, Outcome, Reason, Status, outcome_root
from p2pnode.execution.ranges import Layout, Shard, shard_of
from p2pnode.execution.receipts import (
    EMPTY_ROOT,
    KIND_FEES,
    KIND_REFUND,
    KIND_TRANSFER,
    OUTBOX_INLINE_BYTES_MAX,
    RECEIVER_SYSTEM,
    Inbox,
    Receipt,
    encode_outbox,
    outbox_root,
)
from p2pnode.execution.record import add_to
from p2pnode.execution.state import ShardState
from p2pnode.types.batch import KIND_TRANSACTIONS
from p2pnode.types.effects import Write
from p2pnode.types.genesis import Parameters
from p2pnode.types.transaction import AMOUNT_MAX, Transaction, Transfer

RECEIPT_BYTES_MAX: Final = 110
"""Longest encoded receipt with its place in the outbox: two addresses and an amount of 128 bits."""

FEES_BYTES_RESERVED: Final = 4 * RECEIPT_BYTES_MAX
"""Room in every outbox for what leaves the pot."""

INBOX_BYTES_PER_HEIGHT_MAX: Final = OUTBOX_INLINE_BYTES_MAX - FEES_BYTES_RESERVED
"""Receipts consumed in a height, at least one inbox: were all of them refunded, they still fit."""


class ShardExecutor:
    """Executes the batches and receipts of one account shard."""

    def __init__(
        self, chain: bytes, layout: Layout, parameters: Parameters, state: ShardState
    ) -> None:
        """Take over a loaded or funded state.

        Args:
            chain: Chain id, 32 bytes.
            layout: Ranges of all shards; says where a receiver lives.
            parameters: Fees.
            state: The shard's state; changed by `execute` alone from now on.
        """
        self.chain = chain
        self.layout = layout
        self.parameters = parameters
        self.state = state

    @property
    def uid(self) -> int:
        """The shard."""
        return self.state.shard.uid

    @property
    def height(self) -> int:
        """Last height that had input."""
        return self.state.record.height

    def last_sequence(self, collator: bytes) -> int:
        """Return the last batch sequence used of a collator's feed."""
        return self.state.record.feeds.get(collator, 0)

    def root(self) -> bytes:
        """Return the state root, 32 bytes."""
        return self.state.root()

    def supply(self) -> dict[int, int]:
        """Return what the shard answers for by asset; linear in the accounts."""
        return self.state.supply()

    def receiver_shard(self, address: bytes) -> Shard:
        """Return the shard that an account lives in."""
        return shard_of(address, self.layout)

    def execute(
        self,
        height: int,
        epoch: int,
        epoch_last: bool,
        inboxes: Sequence[Inbox],
        batches: Sequence[ReadyBatch],
    ) -> BlockExecution:
        """Execute a height: receipts, then batches, then, at an epoch's end, the pot."""
        state = self.state
        assert height > state.record.height, (height, state.record.height)
        pre_root = state.root()
        work = _Work(self, height)
        waiting = work.consume(inboxes)
        ignored = [batch.digest for batch in batches if not work.run(batch)]
        if epoch_last:
            work.send_pot()
        outbox = work.sorted_outbox()
        outboxes_before = state.record.outboxes
        has_result = bool(work.inputs or outbox)
        writes: tuple[Write, ...] = ()
        if has_result:
            outcomes_root = outcome_root(work.outcomes)
            box_root = outbox_root(outbox)
            work.record.height = height
            work.record.outboxes += bool(outbox)
            # From here on nothing raises: the state takes the whole block.
            writes = tuple(state.commit(work.changes(), work.record))
        else:
            outcomes_root = box_root = EMPTY_ROOT
        return BlockExecution(
            uid=self.uid,
            epoch=epoch,
            height=height,
            has_result=has_result,
            pre_root=pre_root,
            post_root=state.root(),
            outcomes=tuple(work.outcomes),
            outcome_root=outcomes_root,
            outbox=outbox,
            outbox_root=box_root,
            watermarks_root=state.record.root(),
            counters=(*count_outcomes(work.outcomes), work.size_bytes, outboxes_before),
            supply_delta=tuple((asset, amount) for asset, amount in sorted(work.delta.items())),
            batches_ignored=tuple(ignored),
            inboxes_waiting=waiting,
            writes=writes,
        )


class _Account:
    """An account while its block runs."""

    __slots__ = ("balances", "nonce")

    def __init__(self, flat: Flat) -> None:
        self.nonce = flat[0]
        self.balances = dict(zip(flat[1::2], flat[2::2], strict=True))


class _Work:
    """One height while it runs: the overlay, and what will be committed with it."""

    def __init__(self, executor: ShardExecutor, height: int) -> None:
        self.record = executor.state.record.copy()
        self.outcomes: list[Outcome] = []
        self.delta: dict[int, int] = {}
        self.inputs = 0
        self.size_bytes = 0
        self._height = height
        self._chain = executor.chain
        self._fee_base = executor.parameters.fee_base
        self._fee_action = executor.parameters.fee_action
        self._executor = executor
        self._shard = executor.state.shard
        self._state = executor.state
        self._accounts: dict[bytes, _Account] = {}
        self._outbox: list[Receipt] = []
        self._outbox_bytes = 3
        self._index = 0

    # --- input -----------------------------------------------------------------------------------

    def consume(self, inboxes: Sequence[Inbox]) -> tuple[Inbox, ...]:
        """Consume whole outboxes until the budget is spent; return those that have to wait."""
        spent = 0
        waiting: list[Inbox] = []
        for inbox in inboxes:
            if inbox.number <= self.record.outboxes_used(inbox.uid):
                continue
            size = len(encode_outbox(inbox.receipts))
            full = spent and spent + size > INBOX_BYTES_PER_HEIGHT_MAX
            if full or not self.record.use_outbox(inbox.uid, inbox.height, inbox.number):
                waiting.append(inbox)
                continue
            self.inputs += 1
            spent += size
            for receipt in inbox.receipts:
                if receipt.receiver != RECEIVER_SYSTEM and self._shard.contains(receipt.receiver):
                    self._receive(receipt)
        return tuple(waiting)

    def run(self, batch: ReadyBatch) -> bool:
        """Execute a batch; False if its feed has passed it and it is ignored."""
        header = batch.header
        assert header.uid == self._shard.uid, (header.uid, self._shard.uid)
        if not self.record.use_sequence(header.collator, header.sequence):
            return False
        self.inputs += 1
        if batch.void or header.kind != KIND_TRANSACTIONS:
            return True
        self.size_bytes += header.data_bytes
        for index, (transaction, ok) in enumerate(
            zip(batch.transactions, batch.signatures_ok, strict=True)
        ):
            self.outcomes.append(self._outcome(batch.digest, index, transaction, ok))
        return True

    def send_pot(self) -> None:
        """Send the pot to the system shard, one receipt an asset; what does not fit stays."""
        for asset, amount in sorted(self.record.pot.items()):
            sendable = min(amount, codec.INTEGER_MAX)
            if sendable and self._outbox_bytes + RECEIPT_BYTES_MAX <= OUTBOX_INLINE_BYTES_MAX:
                add_to(self.record.pot, asset, -sendable)
                self._send(KIND_FEES, RECEIVER_SYSTEM, b"", asset, sendable)

    # --- output ----------------------------------------------------------------------------------

    def changes(self) -> dict[bytes, Flat]:
        """Return the touched accounts' new values."""
        return {
            address: flatten(account.nonce, account.balances.items())
            for address, account in self._accounts.items()
        }

    def sorted_outbox(self) -> tuple[Receipt, ...]:
        """Return the receipts sent, in the outbox's order."""
        for receipt in self._outbox:
            add_to(self.record.sent, receipt.asset, receipt.amount)
            add_to(self.delta, receipt.asset, -receipt.amount)
        return tuple(sorted(self._outbox, key=Receipt.order))

    # --- rules -----------------------------------------------------------------------------------

    def _outcome(
        self, digest: bytes, index: int, transaction: Transaction | None, ok: bool
    ) -> Outcome:
        if transaction is None:
            reason = Reason.MALFORMED
            return Outcome(ID_NONE, reason.status(), reason, 0, digest, index, 0, 0)
        reason, has, needs = self._transaction(transaction, ok)
        status = reason.status()
        fee = 0 if status is Status.SKIPPED else self._fee(transaction)
        return Outcome(transaction.id, status, reason, fee, digest, index, has, needs)

    def _transaction(self, transaction: Transaction, ok: bool) -> tuple[Reason, int, int]:
        """Apply a transaction's rules; their order decides which of several reasons is told."""
        if transaction.chain != self._chain:
            return Reason.WRONG_CHAIN, 0, 0
        if not self._shard.contains(transaction.sender):
            home = self._executor.receiver_shard(transaction.sender)
            return Reason.WRONG_SHARD, self._shard.uid, home.uid
        if not ok:
            return Reason.BAD_SIGNATURE, 0, 0
        sender = self._account(transaction.sender)
        if transaction.nonce != sender.nonce:
            low = transaction.nonce < sender.nonce
            reason = Reason.NONCE_TOO_LOW if low else Reason.NONCE_GAP
            return reason, transaction.nonce, sender.nonce
        if transaction.last_valid_height < self._height:
            return Reason.EXPIRED, transaction.last_valid_height, self._height
        fee = self._fee(transaction)
        if fee > transaction.fee_limit:
            return Reason.FEE_LIMIT_TOO_LOW, transaction.fee_limit, fee
        held = sender.balances.get(ASSET_FEE, 0)
        if held < transaction.fee_limit:
            return Reason.BALANCE_BELOW_FEE_LIMIT, held, transaction.fee_limit
        sender.nonce += 1
        sender.balances[ASSET_FEE] = held - fee
        add_to(self.record.pot, ASSET_FEE, fee)
        return self._actions(transaction.sender, sender, transaction.actions)

    def _actions(
        self, address: bytes, sender: _Account, actions: tuple[Transfer, ...]
    ) -> tuple[Reason, int, int]:
        """Apply all actions, or none and say why."""
        undo: list[tuple[dict[int, int], int, int]] = []
        receipts_count, receipts_bytes, index = len(self._outbox), self._outbox_bytes, self._index
        failure: tuple[Reason, int, int] | None = None
        for action in actions:
            failure = self._transfer(address, sender, action, undo)
            if failure is not None:
                break
        if failure is None:
            return Reason.NONE, 0, 0
        for balances, asset, amount in reversed(undo):
            balances[asset] = amount
        del self._outbox[receipts_count:]
        self._outbox_bytes, self._index = receipts_bytes, index
        return failure

    def _transfer(
        self,
        address: bytes,
        sender: _Account,
        action: Transfer,
        undo: list[tuple[dict[int, int], int, int]],
    ) -> tuple[Reason, int, int] | None:
        asset, amount = action.asset, action.amount
        held = sender.balances.get(asset, 0)
        if held < amount:
            return Reason.INSUFFICIENT_BALANCE, held, amount
        if not self._shard.contains(action.to):
            room = OUTBOX_INLINE_BYTES_MAX - FEES_BYTES_RESERVED
            if self._outbox_bytes + RECEIPT_BYTES_MAX > room:
                return Reason.RECEIVER_SHARD_FULL, self._outbox_bytes, room
            undo.append((sender.balances, asset, held))
            sender.balances[asset] = held - amount
            if amount:
                self._send(KIND_TRANSFER, action.to, address, asset, amount)
            return None
        receiver = self._account(action.to)
        if receiver is sender:
            return None
        has = receiver.balances.get(asset, 0)
        if has + amount > AMOUNT_MAX:
            return Reason.RECEIVER_OVERFLOW, has, amount
        undo.append((sender.balances, asset, held))
        undo.append((receiver.balances, asset, has))
        sender.balances[asset] = held - amount
        receiver.balances[asset] = has + amount
        return None

    def _receive(self, receipt: Receipt) -> None:
        add_to(self.record.received, receipt.asset, receipt.amount)
        add_to(self.delta, receipt.asset, receipt.amount)
        if self._credit(receipt.receiver, receipt.asset, receipt.amount):
            return
        if receipt.kind == KIND_TRANSFER and not self._shard.contains(receipt.sender):
            self._send(KIND_REFUND, receipt.sender, b"", receipt.asset, receipt.amount)
        elif receipt.kind != KIND_TRANSFER or not self._credit(
            receipt.sender, receipt.asset, receipt.amount
        ):
            # A refund cannot fail: what its receiver cannot hold either goes to the pot.
            add_to(self.record.pot, receipt.asset, receipt.amount)

    def _credit(self, address: bytes, asset: int, amount: int) -> bool:
        balances = self._account(address).balances
        has = balances.get(asset, 0)
        if has + amount > AMOUNT_MAX:
            return False
        balances[asset] = has + amount
        return True

    def _send(self, kind: int, receiver: bytes, sender: bytes, asset: int, amount: int) -> None:
        receipt = Receipt(kind, receiver, self._index, sender, asset, amount)
        self._outbox.append(receipt)
        self._outbox_bytes += len(receipt.encode()) + 2
        self._index += 1

    def _fee(self, transaction: Transaction) -> int:
        return self._fee_base + self._fee_action * len(transaction.actions)

    def _account(self, address: bytes) -> _Account:
        account = self._accounts.get(address)
        if account is None:
            account = self._accounts[address] = _Account(self._state.flat(address))
        return account
