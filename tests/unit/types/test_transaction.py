"""Transactions: one valid encoding, an id that no re-encoding changes, refusals that say why."""

from __future__ import annotations

from hashlib import sha256

import cbor2
import pytest

from p2pnode import codec, crypto
from p2pnode.types import transaction
from p2pnode.types.transaction import (
    ACTIONS_MAX,
    AMOUNT_MAX,
    SIZE_BYTES_MAX,
    MalformedTransactionError,
    Transfer,
    decode_transaction,
    sign_transaction,
)

KEY = crypto.SecretKey(bytes(range(32)))
CHAIN = bytes.fromhex("c4" * 32)
TO = bytes.fromhex("70" * 32)
HEAD = bytes.fromhex("d28443a10127a0")


def make(amount: int = 5, actions: tuple[Transfer, ...] | None = None) -> transaction.Transaction:
    return sign_transaction(
        KEY,
        CHAIN,
        nonce=3,
        last_valid_height=1000,
        fee_limit=20,
        actions=actions or (Transfer(0, TO, amount),),
    )


def sealed(payload: bytes) -> bytes:
    """Wrap and sign any payload, valid or not."""
    signed = b"\x84\x6aSignature1\x43\xa1\x01\x27\x40" + codec.encode(payload)
    return HEAD + codec.encode(payload) + b"\x58\x40" + KEY.sign(signed)


def payload(**changes: codec.Encodable) -> bytes:
    parts: dict[str, codec.Encodable] = {
        "version": 1,
        "chain": CHAIN,
        "key": KEY.public,
        "nonce": 3,
        "height": 1000,
        "fee": 20,
        "actions": [[1, 0, TO, 5]],
    }
    return codec.encode(list((parts | changes).values()))


def test_a_transaction_reads_as_it_was_made() -> None:
    tx = make()
    assert decode_transaction(tx.raw) == tx
    assert (tx.chain, tx.sender_key, tx.nonce) == (CHAIN, KEY.public, 3)
    assert (tx.last_valid_height, tx.fee_limit) == (1000, 20)
    assert tx.actions == (Transfer(0, TO, 5),)
    assert tx.sender == sha256(KEY.public).digest()
    assert crypto.verify(tx.sender_key, tx.signed, tx.signature)
    assert tx.raw == sealed(payload())


def test_a_transfer_takes_about_two_hundred_bytes() -> None:
    assert len(make().raw) == 189


def test_the_id_is_the_hash_of_what_is_signed() -> None:
    tx = make()
    body = cbor2.loads(tx.raw).value[2]
    assert tx.signed == cbor2.dumps(["Signature1", b"\xa1\x01\x27", b"", body])
    assert tx.id == sha256(tx.signed).digest()


def test_a_changed_signature_does_not_change_the_id() -> None:
    tx = make()
    other = decode_transaction(tx.raw[:-1] + bytes([tx.raw[-1] ^ 1]))
    assert other.id == tx.id
    assert not crypto.verify(other.sender_key, other.signed, other.signature)


@pytest.mark.parametrize("amount", [0, 1, 2**64 - 1, 2**64, 2**127, AMOUNT_MAX])
def test_amounts_of_any_size_are_kept(amount: int) -> None:
    assert decode_transaction(make(amount).raw).actions[0].amount == amount


def test_several_actions_are_kept_in_order() -> None:
    actions = tuple(Transfer(asset, bytes([asset]) * 32, asset) for asset in range(ACTIONS_MAX))
    assert decode_transaction(make(actions=actions).raw).actions == actions


# --- other encodings of the same signed content --------------------------------------------------


def variants(tx: transaction.Transaction) -> dict[str, bytes]:
    """Re-encode a transaction as anyone without the key could."""
    raw = tx.raw
    body = cbor2.loads(raw).value[2]
    bstr = cbor2.dumps(body)
    tail = b"\x58\x40" + tx.signature
    assert raw == HEAD + bstr + tail
    return {
        "without tag": raw[1:],
        "wrong tag": b"\xd1" + raw[1:],
        "tag in two bytes": b"\xd8\x12" + raw[1:],
        "self-described": b"\xd9\xd9\xf7" + raw,
        "unprotected header": bytes.fromhex("d28443a10127") + b"\xa1\x01\x27" + bstr + tail,
        "kid in the unprotected header": bytes.fromhex("d28443a10127a10441aa") + bstr + tail,
        "kid in the protected header": bytes.fromhex("d28446a201270441aaa0") + bstr + tail,
        "content type in the protected header": bytes.fromhex("d28445a201270300a0") + bstr + tail,
        "protected header of a map": bytes.fromhex("d284a10127a0") + bstr + tail,
        "payload length in three bytes": HEAD
        + b"\x59"
        + len(body).to_bytes(2, "big")
        + body
        + tail,
        "payload length in five bytes": HEAD + b"\x5a" + len(body).to_bytes(4, "big") + body + tail,
        "signature length in three bytes": HEAD + bstr + b"\x59\x00\x40" + tx.signature,
        "protected length in two bytes": bytes.fromhex("d2845803a10127a0") + bstr + tail,
        "array length in two bytes": bytes.fromhex("d2980443a10127a0") + bstr + tail,
        "indefinite array": bytes.fromhex("d29f43a10127a0") + bstr + tail + b"\xff",
        "indefinite payload": HEAD + b"\x5f" + bstr + b"\xff" + tail,
        "indefinite unprotected map": bytes.fromhex("d28443a10127bfff") + bstr + tail,
        "detached payload": HEAD + b"\xf6" + tail,
        "trailing byte": raw + b"\x00",
        "fifth item": bytes.fromhex("d28543a10127a0") + bstr + tail + b"\xf6",
    }


