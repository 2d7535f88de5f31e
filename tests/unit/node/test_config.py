from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.node.config import SETTINGS, NodeConfig, load_config, render_toml, sample_toml
from p2pnode.node.peer_ids import parse_peer_id, peer_id_text
from p2pnode.node.settings import (
    BadSettingError,
    ConfigFileError,
    Kind,
    Setting,
    UnknownSettingError,
)

SAMPLE = Path(__file__).parents[3] / "docs" / "config.sample.toml"


def write(folder: Path, text: str) -> Path:
    path = folder / "p2pnode.toml"
    path.write_text(text)
    return path


def uncommented(text: str) -> str:
    """The sample with its settings switched on: their lines are the ones that read as TOML."""
    lines = []
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        try:
            tomllib.loads(bare)
        except tomllib.TOMLDecodeError:
            continue
        lines.append(bare)
    return "\n".join(lines)


def test_without_any_source_every_value_is_a_default() -> None:
    config = load_config()
    assert config == NodeConfig()
    assert set(config.origins.values()) == {"default"}


def test_the_sample_file_is_the_one_made_from_the_table() -> None:
    assert SAMPLE.read_text() == sample_toml()


def test_the_sample_file_as_it_is_changes_nothing(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, SAMPLE.read_text()))
    assert dataclasses.replace(config, data_dir=Path(".")) == NodeConfig()


def test_every_setting_of_the_sample_can_be_switched_on(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, uncommented(SAMPLE.read_text())))
    assert dataclasses.replace(config, data_dir=Path(".")) == NodeConfig()
    assert {k for k, origin in config.origins.items() if origin.startswith("file")} == {
        setting.key for setting in SETTINGS
    }


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[api]\nport = 1\nhost = "10.0.0.1"\n[log]\nlevel = "error"\n')
    environment = {"P2PNODE_API_PORT": "2", "P2PNODE_API_HOST": "10.0.0.2", "HOME": "/"}
    config = load_config(path, environment=environment, flags={"api.port": 3})
    assert (config.api_port, config.api_host, config.log_level) == (3, "10.0.0.2", "error")
    assert config.origins["api.port"] == "flag"
    assert config.origins["api.host"] == "environment P2PNODE_API_HOST"
    assert config.origins["log.level"] == f"file {path}"
    assert config.origins["name"] == "default"


def test_an_unknown_key_in_the_file_names_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownSettingError, match=r"'api\.prot'; did you mean 'api\.port'\?"):
        load_config(write(tmp_path, "[api]\nprot = 1\n"))


def test_a_key_without_its_section_is_found_by_its_end(tmp_path: Path) -> None:
    with pytest.raises(UnknownSettingError, match=r"did you mean 'store\.retention_heights'"):
        load_config(write(tmp_path, "retention_heights = 1000\n"))


def test_an_unknown_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownSettingError, match="'apis'"):
        load_config(write(tmp_path, "[apis]\nport = 1\n"))


def test_an_unknown_variable_names_the_nearest_one() -> None:
    with pytest.raises(UnknownSettingError, match="did you mean 'P2PNODE_LOG_LEVEL'"):
        load_config(environment={"P2PNODE_LOG_LEVL": "info"})


def test_variables_of_the_command_line_are_no_settings() -> None:
    environment = {"P2PNODE_NODE": "http://127.0.0.1:1", "P2PNODE_CONFIG": "x"}
    assert load_config(environment=environment) == NodeConfig()


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(UnknownSettingError):
        load_config(flags={"api.ports": 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api.port", 65536),
        ("api.port", -1),
        ("api.port", True),
        ("api.port", "http"),
        ("api.port", 1.0),
        ("api.request_bytes_max", "1B"),
        ("api.request_bytes_max", "8 megabytes"),
        ("log.level", "loud"),
        ("log.status_interval", 5),
        ("log.console", "yes"),
        ("log.console", 1),
        ("network.listen", 4001),
        ("network.listen", [4001]),
        ("roles", ["validator", "miner"]),
        ("name", ""),
        ("name", "two\nlines"),
        ("keys.node", ""),
        ("store.retention_heights", 1),
    ],
)
def test_a_value_out_of_form_or_range_is_refused(key: str, value: object) -> None:
    with pytest.raises(BadSettingError, match=key.replace(".", r"\.")) as caught:
        load_config(flags={key: value})
    assert "expected" in str(caught.value)


def test_lists_in_the_environment_are_separated_by_commas() -> None:
    config = load_config(environment={"P2PNODE_NETWORK_BOOTSTRAP": "/ip4/1.2.3.4, /dns/x,"})
    assert config.network_bootstrap == ("/ip4/1.2.3.4", "/dns/x")


def test_the_data_directory_is_the_files_folder_and_paths_are_under_it(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, '[keys]\nvalidators = ["k", "/abs/k"]\n'))
    assert config.data_dir == tmp_path
    assert config.genesis_path == tmp_path / "genesis.cbor"
    assert config.validator_key_paths == (tmp_path / "k", Path("/abs/k"))


def test_a_relative_data_directory_is_relative_to_the_file(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, 'data_dir = "d"\n')).data_dir == tmp_path / "d"


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match="not found"):
        load_config(tmp_path / "absent.toml")
    with pytest.raises(ConfigFileError, match="not TOML"):
        load_config(write(tmp_path, "= 1"))
    with pytest.raises(ConfigFileError):
        load_config(tmp_path)


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
NO_PATH = str.maketrans("", "", "~/\0")


def value_for(setting: Setting) -> st.SearchStrategy[object]:
    text: st.SearchStrategy[object] = (
        st.sampled_from(setting.choices) if setting.choices else TEXT.map(str)
    )
    paths = TEXT.map(lambda t: t.translate(NO_PATH)).filter(bool).map(Path)
    match setting.kind:
        case Kind.TEXT:
            return text
        case Kind.TEXTS:
            return st.lists(text, max_size=3).map(tuple)
        case Kind.PATH:
            return paths
        case Kind.PATHS:
            return st.lists(paths, max_size=3).map(tuple)
        case Kind.FLAG:
            return st.booleans()
        case Kind.DURATION:
            return st.integers(0, 10**6).map(lambda ms: ms / 1000)
    return st.integers(int(setting.least), min(int(setting.most), 10**12))


@given(st.fixed_dictionaries({}, optional={s.key: value_for(s) for s in SETTINGS}))
def test_every_configuration_survives_being_written(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    values["data_dir"] = Path("/data")
    config = load_config(flags=values)
    path = write(tmp_path_factory.mktemp("config"), render_toml(config))
    assert load_config(path) == config


@given(st.sampled_from(SETTINGS), st.text(max_size=12))
def test_any_text_for_any_setting_is_taken_or_refused_with_a_reason(
    setting: Setting, text: str
) -> None:
    reason = ""
    try:
        load_config(environment={setting.variable: text})
    except BadSettingError as error:
        reason = str(error)
    assert not reason or setting.key in reason


def test_a_relative_file_without_data_dir_means_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nd2").mkdir()
    (tmp_path / "nd2" / "p2pnode.toml").write_text('name = "x"\n')
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("nd2/p2pnode.toml")).data_dir == Path("nd2")


def test_peer_ids_of_the_configuration_are_read_and_others_named() -> None:
    peer = peer_id_of(SecretKey(bytes(32)).public)
    assert parse_peer_id(peer_id_text(peer)) == peer
    for text in ("", "12D3Koo", "0OIl", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "1" * 99):
        with pytest.raises(ValueError, match=r"."):
            parse_peer_id(text)
