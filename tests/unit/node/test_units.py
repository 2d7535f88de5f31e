from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.node.units import (
    format_duration,
    format_size,
    human_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("17", 17),
        ("17B", 17),
        ("16MiB", 16 * 1024 * 1024),
        ("16 MiB", 16 * 1024 * 1024),
        ("1.5KiB", 1536),
        ("3KB", 3000),
    ],
)
def test_a_size_reads_as_written(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e3", "16mib", "16 M", "0.1B", "١٦", "9" * 16])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "duration_s"), [("250ms", 0.25), ("5s", 5.0), ("1.5h", 5400.0), ("0s", 0.0)]
)
def test_a_duration_reads_as_written(text: str, duration_s: float) -> None:
    assert parse_duration(text) == duration_s


@pytest.mark.parametrize("text", ["", "s", "5 sec", "-5s", "0.1ns"])
def test_a_duration_without_a_known_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_duration(text)


@pytest.mark.parametrize("number", ["5", "1.5"])
def test_a_duration_without_a_unit_is_asked_for_it(number: str) -> None:
    with pytest.raises(ValueError, match=rf"^{number} what\? write {number}s, {number}m or"):
        parse_duration(number)


@given(st.integers(0, 10**15 - 1))
def test_every_size_survives_being_written(size_bytes: int) -> None:
    assert parse_size(format_size(size_bytes)) == size_bytes


@given(st.integers(0, 10**14))
def test_every_duration_survives_being_written(duration_ns: int) -> None:
    assert round(parse_duration(format_duration(duration_ns / 10**9)) * 10**9) == duration_ns


def test_sizes_for_people_have_one_digit_after_the_point() -> None:
    assert human_size(12.3 * 1024) == "12.3 KiB"
    assert human_size(500) == "500 B"
    assert human_size(5 * 1024**4) == "5.0 TiB"
