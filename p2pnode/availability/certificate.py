"""Batch certificates: which signatures make one, and what has to be checked about one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from p2pnode import crypto
from p2pnode.errors import RemoteProtocolError
from p2pnode.types.batch import BatchHeader, decode_batch_header
from p2pnode.types.genesis import Validator
from p2pnode.types.quorum import choose_signers, needless_signer, quorum_of_set
from p2pnode.types.statement import BatchCertificate, Evidence, SignerList

KIND_BATCH: Final = "batch"
"""Signing domain of a collator's signature over a header's bytes."""

KIND_STORED: Final = "stored"
"""Signing domain of a validator's signature over a header's digest."""

Claim: TypeAlias = tuple[bytes, bytes, bytes]
"""(public key, message, signature): what a verifier checks."""


class ForeignChainError(RemoteProtocolError):
    """A header or certificate is of another chain."""

    def __init__(self, chain: bytes, expected: bytes) -> None:
        super().__init__(f"of chain {chain.hex()[:16]}…, this one is {expected.hex()[:16]}…")
        self.chain = chain
        self.expected = expected


class UnknownSignerError(RemoteProtocolError):
    """A certificate names a signer outside the epoch's validator set."""

    def __init__(self, signer: int, validators_count: int) -> None:
        super().__init__(f"signer {signer}, the epoch has {validators_count} validators")
        self.signer = signer
        self.validators_count = validators_count


class SignersOrderError(RemoteProtocolError):
    """A certificate's signers are not strictly ascending, or not one signature each."""


class NotEnoughPowerError(RemoteProtocolError):
    """A certificate's signers have less voting power than a quorum."""

    def __init__(self, power: int, quorum: int) -> None:
        super().__init__(f"signers with power {power}, a quorum is {quorum}")
        self.power = power
        self.quorum = quorum


class NeedlessSignersError(RemoteProtocolError):
    """A certificate holds more signatures than needed: without one of them it is still a quorum."""

    def __init__(self, signer: int, power_without: int, quorum: int) -> None:
        super().__init__(
            f"signer {signer} is not needed: the others' power is {power_without}, "
            f"a quorum is {quorum}"
        )
        self.signer = signer
        self.power_without = power_without
        self.quorum = quorum


class NotEquivocationError(RemoteProtocolError):
    """Evidence that shows no offence."""


def pick_signers(
    signatures: Mapping[int, bytes], validators: Sequence[Validator]
) -> SignerList | None:
    """Choose a quorum out of collected signatures.

    Args:
        signatures: By validator index, verified.
        validators: The epoch's set.

    Returns:
        As few signers as make a quorum, ascending, none of them needless; None without a quorum.
    """
    powers = [v.power for v in validators]
    chosen = choose_signers(signatures, powers, quorum_of_set(validators))
    if chosen is None:
        return None
    return SignerList(chosen, tuple(signatures[i] for i in chosen))


def check_signers(signers: SignerList, validators: Sequence[Validator]) -> None:
    """Refuse a list of signers that is not exactly a quorum.

    Raises:
        SignersOrderError, UnknownSignerError, NotEnoughPowerError, NeedlessSignersError: It is not.
    """
    indices = signers.signers
    if len(indices) != len(signers.signatures):
        raise SignersOrderError(f"{len(indices)} signers, {len(signers.signatures)} signatures")
    for i in range(1, len(indices)):
        if indices[i] <= indices[i - 1]:
            raise SignersOrderError(f"signer {indices[i]} after {indices[i - 1]}")
    for signer in indices:
        if not 0 <= signer < len(validators):
            raise UnknownSignerError(signer, len(validators))
    quorum = quorum_of_set(validators)
    powers = [v.power for v in validators]
    power = sum(powers[i] for i in indices)
    if power < quorum:
        raise NotEnoughPowerError(power, quorum)
    needless = needless_signer(indices, powers, quorum)
    if needless is not None:
        raise NeedlessSignersError(needless, power - powers[needless], quorum)


def header_claim(header: BatchHeader, signature: bytes, chain: bytes) -> Claim:
    """Return what to verify about a collator's signature."""
    message = crypto.signing_hash(chain, KIND_BATCH, header.epoch, header.encode())
    return header.collator, message, signature


def stored_claim(
    digest: bytes, epoch: int, public_key: bytes, signature: bytes, chain: bytes
) -> Claim:
    """Return what to verify about a validator's "stored"."""
    return public_key, crypto.signing_hash(chain, KIND_STORED, epoch, digest), signature


def certificate_claims(
    certificate: BatchCertificate, validators: Sequence[Validator], chain: bytes
) -> list[Claim]:
    """Check everything about a certificate but its signatures, and return those to verify.

    Args:
        certificate: Decoded.
        validators: The set of the certificate's own epoch.
        chain: Chain id, 32 bytes.

    Returns:
        The collator's signature of the header, then one "stored" a signer; all must hold.

    Raises:
        ForeignChainError: It is of another chain.
        SignersOrderError, UnknownSignerError, NotEnoughPowerError, NeedlessSignersError: Its
            signers are not exactly a quorum.
    """
    header = certificate.header
    if header.chain != chain:
        raise ForeignChainError(header.chain, chain)
    check_signers(certificate.signers, validators)
    message = crypto.signing_hash(chain, KIND_STORED, header.epoch, header.digest())
    claims = [header_claim(header, certificate.header_signature, chain)]
    claims += [
        (validators[signer].public_key, message, signature)
        for signer, signature in zip(
            certificate.signers.signers, certificate.signers.signatures, strict=True
        )
    ]
    return claims


def batch_evidence_claims(
    evidence: Evidence, validators: Sequence[Validator], chain: bytes
) -> list[Claim]:
    """Check that evidence of kind `batch` shows two headers of one sequence, and return its claims.

    Args:
        evidence: Decoded.
        validators: The set of the evidence's epoch.
        chain: Chain id, 32 bytes.

    Returns:
        The two signatures to verify; the offence is proved when both hold.

    Raises:
        NotEquivocationError: A correct collator may have signed both.
        UnknownSignerError: The accused is no validator.
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: A body is no
            header.
    """
    if evidence.signing_kind != KIND_BATCH:
        raise NotEquivocationError(f"signing kind {evidence.signing_kind!r}, not {KIND_BATCH!r}")
    if evidence.signer >= len(validators):
        raise UnknownSignerError(evidence.signer, len(validators))
    key = validators[evidence.signer].public_key
    a, b = decode_batch_header(evidence.body_a), decode_batch_header(evidence.body_b)
    for header in (a, b):
        if (header.chain, header.epoch, header.collator) != (chain, evidence.epoch, key):
            raise NotEquivocationError(
                f"a header of epoch {header.epoch} by {header.collator.hex()[:16]}…, "
                f"epoch {evidence.epoch} by {key.hex()[:16]}… accused"
            )
    if (a.uid, a.sequence) != (b.uid, b.sequence):
        raise NotEquivocationError(
            f"batches {a.sequence} of shard {a.uid} and {b.sequence} of shard {b.uid}"
        )
    # Ordered bodies: one offence has one statement, whoever reports it.
    if evidence.body_a >= evidence.body_b:
        raise NotEquivocationError("the two bodies are equal or not in ascending order")
    return [
        header_claim(a, evidence.signature_a, chain),
        header_claim(b, evidence.signature_b, chain),
    ]
