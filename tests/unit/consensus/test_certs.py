"""Certificates hold exactly a quorum of distinct validators, in one encoding."""

from __future__ import annotations

import pytest

from p2pnode import codec
from p2pnode.consensus.certs import (
    CertificatePowerError,
    CertificateShapeError,
    CertScheme,
)
from p2pnode.consensus.engine import quorum_of
from p2pnode.errors import RemoteProtocolError
from tests.unit.consensus.harness import make_epoch, signed

BODY = b"\x82\x02\x01"


def assemble(powers: tuple[int, ...], signers: tuple[int, ...]) -> bytes:
    return CertScheme(make_epoch(powers)).assemble(signed(i, BODY) for i in signers)


def forge(powers: tuple[int, ...], signers: tuple[int, ...], *, bits: int | None = None) -> bytes:
    """A certificate of any signers at all, well formed otherwise."""
    bitmap = sum(1 << i for i in signers) if bits is None else bits
    return codec.encode(
        (
            BODY,
            bitmap.to_bytes((len(powers) + 7) // 8, "little"),
            b"".join(signed(i, BODY).sig for i in signers),
        )
    )


def test_certificate_of_four_validators_takes_193_bytes_beside_its_body() -> None:
    data = assemble((1,) * 4, (3, 1, 0))
    assert len(data) == 193 + len(BODY) + 5  # and five bytes of CBOR headers
    certificate = CertScheme(make_epoch()).decode(data)
    assert certificate.signers == (0, 1, 3)
    assert [c.sig for c in certificate.claims()] == [signed(i, BODY).sig for i in (0, 1, 3)]


def test_certificate_of_a_hundred_validators_takes_4_3_kb() -> None:
    assert len(assemble((1,) * 100, tuple(range(100)))) == pytest.approx(4300, abs=60)


def test_assembling_leaves_out_signers_that_are_not_needed() -> None:
    scheme = CertScheme(make_epoch((3, 1, 1, 1, 1)))
    assert scheme.quorum == 5
    certificate = scheme.decode(scheme.assemble(signed(i, BODY) for i in range(5)))
    assert certificate.signers == (0, 1, 2)


def test_certificate_with_a_signer_too_many_is_refused() -> None:
    with pytest.raises(CertificatePowerError, match="power 4, a quorum is 3"):
        CertScheme(make_epoch()).decode(forge((1,) * 4, (0, 1, 2, 3)))


def test_certificate_without_a_quorum_is_refused() -> None:
    with pytest.raises(CertificatePowerError, match="power 2, a quorum is 3"):
        CertScheme(make_epoch()).decode(forge((1,) * 4, (0, 1)))


def test_duplicate_signer_in_the_bitmap_is_refused() -> None:
    # A bitmap cannot name anybody twice, so the second signature of validator 0 has no bit.
    with pytest.raises(CertificateShapeError, match="192 bytes of signatures for 2 signers"):
        CertScheme(make_epoch()).decode(forge((1,) * 4, (0, 0, 1), bits=0b11))


def test_bitmap_with_a_signer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(CertificateShapeError, match="beyond the 4 validators"):
        CertScheme(make_epoch()).decode(forge((1,) * 4, (0, 1, 2), bits=0b10011))


def test_unequal_powers_at_exactly_two_thirds_are_no_quorum() -> None:
    # 6 of 9 is two thirds and must not be enough; 7 is.
    powers = (4, 2, 2, 1)
    assert quorum_of(9) == 7
    scheme = CertScheme(make_epoch(powers))
    with pytest.raises(CertificatePowerError):
        scheme.decode(forge(powers, (0, 1)))
    assert scheme.decode(forge(powers, (0, 1, 3))).signers == (0, 1, 3)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x83\x40\x40\x40", b"\xa0", bytes(10_000)])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        CertScheme(make_epoch()).decode(data)
