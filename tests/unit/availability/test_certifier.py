"""The certifier: own batches from packing to certificate, and others' from offer to "stored"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from p2pnode import crypto
from p2pnode.availability.certificate import certificate_claims
from p2pnode.availability.certifier import LEAD_NS, PATIENCE_NS, Certifier
from p2pnode.availability.custody import Custody, CustodyConfig
from p2pnode.availability.dispersal import Dispersal, DispersalConfig
from p2pnode.availability.shelf import Shelf
from p2pnode.execution.block import ReadyBatch
from p2pnode.mempool.admission import Rules
from p2pnode.mempool.collator import Collator, CollatorConfig
from p2pnode.mempool.pool import Pool, PoolConfig
from p2pnode.sync.fetcher import Fetcher
from p2pnode.types import effects as fx
from p2pnode.types.batch import BatchHeader, decode_batch_header, decode_transactions
from p2pnode.types.chain import Chain
from p2pnode.types.effects import Lane, Penalize, Put, SendTo, Sign, Write
from p2pnode.types.genesis import FIRST_UID
from p2pnode.types.messages import BatchOffer, Message, Stored, decode_frame, join_frame
from p2pnode.types.statement import BatchCertificate, Evidence, Statement
from p2pnode.types.transaction import Transaction
from tests.spine import (
    KEYS,
    MS,
    RICH,
    SCHEME,
    Bench,
    S,
    batch,
    make_chain,
    peer,
    sign_header,
    signature,
    transaction,
)

CHAIN = make_chain()
SMALL = make_chain(batch_bytes_max=600)
"""Full with four transactions."""
WAIT_NS = 40 * MS
INTERVAL_NS = 200 * MS
OTHERS = (peer(1), peer(2), peer(3))


class At:
    """A validator's feeds between a real pool, collator, dispersal, custody and shelf."""

    def __init__(self, me: int = 0, chain: Chain = CHAIN) -> None:
        self.chain, self.me = chain, me
        self.bench = Bench(chain, me)
        parameters = chain.genesis.parameters
        rules = Rules.of(chain.id, parameters)
        self.pool = Pool(PoolConfig(rules=rules, collator=KEYS[me].public))
        self.collator = Collator(
            CollatorConfig.of(chain.id, FIRST_UID, KEYS[me].public, parameters),
            self.pool,
            SCHEME,
            next_sequence=1,
        )
        self.custody = Custody(CustodyConfig.of(chain.id, parameters), SCHEME)
        self.dispersal = Dispersal(DispersalConfig())
        self.ready: list[ReadyBatch] = []
        self.shelf = Shelf(
            self.bench.desk,
            Fetcher(self.bench.desk),
            lambda name: SCHEME,
            lambda t: True,
            self.ready.append,
            parameters.batch_bytes_max,
        )
        self.made: list[Statement] = []
        self.heights = (0, 0)
        self.waiting = 0
        self.certifier = Certifier(
            chain,
            me,
            self.bench.desk,
            self.collator,
            self.dispersal,
            self.custody,
            self.shelf,
            self.made.append,
            lambda: self.heights,
            self.pool,
            lambda uid: self.waiting,
        )
        self.certifier.enter_epoch(0, 0)
        self.collator.follow(0, 0)  # height 0 was executed long ago
        self.nonces: dict[int, int] = {}

    def pooled(self, count: int = 1, user: int = 0) -> list[Transaction]:
        """Put transactions of a user into the pool."""
        added = []
        for _ in range(count):
            nonce = self.nonces.get(user, 0)
            self.nonces[user] = nonce + 1
            t = transaction(self.chain, user, nonce)
            self.pool.admit(self.bench.desk.now_ns, t, (0, RICH), 0)
            self.pool.verified(self.bench.desk.now_ns, t, True)
            added.append(t)
        return added

    def armed(self, which: str = "due") -> int | None:
        """Return when the timer armed last fires."""
        self.bench.settle()
        armed = [e for e in self.bench.out if isinstance(e, fx.ArmTimer)]
        at = [e.at_ns for e in armed if e.key == ("feeds", which)]
        return at[-1] if at else None

    def sent(self) -> list[tuple[tuple[bytes, ...], Lane, Message]]:
        found = []
        for effect in self.bench.take(SendTo):
            (message,) = decode_frame(join_frame([effect.message]))
            found.append((effect.peers, effect.lane, message))
        return found

    def pack(self, count: int = 1, user: int = 0) -> BatchHeader:
        """Have a batch packed; return its header."""
        self.pooled(count, user)
        self.bench.pass_ns(WAIT_NS)
        self.certifier.wake()
        ((receivers, lane, offer),) = self.sent()
        assert (receivers, lane) == (OTHERS, Lane.BULK)
        assert isinstance(offer, BatchOffer)
        return decode_batch_header(offer.header)

    def answer(self, header: BatchHeader, signer: int, *, key: int | None = None) -> None:
        by = signer if key is None else key
        given = signature(self.chain, by, "stored", header.epoch, header.digest())
        self.certifier.stored_from(peer(by), Stored(header.digest(), signer, given))
        self.bench.settle()


