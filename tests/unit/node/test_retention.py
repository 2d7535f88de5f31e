"""Retention: exactly what is too old leaves the store, and what is left can still be served."""

from __future__ import annotations

import pytest

from p2pnode import codec
from p2pnode.node.retention import HEIGHTS_AT_ONCE_MAX, KEY_PRUNED, Retention
from p2pnode.node.serve import StoreServer
from p2pnode.store.memory import MemoryStore
from p2pnode.sync import catchup
from p2pnode.types.effects import Write
from p2pnode.types.payload import Block, decode_block
from p2pnode.types.statement import BatchCertificate, Statement, digest_of
from tests.spine import batch_certificate, make_blocks, make_chain, result_certificate

CHAIN = make_chain(epoch_blocks=1000)
COUNT = 60


def listed(height: int) -> list[Statement]:
    """Return what a height lists: a batch, and the result of the height before."""
    made: list[Statement] = [batch_certificate(CHAIN, sequence=height, signers=(0, 1, 2))]
    return [*made, result_certificate(CHAIN, height - 1)] if height > 1 else made


LISTED = {height: listed(height) for height in range(1, COUNT + 1)}
ITEMS = {h: [digest_of(s.encode()) for s in made] for h, made in LISTED.items()}
BLOCKS = make_blocks(CHAIN, COUNT, items=ITEMS)


def rows_of(block: Block) -> list[Write]:
    """Return everything that a block has in the store."""
    writes = [
        Write("blocks", block.height.to_bytes(8, "big"), block.encode()),
        Write("bodies", block.hash, block.payload),
    ]
    for statement in LISTED[block.height]:
        raw = statement.encode()
        writes.append(Write("statements", digest_of(raw), raw))
        if isinstance(statement, BatchCertificate):
            writes.append(Write("batches", statement.header.digest(), b"data"))
    return writes


class At:
    """A store that grows height by height under a retention."""

    def __init__(self, heights: int) -> None:
        self.store = MemoryStore()
        self.retention = Retention(self.store, heights)

    def grow(self, first: int, last: int) -> None:
        for block in BLOCKS[first - 1 : last]:
            self.store.commit(rows_of(block), sync=True)
            self.store.commit(self.retention.executed(block.height), sync=True)

    def heights(self) -> list[int]:
        return [int.from_bytes(key, "big") for key, _ in self.store.scan("blocks", limit=1000)]

    def holds(self, height: int) -> list[bool]:
        rows = rows_of(BLOCKS[height - 1])
        return [self.store.get(w.table, w.key) is not None for w in rows]


def test_the_newest_heights_stay_whole_and_older_ones_leave_nothing() -> None:
    at = At(10)
    at.grow(1, 30)
    assert at.heights() == list(range(21, 31))
    for height in range(1, 31):
        assert set(at.holds(height)) == {height > 20}, height
    for table in ("statements", "batches", "bodies"):
        assert len(at.store.scan(table, limit=1000)) == (20 if table == "statements" else 10)


def test_nothing_leaves_before_its_time() -> None:
    at = At(30)
    at.grow(1, 30)
    assert at.heights() == list(range(1, 31))
    assert at.store.get("meta", KEY_PRUNED) is None
    at.grow(31, 31)
    assert at.heights()[0] == 2


def test_what_has_not_executed_is_not_counted() -> None:
    at = At(10)
    for block in BLOCKS[:30]:
        at.store.commit(rows_of(block), sync=True)
    at.store.commit(at.retention.executed(12), sync=True)
    assert at.heights() == list(range(3, 31))


def test_a_shorter_retention_is_reached_in_steps_and_survives_restarts() -> None:
    at = At(1000)
    at.grow(1, 50)
    assert len(at.heights()) == 50
    at.retention = Retention(at.store, 10)
    at.grow(51, 51)
    assert at.heights()[0] == HEIGHTS_AT_ONCE_MAX + 1
    at.retention = Retention(at.store, 10)
    at.grow(52, 55)
    assert at.heights() == list(range(46, 56))
    assert at.store.get("meta", KEY_PRUNED) == (45).to_bytes(8, "big")


def test_a_gap_left_by_an_export_or_a_snapshot_is_passed_over() -> None:
    at = At(10)
    for block in BLOCKS[19:30]:
        at.store.commit(rows_of(block), sync=True)
    for height in range(30, 34):
        at.grow(height, height)
    assert at.heights() == list(range(24, 34))


@pytest.mark.parametrize("first", [21, 25, 30])
async def test_blocks_that_are_left_are_served_with_everything_they_list(first: int) -> None:
    at = At(10)
    at.grow(1, 30)
    body = await StoreServer(at.store).blocks(b"peer", catchup.encode_request(first, 64))
    items = codec.decode(body, size_bytes_max=1 << 21)
    assert isinstance(items, tuple)
    served = []
    for raw, statements in items:  # type: ignore[misc]
        block = decode_block(raw)  # type: ignore[arg-type]
        assert list(statements) == [s.encode() for s in LISTED[block.height]]  # type: ignore[arg-type]
        served.append(block.height)
    assert served == list(range(first, 31))


async def test_blocks_that_are_gone_are_answered_with_nothing() -> None:
    at = At(10)
    at.grow(1, 30)
    body = await StoreServer(at.store).blocks(b"peer", catchup.encode_request(5, 64))
    assert body == catchup.encode_answer([])
