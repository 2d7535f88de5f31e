"""Frames: any number of messages in order, each read strictly."""

from __future__ import annotations

import pytest

from p2pnode import codec
from p2pnode.types import messages
from p2pnode.types.messages import Statements, Stored, Summary, Transactions

SMALL = messages.encode_message(Summary(1, 2, b"blob"))


@pytest.mark.parametrize("count", [0, 1, 23, 24, 255, 256, messages.MESSAGES_MAX])
def test_a_joined_frame_is_the_canonical_array_of_its_messages(count: int) -> None:
    frame = messages.join_frame([SMALL] * count)
    assert frame == codec.encode([[2, 1, 2, b"blob"]] * count)
    assert messages.decode_frame(frame) == [Summary(1, 2, b"blob")] * count


def test_a_frame_of_too_many_messages_is_refused() -> None:
    frame = messages.join_frame([SMALL] * (messages.MESSAGES_MAX + 1))
    with pytest.raises(codec.WrongShapeError, match="at most 4096"):
        messages.decode_frame(frame)


def test_a_frame_over_its_limit_is_refused_before_decoding() -> None:
    with pytest.raises(codec.EncodingTooLargeError):
        messages.decode_frame(bytes(messages.FRAME_BYTES_MAX + 1))


SIGNATURE = bytes(64)


@pytest.mark.parametrize(
    "message",
    [
        7,
        [],
        [0],
        [8],
        [None],
        [1, 0, None, b""],
        [1, 0, 0, b"", b""],
        [1, 0, [0, b"", SIGNATURE[1:]], b"", b""],
        [1, 0, [65536, b"", SIGNATURE], b"", b""],
        [1, 0, [0, bytes(4097), SIGNATURE], b"", b""],
        [1, 0, None, bytes(65537), b""],
        [1, 0, None, b"", bytes(4097)],
        [2, -1, 0, b""],
        [2, 0, 0, bytes(4097)],
        [3, bytes(1025), SIGNATURE, b""],
        [3, b"", bytes(65), b""],
        [4, bytes(31), 0, SIGNATURE],
        [4, bytes(32), 65536, SIGNATURE],
        [5, bytes(1025), b"", 0, SIGNATURE],
        [5, b"", bytes(4097), 0, SIGNATURE],
        [6, b""],
        [6, [7]],
        [6, [b""] * 65],
        [6, [bytes(65537)]],
        [7, [bytes(4097)]],
        [7, [b""] * 8193],
    ],
)
def test_a_wrong_message_is_refused(message: codec.Encodable) -> None:
    with pytest.raises(codec.WrongShapeError):
        messages.decode_frame(codec.encode([message]))


def test_one_wrong_message_spoils_its_frame() -> None:
    with pytest.raises(codec.WrongShapeError):
        messages.decode_frame(messages.join_frame([SMALL, b"\x81\x08", SMALL]))


def test_lists_in_messages_are_read_as_tuples() -> None:
    some = [
        Statements((b"a", b"b")),
        Transactions(()),
        Stored(bytes(32), 7, SIGNATURE),
    ]
    frame = messages.join_frame([messages.encode_message(message) for message in some])
    assert messages.decode_frame(frame) == some


def test_lists_of_byte_strings_keep_their_limits() -> None:
    data = messages.encode_list([b"a", b"bc"])
    limits = {"size_bytes_max": 5 + 1, "count_max": 2, "item_bytes_max": 2}
    assert messages.decode_list(data, **limits) == (b"a", b"bc")
    for name, refusal in (
        ("size_bytes_max", codec.EncodingTooLargeError),
        ("count_max", codec.WrongShapeError),
        ("item_bytes_max", codec.WrongShapeError),
    ):
        with pytest.raises(refusal):
            messages.decode_list(data, **(limits | {name: limits[name] - 1}))
