"""What travels between engines: votes and certificates, the signatures in them, their classes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from p2pnode import codec, crypto
from p2pnode.consensus.epoch import Index
from p2pnode.errors import RemoteProtocolError

SIGNED_BYTES_MAX: Final = 4096
"""Largest encoding of a Signed: bodies hold digests and numbers only."""


class Interest(Enum):
    """What an engine wants done with an item whose signatures nobody has checked yet."""

    DROP = 0
    """Stale, already known, or outside the window: spend no signature check."""

    DEFER = 1
    """Inside the bounded future window: keep it (bounded per sender), offer it again later."""

    NOW = 2
    """Verify its claims and hand it in."""


class TrafficClass(Enum):
    """What the transport should do with an item, and what overload may shed.

    The host picks a lane by it (`p2pnode.ports.Lane`).
    """

    VOTE = 0
    """Small, direct to every validator, never behind BULK."""

    CERT = 1
    """Idempotent; any holder may resend."""

    PROPOSAL = 2
    """A vote that needs its payload body beside it; the host attaches it."""

    BULK = 3
    """Answers to a summary."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An unsigned vote."""

    body: bytes
    """Canonical encoding, the engine's own; identical votes have identical bytes."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A vote with its signature over the host's signing hash of the body."""

    sender: Index
    """Who signed."""

    body: bytes
    """As in Draft."""

    sig: bytes
    """Ed25519 signature, 64 bytes."""


Item: TypeAlias = Signed | bytes
"""What travels between engines: a signed vote, or a certificate as bytes."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement to verify: key `signer` signed `body`. Signatures nested in certificates come
    out this way too.
    """

    signer: Index
    body: bytes
    sig: bytes


def encode_signed(item: Signed) -> bytes:
    """Return the canonical encoding `[sender, body, sig]` of a signed vote, as it travels and as
    the log keeps it.
    """
    return codec.encode((item.sender, item.body, item.sig))


def decode_signed(data: bytes) -> Signed:
    """Decode what `encode_signed` made.

    Raises:
        RemoteProtocolError: Not such an encoding.
    """
    sender, body, sig = codec.array(
        codec.decode(data, size_bytes_max=SIGNED_BYTES_MAX), "signed vote", length=3
    )
    return Signed(
        codec.unsigned(sender, "sender", value_max=(1 << 16) - 1),
        codec.octets(body, "body"),
        codec.octets(sig, "signature", length=crypto.SIGNATURE_BYTES),
    )


class MalformedItemError(RemoteProtocolError):
    """A vote, certificate or summary that no correct node makes."""
