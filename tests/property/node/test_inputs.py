"""Every input of a core survives the recorder, and no bytes make it raise anything else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pnode import codec
from p2pnode.errors import RemoteProtocolError
from p2pnode.node.inputs import decode_input, encode_input
from p2pnode.types import effects as fx

U64 = st.integers(0, (1 << 64) - 1)
OCTETS = st.binary(max_size=200)
KEYS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 64), (1 << 128) - 1), OCTETS, st.text()),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)
INPUTS = st.one_of(
    st.builds(fx.FrameIn, OCTETS, OCTETS),
    st.builds(fx.TopicIn, st.text(), OCTETS, OCTETS),
    st.builds(fx.PeerUp, OCTETS),
    st.builds(fx.PeerDown, OCTETS),
    st.builds(fx.TimerFired, KEYS),
    st.builds(fx.SignedIn, U64, st.none() | OCTETS),
    st.builds(fx.VerifiedIn, U64, st.lists(st.booleans()).map(tuple)),
    st.builds(fx.AnswerIn, U64, st.none() | OCTETS),
    st.builds(fx.SubmitIn, U64, st.lists(OCTETS, max_size=8).map(tuple)),
    st.builds(fx.RttIn, U64),
)


@given(wall_ms=U64, given_=INPUTS)
def test_an_input_survives_the_round_trip(wall_ms: int, given_: fx.Input) -> None:
    data = encode_input(wall_ms, given_)
    read_ms, read = decode_input(data)
    assert read_ms == wall_ms
    assert repr(read) == repr(given_)
    assert encode_input(read_ms, read) == data


@given(first=INPUTS, second=INPUTS)
def test_different_inputs_have_different_bytes(first: fx.Input, second: fx.Input) -> None:
    same = repr(first) == repr(second)
    assert (encode_input(0, first) == encode_input(0, second)) == same


@given(given_=INPUTS, data=st.data())
def test_damaged_bytes_are_refused_or_read_as_an_input(
    given_: fx.Input, data: st.DataObject
) -> None:
    damaged = bytearray(encode_input(1, given_))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        _, read = decode_input(bytes(damaged))
    except RemoteProtocolError:
        return
    assert isinstance(read, fx.Input)


SHAPES: st.SearchStrategy[codec.Value] = st.recursive(
    st.one_of(st.none(), st.integers(-2, 12), OCTETS),
    lambda inner: st.lists(inner, max_size=5).map(tuple),
    max_leaves=12,
)


@given(value=SHAPES)
def test_any_document_is_refused_or_read_as_an_input(value: codec.Value) -> None:
    try:
        _, read = decode_input(codec.encode(value))
    except RemoteProtocolError:
        return
    assert isinstance(read, fx.Input)
