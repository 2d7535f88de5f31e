"""Intake: what may come in, what it costs, and who is told of it."""

from __future__ import annotations

import pytest

from p2pnode import crypto
from p2pnode.errors import P2PNodeError
from p2pnode.gossip.frames import decode_frame as decode_transaction_frame
from p2pnode.mempool import intake as module
from p2pnode.mempool.admission import BadSignature, InsufficientBalance, NonceTooLow, Rules
from p2pnode.mempool.intake import GOSSIP_WAIT_NS, REFUSED_AT_ONCE_MAX, Intake
from p2pnode.mempool.pool import Pool, PoolConfig
from p2pnode.types.chain import Chain
from p2pnode.types.effects import ArmTimer, Lane, Penalize, Publish, Reply, SendTo, Verify
from p2pnode.types.messages import Transactions, decode_frame, join_frame
from p2pnode.types.transaction import (
    MalformedTransactionError,
    Transaction,
    decode_transaction,
)
from tests.spine import KEYS, MS, RICH, USERS, Bench, forged, make_chain, peer, transaction

STRANGER = b"stranger"
ENTRY_NS = 20 * MS


class Desk:
    """An intake at its bench, with accounts that a test may change."""

    def __init__(self, chain: Chain | None = None, me: int | None = 0) -> None:
        self.chain = chain or make_chain()
        self.bench = Bench(self.chain)
        rules = Rules.of(self.chain.id, self.chain.genesis.parameters)
        self.pool = Pool(PoolConfig(rules=rules, collator=KEYS[0].public))
        self.accounts: dict[bytes, tuple[int, int]] = {}
        self.heights = (0, 0)
        self.pooled = 0
        self.is_current = True
        self.executed: set[bytes] = set()
        self.intake = Intake(
            self.chain,
            me,
            self.bench.desk,
            self.pool,
            lambda address: self.accounts.get(address, (0, RICH)),
            lambda: self.heights,
            lambda: self.is_current,
            lambda transaction_id: transaction_id in self.executed,
            self._pooled,
        )

    def _pooled(self) -> None:
        self.pooled += 1

    def submit(self, *raws: bytes) -> tuple[object, ...]:
        self.intake.submit(7, raws)
        (reply,) = self.bench.take(Reply)
        assert reply.ticket == 7
        return reply.outcomes

    def sent(self) -> list[tuple[tuple[bytes, ...], tuple[bytes, ...]]]:
        """Return (receivers, envelopes) of the frames that left for collators."""
        found = []
        for effect in self.bench.take(SendTo):
            assert effect.lane is Lane.BULK
            (message,) = decode_frame(join_frame([effect.message]))
            assert isinstance(message, Transactions)
            found.append((effect.peers, message.raws))
        return found


def test_a_good_transaction_is_accepted_and_pooled() -> None:
    at = Desk()
    t = transaction(at.chain)
    assert at.submit(t.raw) == (None,)
    assert t.id in at.pool
    assert at.pooled == 1


def test_every_refusal_has_its_place_and_its_rule() -> None:
    at = Desk()
    poor = crypto.address_of(USERS[1].public)
    used = crypto.address_of(USERS[2].public)
    at.accounts = {poor: (0, 1), used: (5, RICH)}
    good = transaction(at.chain, 0)
    outcomes = at.submit(
        b"junk",
        good.raw,
        transaction(at.chain, 1).raw,
        transaction(at.chain, 2, nonce=4).raw,
        forged(at.chain, 3),
    )
    kinds = [None if outcome is None else type(outcome) for outcome in outcomes]
    assert kinds == [
        MalformedTransactionError,
        None,
        InsufficientBalance,
        NonceTooLow,
        BadSignature,
    ]
    assert all(isinstance(outcome, P2PNodeError) for outcome in outcomes if outcome is not None)
    assert list(at.pool.get(t) is not None for t in (good.id,)) == [True]
    assert len(at.pool) == 1


def test_a_transaction_submitted_again_is_accepted_again_and_checked_once() -> None:
    at = Desk()
    raw = transaction(at.chain).raw
    assert at.submit(raw, raw) == (None, None)
    assert at.submit(raw) == (None,)
    assert at.bench.verified_count == 1
    assert len(at.pool) == 1


def test_a_refused_transaction_is_told_to_nobody() -> None:
    at = Desk()
    at.submit(forged(at.chain), b"junk")
    at.bench.pass_ns(GOSSIP_WAIT_NS)
    for which in ("direct", "gossip"):
        at.intake.fired(which)
    assert at.sent() == []
    assert at.bench.take(Publish) == []


