"""Certificates over random validator sets: exactly a quorum, always checkable, never forgeable."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.availability.certificate import (
    check_signers,
    pick_signers,
)
from p2pnode.availability.dispersal import Dispersal, DispersalConfig
from p2pnode.availability.inline import InlineScheme
from p2pnode.availability.usable import VoidBatchError, usable
from p2pnode.errors import RemoteProtocolError
from p2pnode.types.genesis import Validator
from p2pnode.types.quorum import quorum_of
from p2pnode.types.statement import SignerList, decode_statement
from tests.unit.availability.helpers import batch

POWERS = st.lists(st.integers(1, 1000), min_size=1, max_size=40)
SIGNATURE = bytes(64)


def validators(powers: Sequence[int]) -> tuple[Validator, ...]:
    return tuple(Validator(bytes([i]) * 32, p, bytes([i])) for i, p in enumerate(powers))


@given(POWERS)
def test_two_quorums_share_more_than_a_third_of_the_power(powers: list[int]):
    total, quorum = sum(powers), quorum_of(sum(powers))
    assert quorum <= total
    assert 3 * (2 * quorum - total) > total
    assert 3 * (quorum - 1) <= 2 * total


@given(POWERS, st.data())
def test_what_is_picked_passes_the_check_and_nothing_is_picked_without_a_quorum(
    powers: list[int], data: st.DataObject
):
    given_by = data.draw(st.lists(st.integers(0, len(powers) - 1), unique=True))
    signatures = {i: bytes([i]) * 64 for i in given_by}
    picked = pick_signers(signatures, validators(powers))
    if sum(powers[i] for i in given_by) < quorum_of(sum(powers)):
        assert picked is None
    else:
        assert picked is not None
        check_signers(picked, validators(powers))
        assert all(
            signature == bytes([i]) * 64
            for i, signature in zip(picked.signers, picked.signatures, strict=True)
        )


@given(POWERS, st.data())
def test_the_check_passes_exactly_when_every_signer_is_needed_and_all_are_a_quorum(
    powers: list[int], data: st.DataObject
):
    signers = tuple(sorted(data.draw(st.sets(st.integers(0, len(powers) - 1)))))
    quorum = quorum_of(sum(powers))
    power = sum(powers[i] for i in signers)
    exact = power >= quorum and all(power - powers[i] < quorum for i in signers)
    listed = SignerList(signers, (SIGNATURE,) * len(signers))
    if exact:
        check_signers(listed, validators(powers))
    else:
        with pytest.raises(RemoteProtocolError):
            check_signers(listed, validators(powers))


@given(st.lists(st.integers(1, 100), min_size=1, max_size=12), st.data())
def test_answers_in_any_order_and_number_make_one_certificate_at_the_quorum(
    powers: list[int], data: st.DataObject
):
    header, batch_data = batch()
    dispersal = Dispersal(DispersalConfig())
    digest = dispersal.begin(0, 0, header, SIGNATURE, batch_data, validators(powers))
    answers = data.draw(st.lists(st.integers(-1, len(powers)), max_size=40))
    quorum, answered, made = quorum_of(sum(powers)), {}, []
    for signer in answers:
        certificate = dispersal.stored(digest, signer, SIGNATURE)
        if 0 <= signer < len(powers) and not made:
            answered[signer] = powers[signer]
        if certificate is not None:
            assert sum(answered.values()) >= quorum
            made.append(certificate)
    assert len(made) == (sum(answered.values()) >= quorum)
    for certificate in made:
        check_signers(certificate.signers, validators(powers))
        assert decode_statement(certificate.encode()) == certificate


@given(st.binary(min_size=1, max_size=2000))
def test_inline_gives_back_any_data_and_refuses_any_other(data: bytes):
    scheme = InlineScheme()
    encoded = scheme.encode(data)
    assert encoded.params == scheme.plan(len(data))
    assert scheme.decode(encoded.params, encoded.commitment, {0: data}) == data
    changed = bytes([data[0] ^ 1]) + data[1:]
    assert not scheme.check(encoded.params, encoded.commitment, b"", {0: changed}, b"")


@given(
    st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=8),
    st.integers(0, 10**6),
    st.integers(0, 255),
)
def test_data_is_usable_as_it_is_and_with_no_byte_changed(
    raws: list[bytes], place: int, value: int
):
    header, data = batch(raws)
    assert usable(header, data, InlineScheme()) == tuple(raws)
    i = place % len(data)
    if data[i] != value:
        with pytest.raises(VoidBatchError):
            usable(header, data[:i] + bytes([value]) + data[i + 1 :], InlineScheme())
