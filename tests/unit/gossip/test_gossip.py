"""Names, frames, verdicts on frames, and packing."""

from __future__ import annotations

import pytest

from p2pnode import codec, ports
from p2pnode.crypto import SecretKey
from p2pnode.gossip import topics
from p2pnode.gossip.frames import (
    FRAME_BYTES_MAX,
    FRAME_TRANSACTIONS_MAX,
    EmptyFrameError,
    decode_frame,
    encode_frame,
)
from p2pnode.gossip.packer import PACK_BYTES, Packer
from p2pnode.gossip.validation import Judgement, judge_transactions
from p2pnode.types.transaction import Transaction, Transfer, sign_transaction

MS = 1_000_000


def transaction(seed: bytes = bytes(32)) -> Transaction:
    return sign_transaction(
        SecretKey(seed),
        bytes(32),
        nonce=0,
        last_valid_height=1,
        fee_limit=0,
        actions=(Transfer(0, bytes(32), 1),),
    )


# --- topics ---------------------------------------------------------------------------------------


def test_transaction_topics_are_numbered():
    assert [topics.transaction_topic(i) for i in (0, 3)] == ["tx/0", "tx/3"]


@pytest.mark.parametrize(("nodes", "count"), [(1, 1), (16, 1), (17, 4), (64, 4), (65, 16)])
def test_small_networks_use_one_transaction_topic(nodes, count):
    assert topics.transaction_topics_count(nodes) == count


def test_a_sender_has_one_topic_and_senders_spread():
    indices = [topics.transaction_topic_index(bytes(7) + bytes([i]) * 25, 4) for i in range(8)]
    assert indices == [0, 1, 2, 3, 0, 1, 2, 3]


# --- frames ---------------------------------------------------------------------------------------


def test_a_frame_gives_back_its_transactions_in_order():
    raws = (b"a" * 200, b"b" * 4096, b"c")
    assert decode_frame(encode_frame(raws)) == raws


def test_an_empty_frame_is_refused():
    with pytest.raises(EmptyFrameError):
        decode_frame(codec.encode([]))


def test_frames_are_bounded_in_transactions():
    assert len(decode_frame(codec.encode([b"x"] * FRAME_TRANSACTIONS_MAX))) == 1024
    with pytest.raises(codec.WrongShapeError, match="at most 1024 items expected, 1025 found"):
        decode_frame(codec.encode([b"x"] * (FRAME_TRANSACTIONS_MAX + 1)))


def test_frames_are_bounded_in_bytes_before_they_are_decoded():
    with pytest.raises(codec.EncodingTooLargeError) as caught:
        decode_frame(b"\xff" * (FRAME_BYTES_MAX + 1))
    assert (caught.value.size_bytes, caught.value.size_bytes_max) == (102401, 102400)


def test_transactions_in_a_frame_are_bounded():
    with pytest.raises(codec.WrongShapeError, match="4096 bytes expected, 4097 found"):
        decode_frame(codec.encode([bytes(4097)]))


# --- validation -----------------------------------------------------------------------------------


def test_a_frame_of_transactions_is_accepted_whoever_signed_them():
    good = transaction()
    forged = good.raw[:-64] + bytes(64)
    assert judge_transactions(encode_frame([good.raw, forged]), len) is Judgement.ACCEPT


def test_what_is_mostly_of_no_use_is_kept_and_not_forwarded():
    many = [transaction(bytes([n]) * 32) for n in range(3)]
    frame = encode_frame([t.raw for t in many])
    for good, judgement in ((0, Judgement.KEEP), (1, Judgement.KEEP), (2, Judgement.ACCEPT)):
        assert (
            judge_transactions(frame, lambda found, good=good: sum(t in many[:good] for t in found))
            is judgement
        )


def test_a_frame_with_something_else_is_rejected():
    frame = encode_frame([transaction().raw, b"not a transaction"])
    assert judge_transactions(frame, len) is Judgement.REJECT


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        codec.encode([]),
        codec.encode(b"x"),
        codec.encode([1]),
        codec.encode([[b"x"]]),
        codec.encode([bytes(4097)]),
        codec.encode([b"x"]) + b"\0",
        b"\x9f\x41x\xff",
        codec.encode([b"x"] * 1025),
        codec.encode([bytes(4096)] * 25),
    ],
)
def test_what_is_no_frame_is_rejected(data):
    assert judge_transactions(data, len) is Judgement.REJECT


def test_judgements_are_the_ports_verdicts():
    assert {j.name: j.value for j in Judgement} == {v.name: v.value for v in ports.Verdict}


# --- packing --------------------------------------------------------------------------------------


def test_a_pack_leaves_when_its_first_transaction_waited_long_enough():
    p = Packer(20 * MS)
    assert p.next_ns is None
    assert p.add(5 * MS, b"a") is None
    assert p.add(15 * MS, b"b") is None
    assert p.next_ns == 25 * MS
    assert p.due(25 * MS - 1) is None
    assert p.due(25 * MS) == (b"a", b"b")
    assert p.next_ns is None
    assert p.due(100 * MS) is None


def test_a_pack_leaves_at_once_when_it_is_full():
    p = Packer(20 * MS)
    raw = bytes(1000)
    packs = [p.add(0, raw) for _ in range(30)]
    assert packs[:-1] == [None] * 29
    assert packs[-1] == (raw,) * 30
    assert p.statistics().pending_bytes == 0
    assert PACK_BYTES == 30_000


def test_the_wait_begins_with_the_first_transaction_of_each_pack():
    p = Packer(20 * MS)
    p.add(0, b"a")
    p.due(20 * MS)
    p.add(30 * MS, b"b")
    assert p.next_ns == 50 * MS


def test_the_largest_pack_fits_a_frame():
    for raw in (bytes(4096), b"x"):
        p = Packer(20 * MS)
        pack = None
        while pack is None:
            pack = p.add(0, raw)
        assert decode_frame(encode_frame(pack)) == pack


def test_flushing_gives_what_waits():
    p = Packer(20 * MS)
    assert p.flush() is None
    p.add(0, b"a")
    assert p.flush() == (b"a",)
    assert p.statistics().packs_count == p.statistics().transactions_count == 1