VARIANTS = variants(make())
LENIENT = {
    name: data
    for name, data in VARIANTS.items()
    if name not in ("wrong tag", "trailing byte", "fifth item", "detached payload")
}


@pytest.mark.parametrize("name", VARIANTS)
def test_another_encoding_of_a_signed_transaction_is_refused(name: str) -> None:
    with pytest.raises(MalformedTransactionError):
        decode_transaction(VARIANTS[name])


@pytest.mark.parametrize("name", LENIENT)
def test_a_lenient_reader_would_take_another_encoding_for_the_same(name: str) -> None:
    decoded = cbor2.loads(LENIENT[name])
    while isinstance(decoded, cbor2.CBORTag):
        decoded = decoded.value
    assert (decoded[2], decoded[3]) == (cbor2.loads(make().raw).value[2], make().signature)


# --- payloads ------------------------------------------------------------------------------------

TRANSFER: codec.Encodable = [1, 0, TO, 5]

BAD_PAYLOADS: dict[str, tuple[bytes, str]] = {
    "version 2": (payload(version=2), "version 2, this node knows 1"),
    "version as bytes": (payload(version=b"\1"), "version: an integer expected"),
    "short chain id": (payload(chain=CHAIN[1:]), "chain: 32 bytes expected, 31 found"),
    "short key": (payload(key=KEY.public[1:]), "sender key: 32 bytes expected, 31 found"),
    "negative nonce": (payload(nonce=-1), "nonce: -1"),
    "nonce of 65 bits": (payload(nonce=1 << 64), "nonce: 18446744073709551616"),
    "height of 65 bits": (payload(height=1 << 64), "last valid height"),
    "negative fee": (payload(fee=-1), "fee limit: -1"),
    "no action": (payload(actions=[]), "no action"),
    "actions as bytes": (payload(actions=b""), "actions: an array expected"),
    "too many actions": (payload(actions=[TRANSFER] * 17), "at most 16 items expected, 17"),
    "unknown action": (payload(actions=[[2, 0, TO, 5]]), "action code 2 is unknown"),
    "short action": (payload(actions=[[1, 0, TO]]), "action: 4 items expected, 3 found"),
    "asset of 33 bits": (payload(actions=[[1, 1 << 32, TO, 5]]), "asset: 4294967296"),
    "short receiver": (payload(actions=[[1, 0, TO[1:], 5]]), "receiver: 32 bytes expected"),
    "negative amount": (payload(actions=[[1, 0, TO, -5]]), "amount: -5"),
    "not an array": (codec.encode(7), "payload: an array expected, int found"),
    "six fields": (codec.encode([1, CHAIN, KEY.public, 3, 1000, 20]), "7 items expected, 6 found"),
    "amount of 129 bits": (
        payload().replace(b"\x05", bytes.fromhex("c25101") + bytes(16)),
        "2\\^128-1",
    ),
    "non-minimal nonce": (payload().replace(b"\x03\x19\x03\xe8", b"\x18\x03\x19\x03\xe8"), "canon"),
    "trailing byte": (payload() + b"\0", "canonical"),
    "not CBOR": (b"\xff", "not CBOR"),
    "nothing": (b"", "not CBOR"),
}


@pytest.mark.parametrize("name", BAD_PAYLOADS)
def test_a_signed_but_wrong_payload_is_refused_with_the_reason(name: str) -> None:
    data, reason = BAD_PAYLOADS[name]
    assert data != payload()
    with pytest.raises(MalformedTransactionError, match=reason):
        decode_transaction(sealed(data))


def test_the_maker_refuses_what_readers_would() -> None:
    with pytest.raises(MalformedTransactionError, match="no action"):
        sign_transaction(KEY, CHAIN, nonce=0, last_valid_height=1, fee_limit=0, actions=())
    with pytest.raises(MalformedTransactionError, match="amount"):
        make(-1)


def test_a_transaction_over_the_limit_is_refused_by_its_size() -> None:
    with pytest.raises(MalformedTransactionError, match="4097 bytes, at most 4096"):
        decode_transaction(HEAD + bytes(SIZE_BYTES_MAX - 6))
    # Sixteen of the largest actions stay far below it.
    largest = tuple(Transfer((1 << 32) - 1, TO, AMOUNT_MAX) for _ in range(ACTIONS_MAX))
    assert len(make(actions=largest).raw) < SIZE_BYTES_MAX / 3


@pytest.mark.parametrize("size", range(80))
def test_no_cut_of_a_transaction_is_one(size: int) -> None:
    raw = make().raw
    for part in (raw[:size], raw[: len(raw) - size - 1], HEAD + raw[len(raw) - size :]):
        with pytest.raises(MalformedTransactionError):
            decode_transaction(part)
