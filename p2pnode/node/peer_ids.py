"""Peer ids as people write them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from p2pnode import crypto

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@lru_cache(maxsize=4096)
def peer_id_text(peer_id: bytes) -> str:
    """Return a peer id as people write it: base58, `12D3Koo…` for an Ed25519 key."""
    number = int.from_bytes(peer_id, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    zeros = len(peer_id) - len(peer_id.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(digits))


def parse_peer_id(text: str) -> bytes:
    """Return the peer id that people write so.

    Raises:
        ValueError: It is not base58, or not as long as the id of an Ed25519 key.
    """
    number = 0
    for character in text:
        number = number * 58 + _BASE58.index(character)
    size = len(crypto.peer_id_of(b"")) + 32
    if number.bit_length() > 8 * size or not text:
        raise ValueError(f"{size} bytes expected")
    peer_id = number.to_bytes(size, "big")
    if peer_id_text(peer_id) != text or not peer_id.startswith(crypto.peer_id_of(b"")):
        raise ValueError("not the id of an Ed25519 key (12D3Koo…)")
    return peer_id


def validator_peer_text(node_public_key: bytes) -> str:
    """Return the peer id, as text, of a node's Ed25519 public key (32 bytes)."""
    return peer_id_text(crypto.peer_id_of(node_public_key))
