"""The API's description in OpenRPC 1.3.2, made from the methods' type hints.

Values have the JSON form of p2pnode/node/jsonform.py; this module says the same as JSON Schema
(draft 7). The tests hold the two together: every answer is checked against what is said here.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from p2pnode import __version__
from p2pnode.api.methods import Method, Parameter
from p2pnode.node.jsonform import Amount, Json

OPENRPC: Final = "1.3.2"
DISCOVER: Final = "rpc.discover"
"""The method's name in the specification's section "Service Discovery"."""

ERRORS: Final[tuple[tuple[int, str], ...]] = (
    (-32602, "The parameters are not those of the method."),
    (-32000, "The node understood the call and refuses it; data.kind says why."),
    (-32001, "The request or its answer is over its limit."),
    (-32002, "Too many calls on one connection; data.kind is rate_limited."),
)

_SCALARS: Final[Mapping[object, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
}


def with_discovery(methods: Mapping[str, Method], title: str) -> dict[str, Method]:
    """Return the methods and `rpc.discover`, which describes them."""
    described = document(methods, title)

    async def discover(node: object) -> Any:
        return described

    summary = "Return this description."
    return {**methods, DISCOVER: Method(DISCOVER, summary, (), Any, discover)}


def document(methods: Mapping[str, Method], title: str) -> dict[str, Json]:
    """Return the OpenRPC document of a table of methods."""
    schemas: dict[str, Json] = {}
    described = [_method(method, schemas) for _, method in sorted(methods.items())]
    return {
        "openrpc": OPENRPC,
        "info": {
            "title": title,
            "version": __version__,
            "description": "JSON-RPC 2.0 over HTTP POST to /rpc or over the WebSocket at /ws, with"
            " batches. Amounts are decimal strings. Every error carries its kind in data.kind.",
            "license": {"name": "Apache-2.0"},
        },
        "methods": described,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _method(method: Method, schemas: dict[str, Json]) -> Json:
    return {
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "either",
        "params": [_parameter(parameter, schemas) for parameter in method.parameters],
        "result": {"name": "result", "schema": schema(method.result, schemas)},
        "errors": [{"code": code, "message": message} for code, message in ERRORS],
    }


def _parameter(parameter: Parameter, schemas: dict[str, Json]) -> Json:
    found = schema(parameter.hint, schemas)
    if parameter.hint == tuple[str, ...]:
        found = {"anyOf": [found, schema(str, schemas)]}
    return {"name": parameter.name, "required": parameter.required, "schema": found}


def schema(hint: Any, schemas: dict[str, Json]) -> Json:
    """Return the JSON Schema of a type's JSON form.

    Args:
        hint: The type.
        schemas: Gets the schemas of dataclasses and enumerations, which are referred to by name.
    """
    if hint is Amount:
        return {"type": "string", "pattern": "^[0-9]{1,48}$"}
    if hint is Any:
        return {}
    if hint is None or hint is type(None):
        return {"type": "null"}
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    if hint is bytes:
        return {"type": "string", "pattern": "^(0x)?([0-9a-fA-F]{2})*$"}
    if isinstance(hint, type) and (issubclass(hint, Enum) or is_dataclass(hint)):
        name = hint.__name__
        if name not in schemas:
            # Set before its fields are described: one of them may refer back.
            schemas[name] = {}
            schemas[name] = _named(hint, schemas)
        return {"$ref": f"#/components/schemas/{name}"}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return {"type": "array", "items": schema(arguments[0], schemas)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema(argument, schemas) for argument in arguments]}
    assert isinstance(origin, type), f"no schema for {hint!r}"
    assert issubclass(origin, Mapping), f"no schema for {hint!r}"
    found: dict[str, Json] = {
        "type": "object",
        "additionalProperties": schema(arguments[1], schemas),
    }
    if arguments[0] is int:
        found["propertyNames"] = {"pattern": "^[0-9]{1,20}$"}
    return found


def _named(hint: Any, schemas: dict[str, Json]) -> Json:
    summary = (hint.__doc__ or "").strip().partition("\n")[0]
    if issubclass(hint, Enum):
        return {"description": summary, "type": "string", "enum": [m.value for m in hint]}
    hints = get_type_hints(hint)
    names = [f.name for f in fields(hint)]
    return {
        "description": summary,
        "type": "object",
        # Answers have them all; a client should ignore what it does not know.
        "required": names,
        "properties": {name: schema(hints[name], schemas) for name in names},
    }
