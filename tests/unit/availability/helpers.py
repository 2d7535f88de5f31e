"""Validators with keys, and batches as a collator makes them."""

from __future__ import annotations

import dataclasses

from p2pnode import crypto
from p2pnode.availability.inline import InlineScheme
from p2pnode.types.batch import BatchHeader, encode_transactions
from p2pnode.types.genesis import Validator

CHAIN = bytes(31) + b"\x07"
SCHEME = InlineScheme()
KEYS = [crypto.SecretKey(bytes([i]) * 32) for i in range(1, 9)]
RAWS = [bytes([i]) * 200 for i in range(5)]


def validators(*powers: int) -> tuple[Validator, ...]:
    return tuple(
        Validator(KEYS[i].public, power, crypto.peer_id_of(KEYS[i].public))
        for i, power in enumerate(powers)
    )


def batch(
    raws: list[bytes] | None = None, *, collator: int = 0, **changes: object
) -> tuple[BatchHeader, bytes]:
    raws = RAWS if raws is None else raws
    data = encode_transactions(raws)
    encoded = SCHEME.encode(data)
    header = BatchHeader(
        chain=CHAIN,
        epoch=3,
        uid=1,
        collator=KEYS[collator].public,
        sequence=1,
        kind=1,
        tx_root=crypto.merkle_root(raws),
        scheme="inline",
        k=1,
        n=0,
        row_size=len(data),
        data_bytes=len(data),
        commitment=encoded.commitment,
    )
    return dataclasses.replace(header, **changes), data


def sign_header(header: BatchHeader, key: int = 0) -> bytes:
    return KEYS[key].sign(crypto.signing_hash(CHAIN, "batch", header.epoch, header.encode()))


def sign_stored(header: BatchHeader, key: int) -> bytes:
    return KEYS[key].sign(crypto.signing_hash(CHAIN, "stored", header.epoch, header.digest()))
