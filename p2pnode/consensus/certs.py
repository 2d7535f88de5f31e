"""Certificates: a quorum of signatures on one body, as a bitmap and a list of Ed25519 signatures.

Encoding: the canonical array `[body, bitmap, signatures]`. Bit i of the bitmap (byte i // 8,
value 1 << i % 8) stands for validator i; the signatures follow in ascending order of signers, 64
bytes each. With four validators bitmap and signatures take 193 bytes, with a hundred 4.3 KB.

A certificate holds exactly a quorum: it is refused when a signer could be left out
(`p2pnode.types.quorum` says why).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from p2pnode import codec, crypto
from p2pnode.consensus.engine import Claim, Epoch, Index, MalformedItemError, Signed
from p2pnode.types.quorum import choose_signers, needless_signer


class CertificatePowerError(MalformedItemError):
    """A certificate's signers have too little or needlessly much voting power."""

    def __init__(self, power: int, quorum: int) -> None:
        super().__init__(f"signers with voting power {power}, a quorum is {quorum}")
        self.power = power
        self.quorum = quorum


class CertificateShapeError(MalformedItemError):
    """Bitmap and signatures of a certificate do not fit the validators or each other."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A decoded certificate; its signatures are not verified yet."""

    body: bytes
    """What was signed."""

    signers: tuple[Index, ...]
    """Ascending, distinct."""

    signatures: tuple[bytes, ...]
    """In the order of the signers, 64 bytes each."""

    def claims(self) -> list[Claim]:
        """Return every signature in it."""
        return [
            Claim(signer, self.body, sig)
            for signer, sig in zip(self.signers, self.signatures, strict=True)
        ]


class CertScheme:
    """Makes and reads certificates of one validator set."""

    __slots__ = ("_powers", "quorum")

    def __init__(self, epoch: Epoch) -> None:
        """Take the set.

        Args:
            epoch: Its validators sign.
        """
        self._powers = tuple(power for _, power in epoch.validators)
        self.quorum = epoch.quorum()

    def assemble(self, votes: Iterable[Signed]) -> bytes:
        """Return the certificate of the fewest of `votes` that are a quorum.

        Args:
            votes: Verified votes with one body, at most one per signer, a quorum at least.
        """
        by_signer = {vote.sender: vote for vote in votes}
        signers = choose_signers(by_signer, self._powers, self.quorum)
        assert signers is not None, (sorted(by_signer), self.quorum)
        chosen = [by_signer[signer] for signer in signers]
        assert len({vote.body for vote in chosen}) == 1
        bitmap = bytearray((len(self._powers) + 7) // 8)
        for vote in chosen:
            bitmap[vote.sender // 8] |= 1 << vote.sender % 8
        return codec.encode((chosen[0].body, bytes(bitmap), b"".join(vote.sig for vote in chosen)))

    def decode(self, data: bytes) -> Certificate:
        """Read a certificate and check its voting power, not its signatures.

        Raises:
            RemoteProtocolError: Not canonical, signers or signatures that do not fit, no quorum,
                or more than a quorum.
        """
        count = len(self._powers)
        limit = 256 + count // 8 + crypto.SIGNATURE_BYTES * count
        body, bitmap, joined = codec.array(
            codec.decode(data, size_bytes_max=limit), "certificate", length=3
        )
        body = codec.octets(body, "certificate body")
        bits = int.from_bytes(
            codec.octets(bitmap, "certificate bitmap", length=(count + 7) // 8), "little"
        )
        joined = codec.octets(joined, "certificate signatures")
        if bits >> count:
            raise CertificateShapeError(f"a signer beyond the {count} validators")
        signers = tuple(index for index in range(count) if bits >> index & 1)
        if len(joined) != crypto.SIGNATURE_BYTES * len(signers):
            raise CertificateShapeError(
                f"{len(joined)} bytes of signatures for {len(signers)} signers"
            )
        power = sum(self._powers[index] for index in signers)
        if power < self.quorum or needless_signer(signers, self._powers, self.quorum) is not None:
            raise CertificatePowerError(power, self.quorum)
        size = crypto.SIGNATURE_BYTES
        return Certificate(
            body,
            signers,
            tuple(joined[i * size : (i + 1) * size] for i in range(len(signers))),
        )