# --- packing --------------------------------------------------------------------------------------


def test_a_batch_is_packed_kept_and_sent_to_every_validator() -> None:
    at = At()
    (t,) = at.pooled()
    at.certifier.wake()
    assert at.sent() == []
    assert at.armed() == at.bench.desk.now_ns + WAIT_NS
    at.bench.pass_ns(WAIT_NS)
    at.certifier.fired("due")
    at.bench.settle()
    kinds = [
        (type(e), e.kind if isinstance(e, Sign) else None)
        for e in at.bench.out
        if isinstance(e, (Sign, Put, SendTo))
    ]
    # Signed, then kept, then sent; and only then signed for as a validator.
    assert kinds == [(Sign, "batch"), (Put, None), (SendTo, None), (Sign, "stored")]
    ((_, _, offer),) = at.sent()
    assert isinstance(offer, BatchOffer)
    header = decode_batch_header(offer.header)
    assert decode_transactions(offer.data) == (t.raw,)
    assert (header.sequence, header.collator) == (1, KEYS[0].public)
    assert offer.signature == sign_header(CHAIN, header)
    ((write,),) = [put.writes for put in at.bench.take(Put)]
    assert (write.table, write.key) == ("batches", header.digest())
    assert header.digest() in at.custody
    assert [r.digest for r in at.ready] == [header.digest()]


def test_the_header_is_signed_in_the_slot_of_its_sequence() -> None:
    at = At()
    header = at.pack()
    sign = next(s for s in at.bench.take(Sign) if s.kind == "batch")
    body = header.encode()
    assert (sign.body, sign.slots, sign.position) == (body, {("batch", 1, 1): body}, (1,))


def test_a_batch_is_packed_just_in_time_for_the_next_proposal() -> None:
    at = At()
    listed_ns = at.bench.desk.now_ns
    at.certifier.listed()
    at.pooled()
    at.bench.pass_ns(WAIT_NS)
    at.certifier.wake()
    assert at.sent() == [], "a block interval has hardly begun"
    due_ns = at.armed()
    assert due_ns is not None
    assert listed_ns + WAIT_NS < due_ns < listed_ns + INTERVAL_NS - LEAD_NS
    at.bench.desk.now_ns = due_ns - 1
    at.certifier.fired("due")
    assert at.sent() == []
    at.bench.desk.now_ns = due_ns
    at.certifier.fired("due")
    assert len(at.sent()) == 1


def test_the_slower_batches_are_certified_the_earlier_they_are_packed() -> None:
    def due_ns(certified_after_ns: int) -> int:
        at = At()
        for sequence in range(1, 20):
            header = at.pack(user=sequence % 8)
            at.bench.pass_ns(certified_after_ns)
            for signer in (1, 2):
                at.answer(header, signer)
            certificate = at.made[-1]
            assert isinstance(certificate, BatchCertificate)
            at.certifier.certified(certificate)
            at.certifier.executed(sequence, [header], KEYS[0].public)
        at.certifier.listed()
        at.pooled(user=7)
        at.certifier.wake()
        armed = at.armed()
        assert armed is not None
        return armed - at.bench.desk.now_ns

    assert due_ns(10 * MS) > due_ns(60 * MS)


def test_no_batch_is_packed_while_another_waits() -> None:
    at = At()
    at.waiting = 1
    at.pooled()
    at.bench.pass_ns(S)
    at.certifier.wake()
    assert at.sent() == []
    at.waiting = 0
    at.certifier.listed()
    at.bench.pass_ns(INTERVAL_NS)
    at.certifier.wake()
    assert len(at.sent()) == 1