def test_transactions_go_to_the_two_collators_next_in_turn_but_us() -> None:
    at = Desk(me=0)
    raws = [transaction(at.chain, user).raw for user in range(3)]
    at.heights = (9, 6)
    at.submit(*raws)
    assert at.sent() == [], "they wait for company"
    at.bench.pass_ns(ENTRY_NS)
    at.intake.fired("direct")
    # Executor (height + i) mod p, height being the executed one: 6 mod 4, 7 mod 4.
    assert at.sent() == [((peer(2), peer(3)), tuple(raws))]
    at.heights = (9, 7)
    at.submit(transaction(at.chain, 5).raw)
    at.bench.pass_ns(ENTRY_NS)
    at.intake.fired("direct")
    assert [receivers for receivers, _ in at.sent()] == [(peer(3),)], "the other one are we"


def test_an_observer_tells_both_collators() -> None:
    at = Desk(me=None)
    at.heights = (7, 7)
    at.submit(transaction(at.chain).raw)
    at.bench.pass_ns(ENTRY_NS)
    at.intake.fired("direct")
    assert [receivers for receivers, _ in at.sent()] == [(peer(3), peer(0))]


def test_everyone_is_told_on_the_topic_a_little_later() -> None:
    at = Desk()
    raws = [transaction(at.chain, user).raw for user in range(3)]
    at.submit(*raws)
    at.bench.pass_ns(GOSSIP_WAIT_NS - 1)
    at.intake.fired("gossip")
    assert at.bench.take(Publish) == []
    at.bench.pass_ns(1)
    at.intake.fired("gossip")
    (published,) = at.bench.take(Publish)
    assert decode_transaction_frame(published.data) == tuple(raws)


