"""Inputs as bytes: what is recorded is read back, and junk is refused by name."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from p2pnode import codec
from p2pnode.node.inputs import decode_input, encode_input
from p2pnode.types import effects as fx
from p2pnode.types.effects import TimerFired


@pytest.mark.parametrize(
    "key",
    [
        ("engine", 3, ("advance", 17)),
        ("fetcher",),
        "plain text",
        b"bytes",
        7,
        -1,
        None,
        True,
        (True, False, 1, 0),
        ((), ("",)),
        (0, b"x"),
        (1, 2),
        ("a", b"a"),
    ],
)
def test_a_timers_key_keeps_its_types(key: Hashable) -> None:
    _, given = decode_input(encode_input(0, TimerFired(key)))
    assert isinstance(given, TimerFired)
    assert repr(given.key) == repr(key)


def test_a_key_that_cannot_be_recorded_is_a_programmers_error() -> None:
    with pytest.raises(AssertionError, match=r"1\.5"):
        encode_input(0, TimerFired((1.5,)))


EVERY_KIND: list[fx.Input] = [
    fx.FrameIn(b"peer", b"frame"),
    fx.TopicIn("topic", b"peer", b"data"),
    fx.PeerUp(b"peer"),
    fx.PeerDown(b"peer"),
    fx.TimerFired(("core", "summary")),
    fx.SignedIn(1, b"signature"),
    fx.SignedIn(2, None),
    fx.VerifiedIn(3, (True, False, True, True)),
    fx.AnswerIn(4, b"body"),
    fx.AnswerIn(5, None),
    fx.SubmitIn(6, (b"raw", b"")),
    fx.RttIn(7),
]


@pytest.mark.parametrize("given_", EVERY_KIND, ids=repr)
def test_every_kind_of_input_is_read_as_it_was_written(given_: fx.Input) -> None:
    assert decode_input(encode_input(99, given_)) == (99, given_)


def test_no_kind_of_input_is_forgotten_here() -> None:
    assert {type(given_) for given_ in EVERY_KIND} == set(fx.Input.__args__)  # type: ignore[attr-defined]


JUNK: dict[str, codec.Encodable] = {
    "nothing": [],
    "no code": [1],
    "no array": 1,
    "clock of text": [b"x", 3, b"p"],
    "negative clock": [-1, 3, b"p"],
    "unknown code": [0, 11],
    "code zero": [0, 0],
    "too few fields": [0, 1, b"p"],
    "too many fields": [0, 3, b"p", b"p"],
    "peer as a number": [0, 3, 7],
    "topic not UTF-8": [0, 2, b"\xff", b"p", b"d"],
    "text key not UTF-8": [0, 5, [0, b"\xff"]],
    "key of unknown form": [0, 5, [7, b"x"]],
    "empty key": [0, 5, []],
    "ticket of bytes": [0, 6, b"t", None],
    "signature as a number": [0, 6, 1, 7],
    "verdicts as a list": [0, 7, 1, [1, 0]],
    "transactions as bytes": [0, 9, 1, b"raw"],
    "a number among transactions": [0, 9, 1, [7]],
}


@pytest.mark.parametrize("name", JUNK)
def test_what_is_no_input_is_refused(name: str) -> None:
    with pytest.raises((codec.NotCanonicalError, codec.WrongShapeError)):
        decode_input(codec.encode(JUNK[name]))
