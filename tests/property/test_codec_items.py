"""Counting a document's items by their heads agrees with decoding it, and costs no decoding."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode import codec
from p2pnode.types.messages import FRAME_BYTES_MAX, decode_frame

LEAVES = (
    st.integers(-(1 << 64), (1 << 64) - 1)
    | st.binary(max_size=300)
    | st.none()
    | st.just(b"\x80" * 70_000)
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=30), max_leaves=60)


def items(value: object) -> int:
    return 1 + sum(items(item) for item in value) if isinstance(value, list) else 1


@given(VALUES)
def test_as_many_items_as_there_are_may_be_read_and_no_fewer(value: codec.Encodable) -> None:
    data, count = codec.encode(value), items(value)
    limits = {"size_bytes_max": 1 << 24, "depth_max": 40}
    assert codec.encode(codec.decode(data, items_max=count, **limits)) == data
    if count > 1:
        with pytest.raises(codec.NotCanonicalError, match="items"):
            codec.decode(data, items_max=count - 1, **limits)


@given(st.binary(max_size=200), st.integers(0, 20))
def test_any_bytes_at_all_are_counted_or_refused(data: bytes, items_max: int) -> None:
    with contextlib.suppress(codec.NotCanonicalError):
        codec.decode(data, size_bytes_max=1 << 20, items_max=items_max)


@pytest.mark.parametrize("item", [b"\x00", b"\x80", b"\xf6", b"\x40", b"\x81\x00"])
def test_a_frame_of_a_mebibyte_of_nothing_is_refused_before_it_is_decoded(item: bytes) -> None:
    count = (FRAME_BYTES_MAX - 5) // len(item)
    with pytest.raises(codec.NotCanonicalError, match="items"):
        decode_frame(b"\x9a" + count.to_bytes(4, "big") + item * count)
