"""`p2pnode init`: a folder with keys, configuration, and genesis where there is one already."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path
from typing import Final

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.passphrase import Asked
from p2pnode.cli.places import data_dir, genesis_advice
from p2pnode.consensus.registry import load_engine
from p2pnode.crypto import SecretKey, address_of, peer_id_of
from p2pnode.errors import ConfigError
from p2pnode.keys import keystore
from p2pnode.keys.keystore import Purpose
from p2pnode.node.config import FILE_NAME, NodeConfig, render_toml
from p2pnode.node.peer_ids import peer_id_text
from p2pnode.telemetry.clock import wall_ms
from p2pnode.types.genesis import (
    Genesis,
    GenesisAccount,
    Parameters,
    Validator,
    chain_id,
    decode_genesis,
)

FUNDED: Final = ((0, 10**15), (1, 10**15))
"""(asset, amount) of the account that a chain of one validator begins with."""


class FolderInUseError(ConfigError):
    """There is a node in the folder already."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} holds a node already; choose another folder with --data")
        self.folder = folder


def init(arguments: Namespace, console: Console) -> int:
    """Make a node's folder."""
    folder = data_dir(arguments)
    path = folder / FILE_NAME
    if path.exists():
        raise FolderInUseError(folder)
    document = _read_genesis(arguments.genesis) if arguments.genesis else None
    if arguments.single:
        # Refused before anything is written.
        load_engine(arguments.engine)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = NodeConfig(
        data_dir=folder,
        name=arguments.name,
        keys_validators=(Path("keys/validator.key"),),
        api_port=arguments.api_port,
    )
    asked = Asked(arguments)
    # A node starts without anybody at a terminal: its keys are encrypted only under a passphrase
    # that stands in a file.
    passphrase = asked() if asked.named else None
    node_key = _key(config.node_key_path, Purpose.NODE, passphrase)
    validator_key = _key(config.validator_key_paths[0], Purpose.VALIDATOR, passphrase)
    made: dict[str, str] = {
        "folder": str(folder),
        "config": str(path),
        "validator_key": validator_key.public.hex(),
        "peer_id": peer_id_text(peer_id_of(node_key.public)),
    }
    if arguments.single:
        account_path = folder / "keys" / "account.key"
        account = address_of(_key(account_path, Purpose.ACCOUNT, passphrase).public)
        genesis = _single_genesis(arguments, node_key, validator_key, account)
        genesis.validate()
        document = genesis.encode()
        made |= {"account": account.hex(), "account_key": str(account_path)}
    if document is not None:
        config.genesis_path.write_bytes(document)
        made |= {"chain": chain_id(document).hex(), "chain_name": decode_genesis(document).name}
    # Written last: a folder with this file is whole.
    path.write_text(render_toml(config, data_dir=False))
    if console.json:
        console.document(made)
    else:
        console.pairs(list(made.items()))
    run = "p2pnode run" + (f" --data {shlex.quote(str(folder))}" if arguments.data else "")
    if document is None:
        console.say(
            "no genesis yet: give validator_key and peer_id to whoever makes the genesis document;"
            f" then {genesis_advice(config.genesis_path)}"
        )
        console.next(f"cp genesis.cbor {shlex.quote(str(config.genesis_path))}", run)
    else:
        console.next(run)
    return ExitCode.OK


def _key(path: Path, purpose: Purpose, passphrase: bytes | None) -> SecretKey:
    """Return a new key; one that an interrupted init left behind is taken up."""
    if path.exists():
        return keystore.load(path, purpose, passphrase).secret
    key = keystore.generate(purpose)
    keystore.write(path, key, passphrase)
    return key.secret


def _read_genesis(text: str) -> bytes:
    path = Path(text).expanduser()
    try:
        document = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"genesis document {path}: {error.strerror}") from None
    decode_genesis(document)
    return document


def _single_genesis(
    arguments: Namespace, node_key: SecretKey, validator_key: SecretKey, account: bytes
) -> Genesis:
    return Genesis(
        name=f"test-{arguments.name}",
        time_ms=wall_ms(),
        engine=arguments.engine,
        scheme="inline",
        validators=(Validator(validator_key.public, 1, peer_id_of(node_key.public)),),
        parameters=Parameters(),
        accounts=(GenesisAccount(account, FUNDED),),
    )
