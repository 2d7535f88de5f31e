"""The pool against a plain model, through random admissions, batches, blocks and expiries.

The model keeps every fact in the most obvious way and recomputes all answers from scratch.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2pnode.errors import RejectedTransaction
from p2pnode.mempool.report import Batched, Pooled
from p2pnode.types.batch import encode_transactions
from p2pnode.types.transaction import Transaction
from tests.unit.mempool.helpers import OTHER, OWN, RICH, address, pool, transaction

SENDERS = range(4)
LIMIT = 12


class PoolAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pool = pool(transactions_max=LIMIT, batch_timeout_ns=50, certified_timeout_ns=500)
        self.now_ns = 0
        self.height = 0
        self.next_nonce = dict.fromkeys(SENDERS, 0)
        self.held: dict[bytes, Transaction] = {}
        self.checking: list[Transaction] = []
        self.batches: dict[tuple[bytes, int], tuple[bytes, ...]] = {}
        self.batch_of: dict[bytes, tuple[bytes, int]] = {}
        self.certified: dict[tuple[bytes, int], bool] = {}
        self.until_ns: dict[tuple[bytes, int], int] = {}
        self.sequences = {OWN: 0, OTHER: 0}
        self.ordered = {OWN: 0, OTHER: 0}
        self.left: dict[bytes, str] = {}
        self.entered: dict[bytes, None] = {}

    # --- the model's own bookkeeping -------------------------------------------------------------

    def sender_of(self, t: Transaction) -> int:
        return next(s for s in SENDERS if address(s) == t.sender)

    def ready_run(self, sender: int) -> list[Transaction]:
        mine = {t.nonce: t for t in self.held.values() if t.sender == address(sender)}
        run, nonce = [], self.next_nonce[sender]
        while nonce in mine:
            run.append(mine[nonce])
            nonce += 1
        return run

    def model_unbatch(self, key: tuple[bytes, int]) -> None:
        for i in self.batches.pop(key, ()):
            if self.batch_of.get(i) == key:
                del self.batch_of[i]
        self.certified.pop(key, None)
        self.until_ns.pop(key, None)

    def model_batch(self, ids: tuple[bytes, ...], key: tuple[bytes, int]) -> None:
        self.batches[key] = ids
        self.batch_of.update(dict.fromkeys(ids, key))
        self.certified[key] = False
        self.until_ns[key] = self.now_ns + 50

    def leave(self, transaction_id: bytes, why: str) -> None:
        del self.held[transaction_id]
        assert transaction_id not in self.left, "left twice"
        self.left[transaction_id] = why

    # --- what happens ----------------------------------------------------------------------------

    @rule(step=st.integers(0, 30))
    def time_passes(self, step: int) -> None:
        self.now_ns += step

    @rule(
        sender=st.sampled_from(SENDERS),
        ahead=st.integers(-1, 4),
        salt=st.integers(0, 1),
        life=st.integers(0, 6),
    )
    def admit(self, sender: int, ahead: int, salt: int, life: int) -> None:
        nonce = max(0, self.next_nonce[sender] + ahead)
        t = transaction(sender, nonce, salt=salt, last_valid_height=self.height + life)
        taken = any(h.sender == t.sender and h.nonce == nonce for h in self.held.values())
        fine = (
            not taken
            and t not in self.checking
            and life > 0
            and nonce >= self.next_nonce[sender]
            and len(self.held) + len(self.checking) < LIMIT
        )
        with pytest.raises(RejectedTransaction) if not fine else nullcontext():
            self.pool.admit(self.now_ns, t, (self.next_nonce[sender], RICH), self.height)
        if fine:
            self.checking.append(t)

    @rule(ok=st.booleans(), which=st.integers(0, LIMIT))
    def verified(self, ok: bool, which: int) -> None:
        if not self.checking:
            return
        t = self.checking.pop(which % len(self.checking))
        taken = any(h.sender == t.sender and h.nonce == t.nonce for h in self.held.values())
        fine = (
            ok
            and not taken
            and t.nonce >= self.next_nonce[self.sender_of(t)]
            and t.last_valid_height > self.height
        )
        with pytest.raises(RejectedTransaction) if not fine else nullcontext():
            self.pool.verified(self.now_ns, t, ok)
        if fine:
            self.held[t.id] = t
            self.left.pop(t.id, None)
            self.entered[t.id] = None

    @rule(count_max=st.integers(1, 6), bytes_max=st.integers(150, 1500))
    def take(self, count_max: int, bytes_max: int) -> None:
        self.sequences[OWN] += 1
        key = (OWN, self.sequences[OWN])
        taken = self.pool.take(
            self.now_ns,
            key[1],
            bytes_max=bytes_max,
            count_max=count_max,
            since_max_ns=self.now_ns,
        )
        assert len(taken) <= count_max
        assert len(dict.fromkeys(t.id for t in taken)) == len(taken)
        if taken:
            assert len(encode_transactions([t.raw for t in taken])) <= bytes_max
        for t in taken:
            assert self.held[t.id] == t
            assert t.id not in self.batch_of, "in another batch"
            run = self.ready_run(self.sender_of(t))
            before = [r for r in run if r.nonce < t.nonce]
            assert t in run, "not ready"
            assert all(r.id in self.batch_of or r in taken[: taken.index(t)] for r in before)
            if before and (holder := self.batch_of.get(before[-1].id)):
                assert holder[0] == OWN or self.certified[holder], "might overtake"
        if taken:
            self.model_batch(tuple(t.id for t in taken), key)
        elif bytes_max > 300:
            # Nothing came although there was room: nobody's turn can have come.
            assert all(self.is_blocked_or_empty(s) for s in SENDERS)

    def is_blocked_or_empty(self, sender: int) -> bool:
        run = self.ready_run(sender)
        free = [i for i, t in enumerate(run) if t.id not in self.batch_of]
        if not free:
            return True
        if free[0] == 0:
            return False
        holder = self.batch_of[run[free[0] - 1].id]
        return holder[0] != OWN and not self.certified[holder]

    @rule(data=st.data(), unknown=st.booleans())
    def another_collators_batch(self, data: st.DataObject, unknown: bool) -> None:
        known = sorted(self.held)
        ids = data.draw(st.lists(st.sampled_from(known), unique=True)) if known else []
        if unknown:
            sender = data.draw(st.sampled_from(SENDERS))
            future = transaction(sender, self.next_nonce[sender], last_valid_height=self.height + 3)
            if future.id not in ids:
                ids.append(future.id)
        self.sequences[OTHER] += 1
        key = (OTHER, self.sequences[OTHER])
        self.pool.mark_batched(self.now_ns, ids, *key)
        self.model_batch(tuple(ids), key)

    @rule(data=st.data())
    def certificate(self, data: st.DataObject) -> None:
        if self.batches:
            key = data.draw(st.sampled_from(sorted(self.batches)))
            self.pool.certified(self.now_ns, *key)
            if not self.certified[key]:
                self.certified[key] = True
                self.until_ns[key] = self.now_ns + 500

    @rule(data=st.data())
    def unbatch(self, data: st.DataObject) -> None:
        if self.batches:
            key = data.draw(st.sampled_from(sorted(self.batches)))
            self.pool.unbatch(self.now_ns, *key)
            self.model_unbatch(key)

    @rule()
    def release(self) -> None:
        assert self.pool.release_at_ns == min(self.until_ns.values(), default=None)
        self.pool.release(self.now_ns)
        for key in [k for k, until in self.until_ns.items() if until <= self.now_ns]:
            self.model_unbatch(key)

    @rule(data=st.data(), void=st.booleans(), foreign=st.booleans())
    def block(self, data: st.DataObject, void: bool, foreign: bool) -> None:
        """Execute one batch (or none) in order, skipping gaps, as an executor does."""
        self.height += 1
        key = data.draw(st.sampled_from(sorted(self.batches))) if self.batches else None
        finished: list[bytes] = []
        used: dict[int, int] = {}
        for i in self.batches[key] if key and not void else ():
            t = self.held.get(i)
            if t is None:
                continue
            sender = self.sender_of(t)
            if t.nonce == used.get(sender, self.next_nonce[sender]):
                finished.append(i)
                used[sender] = t.nonce + 1
        if foreign:
            # A transaction this node never saw used a nonce.
            sender = data.draw(st.sampled_from(SENDERS))
            used[sender] = used.get(sender, self.next_nonce[sender]) + 1
        dropped = self.pool.on_block(
            self.now_ns,
            self.height,
            ordered=[key] if key else [],
            finished=finished,
            next_nonces={address(s): n for s, n in used.items()},
        )
        self.next_nonce.update(used)
        for i in finished:
            self.leave(i, "executed")
        gone = {
            t.id
            for t in self.held.values()
            if t.nonce < self.next_nonce[self.sender_of(t)] or t.last_valid_height <= self.height
        }
        assert sorted(d.id for d in dropped) == sorted(gone)
        for i in sorted(gone):
            self.leave(i, "dropped")
        if key:
            for other in [k for k in self.batches if k[0] == key[0] and k[1] <= key[1]]:
                self.model_unbatch(other)

    # --- what always holds -----------------------------------------------------------------------

    @invariant()
    def nothing_is_lost_nor_doubled(self) -> None:
        assert len(self.pool) == len(self.held)
        for i in self.entered:
            assert (i in self.pool) == (i in self.held)
            assert (i in self.held) != (i in self.left)

    @invariant()
    def the_numbers_are_exact(self) -> None:
        s = self.pool.statistics()
        ready = [
            t for sender in SENDERS for t in self.ready_run(sender) if t.id not in self.batch_of
        ]
        assert s.transactions_count == len(self.held)
        assert s.held_bytes == sum(len(t.raw) for t in self.held.values())
        assert s.checking_count == len(self.checking)
        assert s.ready_count == len(ready)
        assert s.ready_bytes == sum(len(encode_transactions([t.raw])) - 1 for t in ready)
        assert s.batched_count == sum(i in self.batch_of for i in self.held)
        assert s.senders_count == len({t.sender for t in self.held.values()})
        assert s.batches_count == len(self.batches)
        assert s.admitted_count == s.transactions_count + s.executed_count + s.dropped_count

    @invariant()
    def every_status_is_true(self) -> None:
        for t in self.held.values():
            key = self.batch_of.get(t.id)
            run = self.ready_run(self.sender_of(t))
            missing = self.next_nonce[self.sender_of(t)] + len(run)
            if key is not None:
                assert self.pool.status(t.id) == Batched(*key, self.certified[key])
            else:
                expected = None if t in run else missing
                assert self.pool.status(t.id) == Pooled(t.nonce, expected)

    @invariant()
    def somebody_is_in_turn_exactly_when_something_can_be_taken(self) -> None:
        nobody = all(self.is_blocked_or_empty(s) for s in SENDERS)
        assert (self.pool.waiting_since_ns is None) == nobody


TestPoolAgainstModel = PoolAgainstModel.TestCase
TestPoolAgainstModel.settings = settings(max_examples=150, stateful_step_count=50)
