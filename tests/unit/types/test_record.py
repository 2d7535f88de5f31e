"""Node records: nobody but the node itself can have made one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pnode import codec
from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.errors import RemoteProtocolError
from p2pnode.types.record import (
    ADDRESS_CHARS_MAX,
    ADDRESSES_MAX,
    CLOCKS_APART_MS,
    LIFE_MS,
    RECORD_BYTES_MAX,
    BadRecordError,
    NewerRecordError,
    NodeRecord,
    Role,
    Scope,
    check_record,
    decode_record,
    sign_record,
)

KEY = SecretKey(b"\1" * 32)
CHAIN = b"\2" * 32
NOW_MS = 1_700_000_000_000
RECORD = NodeRecord(
    KEY.public, Scope.WORLD, NOW_MS, Role.VALIDATOR | Role.EXECUTOR, ("/ip4/8.8.8.8/tcp/1",)
)


def test_record_is_read_back_with_its_signature() -> None:
    signed = sign_record(KEY, CHAIN, RECORD)
    found = decode_record(signed.raw)
    assert found == signed
    assert found.record.peer == peer_id_of(KEY.public)
    check_record(found, CHAIN)


@pytest.mark.parametrize(
    "change",
    [
        {"public_key": SecretKey(b"\3" * 32).public},
        {"scope": Scope.HOST},
        {"sequence": NOW_MS + 1},
        {"roles": 0},
        {"addresses": ("/ip4/8.8.8.9/tcp/1",)},
    ],
)
def test_whatever_is_changed_breaks_the_signature(change: dict[str, object]) -> None:
    signed = sign_record(KEY, CHAIN, RECORD)
    forged = replace(RECORD, **change)
    raw = codec.encode([forged.encode(), signed.signature])
    with pytest.raises(BadRecordError, match="wrong signature"):
        check_record(decode_record(raw), CHAIN)


def test_record_of_another_chain_is_refused() -> None:
    with pytest.raises(BadRecordError):
        check_record(decode_record(sign_record(KEY, CHAIN, RECORD).raw), b"\4" * 32)


def test_largest_record_fits_the_limit_and_a_larger_one_is_refused() -> None:
    largest = NodeRecord(
        KEY.public, Scope.HOST, (1 << 64) - 1, 0xFFFF, ("x" * ADDRESS_CHARS_MAX,) * ADDRESSES_MAX
    )
    raw = sign_record(KEY, CHAIN, largest).raw
    assert len(raw) <= RECORD_BYTES_MAX
    decode_record(raw)
    with pytest.raises(RemoteProtocolError):
        decode_record(raw + bytes(RECORD_BYTES_MAX))


@pytest.mark.parametrize(
    "items",
    [
        [0, KEY.public, 0, 1, 0, []],
        [],
        [1, KEY.public[1:], 0, 1, 0, []],
        [1, KEY.public, 3, 1, 0, []],
        [1, KEY.public, 0, -1, 0, []],
        [1, KEY.public, 0, 1, 1 << 16, []],
        [1, KEY.public, 0, 1, 0, [b""] * (ADDRESSES_MAX + 1)],
        [1, KEY.public, 0, 1, 0, [b"x" * (ADDRESS_CHARS_MAX + 1)]],
        [1, KEY.public, 0, 1, 0, [b"\xff"]],
        [1, KEY.public, 0, 1, 0],
    ],
)
def test_record_out_of_shape_is_refused(items: list[codec.Encodable]) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_record(codec.encode([codec.encode(items), bytes(64)]))


@pytest.mark.parametrize("items", [[2, KEY.public, 0, 1, 0, []], [1 << 64 - 1], [3, [], b"", 9]])
def test_record_of_a_later_version_is_told_apart_whatever_is_in_it_and_costs_nothing(
    items: list[codec.Encodable],
) -> None:
    with pytest.raises(NewerRecordError, match="1 is the newest") as raised:
        decode_record(codec.encode([codec.encode(items), bytes(96)]))
    assert raised.value.penalty == 0


def test_record_lives_an_hour_and_what_is_stale_nobody_would_have_passed_on() -> None:
    assert RECORD.is_current(NOW_MS)
    assert RECORD.is_current(NOW_MS + LIFE_MS)
    assert not RECORD.is_current(NOW_MS + LIFE_MS + 1)
    assert RECORD.is_current(NOW_MS - CLOCKS_APART_MS)
    assert not RECORD.is_current(NOW_MS - CLOCKS_APART_MS - 1)
    # Whoever passes it on at the last moment may have a clock that is a little behind ours.
    assert not RECORD.is_stale(NOW_MS + LIFE_MS + CLOCKS_APART_MS)
    assert RECORD.is_stale(NOW_MS + LIFE_MS + CLOCKS_APART_MS + 1)
    assert RECORD.is_stale(NOW_MS - 2 * CLOCKS_APART_MS - 1)
