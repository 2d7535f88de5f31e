"""The JSON form of typed values: dataclasses out of an API, and back into them at a client.

A converter is made once per type from its hints, so that the API needs no second description of its
values. Amounts are decimal strings in JSON: most readers of JSON round integers above 2^53.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import (
    Any,
    Final,
    NewType,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from p2pnode.errors import P2PNodeError

Amount = NewType("Amount", int)
"""A quantity of an asset, 0 ≤ amount < 2^128; a decimal string in JSON."""

Json: TypeAlias = Any
"""A value that the json module writes or has read."""

_SCALARS: Final = (str, int, float, bool)


class ValueFormError(P2PNodeError):
    """A JSON value is not of the form its type demands."""

    def __init__(self, where: str, expected: str, found: object) -> None:
        text = repr(found)
        shown = text if len(text) <= 60 else text[:57] + "…"
        super().__init__(f"{where or 'value'}: {expected} expected, {shown} found")
        self.where = where
        self.expected = expected


def to_json(hint: Any, value: object) -> Json:
    """Return the JSON form of a value of the hinted type."""
    return _writer(hint)(value)


def from_json(hint: Any, value: Json, where: str = "") -> Any:
    """Return the value of the hinted type whose JSON form is given.

    Args:
        hint: A dataclass or any combination of the types below.
        value: What the json module has read.
        where: Names the value in error messages.

    Raises:
        ValueFormError: The form is another; the message names the place inside the value.
    """
    return _reader(hint)(value, where)


# --- writing ------------------------------------------------------------------------------

_Writer: TypeAlias = Callable[[Any], Json]


def _same(value: Any) -> Json:
    return value


@cache
def _writer(hint: Any) -> _Writer:
    if hint is Amount:
        return str
    if hint in _SCALARS or hint is None or hint is type(None) or hint is Any:
        return _same
    if hint is bytes:
        return bytes.hex
    if isinstance(hint, type) and issubclass(hint, Enum):
        return lambda value: value.value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        item = _writer(arguments[0])
        return lambda value: [item(entry) for entry in value]
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        item = _writer(arguments[1])
        return lambda value: {str(key): item(entry) for key, entry in value.items()}
    if origin in (Union, types.UnionType):
        inner = _optional(hint)
        item = _writer(inner)
        return lambda value: None if value is None else item(value)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        parts = [(f.name, _writer(hints[f.name])) for f in fields(hint)]
        return lambda value: {name: write(getattr(value, name)) for name, write in parts}
    raise AssertionError(f"no JSON form for {hint!r}")


# --- reading ------------------------------------------------------------------------------

_Reader: TypeAlias = Callable[[Json, str], Any]


@cache
def _reader(hint: Any) -> _Reader:
    if hint is Amount:
        return _read_amount
    if hint is Any:
        return lambda value, where: value
    if hint is float:
        return _read_float
    if hint in _SCALARS:
        return _exactly(hint)
    if hint is bytes:
        return _read_hex
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _one_of(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return _read_items(_reader(arguments[0]))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _read_mapping(arguments[0], _reader(arguments[1]))
    if origin in (Union, types.UnionType):
        item = _reader(_optional(hint))
        return lambda value, where: None if value is None else item(value, where)
    if is_dataclass(hint):
        return _read_dataclass(hint)
    raise AssertionError(f"no JSON form for {hint!r}")


def _optional(hint: Any) -> Any:
    """Return X of `X | None`, the only union there is."""
    rest = [argument for argument in get_args(hint) if argument is not type(None)]
    assert len(rest) == 1, hint
    return rest[0]


def _exactly(kind: type) -> _Reader:
    name = {str: "text", int: "an integer", bool: "true or false"}[kind]

    def read(value: Json, where: str) -> Any:
        # `type(…) is`, since bool is an int and must not pass for one.
        if type(value) is not kind:
            raise ValueFormError(where, name, value)
        return value

    return read


def _read_float(value: Json, where: str) -> float:
    if type(value) not in (int, float):
        raise ValueFormError(where, "a number", value)
    return float(value)


def _read_amount(value: Json, where: str) -> Amount:
    # 2^128 has 39 digits, a sum over many accounts a few more; longer texts would cost time.
    if type(value) is int and value >= 0:
        return Amount(value)
    if type(value) is str and 0 < len(value) <= 48 and value.isascii() and value.isdigit():
        return Amount(int(value))
    raise ValueFormError(where, "an amount (decimal digits)", value)


def _read_hex(value: Json, where: str) -> bytes:
    if type(value) is str:
        try:
            return bytes.fromhex(value.removeprefix("0x"))
        except ValueError:
            pass
    raise ValueFormError(where, "hex digits", value)


def _one_of(kind: type[Enum]) -> _Reader:
    known = {member.value: member for member in kind}

    def read(value: Json, where: str) -> Any:
        if type(value) is not str or value not in known:
            raise ValueFormError(where, f"one of {', '.join(known)}", value)
        return known[value]

    return read


def _read_items(item: _Reader) -> _Reader:
    def read(value: Json, where: str) -> Any:
        if type(value) is not list:
            raise ValueFormError(where, "a list", value)
        return tuple(item(entry, f"{where}[{i}]") for i, entry in enumerate(value))

    return read


def _read_mapping(key_hint: Any, item: _Reader) -> _Reader:
    def read(value: Json, where: str) -> Any:
        if type(value) is not dict:
            raise ValueFormError(where, "an object", value)
        found: dict[Any, Any] = {}
        for key, entry in value.items():
            name: Any = key
            if key_hint is int:
                if not (key.isascii() and key.isdigit() and len(key) <= 20):
                    raise ValueFormError(where, "integer keys", key)
                name = int(key)
            found[name] = item(entry, f"{where}.{key}")
        return found

    return read


def _read_dataclass(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    parts = [
        (f.name, _reader(hints[f.name]), f.default is MISSING and f.default_factory is MISSING)
        for f in fields(kind)
    ]

    def read(value: Json, where: str) -> Any:
        if type(value) is not dict:
            raise ValueFormError(where, "an object", value)
        found = {}
        # Unknown names are ignored: a newer node may say more than this client knows.
        for name, item, required in parts:
            if name in value:
                found[name] = item(value[name], f"{where}.{name}" if where else name)
            elif required:
                raise ValueFormError(where, f"a field {name!r}", sorted(value))
        return kind(**found)

    return read
