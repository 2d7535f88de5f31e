"""Node records: where a node is reached and what it does, signed by the key of its peer id.

A node signs one record for each scope, so that its private addresses can be passed on among those
who can use them without being told to the world. Of the records of a peer and scope the one with
the greatest sequence counts; a sequence is the wall clock at signing, so that a record says itself
how old it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from p2pnode import codec
from p2pnode.crypto import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    SecretKey,
    peer_id_of,
    signing_hash,
    verify,
)
from p2pnode.errors import RemoteProtocolError

VERSION: Final = 1

KIND: Final = "record"
"""Kind in the signing hash; the epoch is 0."""

ADDRESSES_MAX: Final = 8
"""Addresses in a record."""

ADDRESS_CHARS_MAX: Final = 128
"""Longest multiaddr in a record."""

RECORD_BYTES_MAX: Final = 1280
"""Longest signed record: 8 addresses, a key, a signature, and the heads of the items."""

LIFE_MS: Final = 3_600_000
"""A record older than this is neither dialled nor passed on."""

CLOCKS_APART_MS: Final = 600_000
"""How far the clocks of two honest nodes may be apart."""


class Scope(IntEnum):
    """From where an address can be reached; a wider scope is a smaller number."""

    WORLD = 0
    """From everywhere."""
    PRIVATE = 1
    """From networks that do not forward to the world: 10/8, 192.168/16, 100.64/10, fc00::/7 …"""
    HOST = 2
    """From the same machine: loopback."""


class Role(IntFlag):
    """What a node does."""

    VALIDATOR = 1
    EXECUTOR = 2
    LIGHT = 4
    BOOTSTRAP = 8


ROLES_MAX: Final = (1 << 16) - 1
"""Bits for roles; those without a name are kept and mean nothing."""


class BadRecordError(RemoteProtocolError):
    """A record that nobody can have signed like this."""

    penalty = 25.0


class NewerRecordError(RemoteProtocolError):
    """A record of a version that nodes of today do not know, which is nobody's fault."""

    penalty = 0.0

    def __init__(self, version: int) -> None:
        super().__init__(f"record of version {version}, {VERSION} is the newest known here")
        self.version = version


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """What a node says of itself."""

    public_key: bytes
    """Ed25519, 32 bytes; the peer id follows from it."""
    scope: Scope
    """Whom it may be told to: peers connected within this scope or a narrower one."""
    sequence: int
    """Milliseconds since 1970 at signing; grows with every record of the node."""
    roles: int
    """Bits of `Role`."""
    addresses: tuple[str, ...]
    """Multiaddrs without /p2p/, the nearest first."""

    @property
    def peer(self) -> bytes:
        """The peer id, 38 bytes."""
        return peer_id_of(self.public_key)

    def encode(self) -> bytes:
        """Return the body that is signed."""
        addresses = [address.encode("ascii") for address in self.addresses]
        return codec.encode(
            [VERSION, self.public_key, int(self.scope), self.sequence, self.roles, addresses]
        )

    def is_current(self, wall_ms: int) -> bool:
        """Tell whether others should still, or already, believe it."""
        return wall_ms - LIFE_MS <= self.sequence <= wall_ms + CLOCKS_APART_MS

    def is_stale(self, wall_ms: int) -> bool:
        """Tell whether nobody whose clock is right would have passed it on."""
        oldest_ms = wall_ms - LIFE_MS - CLOCKS_APART_MS
        return not oldest_ms <= self.sequence <= wall_ms + 2 * CLOCKS_APART_MS


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A record with its signature, which `check_record` has yet to find right if it is not ours."""

    record: NodeRecord
    signature: bytes
    """Ed25519 over the signing hash of the body, 64 bytes."""
    raw: bytes
    """What is sent: the array of body and signature."""


def sign_record(key: SecretKey, chain: bytes, record: NodeRecord) -> SignedRecord:
    """Sign a record of our own."""
    assert key.public == record.public_key
    assert len(record.addresses) <= ADDRESSES_MAX, len(record.addresses)
    body = record.encode()
    signature = key.sign(signing_hash(chain, KIND, 0, body))
    return SignedRecord(record, signature, codec.encode([body, signature]))


def check_record(signed: SignedRecord, chain: bytes) -> None:
    """Check the signature.

    Raises:
        BadRecordError: It is wrong, or made for another chain.
    """
    record = signed.record
    # Decoding admits one encoding only, so that this one is the one that was signed.
    signed_hash = signing_hash(chain, KIND, 0, record.encode())
    if not verify(record.public_key, signed_hash, signed.signature):
        raise BadRecordError(f"the record of {record.public_key.hex()[:16]}… has a wrong signature")


def decode_record(raw: bytes) -> SignedRecord:
    """Return the record in these bytes, its signature unchecked.

    Raises:
        NewerRecordError: Of a later version; all that is known of it is the array of body and
            signature, and that the version comes first in the body.
        RemoteProtocolError: Not a record.
    """
    raw_body, raw_signature = codec.array(
        codec.decode(raw, size_bytes_max=RECORD_BYTES_MAX), "signed record", length=2
    )
    body = codec.octets(raw_body, "record")
    value = codec.decode(body, size_bytes_max=RECORD_BYTES_MAX)
    version = codec.unsigned(next(iter(codec.array(value, "record")), 0), "version")
    if version > VERSION:
        raise NewerRecordError(version)
    items = codec.array(value, "record", length=6)
    if version != VERSION:
        raise BadRecordError(f"record of version {version}, {VERSION} expected")
    signature = codec.octets(raw_signature, "signature", length=SIGNATURE_BYTES)
    record = NodeRecord(
        public_key=codec.octets(items[1], "public key", length=PUBLIC_KEY_BYTES),
        scope=Scope(codec.unsigned(items[2], "scope", value_max=max(Scope))),
        sequence=codec.unsigned(items[3], "sequence"),
        roles=codec.unsigned(items[4], "roles", value_max=ROLES_MAX),
        addresses=tuple(
            _address(item) for item in codec.array(items[5], "addresses", length_max=ADDRESSES_MAX)
        ),
    )
    return SignedRecord(record, signature, raw)


def _address(value: codec.Value) -> str:
    text = codec.octets(value, "address", length_max=ADDRESS_CHARS_MAX)
    if not text.isascii():
        raise BadRecordError("an address is not ASCII")
    return text.decode("ascii")
