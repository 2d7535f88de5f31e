"""What a node is to others, by its configuration: its chain, its keys, its roles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from p2pnode.errors import ConfigError
from p2pnode.keys import keystore
from p2pnode.keys.keystore import Purpose, StoredKey
from p2pnode.keys.sealing import Passphrase
from p2pnode.node.config import NodeConfig
from p2pnode.types.genesis import Genesis, decode_genesis
from p2pnode.types.record import Role


@dataclass(frozen=True, slots=True)
class Credentials:
    """A chain, and the keys that act on it."""

    document: bytes
    """The genesis document."""
    genesis: Genesis
    """The same, decoded."""
    node_key: StoredKey
    validator_key: StoredKey | None
    """None for a node that only follows."""


def read_credentials(config: NodeConfig, passphrase: Passphrase) -> Credentials:
    """Return what the files say that the configuration names.

    Raises:
        P2PNodeError: One can't be read or used, or a key not on this chain.
    """
    document = _read_genesis(config.genesis_path)
    genesis = decode_genesis(document)
    return Credentials(document, genesis, *load_keys(config, genesis.name, passphrase))


def load_keys(
    config: NodeConfig, chain_name: str, passphrase: Passphrase
) -> tuple[StoredKey, StoredKey | None]:
    """Return the keys of the node and of its validator, where there is one.

    Raises:
        ConfigError: One can't be used, or not on this chain.
    """
    node_key = keystore.load(config.node_key_path, Purpose.NODE, passphrase)
    keys = [
        keystore.load(path, Purpose.VALIDATOR, passphrase) for path in config.validator_key_paths
    ]
    if len(keys) > 1:
        raise ConfigError(f"{len(keys)} validator keys are configured, a node signs with one")
    for key in (node_key, *keys):
        if key.test and not is_test_chain(chain_name):
            raise ConfigError(
                f"a key derived from a public test seed can't be used on chain {chain_name!r}"
            )
    return node_key, keys[0] if keys else None


def is_test_chain(name: str) -> bool:
    """Tell whether a chain is for tests only, by its name in genesis."""
    return name.startswith("test-")


def check_roles(config: NodeConfig) -> None:
    """Refuse roles that this node can't play; none named means what keys and genesis say.

    Raises:
        ConfigError: One is among them.
    """
    for role in config.roles:
        if role in ("light", "bootstrap"):
            raise ConfigError(f"role {role!r}: not built yet")
        if not config.keys_validators:
            raise ConfigError(f"role {role!r} needs a key under keys.validators")


def roles_of(config: NodeConfig) -> Role:
    """Return what the node tells others that it does."""
    if not config.roles:
        return Role.VALIDATOR | Role.EXECUTOR if config.keys_validators else Role(0)
    found = Role(0)
    for name in config.roles:
        found |= Role[name.upper()]
    return found


def _read_genesis(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"genesis document {path}: {error.strerror}") from None
