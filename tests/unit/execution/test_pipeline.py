"""The pipeline: heights execute in order once their batches are here, and results get certified."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from p2pnode.execution.block import BlockExecution, ReadyBatch
from p2pnode.execution.pipeline import (
    KEY_EXECUTED,
    KEY_INBOXES,
    KEY_RESULTS,
    ExecutedBlock,
    Pipeline,
)
from p2pnode.execution.receipts import encode_outbox
from p2pnode.execution.results import result_of
from p2pnode.node.recovery import open_executors
from p2pnode.store.memory import MemoryStore
from p2pnode.types.batch import BatchHeader
from p2pnode.types.effects import ArmTimer, Forget, Lane, Penalize, Put, SendTo, Sign, Write
from p2pnode.types.messages import ResultVote, decode_frame, join_frame
from p2pnode.types.payload import Block
from p2pnode.types.statement import (
    BatchCertificate,
    Evidence,
    Result,
    ResultCertificate,
    SignerList,
    Statement,
    decode_result,
)
from p2pnode.types.transaction import decode_transaction
from tests.spine import (
    FEES,
    MS,
    Bench,
    batch,
    certify,
    make_blocks,
    make_chain,
    peer,
    result_certificate,
    signature,
    transaction,
)

CHAIN = make_chain()
RETRY_NS = 4 * 250 * MS


class Shelf:
    """Batches that are here, and those that were asked for."""

    def __init__(self) -> None:
        self.here: dict[bytes, ReadyBatch] = {}
        self.wanted: list[tuple[bytes, tuple[bytes, ...]]] = []
        self.forgotten: list[bytes] = []

    def ready(self, digest: bytes) -> ReadyBatch | None:
        return self.here.get(digest)

    def want(self, header: BatchHeader, hints: Sequence[bytes]) -> None:
        self.wanted.append((header.digest(), tuple(hints)))

    def forget(self, digest: bytes) -> None:
        self.forgotten.append(digest)


class Life:
    """One life of a pipeline over a store."""

    def __init__(self, me: int | None = 0, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.executors = open_executors(CHAIN, self.store)
        self.bench = Bench(CHAIN, me or 0)
        self.shelf = Shelf()
        self.certified: list[Statement] = []
        self.executed: list[ExecutedBlock] = []
        self.pipeline = Pipeline(
            CHAIN,
            me,
            self.bench.desk,
            self.shelf,  # type: ignore[arg-type]
            self.executors,
            self.certified.append,
            self._executed,
        )
        raw = self.store.get("meta", KEY_EXECUTED)
        self.pipeline.start(
            0 if raw is None else int.from_bytes(raw, "big"),
            self.store.get("meta", KEY_RESULTS),
            self.store.get("meta", KEY_INBOXES),
        )

    def _executed(self, done: ExecutedBlock) -> list[Write]:
        self.executed.append(done)
        return [Write("outcomes", b"from the node", b"written with the state")]

    def final(self, block: Block, *statements: Statement) -> None:
        self.pipeline.block(block, statements)
        self.bench.settle()

    def commit(self) -> None:
        for put in self.bench.take(Put):
            self.store.commit(put.writes, sync=True)

    def votes(self) -> list[tuple[bytes, int]]:
        """Return (receiver, height) of the result signatures that left."""
        found = []
        for effect in self.bench.take(SendTo):
            assert effect.lane is Lane.PROPOSAL
            (message,) = decode_frame(join_frame([effect.message]))
            assert isinstance(message, ResultVote)
            for receiver in effect.peers:
                found.append((receiver, decode_result(message.result).height))
        return found

    def retry(self) -> None:
        self.bench.pass_ns(RETRY_NS)
        self.pipeline.fired()
        self.bench.settle()


def ready(height: int, nonce: int, collator: int = 0) -> tuple[ReadyBatch, BatchCertificate]:
    t = transaction(CHAIN, 0, nonce)
    header, _ = batch(CHAIN, [t.raw], sequence=height, collator=collator)
    held = ReadyBatch(header, header.digest(), (decode_transaction(t.raw),), (True,), False)
    return held, certify(CHAIN, header)


BLOCKS = make_blocks(CHAIN, 45)


def vote(of: Result, signer: int, outbox: bytes = b"") -> ResultVote:
    body = of.encode()
    return ResultVote(body, outbox, signer, signature(CHAIN, signer, "result", of.epoch, body))


def run_one(life: Life, height: int = 1) -> Result:
    """Execute a height with a transaction; return our result."""
    held, certificate = ready(height, life.pipeline.height)
    life.shelf.here[held.digest] = held
    life.final(BLOCKS[height - 1], certificate)
    (execution,) = [e for e in life.executed[-1].executions if e.has_result]
    return own_result(execution)


def own_result(execution: BlockExecution) -> Result:
    return result_of(CHAIN.id, execution)[0]


# --- blocks ---------------------------------------------------------------------------------------


def test_heights_wait_for_their_batches_and_execute_in_order() -> None:
    life = Life()
    (first, one), (second, two) = ready(1, 0), ready(2, 1, collator=1)
    life.shelf.here[second.digest] = second
    life.final(BLOCKS[0], one)
    life.final(BLOCKS[1], two)
    assert life.executed == []
    assert life.pipeline.height == 0
    assert [b.height for b in life.pipeline.unexecuted()] == [1, 2]
    life.shelf.here[first.digest] = first
    life.pipeline.advance()
    assert [done.block.height for done in life.executed] == [1, 2]
    assert life.pipeline.height == 2
    assert life.shelf.forgotten == [first.digest, second.digest]
    assert life.pipeline.statistics().transactions_executed == 2


def test_a_missing_batch_is_asked_of_its_signers_the_collator_first() -> None:
    life = Life(me=1)
    held, _ = ready(1, 0, collator=2)
    certificate = certify(CHAIN, held.header, (0, 1, 2))
    life.final(BLOCKS[0], certificate)
    assert life.shelf.wanted == [(held.digest, (peer(2), peer(0)))]


def test_an_empty_height_changes_nothing_and_has_no_result() -> None:
    life = Life()
    life.final(BLOCKS[0])
    assert life.pipeline.height == 1
    assert life.bench.take(Sign) == []
    assert life.pipeline.statistics().results_open == 0


def test_a_height_is_written_in_one_piece() -> None:
    life = Life()
    run_one(life)
    (put,) = life.bench.take(Put)
    tables = dict.fromkeys(w.table for w in put.writes)
    assert {"accounts", "meta", "outcomes"} <= set(tables)
    assert Write("meta", KEY_EXECUTED, (1).to_bytes(8, "big")) in put.writes


# --- votes ----------------------------------------------------------------------------------------


def test_a_result_goes_to_the_executor_in_turn() -> None:
    life = Life(me=0)
    run_one(life, 1)
    assert life.votes() == [(peer(1), 1)]
    life.final(BLOCKS[1])
    run_one(life, 3)
    assert life.votes() == [(peer(3), 3)]


def test_without_a_certificate_the_next_executor_gathers() -> None:
    life = Life(me=0)
    run_one(life, 1)
    assert [e.key for e in life.bench.take(ArmTimer)] == [("pipeline",)]
    life.votes()
    life.retry()
    assert life.votes() == [(peer(2), 1)]
    life.retry()
    assert life.votes() == [(peer(3), 1)]
    life.retry()
    assert life.votes() == [], "now we gather ourselves"
    life.retry()
    assert life.votes() == [(peer(1), 1)]


def test_the_executor_in_turn_makes_a_certificate_of_a_quorum() -> None:
    life = Life(me=1)
    mine = run_one(life, 1)
    assert life.votes() == []
    life.pipeline.vote_from(peer(0), vote(mine, 0))
    life.bench.settle()
    assert life.certified == []
    life.pipeline.vote_from(peer(3), vote(mine, 3))
    life.bench.settle()
    (made,) = life.certified
    assert isinstance(made, ResultCertificate)
    assert (made.result, made.signers.signers) == (mine, (0, 1, 3))
    life.pipeline.vote_from(peer(2), vote(mine, 2))
    life.bench.settle()
    assert len(life.certified) == 1


def test_one_who_gathers_later_counts_what_came_earlier() -> None:
    life = Life(me=2)
    mine = run_one(life, 1)
    life.pipeline.vote_from(peer(0), vote(mine, 0))
    life.pipeline.vote_from(peer(3), vote(mine, 3))
    life.bench.settle()
    assert life.certified == [], "its own signature went to the first in turn"
    life.retry()
    assert len(life.certified) == 1


def test_one_who_has_been_told_by_others_that_time_is_over_counts_itself_too() -> None:
    life = Life(me=0)
    mine = run_one(life, 1)
    life.retry()
    # Others are two attempts ahead of us, and it is our turn there already.
    for signer in (1, 2):
        life.pipeline.vote_from(peer(signer), vote(mine, signer))
    life.bench.settle()
    assert len(life.certified) == 1


def test_an_ordered_result_is_not_sent_again() -> None:
    life = Life(me=0)
    mine = run_one(life, 1)
    life.votes()
    life.final(BLOCKS[1], result_certificate_of(mine))
    life.retry()
    assert life.votes() == []
    assert life.pipeline.statistics().results_open == 0


def test_a_later_result_takes_the_place_of_an_open_one() -> None:
    life = Life(me=0)
    run_one(life, 1)
    run_one(life, 2)
    assert life.pipeline.statistics().results_open == 1
    life.votes()
    life.retry()
    assert [height for _, height in life.votes()] == [2]


def result_certificate_of(of: Result, outbox: bytes = b"") -> ResultCertificate:
    body = of.encode()
    signers = tuple(signature(CHAIN, i, "result", of.epoch, body) for i in (1, 2, 3))
    return ResultCertificate(of, outbox, SignerList((1, 2, 3), signers))


def to_the_end_of_the_epoch(life: Life) -> None:
    """Execute a transaction, then empty heights until the fee pot leaves."""
    run_one(life, 1)
    for block in BLOCKS[1:20]:
        life.final(block)
    assert life.pipeline.height == 20


def test_a_result_with_receipts_stays_open_until_it_is_ordered_itself() -> None:
    life = Life(me=0)
    to_the_end_of_the_epoch(life)
    last = own_result(life.executed[-1].executions[1])
    assert last.height == 20
    run_one(life, 21)
    assert life.pipeline.statistics().results_open == 2
    later = own_result(life.executed[-1].executions[1])
    life.final(BLOCKS[21], result_certificate_of(later))
    assert life.pipeline.statistics().results_open == 1
    life.votes()
    life.retry()
    assert [height for _, height in life.votes()] == [20]


def outbox_of(life: Life) -> bytes:
    return encode_outbox(life.executed[-1].executions[1].outbox)


def test_a_result_ordered_before_we_executed_its_height_is_settled_all_the_same() -> None:
    ahead = Life(me=1)
    to_the_end_of_the_epoch(ahead)
    last = own_result(ahead.executed[-1].executions[1])
    certificate = result_certificate_of(last, outbox_of(ahead))
    late = Life(me=0)
    held, one = ready(1, 0)
    late.final(BLOCKS[0], one)  # its batch is missing
    for block in BLOCKS[1:20]:
        late.final(block)
    late.final(BLOCKS[20], certificate)
    late.shelf.here[held.digest] = held
    late.pipeline.advance()
    late.bench.settle()
    assert late.pipeline.height == 21
    system = [e for e in late.executed[-1].executions if e.uid == 0]
    assert [e.has_result for e in system] == [True], "the system shard took the fees"
    late.votes()
    late.retry()
    # Shard 0 has an open result of height 21; that of height 20 needs no more votes.
    assert [height for _, height in late.votes()] == [21]
    assert late.pipeline.statistics().results_open == 1


def test_receipts_reach_the_other_shards() -> None:
    life = Life(me=0)
    to_the_end_of_the_epoch(life)
    last = own_result(life.executed[-1].executions[1])
    supply = [dict(executor.supply()) for executor in life.executors.values()]
    life.final(BLOCKS[20], result_certificate_of(last, outbox_of(life)))
    system = life.executors[0]
    assert system.height == 21
    after = [dict(executor.supply()) for executor in life.executors.values()]
    assert sum(s.get(0, 0) for s in after) == sum(s.get(0, 0) for s in supply)


def test_bad_signatures_and_malformed_results_cost_their_sender() -> None:
    life = Life(me=1)
    mine = run_one(life, 1)
    life.pipeline.vote_from(peer(0), ResultVote(mine.encode(), b"", 0, bytes(64)))
    life.pipeline.vote_from(peer(2), ResultVote(b"junk", b"", 0, bytes(64)))
    life.pipeline.vote_from(peer(3), vote(mine, 7))
    assert [p.peer for p in life.bench.take(Penalize)] == [peer(2), peer(3), peer(0)]
    assert life.certified == []


def test_a_wrong_outbox_costs_its_sender_and_is_not_counted() -> None:
    life = Life(me=1)
    mine = run_one(life, 1)
    honest = Life(me=2)
    other = run_one(honest, 1)
    assert other == mine
    # The first body of a height brings its outbox; ours is known already, another result's is not.
    bad = result_certificate(CHAIN, 2).result
    life.pipeline.vote_from(peer(0), vote(bad, 0, encode_outbox(FEES)))
    assert [p.peer for p in life.bench.take(Penalize)] == [peer(0)]


def test_two_results_of_one_signer_are_evidence() -> None:
    life = Life(me=1)
    mine = run_one(life, 1)
    other = result_certificate(CHAIN, 1).result
    life.pipeline.vote_from(peer(3), vote(mine, 3))
    life.pipeline.vote_from(peer(3), vote(other, 3))
    life.bench.settle()
    (made,) = life.certified
    assert isinstance(made, Evidence)
    assert (made.signer, made.body_a, made.body_b) == (3, mine.encode(), other.encode())
    assert life.bench.emitted("offence") == [{"culprit": 3, "signing_kind": "result"}]


@pytest.mark.parametrize("epoch", [2, 7])
def test_votes_of_far_epochs_cost_no_check(epoch: int) -> None:
    life = Life(me=1)
    run_one(life, 1)
    before = life.bench.verified_count
    far = result_certificate(CHAIN, 1, epoch=epoch).result
    life.pipeline.vote_from(peer(3), vote(far, 3))
    life.bench.settle()
    assert life.bench.verified_count == before


def test_an_observer_executes_and_signs_nothing() -> None:
    life = Life(me=None)
    run_one(life, 1)
    assert life.pipeline.height == 1
    assert life.bench.take(Sign) == []
    assert life.bench.take(ArmTimer) == []
    assert life.votes() == []


def test_a_refused_signature_is_no_vote() -> None:
    life = Life(me=0)
    life.bench.refuse = lambda sign: sign.kind == "result"
    run_one(life, 1)
    life.retry()
    assert life.votes() == []


def test_the_result_is_signed_in_its_own_slot() -> None:
    life = Life(me=0)
    mine = run_one(life, 1)
    (sign,) = life.bench.take(Sign)
    body = mine.encode()
    assert sign.slots == {("result", 1, 1): body}
    assert (sign.kind, sign.epoch, sign.body, sign.position) == ("result", 0, body, (1,))


def test_old_results_leave_the_signers_memory() -> None:
    chain_blocks = make_blocks(CHAIN, 384)
    life = Life()
    for block in chain_blocks:
        life.final(block)
    assert [(f.kind, f.below) for f in life.bench.take(Forget)] == [
        ("result", (320 - 256,)),
        ("result", (384 - 256,)),
    ]


# --- restarts -------------------------------------------------------------------------------------


def test_open_results_and_receipts_survive_a_restart() -> None:
    life = Life(me=0)
    to_the_end_of_the_epoch(life)
    last = own_result(life.executed[-1].executions[1])
    life.commit()
    life.store.close()
    again = Life(me=0, store=life.store.reopen())
    again.bench.settle()
    assert again.pipeline.height == 20
    assert again.votes() == [], "we are in turn at height 20 ourselves"
    assert again.pipeline.statistics().results_open == 1
    again.pipeline.vote_from(peer(1), vote(last, 1, outbox_of(life)))
    again.pipeline.vote_from(peer(2), vote(last, 2, outbox_of(life)))
    again.bench.settle()
    (made,) = again.certified
    assert isinstance(made, ResultCertificate)
    assert made.result == last


def test_an_inbox_that_waits_survives_a_restart() -> None:
    life = Life(me=0)
    # The second outbox was ordered before the first one: nobody may consume it yet.
    second = result_certificate(CHAIN, 1, outboxes=1, receipts=FEES)
    life.final(BLOCKS[0], second)
    life.commit()
    life.store.close()
    again = Life(me=0, store=life.store.reopen())
    first = result_certificate(CHAIN, 1, outboxes=0, receipts=FEES, root=bytes([1]) * 32)
    again.final(BLOCKS[1], first)
    again.final(BLOCKS[2])
    record = again.executors[0].record  # type: ignore[attr-defined]
    assert record.outboxes_used(1) == 2
    assert record.pot == {0: 10}
