"""Hashes and Ed25519: one library on all nodes, one way to bind a signature to its purpose.

libsodium (PyNaCl) refuses small-order keys and non-canonical signatures. Other libraries disagree
with it on edge cases, and a certificate must not be valid on some nodes only; so nothing else
verifies.
"""

from __future__ import annotations

from hashlib import sha256 as _sha256
from typing import Final

from nacl import bindings
from nacl.exceptions import BadSignatureError

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
DIGEST_BYTES: Final = 32

_PEER_ID_PREFIX: Final = bytes.fromhex("002408011220")
"""Identity multihash of a protobuf-framed Ed25519 key, as libp2p defines a peer id."""


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 digest, 32 bytes."""
    return _sha256(data).digest()


class SecretKey:
    """An Ed25519 key pair made from a 32-byte seed; never printed."""

    __slots__ = ("_expanded", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        """Derive the pair.

        Args:
            seed: 32 secret bytes.
        """
        assert len(seed) == 32, len(seed)
        self.seed = seed
        self.public, self._expanded = bindings.crypto_sign_seed_keypair(seed)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        signed: bytes = bindings.crypto_sign(message, self._expanded)
        return signed[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"SecretKey(public={self.public.hex()[:8]}…)"


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` (64 bytes) is the key's (32 bytes) signature of `message`."""
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


def signing_hash(chain: bytes, kind: str, epoch: int, body: bytes) -> bytes:
    """Return what is signed for `body`: its hash, bound to chain, kind and epoch.

    Args:
        chain: Chain id, 32 bytes.
        kind: `engine/<name>/<version>`, `stored`, `result`, `head`, `record` or `batch`.
        epoch: Epoch whose keys sign.
        body: Canonical encoding of the statement.

    Returns:
        SHA-256 of `"p2pnode/1" ‖ chain ‖ u8 length ‖ kind ‖ u64 epoch ‖ u32 length ‖ body`, 32
        bytes.
    """
    name = kind.encode()
    return sha256(
        b"p2pnode/1"
        + chain
        + bytes((len(name),))
        + name
        + epoch.to_bytes(8, "big")
        + len(body).to_bytes(4, "big")
        + body
    )


def address_of(public_key: bytes) -> bytes:
    """Return the account address of a public key: its SHA-256, 32 bytes."""
    return _sha256(public_key).digest()


def peer_id_of(public_key: bytes) -> bytes:
    """Return the libp2p peer id (identity multihash, 38 bytes) of an Ed25519 public key."""
    return _PEER_ID_PREFIX + public_key


def merkle_root(leaves: list[bytes]) -> bytes:
    """Return the RFC 6962 Merkle root of `leaves`; of no leaf, SHA-256 of nothing.

    Args:
        leaves: Leaf contents, hashed here as `H(0x00 ‖ leaf)`; inner nodes are `H(0x01 ‖ l ‖ r)`.
    """
    if not leaves:
        return _sha256(b"").digest()
    level = [_sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        # An odd last node moves up unchanged: for one left-to-right pass a level this is RFC 6962's
        # split at the largest power of two.
        odd = [level[-1]] if len(level) % 2 else []
        level = [
            _sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)
        ] + odd
    return level[0]
