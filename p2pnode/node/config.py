"""A node's configuration: one table of settings, four sources, and where every value came from.

A flag wins over the environment (`P2PNODE_API_PORT` for `api.port`), the environment over the
file, the file over the default. An unknown name is an error that says the nearest known one: a typo
that is silently ignored costs an evening.
"""

# ruff: noqa: RUF009 - `_set` makes a dataclass field, whose default is immutable.

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from p2pnode.node.settings import (
    ENVIRONMENT_PREFIX,
    ConfigFileError,
    Kind,
    Setting,
    UnknownSettingError,
    checked,
    toml_value,
)

FILE_NAME: Final = "p2pnode.toml"
"""Name of the configuration file in a data directory."""

CONFIG_FORMAT: Final = 1
"""Grows when a file that was right before is not any more, or means something else."""

RESERVED_ENVIRONMENT: Final = ("P2PNODE_CONFIG", "P2PNODE_NODE", "P2PNODE_PASSPHRASE_FILE")
"""Variables of the command line that are no settings: paths of the file and of the one with the
keys' passphrase, URL of a running node."""

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
ROLES: Final = ("validator", "executor", "light", "bootstrap")


def _set(key: str, kind: Kind, default: object, help: str, **limits: Any) -> Any:
    return field(default=default, metadata={"setting": Setting(key, kind, help, **limits)})


