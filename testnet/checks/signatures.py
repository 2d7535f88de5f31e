"""Signatures and hashes as docs/wire.md defines them, by other code than the node's.

Nothing of p2pnode is imported: only libsodium, through PyNaCl's bindings.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from nacl import bindings
from nacl.exceptions import BadSignatureError


def hash_of(data: bytes) -> bytes:
    """Return the SHA-256, 32 bytes."""
    return sha256(data).digest()


def signing_input(chain: bytes, kind: str, epoch: int, body: bytes) -> bytes:
    """Return what a validator's signature of a body is over, 32 bytes."""
    name = kind.encode()
    head = b"p2pnode/1" + chain + bytes([len(name)]) + name + epoch.to_bytes(8, "big")
    return hash_of(head + len(body).to_bytes(4, "big") + body)


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle root of RFC 6962, written as its section 2.1 says."""
    if not leaves:
        return hash_of(b"")
    if len(leaves) == 1:
        return hash_of(b"\x00" + leaves[0])
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return hash_of(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:]))


class SignatureChecks:
    """Checks signatures, and remembers the answers: several nodes hold the same ones."""

    def __init__(self) -> None:
        """Start with nothing remembered."""
        self._answers: dict[bytes, bool] = {}
        self.count = 0
        """Different signatures checked."""

    def __call__(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether a signature is valid."""
        if len(public_key) != 32 or len(signature) != 64:
            return False
        key = hash_of(public_key + signature + message)
        known = self._answers.get(key)
        if known is None:
            self.count += 1
            try:
                bindings.crypto_sign_open(signature + message, public_key)
                known = True
            except BadSignatureError:
                known = False
            self._answers[key] = known
        return known
