from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.tui.keys import (
    PASTE_BYTES_MAX,
    SEQUENCE_BYTES_MAX,
    STRING_BYTES_MAX,
    Key,
    KeyParser,
    Paste,
    Reply,
    Typed,
)

KNOWN: dict[bytes, list[Typed]] = {
    b"q": [Key("q")],
    b"\r": [Key("enter")],
    b"\t": [Key("tab")],
    b"\x7f": [Key("backspace")],
    b"\x03": [Key("ctrl-c")],
    b"\x1b[A": [Key("up")],
    b"\x1bOB": [Key("down")],
    b"\x1b[1;5C": [Key("ctrl-right")],
    b"\x1b[1;4D": [Key("alt-shift-left")],
    b"\x1b[5~": [Key("pageup")],
    b"\x1b[24~": [Key("f12")],
    b"\x1b[[A": [Key("f1")],
    b"\x1b[Z": [Key("shift-tab")],
    b"\x1bx": [Key("alt-x")],
    b"\x1b\x7f": [Key("alt-backspace")],
    "é".encode(): [Key("é")],
    "高".encode(): [Key("高")],
    b"\x1b[200~a\x1b[Ab\x1b[201~": [Paste("a\x1b[Ab")],
    b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\": [Reply("osc", "11;rgb:ffff/ffff/ffff")],
    b"\x1b]11;rgb:00/00/00\x07": [Reply("osc", "11;rgb:00/00/00")],
    b"\x1b[?62;22c": [Reply("attributes", "62;22")],
    b"\x1b[0n": [Reply("state", "0")],
    b"\x1b[3nq": [Reply("state", "3"), Key("q")],
    b"\x1b[7n": [],
    b"\x1b[?12;2$y": [],
    b"\x1bP1$r0m\x1b\\": [],
    b"\x1b[9999~": [],
    b"\xff": [],
}


def parse(pieces: list[bytes]) -> list[Typed]:
    parser = KeyParser()
    return [typed for piece in pieces for typed in parser.feed(piece)]


@pytest.mark.parametrize("data", KNOWN, ids=repr)
def test_each_sequence_is_its_key(data: bytes) -> None:
    assert parse([data]) == KNOWN[data]


@given(
    st.lists(st.sampled_from(sorted(KNOWN)), max_size=8),
    st.lists(st.integers(min_value=1, max_value=6), max_size=40),
)
def test_sequences_may_be_split_at_any_byte(parts: list[bytes], steps: list[int]) -> None:
    data = b"".join(parts)
    pieces, place = [], 0
    for step in steps:
        pieces.append(data[place : place + step])
        place += step
    assert parse([*pieces, data[place:]]) == [typed for part in parts for typed in KNOWN[part]]


@given(st.binary(max_size=200), st.integers(min_value=0, max_value=200))
def test_any_bytes_mean_the_same_however_they_are_split(data: bytes, cut: int) -> None:
    assert parse([data]) == parse([data[:cut], data[cut:]])
    assert parse([data]) == parse([data[i : i + 1] for i in range(len(data))])


def test_an_escape_alone_is_a_key_after_silence() -> None:
    parser = KeyParser()
    assert parser.feed(b"\x1b") == []
    assert parser.pending
    assert parser.flush() == [Key("escape")]
    assert not parser.pending
    assert parser.feed(b"\x1b\x1b") == [Key("escape")]
    assert parser.flush() == [Key("escape")]
    assert parser.feed(b"\x1b[") == []
    assert parser.flush() == [Key("alt-[")]


def test_an_answer_in_two_packets_is_not_read_as_keys() -> None:
    parser = KeyParser()
    assert parser.feed(b"\x1b]11;rgb:12") == []
    assert parser.flush() == []
    assert parser.feed(b"12/1212/1212\x07") == [Reply("osc", "11;rgb:1212/1212/1212")]
    # One that never ends does not swallow what is typed for ever.
    assert parser.feed(b"\x1b]11;rgb:12") == []
    assert parser.flush() == []
    assert parser.flush() == []
    assert parser.feed(b"q") == [Key("q")]


def test_what_is_too_long_is_dropped() -> None:
    assert parse([b"\x1b[" + b"1" * SEQUENCE_BYTES_MAX]) != [Key("up")]
    long = b"\x1b]11;" + b"x" * 5 * STRING_BYTES_MAX
    assert parse([long + b"\x07q"]) == [Key("q")]
    assert parse([long, b"\x1b", b"\\q"]) == [Key("q")]
    (pasted,) = parse([b"\x1b[200~" + b"y" * 2 * PASTE_BYTES_MAX + b"\x1b[201~"])
    assert pasted == Paste("y" * PASTE_BYTES_MAX)


def test_a_key_that_types_a_character_has_it_as_text() -> None:
    assert Key("a").text == "a"
    assert Key("enter").text == ""