def test_patience_with_other_feeds_ends() -> None:
    # One feed that always has batches waiting would keep every other empty.
    at = At()
    at.waiting = 1
    at.pooled()
    pooled_ns = at.bench.desk.now_ns
    at.certifier.wake()
    assert at.armed() == pooled_ns + PATIENCE_NS
    at.bench.pass_ns(PATIENCE_NS - 1)
    at.certifier.fired("due")
    assert at.sent() == []
    at.bench.pass_ns(1)
    at.certifier.fired("due")
    assert len(at.sent()) == 1
    # With our own batch there is no such end: it is sent again until it is certified.
    at.pooled(user=1)
    at.bench.pass_ns(2 * PATIENCE_NS)
    at.certifier.wake()
    assert at.sent() == []


def test_no_batch_is_packed_while_our_own_is_on_its_way() -> None:
    at = At()
    header = at.pack()
    at.pooled(user=1)
    at.bench.pass_ns(S)
    at.certifier.wake()
    assert at.sent() == []
    for signer in (1, 2):
        at.answer(header, signer)
    at.certifier.wake()
    assert len(at.sent()) == 1, "certified, and listed by the test's word"


def test_nothing_is_packed_twice_while_the_signature_is_on_its_way() -> None:
    at = At()
    at.pooled()
    at.bench.pass_ns(WAIT_NS)
    at.certifier.wake()
    at.pooled(user=1)
    at.bench.pass_ns(WAIT_NS)
    at.certifier.wake()
    assert [e.kind for e in at.bench.desk.drain() if isinstance(e, Sign)] == ["batch"]


def test_a_full_batch_goes_at_once_and_one_may_queue_behind_another() -> None:
    at = At(chain=SMALL)
    at.certifier.listed()
    at.waiting = 1
    at.pooled(8)
    assert at.pool.ready_bytes >= SMALL.genesis.parameters.batch_bytes_max
    at.certifier.wake()
    assert len(at.sent()) == 1
    at.waiting = 2
    at.pooled(8, user=1)
    at.certifier.wake()
    assert at.sent() == [], "one deep"


def test_a_full_batch_may_follow_our_own_that_is_on_its_way() -> None:
    at = At(chain=SMALL)
    at.pooled(12)
    at.certifier.wake()
    assert len(at.sent()) == 2, "one behind the other"
    assert at.pool.ready_bytes >= SMALL.genesis.parameters.batch_bytes_max
    at.certifier.wake()
    assert at.sent() == []


def test_out_of_turn_nothing_is_packed_before_the_others_had_their_chance() -> None:
    at = At(me=1)
    at.pooled()
    at.bench.pass_ns(WAIT_NS)
    at.certifier.wake()
    assert at.sent() == []
    assert at.armed() == at.bench.desk.now_ns - WAIT_NS + 2 * 250 * MS


def test_a_refused_header_gives_its_transactions_back() -> None:
    at = At()
    at.bench.refuse = lambda sign: sign.kind == "batch"
    at.pooled()
    at.bench.pass_ns(WAIT_NS)
    at.certifier.wake()
    assert at.sent() == []
    assert at.bench.take(Put) == []
    at.bench.refuse = lambda sign: False
    at.bench.pass_ns(S)
    at.certifier.wake()
    ((_, _, offer),) = at.sent()
    assert isinstance(offer, BatchOffer)
    assert decode_batch_header(offer.header).sequence == 2, "a sequence is used up"


def test_a_batch_whose_epoch_ended_while_it_was_signed_is_abandoned() -> None:
    at = At()
    at.pooled()
    at.bench.pass_ns(WAIT_NS)
    at.certifier.wake()
    at.heights = (120, 120)
    at.certifier.enter_epoch(6, 120)
    at.bench.settle()
    assert at.sent() == []
    assert len(at.bench.emitted("batch_abandoned")) == 1
    assert at.pool.ready_count == 1


# --- certificates ---------------------------------------------------------------------------------


def test_a_quorum_of_stored_makes_a_certificate_once() -> None:
    at = At()
    header = at.pack()
    at.answer(header, 2)
    assert at.made == [], "ours and one more are no quorum of four"
    at.answer(header, 3)
    (certificate,) = at.made
    assert isinstance(certificate, BatchCertificate)
    assert (certificate.header, certificate.signers.signers) == (header, (0, 2, 3))
    at.answer(header, 1)
    assert len(at.made) == 1
    claims = certificate_claims(certificate, CHAIN.genesis.validators, CHAIN.id)
    assert all(crypto.verify(*claim) for claim in claims)


