from __future__ import annotations

from p2pnode.node.answers import genesis_info
from p2pnode.types.genesis import Genesis, GenesisAccount, Parameters, Validator


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
