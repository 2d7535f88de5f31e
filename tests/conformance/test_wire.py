"""Wire formats do not change by accident."""

from __future__ import annotations

import json

import pytest

from p2pnode.types import messages
from tests.conformance.wire_hashes import FILE, VALUES_COUNT, current
from tests.wire_values import WIRE_TYPES, Hashed

RECORDED: dict[str, str] = json.loads(FILE.read_text())
NOW = current()


def test_every_type_has_a_recorded_hash() -> None:
    assert list(RECORDED) == list(WIRE_TYPES)


@pytest.mark.parametrize("name", WIRE_TYPES)
def test_the_encoding_of_a_type_is_the_recorded_one(name: str) -> None:
    assert NOW[name] == RECORDED[name], "see tests/conformance/wire_hashes.py"


@pytest.mark.parametrize("name", WIRE_TYPES)
def test_the_recorded_values_are_read_back(name: str) -> None:
    wire = WIRE_TYPES[name]
    for number in range(VALUES_COUNT):
        value = wire.make(Hashed(f"conformance {name} {number}"))
        assert wire.decode(wire.encode(value)) == value


def test_the_recorded_frames_hold_every_message() -> None:
    wire = WIRE_TYPES["frame"]
    kinds = [
        type(message)
        for number in range(VALUES_COUNT)
        for message in wire.make(Hashed(f"conformance frame {number}"))
    ]
    assert set(kinds) == set(messages.Message.__args__)
