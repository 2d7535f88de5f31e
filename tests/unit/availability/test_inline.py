"""The scheme `inline`, and finding schemes by name."""

from __future__ import annotations

import dataclasses
from importlib.metadata import EntryPoint

import pytest

from p2pnode import crypto
from p2pnode.availability import registry
from p2pnode.availability.inline import InlineScheme
from p2pnode.availability.registry import (
    BrokenSchemeError,
    UnknownSchemeError,
    load_scheme,
    scheme_names,
)
from p2pnode.availability.scheme import (
    BadEncodingError,
    DataSizeError,
    NotEnoughRowsError,
    Params,
    Scheme,
)

DATA = b"some data"


def test_data_is_its_only_row_and_decodes_to_itself():
    scheme: Scheme = InlineScheme()
    encoded = scheme.encode(DATA)
    assert encoded.params == Params(k=1, n=0, row_size=9, data_bytes=9)
    assert encoded.rows == (DATA,)
    assert encoded.side == b""
    assert encoded.commitment == crypto.sha256(b"p2pnode/inline/1" + DATA)
    assert scheme.decode(encoded.params, encoded.commitment, {0: DATA}) == DATA
    assert scheme.prove(encoded, [0]) == b""
    assert scheme.check(encoded.params, encoded.commitment, b"", {0: DATA}, b"")


@pytest.mark.parametrize(
    ("rows", "side", "proof"),
    [
        ({}, b"", b""),
        ({1: DATA}, b"", b""),
        ({0: DATA, 1: DATA}, b"", b""),
        ({0: DATA[:-1]}, b"", b""),
        ({0: DATA + b"\0"}, b"", b""),
        ({0: b"other dat"}, b"", b""),
        ({0: DATA}, b"x", b""),
        ({0: DATA}, b"", b"x"),
    ],
)
def test_rows_that_are_not_exactly_the_data_fail_the_check(rows, side, proof):
    scheme = InlineScheme()
    encoded = scheme.encode(DATA)
    assert not scheme.check(encoded.params, encoded.commitment, side, rows, proof)


def test_a_row_of_another_shape_fails_the_check():
    scheme = InlineScheme()
    encoded = scheme.encode(DATA)
    for change in ({"k": 2}, {"n": 1}, {"row_size": 8}, {"data_bytes": 8}):
        params = dataclasses.replace(encoded.params, **change)
        assert not scheme.check(params, encoded.commitment, b"", {0: DATA}, b"")


def test_decoding_nothing_says_how_many_rows_are_needed():
    scheme = InlineScheme()
    encoded = scheme.encode(DATA)
    with pytest.raises(NotEnoughRowsError) as caught:
        scheme.decode(encoded.params, encoded.commitment, {})
    assert (caught.value.rows_count, caught.value.needed) == (0, 1)
    assert caught.value.penalty == 0


def test_decoding_another_row_is_a_bad_encoding():
    scheme = InlineScheme()
    encoded = scheme.encode(DATA)
    with pytest.raises(BadEncodingError):
        scheme.decode(encoded.params, encoded.commitment, {0: b"other dat"})


@pytest.mark.parametrize("size", [0, 4 * 1024 * 1024 + 1])
def test_no_data_and_too_much_data_have_no_shape(size):
    with pytest.raises(DataSizeError) as caught:
        InlineScheme().plan(size)
    assert (caught.value.data_bytes, caught.value.data_bytes_max) == (size, 4 * 1024 * 1024)


def test_one_sample_is_the_whole_data():
    params = InlineScheme().plan(9)
    assert InlineScheme().miss_probability(params, 0) == 1.0
    assert InlineScheme().miss_probability(params, 1) == 0.0
    assert InlineScheme().bad_encoding_proof(params, bytes(32), b"", {0: DATA}) is None


def test_the_builtin_scheme_is_found_by_name():
    assert isinstance(load_scheme("inline"), InlineScheme)
    assert "inline" in scheme_names()


def test_an_unknown_name_is_refused_with_those_that_exist():
    with pytest.raises(
        UnknownSchemeError, match=r"no availability scheme named 'kzg'.*inline"
    ) as e:
        load_scheme("kzg")
    assert e.value.name == "kzg"
    assert "inline" in e.value.known


def point(name: str, target: str) -> EntryPoint:
    return EntryPoint(name, target, registry.GROUP)


def test_an_entry_point_adds_a_scheme_but_never_replaces_a_builtin_one(monkeypatch):
    points = [
        point("inline", "tests.unit.availability.test_inline:Third"),
        point("third", "tests.unit.availability.test_inline:Third"),
    ]

    def entry_points(*, group, name=None):
        return [p for p in points if p.group == group and name in (None, p.name)]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert load_scheme("third").name == "third"
    assert isinstance(load_scheme("inline"), InlineScheme)
    assert scheme_names() == ("inline", "third")


@pytest.mark.parametrize(
    "target", ["no.such.module:Scheme", "p2pnode.codec:nothing", "p2pnode.codec:encode"]
)
def test_an_entry_point_that_is_no_scheme_is_named(monkeypatch, target):
    monkeypatch.setattr(registry, "entry_points", lambda **_: [point("bad", target)])
    with pytest.raises(BrokenSchemeError, match="'bad' cannot be loaded"):
        load_scheme("bad")


class Third(InlineScheme):
    name = "third"
