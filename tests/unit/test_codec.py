"""The codec accepts one encoding of each value, and nothing that is not a value."""

from __future__ import annotations

import csv
import gzip
import time
import tracemalloc
from pathlib import Path

import cbor2
import pytest

from p2pnode import codec
from p2pnode.errors import RemoteProtocolError
from tests.corpus.codec_cases import CASES, FOLDER

ROOT = Path(__file__).parents[2]
MAINNET = ROOT.parent / "shared" / "data" / "mainnet_transactions.csv.gz"
BIG_AMOUNTS = 2314
"""Native and token transfers of 2^64 and more in that file."""


def read(data: bytes, **limits: int) -> codec.Value:
    return codec.decode(data, size_bytes_max=limits.pop("size_bytes_max", 1 << 20), **limits)


accepted = [name for name in CASES if name.startswith("accepted")]
refused = [name for name in CASES if name.startswith("refused")]


@pytest.mark.parametrize("name", accepted)
def test_a_canonical_document_is_read_and_written_alike(name: str) -> None:
    assert codec.encode(read(CASES[name])) == CASES[name]


@pytest.mark.parametrize("name", refused)
def test_a_deviating_document_is_refused(name: str) -> None:
    with pytest.raises(codec.NotCanonicalError):
        read(CASES[name])


def test_the_corpus_files_are_those_of_the_table() -> None:
    files = {path.stem: path.read_bytes() for path in FOLDER.glob("*.bin")}
    assert files == CASES


def test_the_lenient_library_would_accept_most_of_it() -> None:
    lenient = 0
    for name in refused:
        try:
            cbor2.loads(CASES[name])
        except (cbor2.CBORError, ValueError, TypeError, ArithmeticError, LookupError):
            continue
        lenient += 1
    assert lenient > 30, "else the codec's own checks are not what is tested here"


@pytest.mark.parametrize("name", [n for n in refused if "-of-2-" in n or "deep" in n])
def test_a_document_that_promises_much_costs_little(name: str) -> None:
    tracemalloc.start()
    before = time.process_time()
    with pytest.raises(codec.NotCanonicalError):
        read(CASES[name])
    took_s = time.process_time() - before
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1 << 20
    assert took_s < 1


def test_a_document_over_its_limit_is_refused_before_decoding() -> None:
    data = codec.encode(b"x" * 100)
    assert read(data, size_bytes_max=len(data)) == b"x" * 100
    with pytest.raises(codec.EncodingTooLargeError, match="102 bytes, at most 101") as caught:
        read(data, size_bytes_max=len(data) - 1)
    assert (caught.value.size_bytes, caught.value.size_bytes_max) == (102, 101)
    with pytest.raises(codec.EncodingTooLargeError):
        read(b"\xff" * 11, size_bytes_max=10)


def test_the_depth_limit_counts_arrays() -> None:
    nested: codec.Value = 7
    for depth in range(1, 6):
        nested = (nested,)
        data = codec.encode(nested)
        assert read(data, depth_max=depth) == nested
        with pytest.raises(codec.NotCanonicalError, match="deep"):
            read(data, depth_max=depth - 1)


def test_lists_are_written_like_tuples_and_read_as_tuples() -> None:
    assert codec.encode([1, [b"x", None]]) == codec.encode((1, (b"x", None)))
    assert read(codec.encode([1, [b"x", None]])) == (1, (b"x", None))


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (2**64 - 1, "1bffffffffffffffff"),
        (2**64, "c249010000000000000000"),
        (2**128 - 1, "c250" + "ff" * 16),
    ],
)
def test_integers_above_64_bits_travel_as_bignums(amount: int, text: str) -> None:
    assert codec.encode(amount).hex() == text
    assert read(bytes.fromhex(text)) == amount


def test_the_big_amounts_of_real_transactions_survive() -> None:
    if not MAINNET.exists():
        pytest.skip(f"{MAINNET} is not on this machine")
    with gzip.open(MAINNET, "rt", newline="") as lines:
        rows = list(csv.DictReader(lines))
    columns = {"transfer": "value_wei", "token_transfer": "token_amount"}
    amounts = [int(row[columns[row["kind"]]]) for row in rows if row["kind"] in columns]
    assert max(amounts) < 1 << 128
    big = [amount for amount in amounts if amount >= 1 << 64]
    assert len(big) == BIG_AMOUNTS
    for amount in big:
        data = codec.encode(amount)
        assert data[:1] == b"\xc2"
        assert read(data) == amount


# --- readers of decoded values -------------------------------------------------------------------


def test_readers_name_what_is_wrong() -> None:
    with pytest.raises(codec.WrongShapeError, match="nonce: an integer expected, bytes found"):
        codec.unsigned(b"1", "nonce")
    with pytest.raises(codec.WrongShapeError, match="nonce: -1 is not between 0 and"):
        codec.unsigned(-1, "nonce")
    with pytest.raises(codec.WrongShapeError, match="nonce: 8 is not between 0 and 7"):
        codec.unsigned(8, "nonce", value_max=7)
    with pytest.raises(codec.WrongShapeError, match="key: 32 bytes expected, 31 found"):
        codec.octets(bytes(31), "key", length=32)
    with pytest.raises(codec.WrongShapeError, match="key: at most 3 bytes expected, 4 found"):
        codec.octets(bytes(4), "key", length_max=3)
    with pytest.raises(codec.WrongShapeError, match="key: a byte string expected, NoneType found"):
        codec.octets(None, "key")
    with pytest.raises(codec.WrongShapeError, match="items: 2 items expected, 1 found"):
        codec.array((1,), "items", length=2)
    with pytest.raises(codec.WrongShapeError, match="items: at most 1 items expected, 2 found"):
        codec.array((1, 2), "items", length_max=1)
    with pytest.raises(codec.WrongShapeError, match="items: an array expected, int found"):
        codec.array(5, "items")


def test_readers_return_what_fits() -> None:
    assert codec.unsigned(2**64 - 1, "x") == 2**64 - 1
    assert codec.octets(b"ab", "x", length=2) == b"ab"
    assert codec.array((1, None), "x", length=2) == (1, None)


def test_every_refusal_blames_the_sender() -> None:
    for kind in (codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError):
        assert issubclass(kind, RemoteProtocolError)
        assert kind.penalty > 0
