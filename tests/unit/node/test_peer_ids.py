from __future__ import annotations

import base58
from hypothesis import given
from hypothesis import strategies as st

from p2pnode import crypto
from p2pnode.node.peer_ids import peer_id_text, validator_peer_text


@given(st.binary(max_size=48))
def test_peer_ids_are_written_in_base58(peer_id: bytes) -> None:
    assert peer_id_text(peer_id) == base58.b58encode(peer_id).decode()


def test_the_peer_id_of_an_ed25519_key_begins_as_libp2p_writes_it() -> None:
    assert validator_peer_text(crypto.SecretKey(bytes(32)).public).startswith("12D3Koo")
