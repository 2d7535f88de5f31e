"""multistream-select on our streams, and lengths as protobuf writes them."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.net.libp2p.streams import (
    NegotiationError,
    ProtocolRefusedError,
    StreamBrokenError,
    agree,
    decode_varint,
    encode_varint,
    propose,
)
from tests.unit.net.libp2p.fakes import stream_pair

HELLO = b"\x13/multistream/1.0.0\n"


async def test_both_sides_agree_and_data_that_follows_is_not_lost() -> None:
    near, far = stream_pair()
    agreed: list[bytes] = []

    async def answer() -> None:
        agreed.append(await agree(far, {b"/a/1", b"/b/1"}))
        agreed.append(await far.read())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        await propose(near, "/b/1")
        await near.write(b"data")
    assert agreed == [b"/b/1", b"data"]
    assert near.protocol == "/b/1"


async def test_unknown_protocol_is_refused_and_the_stream_reset() -> None:
    near, far = stream_pair()

    async def answer() -> None:
        with pytest.raises(StreamBrokenError):
            await agree(far, {b"/a/1"})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        with pytest.raises(ProtocolRefusedError):
            await propose(near, "/b/1")
    assert near.was_reset


async def test_slow_peer_may_send_byte_by_byte_and_all_at_once() -> None:
    wire = HELLO + b"\x05/x/1\n\x05/a/1\nrest"
    for size in (1, 3, len(wire)):
        near, far = stream_pair()
        for start in range(0, len(wire), size):
            await near.write(wire[start : start + size])
        assert await agree(far, {b"/a/1"}) == b"/a/1"
        rest = b""
        while len(rest) < 4:
            rest += await far.read()
        assert rest == b"rest"


@pytest.mark.parametrize(
    "wire",
    [
        b"\x05\xff\xfe\xfd\xfc\n",
        HELLO[:-1] + b"x",
        HELLO + b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        HELLO + b"\x82\x02" + b"x" * 300,
        HELLO + b"\x02ab",
        HELLO + b"\x05/x/1\n" * 8,
        b"\xff" * 40,
    ],
)
async def test_nonsense_is_an_error_of_the_peer(wire: bytes) -> None:
    near, far = stream_pair()
    await near.write(wire)
    with pytest.raises(NegotiationError):
        await agree(far, {b"/a/1"})


async def test_name_that_is_no_utf8_is_just_not_spoken() -> None:
    near, far = stream_pair()
    await near.write(HELLO + b"\x05\xff\xfe\xfd\xfc\n\x05/a/1\n")
    assert await agree(far, {b"/a/1"}) == b"/a/1"


@pytest.mark.parametrize("answer", [b"\x05/z/1\n", b"\x05nope\n", b"\x7f" + b"x" * 126 + b"y"])
async def test_answer_that_was_not_asked_for_is_an_error_of_the_peer(answer: bytes) -> None:
    near, far = stream_pair()
    await far.write(HELLO + answer)
    with pytest.raises(NegotiationError):
        await propose(near, "/a/1")
    assert near.was_reset


@given(st.integers(0, 2**63 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_lengths_survive(value: int, before: bytes, after: bytes) -> None:
    wire = encode_varint(value)
    data = before + wire + after
    assert decode_varint(data, len(before), value_max=2**63) == (value, len(before) + len(wire))
    for cut in range(len(wire)):
        assert decode_varint(wire[:cut], value_max=2**63) == (0, 0)


@given(st.binary(max_size=30), st.integers(0, 2**40))
def test_lengths_from_strangers_are_bounded(data: bytes, value_max: int) -> None:
    try:
        value, position = decode_varint(data, value_max=value_max)
    except NegotiationError:
        return
    assert 0 <= value <= value_max
    assert 0 <= position <= len(data)


async def test_cut_connection_ends_both_sides() -> None:
    near, far = stream_pair()
    errors: list[Any] = []

    async def expect(ending: Any, *args: Any) -> None:
        with pytest.raises(StreamBrokenError) as caught:
            await ending(*args)
        errors.append(caught)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect, agree, far, {b"/a/1"})
        await far.reset()
    await expect(propose, near, "/a/1")
    assert len(errors) == 2