def test_a_stored_with_a_bad_signature_costs_its_sender_and_does_not_count() -> None:
    at = At()
    header = at.pack()
    at.answer(header, 2, key=3)
    assert [(p.peer, p.points) for p in at.bench.take(Penalize)] == [(peer(3), 50.0)]
    at.answer(header, 3)
    assert at.made == []
    at.answer(header, 2)
    assert len(at.made) == 1


def test_answers_to_unknown_batches_and_of_unknown_signers_cost_no_check() -> None:
    at = At()
    header = at.pack()
    before = at.bench.verified_count
    at.certifier.stored_from(peer(1), Stored(bytes(32), 1, bytes(64)))
    at.certifier.stored_from(peer(1), Stored(header.digest(), 9, bytes(64)))
    at.answer(header, 1)
    at.answer(header, 1)
    assert at.bench.verified_count == before + 1


def test_who_has_not_answered_gets_the_batch_again_and_in_the_end_it_is_given_up() -> None:
    at = At()
    header = at.pack()
    at.answer(header, 2)
    at.bench.desk.now_ns = at.armed("retry") or 0
    at.certifier.fired("retry")
    ((receivers, lane, offer),) = at.sent()
    assert (receivers, lane) == ((peer(1), peer(3)), Lane.BULK)
    assert isinstance(offer, BatchOffer)
    assert offer.header == header.encode()
    at.heights = (16, 16)
    at.bench.desk.now_ns = at.armed("retry") or 0
    at.certifier.fired("retry")
    assert at.bench.emitted("batch_given_up") == [{"sequence": 1}]
    assert at.pool.ready_count == 1
    at.answer(header, 3)
    assert at.made == []


# --- others' batches ------------------------------------------------------------------------------


def offer(
    chain: Chain, raws: Sequence[bytes], *, data: bytes | None = None, **changes: int
) -> BatchOffer:
    header, own = batch(chain, raws, **changes)
    return BatchOffer(header.encode(), sign_header(chain, header), own if data is None else data)


GOOD = transaction(CHAIN).raw


def test_a_batch_is_checked_kept_and_then_signed_for() -> None:
    at = At(me=1)
    at.certifier.offer_from(peer(0), offer(CHAIN, [GOOD]))
    at.bench.settle()
    order = [type(e) for e in at.bench.out if isinstance(e, (Put, Sign, SendTo))]
    assert order == [Put, Sign, SendTo], "the signature's sync covers the data"
    header, data = batch(CHAIN, [GOOD])
    ((receivers, lane, answer),) = at.sent()
    assert (receivers, lane) == ((peer(0),), Lane.PROPOSAL)
    assert answer == Stored(header.digest(), 1, signature(CHAIN, 1, "stored", 0, header.digest()))
    ((write,),) = [put.writes for put in at.bench.take(Put)]
    assert (write.table, write.key) == ("batches", header.digest())
    assert data in (write.value or b"")
    assert [r.digest for r in at.ready] == [header.digest()]


def test_an_offer_that_comes_again_is_answered_again() -> None:
    at = At(me=1)
    for _ in range(2):
        at.certifier.offer_from(peer(0), offer(CHAIN, [GOOD]))
        assert len(at.sent()) == 1


def other_root(chain: Chain) -> BatchOffer:
    header, data = batch(chain, [GOOD])
    header = replace(header, tx_root=bytes(32))
    return BatchOffer(header.encode(), sign_header(chain, header), data)


def of_a_stranger(chain: Chain) -> BatchOffer:
    header, data = batch(chain, [GOOD], collator=6)
    return BatchOffer(header.encode(), sign_header(chain, header), data)


BAD_OFFERS = {
    "no header": replace(offer(CHAIN, [GOOD]), header=b"junk"),
    "other data": offer(CHAIN, [GOOD], data=batch(CHAIN, [b"other"])[1]),
    "data cut": offer(CHAIN, [GOOD], data=batch(CHAIN, [GOOD])[1][:-1]),
    "wrong root": other_root(CHAIN),
    "no executor": of_a_stranger(CHAIN),
    "another chain": offer(SMALL, [GOOD]),
    "signed by nobody": replace(offer(CHAIN, [GOOD]), signature=bytes(64)),
}


