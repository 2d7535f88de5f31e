"""Signatures, signing domains, addresses and Merkle roots."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode import crypto

KEY = crypto.SecretKey(bytes(range(32)))

# RFC 8032, 7.1: seed, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b4"
        "6bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d"
        "8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]

# Every encoding of a point whose order divides 8, with the non-canonical ones of y = 0, 1 and -1.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]

GROUP_ORDER = (1 << 252) + 27742317777372353535851937790883648493


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_signatures_are_those_of_rfc_8032(
    seed: str, public: str, message: str, signature: str
) -> None:
    key = crypto.SecretKey(bytes.fromhex(seed))
    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert crypto.verify(key.public, bytes.fromhex(message), bytes.fromhex(signature))


@given(message=st.binary(max_size=100), at=st.integers(0, 63), bit=st.integers(0, 7))
def test_a_changed_signature_or_message_does_not_verify(message: bytes, at: int, bit: int) -> None:
    signature = KEY.sign(message)
    assert crypto.verify(KEY.public, message, signature)
    changed = bytearray(signature)
    changed[at] ^= 1 << bit
    assert not crypto.verify(KEY.public, message, bytes(changed))
    assert not crypto.verify(KEY.public, message + b"\x00", signature)
    other = crypto.SecretKey(bytes(32)).public
    assert not crypto.verify(other, message, signature)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_keys_of_a_wrong_size_verify_nothing(size: int) -> None:
    assert not crypto.verify(bytes(size), b"", KEY.sign(b""))


@pytest.mark.parametrize("size", [0, 63, 65, 128])
def test_signatures_of_a_wrong_size_verify_nothing(size: int) -> None:
    assert not crypto.verify(KEY.public, b"", KEY.sign(b"").ljust(128, b"\0")[:size])


@pytest.mark.parametrize("encoding", SMALL_ORDER)
def test_keys_of_small_order_verify_nothing(encoding: str) -> None:
    public = bytes.fromhex(encoding)
    # With the identity as key, R = identity and s = 0 satisfy the equation for every message.
    for point in map(bytes.fromhex, SMALL_ORDER):
        assert not crypto.verify(public, b"any message", point + bytes(32))


def test_a_signature_with_a_large_scalar_is_refused() -> None:
    signature = KEY.sign(b"m")
    scalar = int.from_bytes(signature[32:], "little")
    twin = signature[:32] + (scalar + GROUP_ORDER).to_bytes(32, "little")
    assert not crypto.verify(KEY.public, b"m", twin), "a second signature of the same message"


def test_a_secret_key_is_never_printed() -> None:
    assert KEY.seed.hex() not in repr(KEY)
    assert KEY.public.hex()[:8] in repr(KEY)


# --- signing domain ------------------------------------------------------------------------------


def test_what_is_signed_is_the_documented_concatenation() -> None:
    chain, body = bytes(range(32)), b"the body"
    expected = sha256(
        b"p2pnode/1" + chain + b"\x06stored" + b"\0\0\0\0\0\0\0\x07" + b"\0\0\0\x08" + body
    )
    assert crypto.signing_hash(chain, "stored", 7, body) == expected.digest()


domains = st.tuples(
    st.binary(min_size=32, max_size=32),
    st.sampled_from(
        ["stored", "result", "head", "record", "batch", "engine/simplex/1", "engine/simplex/10"]
    ),
    st.integers(0, (1 << 64) - 1),
    st.binary(max_size=40),
)


@given(a=domains, b=domains)
def test_two_domains_or_bodies_never_share_a_signing_hash(
    a: tuple[bytes, str, int, bytes], b: tuple[bytes, str, int, bytes]
) -> None:
    assert (crypto.signing_hash(*a) == crypto.signing_hash(*b)) == (a == b)


CHAIN = bytes(32)


@pytest.mark.parametrize(
    "other",
    [
        (b"\1" + CHAIN[1:], "batch", 1, b"body"),
        (CHAIN, "result", 1, b"body"),
        (CHAIN, "batcH", 1, b"body"),
        (CHAIN, "batch", 2, b"body"),
        (CHAIN, "batch", 1, b"bodz"),
        (CHAIN, "batch", 1, b"body\0"),
        (CHAIN, "batch", 1, b""),
    ],
)
def test_each_part_of_the_domain_changes_the_signing_hash(
    other: tuple[bytes, str, int, bytes],
) -> None:
    assert crypto.signing_hash(*other) != crypto.signing_hash(CHAIN, "batch", 1, b"body")


# --- names ---------------------------------------------------------------------------------------


def test_addresses_and_peer_ids_come_from_the_public_key() -> None:
    assert crypto.address_of(KEY.public) == sha256(KEY.public).digest()
    assert crypto.peer_id_of(KEY.public) == bytes.fromhex("002408011220") + KEY.public
    assert len(crypto.peer_id_of(KEY.public)) == 38


# --- Merkle roots --------------------------------------------------------------------------------

# Certificate Transparency's test vectors of RFC 6962: the roots of the first 1, 2, … leaves.
LEAVES = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_merkle_roots_are_those_of_rfc_6962() -> None:
    leaves = [bytes.fromhex(leaf) for leaf in LEAVES]
    for count, root in enumerate(ROOTS, 1):
        assert crypto.merkle_root(leaves[:count]).hex() == root
    assert crypto.merkle_root([]) == sha256(b"").digest()


def rfc_6962_root(leaves: list[bytes], h: Callable[[bytes], bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written there."""
    if len(leaves) == 1:
        return h(b"\0" + leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return h(b"\1" + rfc_6962_root(leaves[:k], h) + rfc_6962_root(leaves[k:], h))


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=70))
def test_the_merkle_root_is_the_recursive_definition(leaves: list[bytes]) -> None:
    expected = rfc_6962_root(leaves, lambda data: sha256(data).digest())
    assert crypto.merkle_root(leaves) == expected


def test_a_leaf_cannot_pass_for_an_inner_node() -> None:
    left, right = sha256(b"\0a").digest(), sha256(b"\0b").digest()
    assert crypto.merkle_root([b"a", b"b"]) != crypto.merkle_root([left + right])
