"""Which keys a node takes, and on which chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pnode.errors import ConfigError
from p2pnode.keys import keystore
from p2pnode.keys.keystore import Purpose
from p2pnode.node.config import NodeConfig
from p2pnode.node.credentials import load_keys


def config_with(folder: Path, *test_keys: Purpose) -> NodeConfig:
    config = NodeConfig(data_dir=folder, keys_validators=(Path("keys/validator.key"),))
    for purpose, path in (
        (Purpose.NODE, config.node_key_path),
        (Purpose.VALIDATOR, config.validator_key_paths[0]),
    ):
        if purpose in test_keys:
            keystore.write(path, keystore.derive_test_stored_key(7, purpose, 0))
        else:
            keystore.write(path, keystore.generate(purpose))
    return config


@pytest.mark.parametrize("purpose", [Purpose.NODE, Purpose.VALIDATOR])
def test_a_key_everybody_has_is_refused_on_a_chain_that_is_no_test(
    tmp_path: Path, purpose: Purpose
) -> None:
    config = config_with(tmp_path, purpose)
    for name in ("main", "testnet", "latest-test-", "Test-1"):
        with pytest.raises(ConfigError, match="public test seed"):
            load_keys(config, name, None)
    load_keys(config, "test-amber", None)


def test_keys_of_ones_own_are_taken_on_any_chain(tmp_path: Path) -> None:
    node, validator = load_keys(config_with(tmp_path), "main", None)
    assert node.purpose is Purpose.NODE
    assert validator is not None
    assert validator.purpose is Purpose.VALIDATOR


def test_two_validator_keys_in_one_node_are_refused(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    twice = NodeConfig(data_dir=tmp_path, keys_validators=2 * config.keys_validators)
    with pytest.raises(ConfigError, match="2 validator keys"):
        load_keys(twice, "main", None)