@pytest.mark.parametrize("name", BAD_OFFERS)
def test_a_bad_offer_costs_its_sender_and_is_neither_kept_nor_signed_for(name: str) -> None:
    at = At(me=1)
    at.certifier.offer_from(peer(0), BAD_OFFERS[name])
    assert [p.peer for p in at.bench.take(Penalize)] == [peer(0)]
    assert at.bench.take(Put) == []
    assert at.bench.take(Sign) == []
    assert at.ready == []
    # What comes true afterwards is not held back by it.
    at.certifier.offer_from(peer(0), offer(CHAIN, [GOOD]))
    assert len(at.sent()) == 1


@pytest.mark.parametrize("changes", [{"epoch": 2}, {"sequence": 0}])
def test_an_offer_out_of_time_is_refused_and_costs_nobody(changes: dict[str, int]) -> None:
    at = At(me=1)
    at.certifier.offer_from(peer(0), offer(CHAIN, [GOOD], **changes))
    assert at.bench.take(Penalize) == []
    assert at.bench.take(Put) == []
    assert len(at.bench.emitted("batch_refused")) == 1


def test_a_batch_of_the_next_epoch_is_stored_already() -> None:
    # Its collator executed the epoch's last height before us.
    at = At(me=1)
    at.certifier.offer_from(peer(0), offer(CHAIN, [GOOD], epoch=1))
    assert len(at.sent()) == 1


def test_two_batches_of_one_sequence_are_evidence() -> None:
    at = At(me=1)
    at.certifier.offer_from(peer(0), offer(CHAIN, [GOOD]))
    at.sent()
    at.certifier.offer_from(peer(0), offer(CHAIN, [b"another"]))
    assert at.sent() == []
    (made,) = at.made
    assert isinstance(made, Evidence)
    assert (made.signer, made.signing_kind) == (0, "batch")
    assert at.bench.emitted("offence") == [{"culprit": 0, "signing_kind": "batch"}]


def test_a_batch_on_its_way_is_expected_for_a_moment() -> None:
    at = At(me=1)
    assert not at.certifier.expected()
    at.certifier.offer_from(peer(0), offer(CHAIN, [GOOD]))
    at.bench.settle()
    assert at.certifier.expected()
    at.bench.pass_ns(S)
    assert not at.certifier.expected()


def test_a_certified_batch_is_expected_no_more() -> None:
    at = At()
    header = at.pack()
    assert at.certifier.expected()
    for signer in (1, 2):
        at.answer(header, signer)
    certificate = at.made[0]
    assert isinstance(certificate, BatchCertificate)
    at.certifier.certified(certificate)
    assert not at.certifier.expected()


# --- what the chain says --------------------------------------------------------------------------


def test_an_ordered_batch_frees_its_feed() -> None:
    at = At()
    first = at.pack()
    assert at.collator.statistics().unordered_count == 1
    at.heights = (1, 1)
    assert at.certifier.executed(1, [first], KEYS[0].public) == []
    assert at.collator.statistics().unordered_count == 0
    assert at.dispersal.statistics().batches_count == 0


def test_a_batch_that_died_leaves_disk_and_memory_and_an_ordered_one_leaves_only_custody() -> None:
    at = At(me=1)
    headers = []
    for sequence in (1, 2):
        at.certifier.offer_from(peer(0), offer(CHAIN, [GOOD], sequence=sequence))
        at.bench.settle()
        headers.append(batch(CHAIN, [GOOD], sequence=sequence)[0])
    dead, ordered = headers
    assert len(at.shelf) == 2
    assert at.certifier.executed(5, [ordered], KEYS[1].public) == []
    retention = CustodyConfig.of(CHAIN.id, CHAIN.genesis.parameters).retention_heights
    assert at.certifier.executed(5 + retention - 1, [], KEYS[1].public) == []
    writes = at.certifier.executed(5 + retention, [], KEYS[1].public)
    assert writes == [Write("batches", dead.digest(), None)]
    assert at.shelf.ready(dead.digest()) is None, "memory would fill with what nobody orders"
    assert at.shelf.ready(ordered.digest()) is not None, "that is the pipeline's to forget"
    assert dead.digest() not in at.custody
    assert ordered.digest() not in at.custody
