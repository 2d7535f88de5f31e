"""Frames on a byte stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.net.framing import FrameDecoder, FrameTooLargeError, frame


@given(st.lists(st.binary(max_size=200), max_size=20), st.data())
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    payloads: list[bytes], data: st.DataObject
) -> None:
    wire = b"".join(map(frame, payloads))
    decoder = FrameDecoder(200)
    got: list[bytes] = []
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        got += decoder.feed(wire[:size])
        wire = wire[size:]
    assert got == payloads
    assert decoder.pending_bytes == 0


@given(st.binary(max_size=300))
def test_any_bytes_give_frames_or_the_one_error(wire: bytes) -> None:
    decoder = FrameDecoder(64)
    try:
        payloads = decoder.feed(wire)
    except FrameTooLargeError:
        return
    assert all(len(p) <= 64 for p in payloads)
    assert decoder.pending_bytes <= 64 + 4
    assert b"".join(map(frame, payloads)) == wire[: len(wire) - decoder.pending_bytes]


def test_length_above_the_limit_is_refused_before_its_bytes_arrive() -> None:
    decoder = FrameDecoder(10)
    assert decoder.feed(frame(bytes(10))) == [bytes(10)]
    with pytest.raises(FrameTooLargeError, match="11 bytes, at most 10"):
        decoder.feed(b"\0\0\0\x0b")
