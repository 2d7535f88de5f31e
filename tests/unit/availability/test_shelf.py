"""The shelf: a batch is ready when its data is usable and its signatures are checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode import codec, crypto
from p2pnode.availability.shelf import HeldBatch, Shelf, decode_held_batch
from p2pnode.errors import RemoteProtocolError
from p2pnode.execution.block import ReadyBatch
from p2pnode.sync.fetcher import BATCH, Fetcher
from p2pnode.types.batch import BatchHeader
from p2pnode.types.effects import AnswerIn, Penalize, Request, VerifiedIn, Verify
from p2pnode.types.messages import decode_list, encode_list
from p2pnode.types.transaction import Transaction
from tests.spine import SCHEME, Bench, batch, forged, make_chain, sign_header, transaction

CHAIN = make_chain()
GOOD = [transaction(CHAIN, user) for user in range(3)]
A, B = b"peer a", b"peer b"


class At:
    """A shelf with two peers to ask."""

    def __init__(self) -> None:
        self.bench = Bench(CHAIN)
        self.fetcher = Fetcher(self.bench.desk)
        self.known: dict[bytes, None] = {}
        self.ready: list[ReadyBatch] = []
        self.shelf = Shelf(
            self.bench.desk,
            self.fetcher,
            lambda name: SCHEME,
            self._verified_before,
            self.ready.append,
            128 * 1024,
        )
        for peer in (A, B):
            self.fetcher.connected(peer)
        self.bench.desk.drain()

    def _verified_before(self, t: Transaction) -> bool:
        return t.raw in self.known

    def request(self) -> Request:
        (request,) = self.bench.take(Request)
        return request


def held(raws: Sequence[bytes], **changes: object) -> HeldBatch:
    header, data = batch(CHAIN, raws)
    header = replace(header, **changes)  # type: ignore[arg-type]
    return HeldBatch(header, header.encode(), sign_header(CHAIN, header), data)


def digest(of: HeldBatch) -> bytes:
    return of.header.digest()


BATCH_OF_THREE = held([t.raw for t in GOOD])


def test_a_batch_is_ready_when_its_signatures_are_checked() -> None:
    at = At()
    assert at.shelf.put(BATCH_OF_THREE)
    assert at.shelf.ready(digest(BATCH_OF_THREE)) is None
    (verify,) = at.bench.desk.drain()
    assert isinstance(verify, Verify)
    assert verify.checks == tuple((t.sender_key, t.signed, t.signature) for t in GOOD)
    at.bench.desk.answer(VerifiedIn(verify.ticket, (True, False, True)))
    ready = at.shelf.ready(digest(BATCH_OF_THREE))
    assert ready is not None
    assert at.ready == [ready]
    assert (ready.transactions, ready.signatures_ok) == (tuple(GOOD), (True, False, True))
    assert not ready.void


def test_signatures_checked_on_their_way_into_the_pool_cost_nothing() -> None:
    at = At()
    at.known = {GOOD[0].raw: None, GOOD[2].raw: None}
    at.shelf.put(BATCH_OF_THREE)
    at.bench.settle()
    assert at.bench.verified_count == 1
    assert at.ready[0].signatures_ok == (True, True, True)
    at = At()
    at.known = {t.raw: None for t in GOOD}
    at.shelf.put(BATCH_OF_THREE)
    assert len(at.ready) == 1, "without a step"


def test_what_is_no_transaction_keeps_its_place_and_is_not_checked() -> None:
    at = At()
    at.shelf.put(held([GOOD[0].raw, b"junk", forged(CHAIN, 1)]))
    at.bench.settle()
    assert at.bench.verified_count == 2
    (ready,) = at.ready
    assert [t is not None for t in ready.transactions] == [True, False, True]
    assert ready.signatures_ok == (True, False, False)
    assert not ready.void


def test_a_batch_is_prepared_and_told_once() -> None:
    at = At()
    for _ in range(3):
        assert at.shelf.put(BATCH_OF_THREE)
    at.bench.settle()
    assert at.shelf.put(BATCH_OF_THREE)
    assert len(at.ready) == 1
    assert at.bench.verified_count == 3
    assert len(at.shelf) == 1


def test_data_with_the_headers_commitment_that_is_not_usable_is_void_for_everyone() -> None:
    at = At()
    bad = held([t.raw for t in GOOD], tx_root=bytes(32))
    assert not at.shelf.put(bad)
    ready = at.shelf.ready(digest(bad))
    assert ready is not None
    assert (ready.void, ready.transactions) == (True, ())
    assert at.ready == [ready]
    assert len(at.bench.emitted("batch_void")) == 1
    assert not at.shelf.put(bad)
    assert len(at.ready) == 1


def test_data_that_is_not_the_commitments_is_no_verdict() -> None:
    at = At()
    for data in (BATCH_OF_THREE.data[:-1] + b"x", BATCH_OF_THREE.data + b"x", b""):
        assert not at.shelf.put(replace(BATCH_OF_THREE, data=data))
        assert at.shelf.ready(digest(BATCH_OF_THREE)) is None
    at.bench.settle()
    assert at.ready == []
    assert at.shelf.put(BATCH_OF_THREE), "the true data still counts"
    at.bench.settle()
    assert [r.void for r in at.ready] == [False]


def test_a_missing_batch_is_fetched_by_its_digest() -> None:
    at = At()
    at.shelf.want(BATCH_OF_THREE.header, [B])
    request = at.request()
    assert request.peer == B
    names = decode_list(request.body, size_bytes_max=8192, count_max=64, item_bytes_max=33)
    assert names == (BATCH + digest(BATCH_OF_THREE),)
    at.bench.answer(request, encode_list([BATCH_OF_THREE.encode()]))
    assert [r.digest for r in at.ready] == [digest(BATCH_OF_THREE)]
    assert at.fetcher.wanted_count() == 0


OTHER = held([GOOD[0].raw])


@pytest.mark.parametrize(
    "wrong",
    [
        b"junk",
        OTHER.encode(),
        replace(BATCH_OF_THREE, data=OTHER.data).encode(),
        replace(BATCH_OF_THREE, data=BATCH_OF_THREE.data[:-1] + b"x").encode(),
        codec.encode([BATCH_OF_THREE.header_bytes, b"short", BATCH_OF_THREE.data]),
    ],
    ids=["no batch", "another batch", "another's data", "altered data", "no signature"],
)
def test_wrong_bytes_cost_who_sent_them_and_are_asked_for_elsewhere(wrong: bytes) -> None:
    at = At()
    at.shelf.want(BATCH_OF_THREE.header, [A])
    at.bench.answer(at.request(), encode_list([wrong]))
    assert [p.peer for p in at.bench.take(Penalize)] == [A]
    assert at.ready == []
    at.bench.pass_ns(10**9)
    at.fetcher.fired()
    again = at.request()
    assert again.peer == B
    at.bench.answer(again, encode_list([BATCH_OF_THREE.encode()]))
    assert [r.void for r in at.ready] == [False]


def test_a_void_batch_that_was_fetched_is_as_void_as_one_that_came() -> None:
    at = At()
    bad = held([t.raw for t in GOOD], tx_root=bytes(32))
    at.shelf.want(bad.header, [A])
    at.bench.answer(at.request(), encode_list([bad.encode()]))
    assert [r.void for r in at.ready] == [True]
    assert at.bench.take(Penalize) == [], "it is the collator's fault"
    assert at.fetcher.wanted_count() == 0


def test_what_is_here_or_on_its_way_is_not_asked_for() -> None:
    at = At()
    at.shelf.put(BATCH_OF_THREE)
    at.shelf.want(BATCH_OF_THREE.header, [A])
    at.bench.settle()
    at.shelf.want(BATCH_OF_THREE.header, [A])
    assert at.bench.take(Request) == []


def test_a_batch_that_comes_by_itself_is_wanted_no_more() -> None:
    at = At()
    at.shelf.want(BATCH_OF_THREE.header, [A])
    request = at.request()
    at.shelf.put(BATCH_OF_THREE)
    at.bench.desk.answer(AnswerIn(request.ticket, None))
    at.bench.pass_ns(10**10)
    at.fetcher.fired()
    assert at.bench.take(Request) == []


def test_a_forgotten_batch_takes_no_room() -> None:
    at = At()
    at.shelf.put(BATCH_OF_THREE)
    at.bench.settle()
    at.shelf.forget(digest(BATCH_OF_THREE))
    at.shelf.forget(digest(BATCH_OF_THREE))
    assert len(at.shelf) == 0
    assert at.shelf.ready(digest(BATCH_OF_THREE)) is None


@given(signature=st.binary(min_size=64, max_size=64), data=st.binary(max_size=300))
def test_a_held_batch_is_read_as_it_was_written(signature: bytes, data: bytes) -> None:
    header, _ = batch(CHAIN, [b"raw"])
    written = HeldBatch(header, header.encode(), signature, data)
    assert decode_held_batch(written.encode(), 10_000) == written
    for size in range(len(written.encode())):
        with pytest.raises(RemoteProtocolError):
            decode_held_batch(written.encode(), size)


def test_headers_of_held_batches_are_read_strictly() -> None:
    header = BATCH_OF_THREE.header
    assert isinstance(header, BatchHeader)
    for wrong in (b"", header.encode() + b"\x00", crypto.sha256(b"")):
        with pytest.raises(RemoteProtocolError):
            decode_held_batch(codec.encode([wrong, bytes(64), b""]), 10_000)
