"""What simplex validators sign, and everything about it that needs no engine.

Bodies are canonical arrays:

* notarize `[1, view, parent view, height, digest]`
* nullify `[2, view]`
* finalize `[3, view, parent view, height, digest]`

A certificate over a notarize body is a notarization, over a nullify body a nullification, over a
finalize body a finalization. Slots: notarize is ("n", view); nullify and finalize share ("f",
view), so "no correct validator sends both" (eprint 2023/463, §2) is one rule with "no two of a
kind".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from p2pnode import codec, crypto
from p2pnode.consensus.certs import CertScheme
from p2pnode.consensus.engine import (
    Claim,
    Digest,
    Epoch,
    Item,
    Key,
    MalformedItemError,
    Signed,
)

BODY_BYTES_MAX = 96
"""Largest body: five items, a digest among them."""


class Kind(IntEnum):
    """What a vote says; also names the certificate that a quorum of it makes."""

    NOTARIZE = 1
    NULLIFY = 2
    FINALIZE = 3


class WrongProofError(MalformedItemError):
    """A proof is a valid certificate of something else."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A payload in a place."""

    view: int
    parent: int
    """View of the parent; the floor of the epoch is view 0."""

    height: int
    digest: Digest
    """SHA-256 of the payload, 32 bytes."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """A decoded body."""

    kind: Kind
    view: int
    proposal: Proposal | None
    """None in a nullify."""


def notarize(proposal: Proposal) -> bytes:
    """Return the body "this is the first proposal I saw in its view, and I checked it"."""
    return _encode(Kind.NOTARIZE, proposal)


def finalize(proposal: Proposal) -> bytes:
    """Return the body "this is notarized, and I did not and shall not nullify its view"."""
    return _encode(Kind.FINALIZE, proposal)


def nullify(view: int) -> bytes:
    """Return the body "I did not and shall not finalize anything in this view"."""
    return codec.encode((int(Kind.NULLIFY), view))


def _encode(kind: Kind, proposal: Proposal) -> bytes:
    return codec.encode(
        (int(kind), proposal.view, proposal.parent, proposal.height, proposal.digest)
    )


def decode_body(body: bytes) -> Ballot:
    """Decode what a validator signed.

    Raises:
        RemoteProtocolError: Not a body.
    """
    items = codec.array(codec.decode(body, size_bytes_max=BODY_BYTES_MAX), "body", length_max=5)
    if not items:
        raise MalformedItemError("an empty body")
    kind = codec.unsigned(items[0], "kind of vote", value_max=3)
    if kind == Kind.NULLIFY:
        _, view = codec.array(items, "nullify", length=2)
        return Ballot(Kind.NULLIFY, _view(view), None)
    if kind == 0:
        raise MalformedItemError("a vote of kind 0")
    _, view, parent, height, digest = codec.array(items, "vote", length=5)
    number = _view(view)
    return Ballot(
        Kind(kind),
        number,
        Proposal(
            number,
            # A parent is older than its child: nothing else needs to be followed or refused later.
            codec.unsigned(parent, "parent view", value_max=number - 1),
            codec.unsigned(height, "height"),
            codec.octets(digest, "digest", length=crypto.DIGEST_BYTES),
        ),
    )


def _view(value: codec.Value) -> int:
    view = codec.unsigned(value, "view", value_max=(1 << 63) - 1)
    if view == 0:
        raise MalformedItemError("a vote in view 0, which is final by definition")
    return view


def slots(body: bytes) -> dict[Key, bytes]:
    """Return what a body commits its signer to (Engine.slots)."""
    ballot = decode_body(body)
    if ballot.kind is Kind.NOTARIZE:
        return {("n", ballot.view): body}
    return {("f", ballot.view): b"" if ballot.kind is Kind.NULLIFY else body}


def position(body: bytes) -> tuple[int]:
    """Return the view of a body (Engine.position)."""
    return (decode_body(body).view,)


def claims(item: Item, epoch: Epoch) -> list[Claim]:
    """List the signatures inside an item (Engine.claims)."""
    if isinstance(item, Signed):
        decode_body(item.body)
        if not 0 <= item.sender < len(epoch.validators):
            raise MalformedItemError(f"signer {item.sender} of {len(epoch.validators)} validators")
        return [Claim(item.sender, item.body, item.sig)]
    certificate = CertScheme(epoch).decode(item)
    decode_body(certificate.body)
    return certificate.claims()


def proven(proof: bytes, epoch: Epoch) -> Proposal:
    """Return what a finalization finalizes; its signatures are not verified here.

    Raises:
        RemoteProtocolError: Not a finalization of this epoch's validators.
    """
    ballot = decode_body(CertScheme(epoch).decode(proof).body)
    if ballot.kind is not Kind.FINALIZE or ballot.proposal is None:
        raise WrongProofError(f"a certificate of kind {ballot.kind.name} proves nothing final")
    return ballot.proposal


def verify_proof(proof: bytes, epoch: Epoch, height: int, digest: Digest) -> list[Claim]:
    """Return the claims that make `digest` final at `height` (Engine.verify_proof)."""
    proposal = proven(proof, epoch)
    if (proposal.height, proposal.digest) != (height, digest):
        raise WrongProofError(
            f"a proof of height {proposal.height}, {proposal.digest.hex()[:8]}, "
            f"instead of height {height}, {digest.hex()[:8]}"
        )
    if not epoch.first_height <= height <= epoch.last_height:
        raise WrongProofError(
            f"height {height} is outside the epoch's {epoch.first_height}…{epoch.last_height}"
        )
    return CertScheme(epoch).decode(proof).claims()
