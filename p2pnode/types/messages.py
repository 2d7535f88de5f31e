"""Messages between nodes: what the frames of the lanes hold.

A frame is a canonical array of messages, each `[code, …]`; one frame carries everything that waited
for the same peer and lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from p2pnode import codec

FRAME_BYTES_MAX: Final = 1 << 20
"""Largest frame on any lane."""

MESSAGES_MAX: Final = 4096
"""Most messages in a frame."""

MESSAGE_ITEM_BYTES_MAX: Final = 1 << 20

ITEMS_MAX: Final = 8 * MESSAGES_MAX + 8192
"""Most items in a frame: as many messages as it may have, and one of transactions."""


@dataclass(frozen=True, slots=True)
class EngineItem:
    """A vote or a certificate of the consensus engine, with the payload's body for a proposal."""

    epoch: int
    signed: tuple[int, bytes, bytes] | None
    """(sender, body, signature), or None for a certificate."""
    certificate: bytes
    """A certificate's bytes, or empty."""
    payload: bytes
    """The body of the payload proposed, or empty."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the sender's engine has and lacks, and how far its chain is final."""

    epoch: int
    height: int
    """Newest final height."""
    blob: bytes
    """The engine's summary."""


@dataclass(frozen=True, slots=True)
class BatchOffer:
    """A batch, whole: header first, then data."""

    header: bytes
    signature: bytes
    """The collator's, 64 bytes."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A validator has stored a batch."""

    digest: bytes
    """The header's digest, 32 bytes."""
    signer: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class ResultVote:
    """An executor's signature of a result."""

    result: bytes
    """The result's body."""
    outbox: bytes
    """The receipts inline, or empty."""
    signer: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class Statements:
    """Statements that payloads may list."""

    statements: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Transactions:
    """Transactions on their way to a collator."""

    raws: tuple[bytes, ...]


Message: TypeAlias = (
    EngineItem | Summary | BatchOffer | Stored | ResultVote | Statements | Transactions
)


def encode_message(message: Message) -> bytes:
    """Return the canonical encoding `[code, …]`."""
    match message:
        case EngineItem(epoch, signed, certificate, payload):
            return codec.encode([1, epoch, signed, certificate, payload])
        case Summary(epoch, height, blob):
            return codec.encode([2, epoch, height, blob])
        case BatchOffer(header, signature, data):
            return codec.encode([3, header, signature, data])
        case Stored(digest, signer, signature):
            return codec.encode([4, digest, signer, signature])
        case ResultVote(result, outbox, signer, signature):
            return codec.encode([5, result, outbox, signer, signature])
        case Statements(statements):
            return codec.encode([6, statements])
        case Transactions(raws):
            return codec.encode([7, raws])


def join_frame(messages: Sequence[bytes]) -> bytes:
    """Return the frame that holds encoded messages, in order."""
    count = len(messages)
    # The head of a canonical array; joining beats decoding and encoding the messages again.
    if count < 24:
        head = bytes((0x80 | count,))
    elif count < 256:
        head = bytes((0x98, count))
    else:
        head = b"\x99" + count.to_bytes(2, "big")
    return head + b"".join(messages)


def decode_frame(frame: bytes) -> list[Message]:
    """Decode a frame.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    items = codec.array(
        codec.decode(frame, size_bytes_max=FRAME_BYTES_MAX, items_max=ITEMS_MAX),
        "frame",
        length_max=MESSAGES_MAX,
    )
    return [_message(item) for item in items]


def _message(value: codec.Value) -> Message:
    parts = codec.array(value, "message", length_max=8)
    code = codec.unsigned(parts[0], "message code") if parts else 0
    if code == 1:
        _, epoch, signed, certificate, payload = codec.array(parts, "engine item", length=5)
        return EngineItem(
            codec.unsigned(epoch, "epoch"),
            None if signed is None else _signed(signed),
            codec.octets(certificate, "certificate", length_max=65536),
            codec.octets(payload, "payload", length_max=4096),
        )
    if code == 2:
        _, epoch, height, blob = codec.array(parts, "summary", length=4)
        return Summary(
            codec.unsigned(epoch, "epoch"),
            codec.unsigned(height, "height"),
            codec.octets(blob, "summary", length_max=4096),
        )
    if code == 3:
        _, header, signature, data = codec.array(parts, "batch", length=4)
        return BatchOffer(
            codec.octets(header, "header", length_max=1024),
            codec.octets(signature, "signature", length=64),
            codec.octets(data, "data", length_max=MESSAGE_ITEM_BYTES_MAX),
        )
    if code == 4:
        _, digest, signer, signature = codec.array(parts, "stored", length=4)
        return Stored(
            codec.octets(digest, "digest", length=32),
            codec.unsigned(signer, "signer", value_max=65535),
            codec.octets(signature, "signature", length=64),
        )
    if code == 5:
        _, result, outbox, signer, signature = codec.array(parts, "result vote", length=5)
        return ResultVote(
            codec.octets(result, "result", length_max=1024),
            codec.octets(outbox, "outbox", length_max=4096),
            codec.unsigned(signer, "signer", value_max=65535),
            codec.octets(signature, "signature", length=64),
        )
    if code == 6:
        _, statements = codec.array(parts, "statements", length=2)
        return Statements(
            tuple(
                codec.octets(s, "statement", length_max=65536)
                for s in codec.array(statements, "statements", length_max=64)
            )
        )
    if code == 7:
        _, raws = codec.array(parts, "transactions", length=2)
        return Transactions(
            tuple(
                codec.octets(raw, "transaction", length_max=4096)
                for raw in codec.array(raws, "transactions", length_max=8192)
            )
        )
    raise codec.WrongShapeError(f"message code {code} is unknown")


def _signed(value: codec.Value) -> tuple[int, bytes, bytes]:
    sender, body, signature = codec.array(value, "signed vote", length=3)
    return (
        codec.unsigned(sender, "sender", value_max=65535),
        codec.octets(body, "body", length_max=4096),
        codec.octets(signature, "signature", length=64),
    )


def encode_list(items: Sequence[bytes]) -> bytes:
    """Return the canonical array of byte strings (bodies of `fetch` requests and answers)."""
    return codec.encode(items)


def decode_list(
    data: bytes, *, size_bytes_max: int, count_max: int, item_bytes_max: int
) -> tuple[bytes, ...]:
    """Decode what `encode_list` gave.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    items = codec.array(
        codec.decode(data, size_bytes_max=size_bytes_max, items_max=2 * count_max + 16),
        "list",
        length_max=count_max,
    )
    return tuple(codec.octets(item, "item", length_max=item_bytes_max) for item in items)
