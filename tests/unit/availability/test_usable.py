"""The gate before every consumer of a batch."""

from __future__ import annotations

import dataclasses

import pytest

from p2pnode import codec, crypto
from p2pnode.availability.usable import VoidBatchError, usable
from p2pnode.types.batch import BatchHeader, encode_transactions
from tests.unit.availability.helpers import RAWS, SCHEME, batch


def void(header: BatchHeader, data: bytes) -> VoidBatchError:
    with pytest.raises(VoidBatchError) as caught:
        usable(header, data, SCHEME)
    return caught.value


def header_of(data: bytes, tx_root: bytes) -> BatchHeader:
    """A header that is consistent with any data, encoded or not."""
    header, _ = batch()
    return dataclasses.replace(
        header,
        tx_root=tx_root,
        row_size=len(data),
        data_bytes=len(data),
        commitment=SCHEME.encode(data).commitment,
    )


def test_a_batch_as_its_collator_made_it_is_usable():
    header, data = batch()
    assert usable(header, data, SCHEME) == tuple(RAWS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": 2}, "kind"),
        ({"scheme": "rsema1d"}, "scheme"),
        ({"k": 2}, "shape"),
        ({"n": 1}, "shape"),
        ({"row_size": 64}, "shape"),
        ({"data_bytes": 0, "row_size": 0}, "shape"),
        ({"data_bytes": 1012, "row_size": 1012}, "length"),
        ({"commitment": bytes(32)}, "commitment"),
        ({"tx_root": bytes(32)}, "tx_root"),
    ],
)
def test_a_header_that_says_something_else_is_void_with_the_reason(change, reason):
    header, data = batch()
    assert len(data) == 1011
    assert void(dataclasses.replace(header, **change), data).reason == reason


def test_data_shorter_or_longer_than_the_header_says_is_void():
    header, data = batch()
    for other in (data[:-1], data + b"\0"):
        error = void(header, other)
        assert error.reason == "length"
        assert str(len(other)) in str(error)
        assert str(len(data)) in str(error)
        assert not error.proved_by_commitment


def test_one_flipped_bit_is_void_and_proves_nothing_about_the_batch():
    header, data = batch()
    error = void(header, data[:500] + bytes([data[500] ^ 1]) + data[501:])
    assert error.reason == "commitment"
    assert not error.proved_by_commitment


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 10,
        b"\x9f\x41\x00\xff",
        codec.encode([1, 2]),
        codec.encode([[b"x"]]),
        codec.encode([bytes(4097)]),
        codec.encode(b"x"),
    ],
)
def test_committed_data_that_is_no_array_of_envelopes_is_void_for_everyone(data):
    error = void(header_of(data, crypto.merkle_root([])), data)
    assert error.reason == "encoding"
    assert error.proved_by_commitment


def test_a_batch_without_transactions_is_void():
    error = void(*batch([]))
    assert error.reason == "empty"
    assert error.proved_by_commitment


def test_transactions_in_another_order_than_under_the_root_are_void():
    data = encode_transactions(RAWS[::-1])
    error = void(header_of(data, crypto.merkle_root(RAWS)), data)
    assert error.reason == "tx_root"
    assert error.proved_by_commitment
