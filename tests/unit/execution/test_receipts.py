from __future__ import annotations

from dataclasses import replace

import pytest

from p2pnode import codec, crypto
from p2pnode.execution.receipts import (
    EMPTY_ROOT,
    KIND_FEES,
    KIND_REFUND,
    KIND_TRANSFER,
    RECEIPTS_MAX,
    Receipt,
    decode_outbox,
    encode_outbox,
    outbox_root,
    sums_of,
)

LOW, HIGH = b"\x01" * 32, b"\x02" * 32
FEES = Receipt(KIND_FEES, b"", 3, b"", 0, 9)
MOVE = Receipt(KIND_TRANSFER, LOW, 1, HIGH, 7, (1 << 128) - 1)
REFUND = Receipt(KIND_REFUND, LOW, 2, b"", 0, 1)


def test_an_outbox_survives_its_encoding() -> None:
    for outbox in ((), (FEES,), (FEES, MOVE, REFUND)):
        assert decode_outbox(encode_outbox(outbox)) == outbox
    assert encode_outbox(()) == b""


def test_the_root_is_over_the_receipts_in_order() -> None:
    assert outbox_root((FEES, MOVE)) == crypto.merkle_root([FEES.encode(), MOVE.encode()])
    assert outbox_root(()) == EMPTY_ROOT == crypto.sha256(b"")


def test_sums_are_by_asset() -> None:
    assert sums_of((FEES, REFUND, replace(MOVE, amount=5))) == {0: 10, 7: 5}


@pytest.mark.parametrize(
    "receipts",
    [
        (MOVE, FEES),
        (REFUND, MOVE),
        (FEES, FEES),
        (replace(FEES, amount=0),),
        (replace(FEES, receiver=LOW),),
        (replace(MOVE, receiver=b""),),
        (replace(MOVE, receiver=LOW[:31]),),
        (replace(MOVE, sender=b""),),
        (replace(REFUND, sender=HIGH),),
        (replace(FEES, kind=0),),
        (replace(FEES, kind=4),),
        (replace(MOVE, asset=1 << 32),),
    ],
)
def test_an_outbox_with_a_wrong_receipt_or_order_is_refused(receipts: tuple[Receipt, ...]) -> None:
    with pytest.raises(codec.WrongShapeError):
        decode_outbox(encode_outbox(receipts))


def test_an_outbox_has_one_encoding_and_a_limit() -> None:
    with pytest.raises(codec.WrongShapeError):
        decode_outbox(b"\x80")
    many = tuple(replace(FEES, index=n) for n in range(RECEIPTS_MAX))
    with pytest.raises(codec.EncodingTooLargeError):
        decode_outbox(encode_outbox(many))
