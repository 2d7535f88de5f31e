"""Recorded transactions as transfers of this chain."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.crypto import SecretKey, address_of, sha256
from p2pnode.types.transaction import decode_transaction
from testnet.genesis import FAUCET_BALANCE, FAUCETS, SUPPLY_MAX, funded_accounts
from testnet.load.options import LoadOptions
from testnet.load.source import SyntheticSource, TraceSource
from testnet.load.trace import (
    NATIVE,
    TOKEN,
    Keys,
    Trace,
    TraceError,
    Transfer,
    genesis_balances,
    needs,
    read_trace,
)

HEAD = (
    "block,index,kind,sender,recipient,value_wei,token_recipient,token_amount,gas_limit,input_bytes"
)
A, B, C = (bytes([n]) * 20 for n in (1, 2, 3))
BIG = 309622376630710285051121966351591803349
"""A token amount of the real recording, just below 2^128."""

ROWS = (
    f"1,0,transfer,0x{A.hex()},0x{B.hex()},1500000000000000000000,,,21000,0",
    f"1,1,call,0x{A.hex()},0x{C.hex()},0,,,90000,4",
    f"1,2,token_transfer,0x{B.hex()},0x{C.hex()},7,0x{A.hex()},{BIG},60000,68",
    f"1,3,create,0x{A.hex()},,0,,,90000,400",
    f"2,0,transfer,0x{A.hex()},0x{A.hex()},0,,,21000,0",
)


def written(path: Path, *rows: str, head: str = HEAD) -> Path:
    with gzip.open(path, "wt", encoding="ascii") as file:
        file.write("\n".join([head, *rows]) + "\n")
    return path


def options(**changes: object) -> LoadOptions:
    values: dict[str, object] = {
        "rate_tx_s": 10.0,
        "seed": 7,
        "chain": bytes(32),
        "nodes": (("node0", "http://127.0.0.1:1"),),
        "fee": 2,
        "fee_base": 1,
        "fee_action": 1,
        "valid_heights": 100,
    }
    return LoadOptions(**{**values, **changes})  # type: ignore[arg-type]


def test_transfers_keep_order_and_amounts_and_the_rest_is_counted(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path / "t.csv.gz", *ROWS))
    assert trace.transfers == (
        Transfer(A, B, NATIVE, 1500000000000000000000),
        Transfer(B, A, TOKEN, BIG),
        Transfer(A, A, NATIVE, 0),
    )
    assert trace.skipped_before(0) == {}
    assert trace.skipped_before(1) == {}
    assert trace.skipped_before(2) == {"call": 1}
    assert trace.skipped_before(3) == {"call": 1, "create": 1}
    assert trace.skipped_before(8) == {"call": 3, "create": 2}


def test_an_uncompressed_recording_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join([HEAD, *ROWS]), encoding="ascii")
    assert len(read_trace(path).transfers) == 3


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((ROWS[0], "1,0,transfer,0x01,0x02,5,,,1,0"), "row 3: address '0x01'"),
        ((f"1,0,transfer,0x{A.hex()},0x{B.hex()},-5,,,1,0",), "row 2: amount -5"),
        ((f"1,0,transfer,0x{A.hex()},0x{B.hex()},{1 << 128},,,1,0",), "row 2: amount"),
        ((ROWS[1],), "holds no transfer"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(
    tmp_path: Path, rows: tuple[str, ...], words: str
) -> None:
    with pytest.raises(TraceError, match=words):
        read_trace(written(tmp_path / "t.csv.gz", *rows))


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(b"not gzip")
    with pytest.raises(TraceError):
        read_trace(path)
    with pytest.raises(TraceError, match="no column kind"):
        read_trace(written(path, "1,2", head="a,b"))


def test_keys_are_those_of_seed_address_and_repetition() -> None:
    keys = Keys(7)
    expected = SecretKey(sha256((7).to_bytes(8, "big") + A + (2).to_bytes(4, "big")))
    assert keys.key(A, 2).public == expected.public
    assert keys.address(A, 2) == address_of(expected.public)
    assert len({keys.address(a, r) for a in (A, B) for r in (0, 1)}) == 4
    assert Keys(8).address(A, 0) != keys.address(A, 0)


def test_senders_are_funded_for_all_they_send_whatever_they_receive() -> None:
    trace = Trace((Transfer(A, B, 0, 10), Transfer(B, C, 0, 10), Transfer(A, C, 1, 5)), ())
    assert needs(trace, 0, 4, fee=2) == {
        (A, 0): (14, 5),
        (B, 0): (12, 0),
        (A, 1): (12, 0),
    }


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 1), st.integers(0, BIG)),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 100),
)
def test_genesis_never_issues_more_than_an_amount_can_show(
    rows: list[tuple[int, int, int, int]], count: int
) -> None:
    trace = Trace(
        tuple(Transfer(bytes([s]) * 20, bytes([t]) * 20, a, n) for s, t, a, n in rows), ()
    )
    found = genesis_balances(trace, Keys(1), count, fee=2)
    for asset in (NATIVE, TOKEN):
        issued = [n for balances in found.values() for a, n in balances if a == asset]
        assert all(0 < n < 1 << 128 for n in issued)
        assert sum(issued) + FAUCETS * FAUCET_BALANCE < SUPPLY_MAX
    accounts = funded_accounts(1, found)
    assert [a.address for a in accounts] == sorted({a.address for a in accounts})


def test_a_replay_signs_each_transfer_in_the_sender_s_order_and_repeats_with_other_keys() -> None:
    trace = Trace(
        (Transfer(A, B, 0, 10), Transfer(A, C, 1, BIG), Transfer(B, A, 0, 1)), ((1, "call"),)
    )
    source = TraceSource(options(funded_count=5), trace)
    made = [source.next(50) for _ in range(6)]
    assert made[5] is None, "beyond what has funds"
    decoded = [decode_transaction(signed.raw) for signed in made if signed is not None]
    keys = Keys(7)
    assert [t.nonce for t in decoded] == [0, 1, 0, 0, 1]
    assert [t.sender for t in decoded] == [
        keys.address(address, repetition)
        for address, repetition in ((A, 0), (A, 0), (B, 0), (A, 1), (A, 1))
    ]
    assert decoded[1].actions[0].amount == BIG
    assert decoded[1].actions[0].asset == TOKEN
    assert decoded[1].actions[0].to == keys.address(C, 0)
    assert decoded[0].fee_limit == 2
    assert decoded[0].last_valid_height == 50
    assert source.skipped(0) == {"call": 2}
    assert source.skipped(4) == {}
    assert source.repetitions == 2


def test_a_later_load_begins_with_keys_nobody_has_used() -> None:
    trace = Trace((Transfer(A, B, 0, 10),), ())
    source = TraceSource(options(first_repetition=3, funded_count=5), trace)
    assert source.next(50) is None, "genesis funded the first repetitions only"
    source.covered += 1
    signed = source.next(50)
    assert signed is not None
    assert signed.sender == Keys(7).address(A, 3)


def test_a_synthetic_load_repeats_from_its_seed_and_goes_on_from_the_accounts_nonces() -> None:
    addresses = SyntheticSource.addresses(7)
    nonces = {addresses[0]: 5}
    first = SyntheticSource(options(), nonces)
    again = SyntheticSource(options(), nonces)
    made = [first.next(9) for _ in range(50)]
    assert made == [again.next(9) for _ in range(50)]
    source = SyntheticSource(options(), dict.fromkeys(addresses, 5))
    signed = source.next(9)
    assert signed is not None
    assert signed.nonce == 5


def test_options_survive_the_way_to_another_process(tmp_path: Path) -> None:
    made = options(trace=tmp_path / "x.csv.gz", for_s=3.0, chain=bytes(range(32)))
    assert LoadOptions.from_json(made.to_json()) == made
    assert LoadOptions.from_json(options().to_json()) == options()
