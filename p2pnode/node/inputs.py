"""Inputs of the core as bytes, for the recorder."""

from __future__ import annotations

from collections.abc import Hashable

from p2pnode import codec
from p2pnode.types.effects import (
    AnswerIn,
    FrameIn,
    Input,
    PeerDown,
    PeerUp,
    RttIn,
    SignedIn,
    SubmitIn,
    TimerFired,
    TopicIn,
    VerifiedIn,
)

INPUT_BYTES_MAX = 16 << 20
"""Largest recorded input: what a client may submit at once."""


def encode_input(wall_ms: int, given: Input) -> bytes:
    """Return the canonical array `[wall clock, code, …]` of an input."""
    return codec.encode([wall_ms, *_fields(given)])


def decode_input(data: bytes) -> tuple[int, Input]:
    """Return (wall clock in milliseconds, input) of what `encode_input` gave.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    parts = codec.array(codec.decode(data, size_bytes_max=INPUT_BYTES_MAX, depth_max=12), "input")
    if len(parts) < 2:
        raise codec.WrongShapeError(f"input: a clock and a code expected, {len(parts)} items found")
    wall_ms, code, *rest = parts
    return codec.unsigned(wall_ms, "wall clock"), _input(codec.unsigned(code, "code"), rest)


def _fields(given: Input) -> list[codec.Encodable]:
    match given:
        case FrameIn(peer, frame):
            return [1, peer, frame]
        case TopicIn(topic, origin, data):
            return [2, topic.encode(), origin, data]
        case PeerUp(peer):
            return [3, peer]
        case PeerDown(peer):
            return [4, peer]
        case TimerFired(key):
            return [5, _key(key)]
        case SignedIn(ticket, signature):
            return [6, ticket, signature]
        case VerifiedIn(ticket, ok):
            return [7, ticket, bytes(ok)]
        case AnswerIn(ticket, body):
            return [8, ticket, body]
        case SubmitIn(ticket, raws):
            return [9, ticket, list(raws)]
        case RttIn(rtt_ns):
            return [10, rtt_ns]


def _input(code: int, rest: list[codec.Value]) -> Input:
    match code, rest:
        case 1, [bytes(peer), bytes(frame)]:
            return FrameIn(peer, frame)
        case 2, [bytes(topic), bytes(origin), bytes(data)]:
            return TopicIn(_text(topic), origin, data)
        case 3, [bytes(peer)]:
            return PeerUp(peer)
        case 4, [bytes(peer)]:
            return PeerDown(peer)
        case 5, [key]:
            return TimerFired(_read_key(key))
        case 6, [int(ticket), (bytes() | None) as signature]:
            return SignedIn(ticket, signature)
        case 7, [int(ticket), bytes(ok)]:
            return VerifiedIn(ticket, tuple(flag == 1 for flag in ok))
        case 8, [int(ticket), (bytes() | None) as body]:
            return AnswerIn(ticket, body)
        case 9, [int(ticket), tuple(raws)]:
            return SubmitIn(ticket, tuple(codec.octets(raw, "transaction") for raw in raws))
        case 10, [int(rtt_ns)]:
            return RttIn(rtt_ns)
    raise codec.WrongShapeError(f"input code {code} with {len(rest)} fields is unknown")


def _key(key: Hashable) -> codec.Encodable:
    """Encode a timer's key: text as `[0, UTF-8]`, a tuple as `[1, items …]`, others as they are."""
    match key:
        case str():
            return [0, key.encode()]
        case tuple():
            return [1, *(_key(part) for part in key)]
        case bool():
            return [2, int(key)]
        case int() | bytes() | None:
            return key
    raise AssertionError(f"timer key {key!r} can't be recorded")


def _read_key(value: codec.Value) -> Hashable:
    match value:
        case (0, bytes(text)):
            return _text(text)
        case (1, *parts):
            return tuple(_read_key(part) for part in parts)
        case (2, int(flag)):
            return bool(flag)
        case tuple():
            raise codec.WrongShapeError("timer key of unknown form")
    return value


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise codec.WrongShapeError(f"input: {data!r} is not UTF-8: {error.reason}") from None