OPEN: Final = "none"
"""In place of a key's file: a network without one."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Everything a node is told by its operator.

    Relative paths are under `data_dir`. Made by `load_config`, or directly with keywords.
    """

    data_dir: Path = _set(
        "data_dir", Kind.PATH, Path("."), "Folder of the node's keys, store, log and logs."
    )
    name: str = _set("name", Kind.TEXT, "node", "What people call the node; others see it too.")
    genesis: Path = _set(
        "genesis", Kind.PATH, Path("genesis.cbor"), "Genesis document; it names engine and scheme."
    )
    roles: tuple[str, ...] = _set(
        "roles",
        Kind.TEXTS,
        (),
        "What the node does; empty: what its keys and genesis say.",
        choices=ROLES,
    )
    keys_node: Path = _set(
        "keys.node", Kind.PATH, Path("keys/node.key"), "Key of the node's identity on the network."
    )
    keys_validators: tuple[Path, ...] = _set(
        "keys.validators", Kind.PATHS, (), "Keys that sign votes; empty: the node only follows."
    )
    network_listen: tuple[str, ...] = _set(
        "network.listen",
        Kind.TEXTS,
        ("/ip4/127.0.0.1/tcp/0",),
        "Multiaddresses to listen on, of IPv4 and IPv6; port 0 takes a free one.",
    )
    network_bootstrap: tuple[str, ...] = _set(
        "network.bootstrap",
        Kind.TEXTS,
        (),
        "First peers to dial: multiaddresses that end with /p2p/<peer id>.",
    )
    network_validator_names: tuple[str, ...] = _set(
        "network.validator_names",
        Kind.TEXTS,
        (),
        "What to call the validators' nodes, in genesis' order; for people only.",
    )
    network_announce: tuple[str, ...] = _set(
        "network.announce",
        Kind.TEXTS,
        (),
        "Addresses others are told besides those listened on, such as the outside of a router.",
    )
    network_allow: tuple[str, ...] = _set(
        "network.allow",
        Kind.TEXTS,
        (),
        "Peer ids that may connect, in both directions; empty: any.",
    )
    network_key_file: str = _set(
        "network.key_file",
        Kind.TEXT,
        OPEN,
        "File with the private network's key, made by `p2pnode keys network`; none: open to all.",
    )
    network_lan: bool = _set(
        "network.lan", Kind.FLAG, False, "Find peers on the local network, by multicast DNS."
    )
    network_peers_max: int = _set(
        "network.peers_max", Kind.INTEGER, 64, "Most connected peers.", least=1, most=4096
    )
    api_host: str = _set(
        "api.host",
        Kind.TEXT,
        "127.0.0.1",
        "Address of the API. It has no password: anybody who reaches it can use it.",
    )
    api_port: int = _set(
        "api.port", Kind.INTEGER, 0, "Port of the API; 0 takes a free one.", most=65535
    )
    api_origins: tuple[str, ...] = _set(
        "api.origins", Kind.TEXTS, (), "Web pages (https://host) that may call the API."
    )
    api_log: bool = _set(
        "api.log",
        Kind.FLAG,
        False,
        "Show the log to whoever reaches the API, if that is not bound to this machine.",
    )
    api_request_bytes_max: int = _set(
        "api.request_bytes_max", Kind.SIZE, 8 << 20, "Largest request.", least=1024, most=1 << 28
    )
    api_connections_max: int = _set(
        "api.connections_max", Kind.INTEGER, 256, "Most open connections.", least=1, most=65536
    )
    api_calls_per_s_max: int = _set(
        "api.calls_per_s_max",
        Kind.INTEGER,
        500,
        "Most calls a second on one connection, 4 s of them at once; 0: any number.",
        most=1_000_000,
    )
    log_level: str = _set(
        "log.level", Kind.TEXT, "info", "Least level that is logged.", choices=LOG_LEVELS
    )
    log_file: Path = _set(
        "log.file", Kind.PATH, Path("logs/node.jsonl"), "Log in JSON lines, appended on restart."
    )
    log_file_bytes_max: int = _set(
        "log.file_bytes_max", Kind.SIZE, 16 << 20, "The file is rotated at this size.", least=4096
    )
    log_files_max: int = _set(
        "log.files_max", Kind.INTEGER, 5, "Most log files, the current one too.", least=1, most=1000
    )
    log_console: bool = _set("log.console", Kind.FLAG, True, "Log on stderr, too.")
    log_status_interval_s: float = _set(
        "log.status_interval",
        Kind.DURATION,
        5.0,
        "A status line is printed this often; 0s for never.",
    )
    record_inputs: bool = _set(
        "record.inputs", Kind.FLAG, False, "Record every input of the core, for a replay."
    )
    record_file_bytes_max: int = _set(
        "record.file_bytes_max",
        Kind.SIZE,
        64 << 20,
        "A new file is begun at this size.",
        least=4096,
    )
    record_files_max: int = _set(
        "record.files_max", Kind.INTEGER, 8, "The oldest file goes beyond this many.", least=1
    )
    store_retention_heights: int = _set(
        "store.retention_heights",
        Kind.INTEGER,
        100_000,
        "Batches and blocks older than this many heights are pruned.",
        least=128,
    )
    store_size_bytes_max: int = _set(
        "store.size_bytes_max",
        Kind.SIZE,
        16 << 30,
        "Address space reserved for the store; the disk fills as it is used.",
        least=1 << 20,
    )
    mempool_transactions_max: int = _set(
        "mempool.transactions_max", Kind.INTEGER, 20_000, "Most transactions waiting.", least=1
    )
    mempool_size_bytes_max: int = _set(
        "mempool.size_bytes_max", Kind.SIZE, 32 << 20, "Most bytes of them.", least=4096
    )
    verify_threads_max: int = _set(
        "verify.threads_max",
        Kind.INTEGER,
        1,
        "Threads that check signatures.",
        least=1,
        most=256,
    )
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Key to where its value came from: `default`, `file <path>`, `environment <name>`, `flag`."""

    def path(self, path: Path) -> Path:
        """Return a configured path, absolute or under `data_dir`."""
        return self.data_dir / path

    @property
    def genesis_path(self) -> Path:
        """Where the genesis document is."""
        return self.path(self.genesis)

    @property
    def node_key_path(self) -> Path:
        """Where the node's key is."""
        return self.path(self.keys_node)

    @property
    def network_key_path(self) -> Path | None:
        """Where the pre-shared key is, None for an open network."""
        name = self.network_key_file
        return None if name == OPEN else self.path(Path(name).expanduser())

    @property
    def validator_key_paths(self) -> tuple[Path, ...]:
        """Where the keys that sign votes are."""
        return tuple(self.path(path) for path in self.keys_validators)

    @property
    def log_path(self) -> Path:
        """Where the log in JSON lines is."""
        return self.path(self.log_file)


def _setting_of(column: Field[Any]) -> Setting:
    setting: Setting = column.metadata["setting"]
    return setting


_COLUMNS: Final[dict[str, Field[Any]]] = {
    _setting_of(column).key: column for column in fields(NodeConfig) if column.metadata
}

SETTINGS: Final[tuple[Setting, ...]] = tuple(_setting_of(column) for column in _COLUMNS.values())
"""All settings, in the order of the sample file."""


