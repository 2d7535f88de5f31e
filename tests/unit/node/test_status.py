from __future__ import annotations

import base58
from hypothesis import given
from hypothesis import strategies as st

from p2pnode import crypto
from p2pnode.node.status import genesis_info, peer_id_text, validator_peer_text
from p2pnode.types.genesis import Genesis, GenesisAccount, Parameters, Validator
from tests.unit.node.statuses import status


@given(st.binary(max_size=48))
def test_peer_ids_are_written_in_base58(peer_id: bytes) -> None:
    assert peer_id_text(peer_id) == base58.b58encode(peer_id).decode()


def test_the_peer_id_of_an_ed25519_key_begins_as_libp2p_writes_it() -> None:
    assert validator_peer_text(crypto.SecretKey(bytes(32)).public).startswith("12D3Koo")


def test_the_system_shard_is_none_of_the_shards_shown() -> None:
    assert status().shards == (1,)


def test_genesis_is_summed_up_per_asset() -> None:
    genesis = Genesis(
        name="test-sum",
        time_ms=1,
        engine="simplex",
        scheme="inline",
        validators=(Validator(b"k" * 32, 1, b"p"),),
        parameters=Parameters(epoch_blocks=20),
        accounts=(
            GenesisAccount(b"a" * 32, ((0, 5), (1, 1 << 127))),
            GenesisAccount(b"b" * 32, ((0, 6),)),
        ),
    )
    info = genesis_info(genesis, b"c" * 32)
    assert info.supply == {0: 11, 1: 1 << 127}
    assert info.parameters["epoch_blocks"] == 20
    assert (info.validators_count, info.accounts_count) == (1, 2)
