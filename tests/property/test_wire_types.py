"""Every wire type: what is written is read back, and only one byte string reads as a value."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pnode.errors import ConfigError, RemoteProtocolError
from tests.wire_values import WIRE_TYPES, Drawn, Hashed, WireType

Refusal = (RemoteProtocolError, ConfigError)
"""A genesis document is the operator's file, everything else comes from peers."""

every_type = pytest.mark.parametrize("wire", WIRE_TYPES.values(), ids=list(WIRE_TYPES))


@every_type
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_a_value_survives_the_round_trip(wire: WireType, data: st.DataObject) -> None:
    value = wire.make(Drawn(data.draw))
    encoded = wire.encode(value)
    assert wire.decode(encoded) == value
    assert wire.encode(wire.decode(encoded)) == encoded


@every_type
@given(seed=st.integers(0, 20), edits=st.data())
def test_accepted_bytes_are_the_encoding_of_what_was_read(
    wire: WireType, seed: int, edits: st.DataObject
) -> None:
    original = wire.encode(wire.make(Hashed(f"fuzz {seed}")))
    mutated = bytearray(original)
    for _ in range(edits.draw(st.integers(1, 4), label="edits")):
        # The head of a document decides its shape: half of the edits go there.
        end = len(mutated) if edits.draw(st.booleans()) else min(len(mutated), 48)
        at = edits.draw(st.integers(0, end), label="at")
        match edits.draw(st.sampled_from(["set", "flip", "insert", "delete", "repeat", "cut"])):
            case "set":
                mutated[at : at + 1] = edits.draw(st.binary(min_size=1, max_size=1))
            case "flip" if at < len(mutated):
                mutated[at] ^= 1 << edits.draw(st.integers(0, 7))
            case "insert":
                mutated[at:at] = edits.draw(st.binary(min_size=1, max_size=9))
            case "delete":
                del mutated[at : at + edits.draw(st.integers(1, 9))]
            case "repeat":
                mutated[at:at] = mutated[at : at + edits.draw(st.integers(1, 40))]
            case "cut":
                del mutated[at:]
    try:
        value = wire.decode(bytes(mutated))
    except Refusal:
        return
    assert wire.encode(value) == bytes(mutated)


@every_type
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_read_exactly(wire: WireType, data: bytes) -> None:
    try:
        value = wire.decode(data)
    except Refusal:
        return
    assert wire.encode(value) == data


@every_type
def test_no_prefix_and_no_extension_of_a_document_is_one(wire: WireType) -> None:
    encoded = wire.encode(wire.make(Hashed("prefix")))
    cuts = [*range(min(len(encoded), 300)), len(encoded) - 1]
    for part in [encoded[:cut] for cut in cuts] + [encoded + b"\x00", encoded + b"\xf6"]:
        with pytest.raises(Refusal):
            wire.decode(part)
