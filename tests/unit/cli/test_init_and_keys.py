from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.main import make_parser
from p2pnode.cli.run import gather
from p2pnode.crypto import address_of, peer_id_of
from p2pnode.errors import ConfigError
from p2pnode.keys import keystore
from p2pnode.keys.keystore import Purpose
from p2pnode.node.config import NodeConfig, load_config
from p2pnode.types.genesis import decode_genesis
from tests.unit.cli.test_main import Run


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("P2PNODE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))


def test_init_single_makes_a_node_whose_parts_fit(tmp_path: Path) -> None:
    folder = tmp_path / "n"
    run = Run("init", "--single", "--name", "amber", "--data", str(folder), "--json")
    assert run.code == ExitCode.OK
    assert run.err == f"next: p2pnode run --data {folder}\n"
    made = json.loads(run.out)
    config = load_config(folder / "p2pnode.toml")
    assert config.name == "amber"
    genesis = decode_genesis(config.genesis_path.read_bytes())
    assert genesis.name == "test-amber"
    node = keystore.load(config.node_key_path, Purpose.NODE).secret
    validator = keystore.load(config.validator_key_paths[0], Purpose.VALIDATOR).secret
    assert genesis.validators[0].public_key == validator.public
    assert genesis.validators[0].peer_id == peer_id_of(node.public)
    account = keystore.load(Path(made["account_key"]), Purpose.ACCOUNT).secret
    assert genesis.accounts[0].address == address_of(account.public)
    assert made["account"] == address_of(account.public).hex()


def test_init_never_writes_into_a_folder_with_a_node(tmp_path: Path) -> None:
    argv = ["init", "--single", "--data", str(tmp_path / "n")]
    assert Run(*argv).code == ExitCode.OK
    before = {p: p.read_bytes() for p in (tmp_path / "n").rglob("*") if p.is_file()}
    again = Run(*argv)
    assert again.code == ExitCode.FAILED
    assert "holds a node already" in again.err
    assert {p: p.read_bytes() for p in (tmp_path / "n").rglob("*") if p.is_file()} == before


def test_init_goes_on_where_an_interrupted_one_stopped(tmp_path: Path) -> None:
    argv = ["init", "--single", "--data", str(tmp_path / "n")]
    Run(*argv)
    key = (tmp_path / "n" / "keys" / "node.key").read_bytes()
    (tmp_path / "n" / "p2pnode.toml").unlink()
    assert Run(*argv).code == ExitCode.OK
    assert (tmp_path / "n" / "keys" / "node.key").read_bytes() == key


def test_init_without_a_chain_says_what_to_hand_over(tmp_path: Path) -> None:
    run = Run("init", "--data", str(tmp_path / "n"))
    assert run.code == ExitCode.OK
    assert "validator_key" in run.out
    assert "genesis document" in run.err
    genesis = tmp_path / "n" / "genesis.cbor"
    assert not genesis.exists()
    own = f"p2pnode init --single --data {tmp_path / 'n-single'}"
    assert f"at {genesis};" in run.err
    assert f"`{own}`" in run.err
    words = run.err.splitlines()[-1]
    assert words == f"next: cp genesis.cbor {genesis} · p2pnode run --data {tmp_path / 'n'}"
    refused = Run("run", "--data", str(tmp_path / "n"))
    assert refused.code == ExitCode.FAILED
    assert f"at {genesis};" in refused.err
    assert f"`{own}`" in refused.err
    # What is advised works as it stands.
    assert Run(*own.split()[1:]).code == ExitCode.OK


def test_init_refuses_an_engine_nobody_has_and_writes_nothing(tmp_path: Path) -> None:
    run = Run("init", "--single", "--engine", "nope", "--data", str(tmp_path / "n"))
    assert run.code == ExitCode.USAGE
    assert "'nope'; there are: " in run.err
    assert not (tmp_path / "n").exists()


def test_init_takes_a_genesis_document_only_if_it_is_one(tmp_path: Path) -> None:
    Run("init", "--single", "--data", str(tmp_path / "a"))
    document = tmp_path / "a" / "genesis.cbor"
    assert Run("init", "--genesis", str(document), "--data", str(tmp_path / "b")).code == 0
    assert (tmp_path / "b" / "genesis.cbor").read_bytes() == document.read_bytes()
    bad = tmp_path / "bad"
    bad.write_bytes(b"\x00")
    run = Run("init", "--genesis", str(bad), "--data", str(tmp_path / "c"))
    assert run.code == ExitCode.FAILED
    assert not (tmp_path / "c").exists()


def test_without_a_folder_named_the_users_is_taken(tmp_path: Path) -> None:
    run = Run("init", "--single")
    assert run.code == ExitCode.OK
    assert run.err == "next: p2pnode run\n"
    assert (tmp_path / "xdg" / "p2pnode" / "p2pnode.toml").exists()


def gathered(*argv: str) -> NodeConfig:
    return gather(make_parser().parse_args(["run", *argv]))


def test_run_gathers_file_environment_and_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path / "n")
    Run("init", "--single", "--data", folder, "--api-port", "7001")
    assert gathered("--data", folder).api_port == 7001
    monkeypatch.setenv("P2PNODE_API_PORT", "7002")
    assert gathered("--data", folder).api_port == 7002
    config = gathered(
        "--data", folder, "--api-port", "7003", "--record", "--set", "log.level=debug",
        "--bootstrap", "/ip4/1.2.3.4/tcp/1/p2p/x", "--bootstrap", "/ip4/1.2.3.5/tcp/1/p2p/y",
    )  # fmt: skip
    assert (config.api_port, config.record_inputs, config.log_level) == (7003, True, "debug")
    assert len(config.network_bootstrap) == 2
    assert config.origins["api.port"] == "flag"
    assert str(config.data_dir) == folder


def test_run_names_the_command_that_is_missing_before_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="p2pnode init --data"):
        gathered("--data", str(tmp_path / "none"))


def test_run_refuses_a_setting_that_is_none(tmp_path: Path) -> None:
    folder = str(tmp_path / "n")
    Run("init", "--single", "--data", folder)
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        gathered("--data", folder, "--set", "api.port")
    with pytest.raises(ConfigError, match=r"did you mean 'api\.port'"):
        gathered("--data", folder, "--set", "api.prot=1")


def test_a_generated_key_is_private_and_its_secret_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    run = Run("keys", "generate", str(path), "--json")
    assert run.code == ExitCode.OK
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = keystore.load(path, Purpose.ACCOUNT).secret
    shown = json.loads(run.out)
    assert shown["address"] == address_of(secret.public).hex()
    for command in ("generate", "show"):
        again = Run("keys", command, str(path))
        assert secret.seed.hex() not in again.out + again.err
    assert Run("keys", "generate", str(path)).code == ExitCode.FAILED


@pytest.mark.parametrize(
    ("purpose", "field"), [("account", "address"), ("node", "peer_id"), ("validator", "public")]
)
def test_keys_of_every_purpose_are_shown(tmp_path: Path, purpose: str, field: str) -> None:
    path = str(tmp_path / "k")
    made = json.loads(Run("keys", "generate", path, "--purpose", purpose, "--json").out)
    shown = json.loads(Run("keys", "show", path, "--json").out)
    assert shown == made
    assert shown["purpose"] == purpose
    assert field in shown


def test_a_missing_key_file_is_an_error_in_words(tmp_path: Path) -> None:
    run = Run("keys", "show", str(tmp_path / "none"))
    assert run.code == ExitCode.FAILED
    assert run.err.startswith("error: ")
