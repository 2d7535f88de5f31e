"""Records: sealed and opened many at a time, on the wire as noiseprotocol's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from p2pnode.net.channel.errors import (
    ChannelProtocolError,
    RecordForgedError,
    RecordTooShortError,
)
from p2pnode.net.channel.noise import PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX, Opener, Sealer

KEY = bytes(range(32))

messages = st.lists(st.binary(max_size=2000) | st.just(bytes(70_000)), max_size=6)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


@given(messages=messages, sizes=st.lists(st.integers(0, 3000), max_size=30))
def test_what_was_sealed_comes_out_in_order_however_it_is_cut(
    messages: list[bytes], sizes: list[int]
) -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    wire = b"".join(sealer.seal(m) for m in messages)
    plain = b"".join(opener.open(piece) for piece in cut(wire, sizes))
    assert plain == b"".join(messages)
    assert opener.pending_bytes == 0
    assert opener.statistics() == sealer.statistics()


@pytest.mark.parametrize(
    ("size_bytes", "records"),
    [
        (0, 1),
        (1, 1),
        (PLAINTEXT_BYTES_MAX, 1),
        (PLAINTEXT_BYTES_MAX + 1, 2),
        (3 * PLAINTEXT_BYTES_MAX, 3),
    ],
)
def test_data_takes_as_few_records_as_can_be(size_bytes: int, records: int) -> None:
    sealer = Sealer(KEY)
    sealed = sealer.seal(bytes(size_bytes))
    assert sealer.statistics().records == records
    assert sealer.statistics().plaintext_bytes == size_bytes
    assert len(sealed) == size_bytes + records * 18


def noise_pair() -> tuple[Any, Any]:
    ends = []
    for number in (1, 2):
        end = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
        end.set_keypair_from_private_bytes(Keypair.STATIC, bytes([number]) * 32)
        ends.append(end)
    ours, theirs = ends
    ours.set_as_initiator()
    theirs.set_as_responder()
    for end in ends:
        end.start_handshake()
    theirs.read_message(ours.write_message())
    ours.read_message(theirs.write_message())
    theirs.read_message(ours.write_message())
    return ours, theirs


@given(messages=st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_noiseprotocol_opens_our_records_and_we_open_its(messages: list[bytes]) -> None:
    ours, theirs = noise_pair()
    keys = ours.noise_protocol
    sealer = Sealer(bytes(keys.cipher_state_encrypt.k), number=keys.cipher_state_encrypt.n)
    opener = Opener(bytes(keys.cipher_state_decrypt.k), number=keys.cipher_state_decrypt.n)
    for message in messages:
        sealed = sealer.seal(message)
        assert int.from_bytes(sealed[:2], "big") == len(sealed) - 2
        assert theirs.decrypt(sealed[2:]) == message
        answer = theirs.encrypt(message + b"!")
        assert opener.open(len(answer).to_bytes(2, "big") + answer) == message + b"!"


def test_a_record_that_was_changed_anywhere_does_not_open() -> None:
    sealed = Sealer(KEY).seal(b"a message")
    for position in range(2, len(sealed)):
        forged = bytearray(sealed)
        forged[position] ^= 1
        with pytest.raises(RecordForgedError, match="record 0"):
            Opener(KEY).open(bytes(forged))


def test_a_record_does_not_open_twice_nor_out_of_turn() -> None:
    sealer = Sealer(KEY)
    first, second = sealer.seal(b"1"), sealer.seal(b"2")
    opener = Opener(KEY)
    assert opener.open(first) == b"1"
    with pytest.raises(RecordForgedError, match="record 1"):
        opener.open(first)
    with pytest.raises(RecordForgedError, match="record 0"):
        Opener(KEY).open(second)


def test_records_before_a_forged_one_of_the_same_piece_are_not_delivered() -> None:
    # The peer, or who sits between, is not to be believed any more.
    with pytest.raises(RecordForgedError):
        Opener(KEY).open(Sealer(KEY).seal(b"1") + b"\x00\x20" + bytes(32))


@pytest.mark.parametrize("length", [0, 1, 15])
def test_a_record_without_room_for_a_tag_is_refused_before_its_body_comes(length: int) -> None:
    with pytest.raises(RecordTooShortError, match=f"{length} bytes, at least 16"):
        Opener(KEY).open(length.to_bytes(2, "big"))


@given(pieces=st.lists(st.binary(max_size=200), max_size=30))
def test_junk_raises_nothing_but_our_errors_and_holds_at_most_a_record(
    pieces: list[bytes],
) -> None:
    opener = Opener(KEY)
    for piece in pieces:
        try:
            opener.open(piece)
        except ChannelProtocolError:
            return
        assert opener.pending_bytes <= 2 + RECORD_BYTES_MAX
