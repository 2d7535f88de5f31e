"""The ordering: how final heights become blocks, from votes and from block sync."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from p2pnode import crypto
from p2pnode.consensus.engine import (
    Behind,
    Fetch,
    Floor,
    Synced,
)
from p2pnode.sync.fetcher import PAYLOAD, STATEMENT
from p2pnode.types import effects as fx
from p2pnode.types.chain import Chain
from p2pnode.types.effects import Put, Request
from p2pnode.types.messages import (
    encode_list,
)
from p2pnode.types.payload import (
    Block,
    decode_block,
    decode_payload,
    digest_of,
)
from p2pnode.types.statement import Statement
from p2pnode.types.statement import digest_of as statement_digest
from tests.spine import (
    KEYS,
    START_MS,
    S,
    batch_certificate,
    make_blocks,
    make_payload,
    peer,
    toy_proof,
)
from tests.unit.consensus.ordering_bench import (
    CHAIN,
    LONG,
    At,
)

# --- Deliver --------------------------------------------------------------------------------------


def test_a_final_height_becomes_a_block() -> None:
    at = At()
    certificate = batch_certificate(CHAIN)
    items = at.knows(certificate)
    payload = make_payload(CHAIN, 1, None, items)
    at.deliver(payload, view=3)
    ((block, statements),) = at.sink.blocks
    body = payload.encode()
    assert block == Block(
        1, digest_of(body), body, payload.time_ms, (3,), toy_proof(CHAIN, 1, digest_of(body))
    )
    assert statements == (certificate,)
    assert (at.ordering.height, at.ordering.head) == (1, digest_of(body))
    writes = [w for put in at.bench.take(Put) for w in put.writes if w.table == "blocks"]
    assert [(w.key, decode_block(w.value or b"")) for w in writes] == [
        ((1).to_bytes(8, "big"), block)
    ]
    assert at.ordering.statistics().statements_waiting == 0


def test_a_height_waits_for_its_body_and_its_statements_and_none_is_skipped() -> None:
    at = At()
    certificate = batch_certificate(CHAIN).encode()
    first = make_payload(CHAIN, 1, None, [statement_digest(certificate)], proposer=3)
    second = make_payload(CHAIN, 2, digest_of(first.encode()))
    at.deliver(first, bodies=False)
    at.deliver(second)
    assert at.sink.blocks == []
    assert at.ordering.statistics().delivers_waiting == 2
    assert at.wanted() == [(peer(3), [PAYLOAD + digest_of(first.encode())])]
    at.bench.answer(at.open, encode_list([first.encode()]))
    assert at.sink.blocks == []
    assert at.wanted() == [(peer(3), [STATEMENT + statement_digest(certificate)])]
    at.bench.answer(at.open, encode_list([certificate]))
    assert [block.height for block, _ in at.sink.blocks] == [1, 2]
    assert at.ordering.statistics().delivers_waiting == 0


def test_what_is_final_is_asked_for_until_it_is_here() -> None:
    at = At()
    first = make_payload(CHAIN, 1)
    at.deliver(first, bodies=False)
    for _ in range(200):
        for request in at.bench.take(Request):
            at.bench.answer(request, encode_list([]))
        at.bench.pass_ns(5 * S)
        at.fetcher.fired()
    assert at.fetcher.wants(PAYLOAD + digest_of(first.encode()))


def test_the_time_of_a_block_is_above_its_parents() -> None:
    at = At()
    parent = None
    for height, time_ms in ((1, START_MS + 50), (2, START_MS + 20), (3, 0), (4, START_MS + 90)):
        payload = make_payload(CHAIN, height, parent, time_ms=time_ms)
        at.deliver(payload)
        parent = digest_of(payload.encode())
    times = [block.time_ms - START_MS for block, _ in at.sink.blocks]
    assert times == [50, 51, 52, 90]


def test_a_height_delivered_again_is_passed_over() -> None:
    at = At()
    payload = make_payload(CHAIN, 1)
    at.deliver(payload)
    at.deliver(payload)
    assert len(at.sink.blocks) == 1


def test_the_last_height_of_an_epoch_begins_the_next_with_its_proof() -> None:
    blocks = make_blocks(CHAIN, 20)
    at = At(head=blocks[18])
    at.ordering.host.start(Floor(19, blocks[18].hash, b""), ())
    payload = decode_payload(blocks[19].payload)
    at.deliver(payload)
    digest = blocks[19].hash
    assert at.engine.floor == Floor(20, digest, toy_proof(CHAIN, 20, digest))
    assert at.ordering.host.epoch.number == 1


def test_the_signer_forgets_what_our_own_engine_left_far_behind() -> None:
    (head,) = make_blocks(LONG, 1, first=63)
    at = At(LONG, head=head)
    at.deliver(make_payload(LONG, 64, head.hash), view=300)
    assert [f.below for f in at.bench.take(fx.Forget)] == [(300 - 64,)]


# --- block sync -----------------------------------------------------------------------------------


def adopt(at: At, blocks: Sequence[Block], statements: dict[int, Statement]) -> None:
    fetched = []
    for block in blocks:
        known = {}
        if block.height in statements:
            statement = statements[block.height]
            known = {statement_digest(statement.encode()): (statement.encode(), statement)}
        fetched.append((block, known))
    at.ordering.adopt(fetched)
    at.bench.settle()


def synced_blocks(chain: Chain, count: int) -> tuple[list[Block], dict[int, Statement]]:
    statements: dict[int, Statement] = {
        h: batch_certificate(chain, sequence=h, epoch=chain.epoch_of(h))
        for h in range(1, count + 1, 2)
    }
    items = {h: [statement_digest(s.encode())] for h, s in statements.items()}
    return make_blocks(chain, count, items=items, proved=lambda h: h == count), statements


def test_blocks_from_others_are_taken_stored_and_told_in_order() -> None:
    at = At()
    blocks, statements = synced_blocks(CHAIN, 5)
    adopt(at, blocks, statements)
    assert [(b.height, b.hash) for b, _ in at.sink.blocks] == [(b.height, b.hash) for b in blocks]
    assert [s for _, s in at.sink.blocks] == [
        (statements[h],) if h in statements else () for h in range(1, 6)
    ]
    assert (at.ordering.height, at.ordering.head) == (5, blocks[4].hash)
    assert at.sink.levels == [5]
    assert at.told(Synced) == [Synced(Floor(5, blocks[4].hash, blocks[4].proof))]
    tables = [w.table for put in at.bench.take(Put) for w in put.writes if w.value is not None]
    assert {t: tables.count(t) for t in sorted(dict.fromkeys(tables))} == {
        "blocks": 5,
        "bodies": 5,
        "statements": 3,
    }
    assert at.ordering.pool.feed_sequence(1, KEYS[0].public) == 5


def test_times_of_blocks_are_computed_not_believed() -> None:
    at = At()
    blocks, statements = synced_blocks(CHAIN, 2)
    adopt(at, [replace(b, time_ms=1) for b in blocks], statements)
    assert [b.time_ms for b, _ in at.sink.blocks] == [b.time_ms for b in blocks]


def test_views_of_blocks_from_others_prune_no_signer() -> None:
    at = At(LONG)
    blocks = make_blocks(LONG, 64)
    adopt(at, [replace(b, view=(1 << 40,)) for b in blocks], {})
    assert at.bench.take(fx.Forget) == []


def test_heights_that_waited_are_passed_over_when_sync_brings_them() -> None:
    at = At()
    blocks = make_blocks(CHAIN, 3)
    first = decode_payload(blocks[0].payload)
    at.deliver(first, bodies=False)
    adopt(at, blocks[:2], {})
    assert at.ordering.statistics().delivers_waiting == 0
    at.deliver(decode_payload(blocks[2].payload))
    assert [b.height for b, _ in at.sink.blocks] == [1, 2, 3]


def test_sync_to_the_end_of_an_epoch_begins_the_next() -> None:
    at = At()
    blocks = make_blocks(CHAIN, 20)
    adopt(at, blocks, {})
    assert at.engine.floor == Floor(20, blocks[19].hash, blocks[19].proof)
    assert at.ordering.host.epoch.number == 1


def test_an_engine_that_is_behind_calls_for_sync() -> None:
    at = At()
    at.engine_does(Behind(9, (2,)))
    assert at.sink.late == [(9, (2,))]


def test_payloads_that_the_engine_asks_for_are_fetched_from_its_hints() -> None:
    at = At()
    digest = crypto.sha256(b"payload")
    at.engine_does(Fetch((digest,), (), (3,)))
    assert at.wanted() == [(peer(3), [PAYLOAD + digest])]
