"""What peers are given: contiguous blocks and things by name, within limits, whatever they ask."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode import codec
from p2pnode.errors import P2PNodeError
from p2pnode.node.serve import StoreServer
from p2pnode.store.memory import MemoryStore
from p2pnode.sync import catchup
from p2pnode.sync.fetcher import BATCH, DIGESTS_MAX, PAYLOAD, STATEMENT
from p2pnode.types.effects import Write
from p2pnode.types.messages import FRAME_BYTES_MAX, decode_list, encode_list
from p2pnode.types.payload import Block, decode_block
from p2pnode.types.statement import digest_of
from tests.spine import batch_certificate, make_blocks, make_chain

CHAIN = make_chain()
CERTIFICATE = batch_certificate(CHAIN).encode()
BLOCKS = make_blocks(CHAIN, 10, items={3: [digest_of(CERTIFICATE)]})
PEER = b"peer"


def store_of(
    blocks: Sequence[Block], tables: dict[str, dict[bytes, bytes]] | None = None
) -> MemoryStore:
    store = MemoryStore()
    writes = [Write("blocks", b.height.to_bytes(8, "big"), b.encode()) for b in blocks]
    for table, rows in (tables or {}).items():
        writes += [Write(table, key, value) for key, value in rows.items()]
    store.commit(writes, sync=True)
    return store


STATEMENTS = {"statements": {digest_of(CERTIFICATE): CERTIFICATE}}


async def blocks_of(store: MemoryStore, first: int, most: int) -> list[tuple[int, list[bytes]]]:
    """Return (height, statements) of the answer to `blocks`."""
    body = await StoreServer(store).blocks(PEER, catchup.encode_request(first, most))
    found = []
    items = codec.decode(body, size_bytes_max=1 << 22)
    assert isinstance(items, tuple)
    for item in items:
        assert isinstance(item, tuple)
        raw, statements = item
        assert isinstance(raw, bytes)
        assert isinstance(statements, tuple)
        found.append((decode_block(raw).height, list(statements)))
    return found  # type: ignore[return-value]


async def test_blocks_come_in_order_with_their_statements() -> None:
    store = store_of(BLOCKS, STATEMENTS)
    assert await blocks_of(store, 2, 3) == [(2, []), (3, [CERTIFICATE]), (4, [])]
    assert [h for h, _ in await blocks_of(store, 9, 64)] == [9, 10]
    assert await blocks_of(store, 11, 64) == []
    assert await blocks_of(store, (1 << 64) - 1, 64) == []


async def test_no_block_is_sent_without_a_statement_it_lists() -> None:
    assert [h for h, _ in await blocks_of(store_of(BLOCKS), 1, 64)] == [1, 2]
    assert await blocks_of(store_of(BLOCKS), 3, 64) == []


async def test_pruned_blocks_are_not_answered_by_later_ones() -> None:
    store = store_of(BLOCKS[5:])
    assert await blocks_of(store, 3, 64) == []
    assert [h for h, _ in await blocks_of(store, 6, 2)] == [6, 7]


async def test_a_gap_ends_the_answer() -> None:
    store = store_of([*BLOCKS[3:5], *BLOCKS[7:]])
    assert [h for h, _ in await blocks_of(store, 4, 64)] == [4, 5]


async def test_an_answer_stops_before_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(BLOCKS[3:])
    size = len(BLOCKS[5].encode()) + 64
    monkeypatch.setattr(catchup, "ANSWER_BYTES_MAX", 3 * size + size // 2)
    assert [h for h, _ in await blocks_of(store, 4, 64)] == [4, 5, 6]
    monkeypatch.setattr(catchup, "ANSWER_BYTES_MAX", 1)
    assert [h for h, _ in await blocks_of(store, 4, 64)] == [4], "one at least, or nobody gets on"


@pytest.mark.parametrize(
    "body", [b"", b"junk", codec.encode([1]), codec.encode([1, 65]), codec.encode([-1, 1])]
)
async def test_a_question_that_is_none_fails_by_name(body: bytes) -> None:
    with pytest.raises(P2PNodeError):
        await StoreServer(store_of(BLOCKS)).blocks(PEER, body)


ROWS = {
    "statements": {b"s" * 32: b"a statement"},
    "batches": {b"b" * 32: b"a batch"},
    "bodies": {b"p" * 32: b"a payload"},
    "meta": {b"m" * 32: b"secret"},
    "accounts": {b"a" * 32: b"secret"},
}


async def fetched(store: MemoryStore, *names: bytes) -> tuple[bytes, ...]:
    body = await StoreServer(store).fetch(PEER, encode_list(names))
    return decode_list(body, size_bytes_max=1 << 22, count_max=64, item_bytes_max=1 << 22)


async def test_things_are_found_by_kind_and_digest_in_the_order_asked() -> None:
    store = store_of((), ROWS)
    assert await fetched(
        store,
        BATCH + b"b" * 32,
        STATEMENT + b"x" * 32,
        PAYLOAD + b"p" * 32,
        STATEMENT + b"s" * 32,
    ) == (b"a batch", b"", b"a payload", b"a statement")


async def test_only_what_peers_may_have_is_given() -> None:
    store = store_of((), ROWS)
    digests = [key for rows in ROWS.values() for key in rows]
    names = [kind + d for d in digests for kind in (b"", b"\x00", b"\x04", b"\xff")]
    names += [PAYLOAD + b"s" * 32, STATEMENT + b"b" * 32, BATCH + b"p" * 32, BATCH, b""]
    assert set(await fetched(store, *names[:64])) == {b""}


async def test_what_does_not_fit_is_left_empty_and_what_follows_is_not() -> None:
    big = bytes(FRAME_BYTES_MAX * 2 // 3)
    rows = {"batches": {bytes([n]) * 32: big for n in range(2)}, "bodies": ROWS["bodies"]}
    answer = await fetched(
        store_of((), rows), BATCH + bytes(32), BATCH + bytes([1]) * 32, PAYLOAD + b"p" * 32
    )
    assert [len(data) for data in answer] == [len(big), 0, 9]


async def test_too_many_names_are_no_request() -> None:
    store = store_of((), ROWS)
    names = [BATCH + b"b" * 32] * (DIGESTS_MAX + 1)
    with pytest.raises(codec.WrongShapeError):
        await StoreServer(store).fetch(PEER, encode_list(names))
    assert len(await fetched(store, *names[:-1])) == DIGESTS_MAX


SERVER = StoreServer(store_of(BLOCKS, {**STATEMENTS, "bodies": ROWS["bodies"]}))


async def test_we_answer_ourselves_as_we_answer_peers() -> None:
    store = store_of((), ROWS)
    server = StoreServer(store)
    body = encode_list([BATCH + b"b" * 32])
    assert await server.answer("fetch", body) == await server.fetch(PEER, body)


@given(
    body=st.binary(max_size=80)
    | st.lists(st.binary(max_size=40), max_size=5).map(encode_list)
    | st.lists(st.integers(-5, 1 << 64 - 1), max_size=3).map(codec.encode)
)
def test_junk_raises_nothing_but_the_errors_that_fail_a_request(body: bytes) -> None:
    for ask in (SERVER.fetch, SERVER.blocks):
        answer: object = None
        try:
            ask(PEER, body).send(None)
        except StopIteration as done:  # it waits for nothing
            answer = done.value
        except P2PNodeError:
            answer = b"the request fails"
        assert isinstance(answer, bytes)
