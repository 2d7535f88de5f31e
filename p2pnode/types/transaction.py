"""Transactions: COSE_Sign1 envelopes around a canonical payload.

Exactly one encoding of a signed transaction is valid (docs/wire.md, "Transaction"):

    d2 84 43 a10127 a0 <bstr payload> 58 40 <signature>

and the id is the SHA-256 of its Sig_structure, which no re-encoding of the envelope changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from p2pnode import codec, crypto
from p2pnode.errors import RemoteProtocolError

VERSION: Final = 1
"""Version of the payload's layout."""

SIZE_BYTES_MAX: Final = 4096
"""Largest envelope; a transfer of one action is about 200 bytes."""

ACTIONS_MAX: Final = 16
"""Most actions in one transaction."""

AMOUNT_MAX: Final = (1 << 128) - 1
"""Amounts and fee limits are below 2^128."""

ACTION_TRANSFER: Final = 1
"""Code of the action `[1, asset, to, amount]`."""

DECODED_MAX: Final = 2048
"""Decoded transactions remembered: some seconds' worth."""

_HEAD: Final = bytes.fromhex("d28443a10127a0")
_SIGNATURE_HEAD: Final = b"\x58\x40"
_SIG_STRUCTURE_HEAD: Final = b"\x84\x6aSignature1\x43\xa1\x01\x27\x40"


class MalformedTransactionError(RemoteProtocolError):
    """The bytes are not the one valid encoding of a transaction."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """The action `[1, asset, to, amount]`: move `amount` of `asset` from the sender to `to`."""

    asset: int
    """Number of the asset; 0 pays fees."""
    to: bytes
    """Receiver's address, 32 bytes."""
    amount: int
    """0 ≤ amount < 2^128."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A decoded transaction together with its bytes."""

    raw: bytes
    """The whole envelope, at most `SIZE_BYTES_MAX` bytes."""
    id: bytes
    """SHA-256 of the Sig_structure, 32 bytes."""
    chain: bytes
    """Chain id it is meant for, 32 bytes."""
    sender_key: bytes
    """Ed25519 public key, 32 bytes."""
    sender: bytes
    """Address: SHA-256 of the public key, 32 bytes."""
    nonce: int
    """Number of the sender's transactions before this one."""
    last_valid_height: int
    """Expired in blocks above this height."""
    fee_limit: int
    """Most it may cost, in asset 0."""
    actions: tuple[Transfer, ...]
    """What it does, in order; all or nothing."""
    signed: bytes
    """The Sig_structure, which the signature covers."""
    signature: bytes
    """Ed25519 signature, 64 bytes."""


def encode_payload(
    chain: bytes,
    sender_key: bytes,
    nonce: int,
    last_valid_height: int,
    fee_limit: int,
    actions: tuple[Transfer, ...],
) -> bytes:
    """Return the canonical payload that a sender signs."""
    return codec.encode(
        [
            VERSION,
            chain,
            sender_key,
            nonce,
            last_valid_height,
            fee_limit,
            [[ACTION_TRANSFER, a.asset, a.to, a.amount] for a in actions],
        ]
    )


def sign_transaction(
    key: crypto.SecretKey,
    chain: bytes,
    *,
    nonce: int,
    last_valid_height: int,
    fee_limit: int,
    actions: tuple[Transfer, ...],
) -> Transaction:
    """Make and sign a transaction.

    Args:
        key: The sender's key.
        chain: Chain id, 32 bytes.
        nonce: The sender's next nonce.
        last_valid_height: Last height it may execute at.
        fee_limit: Most it may cost, in asset 0.
        actions: 1 to `ACTIONS_MAX` transfers.

    Returns:
        The transaction, as `decode_transaction` would return it.

    Raises:
        MalformedTransactionError: The parts don't make a valid transaction.
    """
    payload = encode_payload(chain, key.public, nonce, last_valid_height, fee_limit, actions)
    signature = key.sign(_sig_structure(payload))
    return decode_transaction(_HEAD + _bstr(payload) + _SIGNATURE_HEAD + signature)


