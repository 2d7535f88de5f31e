"""Settings: the forms their values take in a file, a variable and a flag, and their errors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from p2pnode.errors import ConfigError, UsageError
from p2pnode.node.units import format_duration, format_size, parse_duration, parse_size

ENVIRONMENT_PREFIX: Final = "P2PNODE_"


class UnknownSettingError(UsageError):
    """A setting of this name does not exist."""

    def __init__(self, key: str, source: str, nearest: str | None) -> None:
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        super().__init__(f"{source}: unknown setting {key!r}{hint}")
        self.key = key
        self.nearest = nearest


class BadSettingError(UsageError):
    """A setting has a value it can't have."""

    def __init__(self, key: str, source: str, value: object, reason: str) -> None:
        super().__init__(f"{source}: {key} = {value!r}: {reason}")
        self.key = key
        self.value = value


class ConfigFileError(ConfigError):
    """The configuration file can't be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"configuration file {path}: {reason}")
        self.path = path


class Kind(Enum):
    """Forms of values."""

    TEXT = "text"
    TEXTS = "a list of texts"
    PATH = "a path"
    PATHS = "a list of paths"
    INTEGER = "an integer"
    FLAG = "true or false"
    SIZE = "a size such as 16MiB"
    DURATION = "a duration such as 250ms"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table."""

    key: str
    """Name in the file, with its section: `api.port`."""
    kind: Kind
    help: str
    """What the sample file says above it."""
    least: float = 0
    """Smallest number allowed."""
    most: float = float(1 << 62)
    """Greatest number allowed."""
    choices: tuple[str, ...] = ()
    """The only texts allowed, if any are named."""

    @property
    def variable(self) -> str:
        """Name in the environment."""
        return ENVIRONMENT_PREFIX + self.key.replace(".", "_").upper()


def checked(setting: Setting, value: object, source: str) -> object:
    """Return a value in its setting's type.

    Args:
        setting: What it is meant for.
        value: Text, or what TOML or a program gives.
        source: Names its origin in the error.

    Raises:
        BadSettingError: Its form or range is wrong.
    """
    key = setting.key
    try:
        read = _convert(setting.kind, value)
    except (ValueError, TypeError) as error:
        raise BadSettingError(key, source, value, str(error)) from None
    if isinstance(read, (int, float)) and not setting.least <= read <= setting.most:
        limits = f"between {_number(setting, setting.least)} and {_number(setting, setting.most)}"
        raise BadSettingError(key, source, value, f"a value {limits} expected")
    for text in read if isinstance(read, tuple) else (read,):
        if setting.choices and text not in setting.choices:
            choices = ", ".join(setting.choices)
            raise BadSettingError(key, source, value, f"one of {choices} expected")
    return read


def _convert(kind: Kind, value: object) -> object:
    if isinstance(value, str):
        return _from_text(kind, value)
    match kind:
        case Kind.PATH if isinstance(value, Path):
            return value
        case Kind.TEXTS | Kind.PATHS if isinstance(value, (list, tuple)):
            one = Kind.TEXT if kind is Kind.TEXTS else Kind.PATH
            return tuple(_convert(one, item) for item in value)
        case Kind.FLAG if isinstance(value, bool):
            return value
        case Kind.INTEGER | Kind.SIZE if isinstance(value, int) and not isinstance(value, bool):
            return value
        case Kind.DURATION if isinstance(value, float):
            return value
    raise TypeError(f"{kind.value} expected")


def _from_text(kind: Kind, text: str) -> object:
    """Read a value from the environment, a flag, or a text in the file."""
    match kind:
        case Kind.TEXT:
            if not text or "\n" in text:
                raise ValueError("a text of one line expected")
            return text
        case Kind.PATH:
            if not text:
                raise ValueError("a path expected")
            return Path(text).expanduser()
        case Kind.TEXTS | Kind.PATHS:
            one = Kind.TEXT if kind is Kind.TEXTS else Kind.PATH
            return tuple(_from_text(one, part.strip()) for part in text.split(",") if part.strip())
        case Kind.INTEGER:
            if not (text.isascii() and text.isdigit() and len(text) < 20):
                raise ValueError("an integer from 0 expected")
            return int(text)
        case Kind.FLAG:
            if text not in ("true", "false"):
                raise ValueError("true or false expected")
            return text == "true"
        case Kind.SIZE:
            return parse_size(text)
        case Kind.DURATION:
            return parse_duration(text)


def _number(setting: Setting, value: float) -> str:
    if setting.kind is Kind.SIZE:
        return format_size(int(value))
    return f"{value:g}" if setting.kind is Kind.DURATION else str(int(value))


def toml_value(kind: Kind, value: Any) -> str:
    """Return a value as a TOML file has it."""
    match kind:
        case Kind.TEXTS | Kind.PATHS:
            return "[" + ", ".join(_quoted(str(item)) for item in value) + "]"
        case Kind.FLAG:
            return "true" if value else "false"
        case Kind.INTEGER:
            return str(value)
        case Kind.SIZE:
            return _quoted(format_size(value))
        case Kind.DURATION:
            return _quoted(format_duration(value))
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """Return a TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in escaped) + '"'
