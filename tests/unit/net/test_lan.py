"""Multicast DNS on the local network: what is believed of what anybody may send."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.net.lan import HINTS_MAX, PACKET_BYTES_MAX, asks_for_peers, hints, query, response

PEER = "12D3KooWBVZCcnfGMQuKKXvKohTaWhbimpVCjpbrTnJ6bgXtPra6"
NAME = "a" * 40
NEAR = "/ip4/192.168.1.5/tcp/4001"


def answer(*addresses: str) -> bytes:
    return response(NAME, PEER, addresses)


def raw_answer(text: bytes, name: bytes = b"\x04_p2p\x04_udp\x05local\x00") -> bytes:
    """Return a packet with one TXT record, written by hand."""
    record = b"\x01x" + name + struct.pack(">HHIH", 16, 1, 120, len(text)) + text
    return struct.pack(">HHHHHH", 0, 0x8400, 0, 1, 0, 0) + record


def test_question_and_answer_are_told_apart_and_read() -> None:
    assert asks_for_peers(query())
    assert not asks_for_peers(answer(NEAR))
    assert hints(answer(NEAR, "/ip6/fd00::5/tcp/4001")) == [
        (PEER, NEAR),
        (PEER, "/ip6/fd00::5/tcp/4001"),
    ]
    assert hints(query()) == []


def test_answer_has_the_bytes_other_implementations_look_for() -> None:
    packet = answer(NEAR)
    entry = f"dnsaddr={NEAR}/p2p/{PEER}".encode()
    assert bytes((len(entry),)) + entry in packet
    assert struct.unpack(">HHHHHH", packet[:12]) == (0, 0x8400, 0, 3, 0, 0)


@pytest.mark.parametrize(
    "address",
    [
        "/ip4/127.0.0.1/tcp/22",
        "/ip4/8.8.8.8/tcp/4001",
        "/dns4/example.com/tcp/4001",
        "/ip4/192.168.1.5/udp/4001",
        "/ip4/0.0.0.0/tcp/4001",
    ],
)
def test_nobody_is_dialled_outside_the_local_network(address: str) -> None:
    assert hints(answer(address)) == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff" + b"dnsaddr=",
        b"\x00" * 500,
        b"\x08dnsaddr=",
        b"\x0fdnsaddr=/p2p/xx",
        bytes((len(NEAR) + 8,)) + b"dnsaddr=" + NEAR.encode(),
        b"\x10dnsaddr=\xff\xfe/p2p/x",
        b"\x03id=",
    ],
)
def test_text_out_of_form_says_nothing(text: bytes) -> None:
    assert hints(raw_answer(text)) == []


def test_answer_for_another_service_says_nothing() -> None:
    entry = f"dnsaddr={NEAR}/p2p/{PEER}".encode()
    text = bytes((len(entry),)) + entry
    assert hints(raw_answer(text)) == [(PEER, NEAR)]
    assert hints(raw_answer(text, b"\x05_http\x04_tcp\x05local\x00")) == []


def test_what_one_packet_can_say_is_bounded() -> None:
    entries = [f"dnsaddr=/ip4/10.0.0.{n}/tcp/1/p2p/{PEER}".encode() for n in range(1, 100)]
    text = b"".join(bytes((len(entry),)) + entry for entry in entries)
    assert len(hints(raw_answer(text))) == HINTS_MAX
    assert hints(answer(NEAR) + bytes(PACKET_BYTES_MAX)) == []


def test_name_that_points_at_itself_ends() -> None:
    loop = (
        struct.pack(">HHHHHH", 0, 0x8400, 0, 1, 0, 0)
        + b"\xc0\x0c"
        + struct.pack(">HHIH", 16, 1, 120, 0)
    )
    assert hints(loop) == []


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    hints(data)
    asks_for_peers(data)
    hints(b"\0\0\x84\0" + data)


@given(st.integers(0, 1 << 32))
def test_no_damaged_answer_raises_or_names_somewhere_else(seed: int) -> None:
    rng = random.Random(seed)
    packet = bytearray(answer(NEAR, "/ip4/10.0.0.1/tcp/1"))
    for _ in range(rng.randint(1, 8)):
        packet[rng.randrange(len(packet))] = rng.randrange(256)
    for _, address in hints(bytes(packet)):
        assert address.startswith(("/ip4/10.", "/ip4/192.168.", "/ip4/172.", "/ip4/1", "/ip6/"))
    asks_for_peers(bytes(packet))
