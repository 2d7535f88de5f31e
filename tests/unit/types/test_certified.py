"""Batch headers, statements, payloads and blocks: names are hashes, wrong shapes are refused."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from p2pnode import codec
from p2pnode.types import batch, payload, statement
from tests.wire_values import WIRE_TYPES, Hashed, batch_header

HEADER = replace(batch_header(Hashed("header")), scheme="inline", k=1, n=0)
SIGNERS = statement.SignerList((0, 3, 9), (b"a" * 64, b"b" * 64, b"c" * 64))
CERTIFICATE = statement.BatchCertificate(HEADER, b"s" * 64, SIGNERS)


def sample(name: str) -> bytes:
    wire = WIRE_TYPES[name]
    return wire.encode(wire.make(Hashed("sample")))


def changed(data: bytes, index: int, value: codec.Encodable) -> bytes:
    """Return a canonical array with one item replaced."""
    items = list(codec.array(codec.decode(data, size_bytes_max=1 << 20), "document"))
    items[index] = value  # type: ignore[call-overload]
    return codec.encode(items)


def test_a_batch_is_named_by_the_hash_of_its_header() -> None:
    assert HEADER.digest() == sha256(HEADER.encode()).digest()
    assert batch.decode_batch_header(HEADER.encode()) == HEADER
    assert replace(HEADER, sequence=HEADER.sequence - 1).digest() != HEADER.digest()


@pytest.mark.parametrize(
    ("index", "value", "reason"),
    [
        (0, 2, "batch version 2, this node knows 1"),
        (1, b"short", "chain: 32 bytes expected, 5 found"),
        (3, -1, "uid: -1"),
        (4, None, "collator"),
        (6, 0, "kind 0 is none of 1 to 3"),
        (6, 4, "kind: 4"),
        (7, bytes(31), "tx root"),
        (8, b"\xff", "not ASCII"),
        (8, b"x" * 33, "scheme: at most 32"),
        (9, 65537, "k: 65537"),
        (12, batch.DATA_BYTES_MAX + 1, "data bytes"),
        (13, bytes(33), "commitment"),
    ],
)
def test_a_wrong_batch_header_is_refused(index: int, value: codec.Encodable, reason: str) -> None:
    with pytest.raises(codec.WrongShapeError, match=reason):
        batch.decode_batch_header(changed(HEADER.encode(), index, value))


def test_batch_data_is_an_array_of_envelopes() -> None:
    raws = [b"one", b"two"]
    assert batch.decode_transactions(batch.encode_transactions(raws)) == (b"one", b"two")
    for wrong in ([1], [[b"x"]], b"x", [b"x" * 4097], [b""] * (batch.TRANSACTIONS_MAX + 1)):
        with pytest.raises(codec.WrongShapeError):
            batch.decode_transactions(codec.encode(wrong))


def test_statements_are_told_apart_by_their_code() -> None:
    for name in ("batch certificate", "result certificate", "evidence"):
        data = sample(name)
        assert statement.digest_of(data) == sha256(data).digest()
        assert statement.decode_statement(data).encode() == data
        for code in (0, 4, 1 << 40, None):
            with pytest.raises(codec.WrongShapeError):
                statement.decode_statement(changed(data, 0, code))
    for empty in ([], [1], [1, 2, 3]):
        with pytest.raises(codec.WrongShapeError):
            statement.decode_statement(codec.encode(empty))


def test_signers_travel_as_a_bitmap() -> None:
    fields = codec.array(codec.decode(CERTIFICATE.encode(), size_bytes_max=1 << 16), "statement")
    assert fields[3] == bytes([0b0000_1001, 0b0000_0010])
    assert fields[4] == b"a" * 64 + b"b" * 64 + b"c" * 64
    assert statement.decode_statement(CERTIFICATE.encode()) == CERTIFICATE


@pytest.mark.parametrize(
    ("index", "value", "reason"),
    [
        (3, b"\x09\x02\x00", "ends with a zero byte"),
        (3, b"\x09", "signatures: 128 bytes expected, 192 found"),
        (3, b"\x01" * 33, "signers: at most 32 bytes"),
        (4, b"a" * 191, "signatures: 192 bytes expected, 191 found"),
        (2, b"s" * 63, "header signature"),
        (1, b"x" * 1025, "header: at most 1024"),
    ],
)
def test_a_wrong_batch_certificate_is_refused(
    index: int, value: codec.Encodable, reason: str
) -> None:
    with pytest.raises(codec.WrongShapeError, match=reason):
        statement.decode_statement(changed(CERTIFICATE.encode(), index, value))


def test_a_statement_over_its_limit_is_refused() -> None:
    with pytest.raises(codec.EncodingTooLargeError):
        statement.decode_statement(bytes(statement.SIZE_BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("index", "value", "reason"),
    [
        (0, 2, "result version 2, this node knows 1"),
        (5, bytes(31), "root: 32 bytes expected, 31 found"),
        (10, [1] * 9, "counters: at most 8"),
        (10, [-1], "counter: -1"),
        (4, 1 << 64, "height"),
    ],
)
def test_a_wrong_result_is_refused(index: int, value: codec.Encodable, reason: str) -> None:
    with pytest.raises(codec.WrongShapeError, match=reason):
        statement.decode_result(changed(sample("result"), index, value))


@pytest.mark.parametrize(
    ("index", "value", "reason"),
    [
        (2, 256, "signer: 256"),
        (3, b"\xff", "kind is not ASCII"),
        (3, b"k" * 65, "kind: at most 64"),
        (5, bytes(63), "first signature"),
        (7, bytes(65), "second signature"),
    ],
)
def test_wrong_evidence_is_refused(index: int, value: codec.Encodable, reason: str) -> None:
    with pytest.raises(codec.WrongShapeError, match=reason):
        statement.decode_statement(changed(sample("evidence"), index, value))


@pytest.mark.parametrize(
    ("index", "value", "reason"),
    [
        (0, 2, "payload version 2, this node knows 1"),
        (4, bytes(31), "parent"),
        (5, 65536, "proposer: 65536"),
        (7, bytes(33), "reveal"),
        (10, [bytes(32)] * 65, "items: at most 64 items expected, 65 found"),
        (10, [bytes(31)], "item: 32 bytes"),
    ],
)
def test_a_wrong_payload_is_refused(index: int, value: codec.Encodable, reason: str) -> None:
    with pytest.raises(codec.WrongShapeError, match=reason):
        payload.decode_payload(changed(sample("payload"), index, value))


def test_the_largest_payload_fits_its_limit() -> None:
    largest = payload.Payload(
        bytes(32), (1 << 64) - 1, (1 << 64) - 1, bytes(32), 65535, (1 << 64) - 1,
        bytes(32), bytes(32), bytes(32), (bytes(32),) * payload.ITEMS_MAX,
    )  # fmt: skip
    assert len(largest.encode()) < payload.SIZE_BYTES_MAX
    assert payload.decode_payload(largest.encode()) == largest


def test_a_block_is_named_by_its_payload() -> None:
    block = payload.decode_block(sample("block"))
    assert block.hash == payload.digest_of(block.payload) == sha256(block.payload).digest()
    with pytest.raises(codec.WrongShapeError, match="view: at most 4"):
        payload.decode_block(changed(sample("block"), 3, [1, 2, 3, 4, 5]))
    with pytest.raises(codec.WrongShapeError, match="payload: at most 4096"):
        payload.decode_block(changed(sample("block"), 1, bytes(4097)))