def test_a_timer_is_armed_for_what_waits_and_again_for_what_came_after_a_full_pack() -> None:
    at = Desk()
    begin_ns = at.bench.desk.now_ns
    at.submit(transaction(at.chain, 0).raw, transaction(at.chain, 1).raw)
    armed = {e.key: e.at_ns for e in at.bench.take(ArmTimer)}
    assert armed == {
        ("intake", "direct"): begin_ns + ENTRY_NS,
        ("intake", "gossip"): begin_ns + GOSSIP_WAIT_NS,
    }
    at.bench.pass_ns(ENTRY_NS // 2)
    at.intake.fired("direct")
    assert at.sent() == []
    assert [(e.key, e.at_ns) for e in at.bench.take(ArmTimer)] == [
        (("intake", "direct"), begin_ns + ENTRY_NS)
    ]


def test_peers_transactions_are_pooled_and_not_passed_on() -> None:
    at = Desk()
    t = transaction(at.chain)
    at.intake.arrived(STRANGER, [t.raw])
    at.bench.settle()
    assert t.id in at.pool
    assert at.pooled == 1
    assert at.bench.take(ArmTimer) == []


def test_copies_cost_one_check() -> None:
    at = Desk()
    raw = transaction(at.chain).raw
    for sender in (b"a", b"b", b"c"):
        at.intake.arrived(sender, [raw, raw])
        at.bench.settle()
    assert at.bench.verified_count == 1
    assert at.bench.take(Penalize) == []


def test_a_copy_is_known_by_its_bytes_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[bytes] = []

    def counting(raw: bytes) -> Transaction:
        decoded.append(raw)
        return decode_transaction(raw)

    monkeypatch.setattr(module, "decode_transaction", counting)
    at = Desk()
    raw = transaction(at.chain).raw
    for sender in (b"a", b"b", b"c"):
        at.intake.arrived(sender, [raw])
        at.bench.settle()
    assert decoded == [raw]


def test_what_we_submitted_ourselves_costs_nothing_when_it_comes_back() -> None:
    at = Desk()
    raw = transaction(at.chain).raw
    at.submit(raw)
    at.intake.arrived(STRANGER, [raw])
    at.bench.settle()
    assert at.bench.verified_count == 1


def test_bad_signatures_cost_the_sender_and_spare_the_rest() -> None:
    at = Desk()
    good = transaction(at.chain, 1)
    at.intake.arrived(STRANGER, [forged(at.chain, 0), good.raw])
    assert [(p.peer, p.points) for p in at.bench.take(Penalize)] == [(STRANGER, 10.0)]
    assert len(at.pool) == 1
    assert good.id in at.pool


def test_a_forged_copy_does_not_keep_the_true_transaction_out() -> None:
    at = Desk()
    at.intake.arrived(STRANGER, [forged(at.chain)])
    at.bench.settle()
    true = transaction(at.chain)
    at.intake.arrived(b"honest", [true.raw])
    at.bench.settle()
    assert true.id in at.pool


def test_stale_transactions_cost_nobody_anything() -> None:
    at = Desk()
    at.accounts = {crypto.address_of(USERS[0].public): (5, RICH)}
    at.intake.arrived(STRANGER, [transaction(at.chain, nonce=4).raw])
    assert at.bench.take(Penalize) == []
    assert at.bench.take(Verify) == []


def test_stale_transactions_of_one_sender_are_looked_at_so_many_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = Desk()
    looked = 0

    def decode(raw: bytes) -> Transaction:
        nonlocal looked
        looked += 1
        return decode_transaction(raw)

    monkeypatch.setattr(module, "decode_transaction", decode)
    at.accounts = {crypto.address_of(USERS[0].public): (5, RICH)}
    raw = transaction(at.chain, nonce=4).raw
    # Only the nonce is stale; the signature is looked at later, and so can be anything.
    stale = [raw[:-8] + number.to_bytes(8, "big") for number in range(5000)]
    at.intake.arrived(STRANGER, stale)
    assert looked == REFUSED_AT_ONCE_MAX
    at.intake.arrived(STRANGER, stale)
    assert looked == REFUSED_AT_ONCE_MAX
    # Others are heard, and so is the sender again after a while, however often it tries.
    good = transaction(at.chain, 1)
    at.intake.arrived(peer(1), [good.raw])
    at.bench.settle()
    assert good.id in at.pool
    looked = 0
    for _ in range(1000):
        at.bench.desk.now_ns += MS
        at.intake.arrived(STRANGER, stale)
    assert looked == 500
    assert at.bench.take(Penalize) == []


def test_transactions_of_no_account_cost_little_each_and_a_flood_of_them_a_ban() -> None:
    at = Desk()
    sender = crypto.address_of(USERS[0].public)
    raws = [transaction(at.chain, nonce=nonce).raw for nonce in range(40)]
    at.accounts[sender] = (0, 0)
    at.intake.arrived(STRANGER, raws)
    (penalty,) = at.bench.take(Penalize)
    assert (penalty.peer, penalty.points) == (STRANGER, pytest.approx(2.5))
    assert penalty.reason == "40 transactions of no account"
    # Who is behind can't tell; who has an account may have become poor on the way.
    at.is_current = False
    at.intake.arrived(STRANGER, raws)
    at.is_current = True
    at.accounts[sender] = (1, 0)
    at.intake.arrived(STRANGER, raws)
    assert at.bench.take(Penalize) == []


def test_how_many_could_be_admitted_is_told_by_the_rules_unless_our_state_is_old() -> None:
    at = Desk()
    found = [decode_transaction(transaction(at.chain, nonce=nonce).raw) for nonce in range(4)]
    assert at.intake.count_admissible(found) == 4
    at.accounts[crypto.address_of(USERS[0].public)] = (3, RICH)
    assert at.intake.count_admissible(found) == 1
    at.accounts[crypto.address_of(USERS[0].public)] = (0, 0)
    assert at.intake.count_admissible(found) == 0
    at.is_current = False
    assert at.intake.count_admissible(found) == 4


def test_what_was_executed_before_its_message_came_is_worth_passing_on_once() -> None:
    at = Desk()
    found = [decode_transaction(transaction(at.chain, nonce=nonce).raw) for nonce in range(4)]
    at.accounts[crypto.address_of(USERS[0].public)] = (4, RICH)
    at.executed = {t.id for t in found[:3]}
    assert at.intake.count_admissible(found) == 3
    assert at.intake.count_admissible(found) == 0


def test_rubbish_costs_the_sender_and_what_came_before_it_is_still_checked() -> None:
    at = Desk()
    victim = transaction(at.chain)
    at.intake.arrived(STRANGER, [victim.raw, b"junk", transaction(at.chain, 1).raw])
    assert [p.peer for p in at.bench.take(Penalize)] == [STRANGER]
    # Left unchecked it would be refused as a duplicate for ever.
    assert victim.id in at.pool
    assert len(at.pool) == 1


def test_a_transaction_refused_for_its_time_may_come_again() -> None:
    at = Desk()
    address = crypto.address_of(USERS[0].public)
    at.accounts = {address: (0, 0)}
    t = transaction(at.chain)
    at.intake.arrived(STRANGER, [t.raw])
    at.bench.settle()
    assert t.id not in at.pool
    at.accounts = {address: (0, RICH)}
    at.intake.arrived(STRANGER, [t.raw])
    at.bench.settle()
    assert t.id in at.pool


def test_only_the_very_envelope_that_was_checked_counts_as_verified() -> None:
    at = Desk()
    t = transaction(at.chain)
    assert not at.intake.verified_before(t)
    at.submit(t.raw)
    assert at.intake.verified_before(t)
    assert not at.intake.verified_before(decode_transaction(forged(at.chain)))