@lru_cache(maxsize=DECODED_MAX)
def decode_transaction(raw: bytes) -> Transaction:
    """Decode an envelope strictly; its signature is not checked here.

    A node meets an envelope several times within a second (the message it is published in, the
    pool, its batch): the newest are decoded once, and all who hold one share it.

    Args:
        raw: The whole envelope.

    Returns:
        The transaction.

    Raises:
        MalformedTransactionError: Any deviation from the one valid encoding, or a field out of
        range.
    """
    if len(raw) > SIZE_BYTES_MAX:
        raise MalformedTransactionError(
            f"transaction of {len(raw)} bytes, at most {SIZE_BYTES_MAX} allowed"
        )
    if not raw.startswith(_HEAD):
        raise MalformedTransactionError(
            f"envelope starts with {raw[:7].hex()}, not {_HEAD.hex()}"
            " (tag 18, EdDSA, no other header)"
        )
    cut = len(raw) - crypto.SIGNATURE_BYTES - 2
    payload_head = _bstr_head(raw)
    payload = raw[len(_HEAD) + payload_head : cut]
    if (
        raw[cut : cut + 2] != _SIGNATURE_HEAD
        or _bstr(payload) != raw[len(_HEAD) : cut]
        or len(raw) < len(_HEAD) + 1 + 2 + crypto.SIGNATURE_BYTES
    ):
        raise MalformedTransactionError("envelope is not <bstr payload> 58 40 <64-byte signature>")
    try:
        return _from_payload(raw, payload, raw[cut + 2 :])
    except (codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError) as error:
        raise MalformedTransactionError(f"payload: {error}") from None


def _from_payload(raw: bytes, payload: bytes, signature: bytes) -> Transaction:
    fields = codec.array(codec.decode(payload, size_bytes_max=SIZE_BYTES_MAX), "payload", length=7)
    version, chain, sender_key, nonce, last_valid_height, fee_limit, actions = fields
    if codec.unsigned(version, "version") != VERSION:
        raise MalformedTransactionError(f"version {version!r}, this node knows {VERSION}")
    items = codec.array(actions, "actions", length_max=ACTIONS_MAX)
    if not items:
        raise MalformedTransactionError("no action")
    signed = _sig_structure(payload)
    public = codec.octets(sender_key, "sender key", length=crypto.PUBLIC_KEY_BYTES)
    return Transaction(
        raw=raw,
        id=crypto.sha256(signed),
        chain=codec.octets(chain, "chain", length=32),
        sender_key=public,
        sender=crypto.address_of(public),
        nonce=codec.unsigned(nonce, "nonce"),
        last_valid_height=codec.unsigned(last_valid_height, "last valid height"),
        fee_limit=codec.unsigned(fee_limit, "fee limit", value_max=AMOUNT_MAX),
        actions=tuple(_transfer(item) for item in items),
        signed=signed,
        signature=signature,
    )


def _transfer(value: codec.Value) -> Transfer:
    code, asset, to, amount = codec.array(value, "action", length=4)
    if codec.unsigned(code, "action code") != ACTION_TRANSFER:
        raise MalformedTransactionError(f"action code {code!r} is unknown; 1 is a transfer")
    return Transfer(
        asset=codec.unsigned(asset, "asset", value_max=(1 << 32) - 1),
        to=codec.octets(to, "receiver", length=32),
        amount=codec.unsigned(amount, "amount", value_max=AMOUNT_MAX),
    )


def _bstr(data: bytes) -> bytes:
    return codec.encode(data)


def _bstr_head(raw: bytes) -> int:
    """Return how many bytes the head of the payload's byte string takes; 0 where there is none."""
    initial = raw[len(_HEAD)] if len(raw) > len(_HEAD) else 0
    return {0x58: 2, 0x59: 3}.get(initial, 1)


def _sig_structure(payload: bytes) -> bytes:
    """Return `["Signature1", protected, external_aad = empty, payload]` (RFC 9052 §4.4)."""
    return _SIG_STRUCTURE_HEAD + _bstr(payload)