def load_config(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> NodeConfig:
    """Gather a configuration.

    Args:
        path: The file, None for none. A relative `data_dir` in it is relative to its folder, and
            its default is its folder.
        environment: Variables, such as `os.environ`; those with our prefix must be known.
        flags: Key to value, as text or typed.

    Raises:
        ConfigFileError: The file can't be read.
        UnknownSettingError: A name nobody knows, in any of the sources.
        BadSettingError: A value out of form or range; the message names the source.
    """
    values: dict[str, object] = {}
    origins = dict.fromkeys(_COLUMNS, "default")
    if path is not None:
        source = f"file {path}"
        values["data_dir"] = ""
        for key, value in _flat(_read_file(path), source).items():
            values[key] = checked(_known(key, source), value, source)
            origins[key] = source
        values["data_dir"] = path.parent / str(values["data_dir"])
    for variable, text in sorted((environment or {}).items()):
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in RESERVED_ENVIRONMENT:
            source = f"environment {variable}"
            key = _key_of_variable(variable)
            values[key] = checked(_known(key, source), text, source)
            origins[key] = source
    for key, value in (flags or {}).items():
        values[key] = checked(_known(key, "flag"), value, "flag")
        origins[key] = "flag"
    named = {_COLUMNS[key].name: value for key, value in values.items()}
    return NodeConfig(**named, origins=origins)  # type: ignore[arg-type]


def setting_value(config: NodeConfig, key: str) -> Any:
    """Return the value of a setting by its name in the file, such as `api.port`."""
    return getattr(config, _COLUMNS[key].name)


def sample_toml() -> str:
    """Return the commented sample file: every setting at its default, commented out."""
    return _render({}, comments=True)


def render_toml(config: NodeConfig, *, data_dir: bool = True) -> str:
    """Return a file that `load_config` reads as this configuration; only what is no default.

    Args:
        config: What to write.
        data_dir: Whether to write the data directory; not needed in a file that lies in it.
    """
    changed = {}
    for key, column in _COLUMNS.items():
        value = getattr(config, column.name)
        if value != column.default and (data_dir or key != "data_dir"):
            changed[key] = value
    return _render(changed, comments=False)


# --- sources ------------------------------------------------------------------------------------


def _read_file(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigFileError(path, "not found") from None
    except OSError as error:
        raise ConfigFileError(path, error.strerror or str(error)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigFileError(path, f"not TOML: {error}") from None


def _flat(table: Mapping[str, object], source: str) -> dict[str, object]:
    """Return the values of a file by full key."""
    found: dict[str, object] = {}
    sections = {key.partition(".")[0] for key in _COLUMNS if "." in key}
    for name, value in table.items():
        if isinstance(value, dict) and name in sections:
            found.update({f"{name}.{inner}": v for inner, v in value.items()})
        else:
            found[name] = value
    for key in found:
        _known(key, source)
    return found


def _known(key: str, source: str) -> Setting:
    column = _COLUMNS.get(key)
    if column is None:
        raise UnknownSettingError(key, source, _nearest(key, list(_COLUMNS)))
    return _setting_of(column)


def _key_of_variable(variable: str) -> str:
    by_variable = {setting.variable: setting.key for setting in SETTINGS}
    if variable not in by_variable:
        nearest = _nearest(variable, [*by_variable, *RESERVED_ENVIRONMENT])
        raise UnknownSettingError(variable, "environment", nearest)
    return by_variable[variable]


def _nearest(name: str, known: list[str]) -> str | None:
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not found:
        # `port` is near nothing as a whole, but is the end of `api.port`.
        found = [key for key in known if key.endswith(f".{name}")]
    return found[0] if found else None


# --- writing ------------------------------------------------------------------------------------


def _render(changed: Mapping[str, object], *, comments: bool) -> str:
    lines: list[str] = []
    if comments:
        lines += [
            "# Configuration of a p2pnode. Every setting is here, at its default; take the # away",
            "# to change one. A flag wins over the environment (P2PNODE_API_PORT for api.port),",
            "# and the environment over this file. Relative paths are under data_dir.",
        ]
    section = ""
    for key, column in _COLUMNS.items():
        if not comments and key not in changed:
            continue
        setting = _setting_of(column)
        head, _, name = key.rpartition(".")
        if head != section:
            lines += ["", f"[{head}]"]
            section = head
        value = toml_value(setting.kind, changed.get(key, column.default))
        if comments:
            if lines[-1] and not lines[-1].startswith("["):
                lines.append("")
            lines += [f"# {setting.help}", f"# {name} = {value}"]
        else:
            lines.append(f"{name} = {value}")
    return "\n".join(lines).lstrip("\n") + "\n"
