"""Payloads and blocks: what a proposer proposes, and a finalized payload in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pnode import codec, crypto

VERSION: Final = 1
SIZE_BYTES_MAX: Final = 4096
ITEMS_MAX: Final = 64

EVIDENCE_MAX: Final = 8
"""Most items that are evidence: with their statements, of up to 17 KiB each, a block must fit into
one answer to a node that catches up."""


@dataclass(frozen=True, slots=True)
class Payload:
    """The digests a proposer wants ordered; at most 4 KiB however many transactions they are."""

    chain: bytes
    """Chain id, 32 bytes."""
    epoch: int
    height: int | None
    """Height it is meant for; None where the engine decides it later (a DAG)."""
    parent: bytes | None
    """Digest of the parent payload, 32 bytes; None in a DAG."""
    proposer: int
    """Index in the epoch's validator set."""
    time_ms: int
    """Proposer's clock, milliseconds since 1970."""
    reveal: bytes
    """Next preimage of the proposer's registered hash chain, or empty."""
    validators_hash: bytes
    """Hash of this epoch's validator set, 32 bytes."""
    next_validators_hash: bytes
    """Hash of the next epoch's validator set, 32 bytes."""
    items: tuple[bytes, ...]
    """Digests of statements, 32 bytes each, at most 64."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return codec.encode(
            [
                VERSION,
                self.chain,
                self.epoch,
                self.height,
                self.parent,
                self.proposer,
                self.time_ms,
                self.reveal,
                self.validators_hash,
                self.next_validators_hash,
                self.items,
            ]
        )


def digest_of(payload: bytes) -> bytes:
    """Return what engines order: SHA-256 of the payload's bytes, 32 bytes."""
    return crypto.sha256(payload)


def decode_payload(data: bytes) -> Payload:
    """Decode a payload's bytes.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    fields = codec.array(codec.decode(data, size_bytes_max=SIZE_BYTES_MAX), "payload", length=11)
    version = codec.unsigned(fields[0], "version")
    if version != VERSION:
        raise codec.WrongShapeError(f"payload version {version}, this node knows {VERSION}")
    items = codec.array(fields[10], "items", length_max=ITEMS_MAX)
    return Payload(
        chain=codec.octets(fields[1], "chain", length=32),
        epoch=codec.unsigned(fields[2], "epoch"),
        height=None if fields[3] is None else codec.unsigned(fields[3], "height"),
        parent=None if fields[4] is None else codec.octets(fields[4], "parent", length=32),
        proposer=codec.unsigned(fields[5], "proposer", value_max=65535),
        time_ms=codec.unsigned(fields[6], "time"),
        reveal=codec.octets(fields[7], "reveal", length_max=32),
        validators_hash=codec.octets(fields[8], "validators hash", length=32),
        next_validators_hash=codec.octets(fields[9], "next validators hash", length=32),
        items=tuple(codec.octets(item, "item", length=32) for item in items),
    )


@dataclass(frozen=True, slots=True)
class Block:
    """A finalized payload with its place in the chain."""

    height: int
    hash: bytes
    """The payload's digest, 32 bytes."""
    payload: bytes
    """The payload's bytes."""
    time_ms: int
    """max(parent's time + 1, payload's time)."""
    view: tuple[int, ...]
    """The engine's position it was finalized in, for people."""
    proof: bytes
    """The engine's proof of it, or empty where a later block's proof covers it by parent links."""

    def encode(self) -> bytes:
        """Return the bytes in which blocks are stored and served to peers that catch up."""
        return codec.encode([self.height, self.payload, self.time_ms, self.view, self.proof])


def decode_block(data: bytes) -> Block:
    """Decode what `Block.encode` gave; nothing is verified."""
    fields = codec.array(codec.decode(data, size_bytes_max=65536), "block", length=5)
    body = codec.octets(fields[1], "payload", length_max=SIZE_BYTES_MAX)
    view = codec.array(fields[3], "view", length_max=4)
    return Block(
        height=codec.unsigned(fields[0], "height"),
        hash=digest_of(body),
        payload=body,
        time_ms=codec.unsigned(fields[2], "time"),
        view=tuple(codec.unsigned(v, "view") for v in view),
        proof=codec.octets(fields[4], "proof", length_max=32768),
    )
