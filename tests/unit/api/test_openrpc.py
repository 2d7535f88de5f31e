"""The description of the API: valid by OpenRPC's own schema, and true of every answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from p2pnode.api.admin import ADMIN_METHODS
from p2pnode.api.jsonrpc import Dispatcher
from p2pnode.api.methods import METHODS, Method
from p2pnode.api.openrpc import DISCOVER, document, schema, with_discovery
from p2pnode.node.jsonform import Amount
from tests.unit.api.fake_node import FakeNode, block, served

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
referencing = pytest.importorskip("referencing", reason="jsonschema is not installed")

META = Path(__file__).parents[2] / "data" / "openrpc" / "schema.json"
ADDRESS = "ab" * 32
ARGUMENTS: dict[str, list[Any]] = {
    "account": [ADDRESS],
    "accounts": [[ADDRESS, "0x" + ADDRESS]],
    "block": [1],
    "blocks": [1],
    "submit": [["d28441a0", "d28441a1"]],
    "transaction": ["d2" * 32],
    "transactions": [["d2" * 32, ADDRESS]],
}
"""What each method is called with here; the others take nothing."""


def meta_validator() -> Any:
    """The validator of OpenRPC documents; it refers to draft 7 under an address of its own."""
    draft = jsonschema.Draft7Validator.META_SCHEMA
    own = {**draft, "$id": "https://meta.json-schema.tools"}
    # The one definition that is referred to by its place in that document.
    own["definitions"] = {
        **draft["definitions"],
        "JSONSchemaObject": {"properties": {"$ref": {"type": "string"}}},
    }
    resource = referencing.Resource.from_contents(
        own, default_specification=referencing.jsonschema.DRAFT7
    )
    registry = referencing.Registry().with_resources(
        [
            ("https://meta.json-schema.tools", resource),
            ("https://meta.json-schema.tools/", resource),
        ]
    )
    return jsonschema.Draft7Validator(json.loads(META.read_text()), registry=registry)


@pytest.mark.parametrize("methods", [METHODS, ADMIN_METHODS], ids=["api", "admin"])
def test_the_description_is_valid_by_openrpcs_schema(methods: dict[str, Method]) -> None:
    described = document(methods, "p2pnode")
    assert list(meta_validator().iter_errors(described)) == []
    assert [method["name"] for method in described["methods"]] == sorted(methods)
    # The check itself can fail.
    del described["methods"][0]["params"]
    assert list(meta_validator().iter_errors(described)) != []


def test_every_reference_has_its_schema() -> None:
    described = document(METHODS, "p2pnode")
    text = json.dumps(described)
    named = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named == set(described["components"]["schemas"])
    assert {"NodeStatus", "TransactionState", "StateRoot"} <= named


@pytest.mark.parametrize("name", sorted(METHODS))
async def test_every_answer_is_as_described(name: str) -> None:
    node = FakeNode(chain={1: block(1)}, numbers={"p2pnode_a_b_total": 1.0})
    await node.submit([b"\xd2"])
    arguments = ARGUMENTS.get(name, [])
    call = {"jsonrpc": "2.0", "id": 1, "method": name, "params": arguments}
    answer = await Dispatcher(node, METHODS).answer(json.dumps(call).encode())
    assert answer is not None
    result = json.loads(answer)["result"]
    described = document(METHODS, "p2pnode")
    (method,) = (found for found in described["methods"] if found["name"] == name)
    components = {"components": described["components"]}
    jsonschema.Draft7Validator({**components, **method["result"]["schema"]}).validate(result)
    for given, parameter in zip(arguments, method["params"], strict=False):
        jsonschema.Draft7Validator({**components, **parameter["schema"]}).validate(given)


def test_one_text_may_stand_for_a_list_of_texts() -> None:
    (submit,) = (m for m in document(METHODS, "")["methods"] if m["name"] == "submit")
    validator = jsonschema.Draft7Validator(submit["params"][0]["schema"])
    assert validator.is_valid("d284")
    assert validator.is_valid(["d284"])
    assert not validator.is_valid(5)


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (Amount, str(1 << 127), 5),
        (bytes, "0xAb", "abc"),
        (dict[int, str], {"5": "x"}, {"x": "x"}),
        (int | None, None, "5"),
        (tuple[bool, ...], [True], [1]),
        (float, 1.5, "1.5"),
    ],
)
def test_a_type_allows_its_json_form_and_no_other(hint: Any, good: Any, bad: Any) -> None:
    validator = jsonschema.Draft7Validator(schema(hint, {}))
    assert validator.is_valid(good)
    assert not validator.is_valid(bad)


async def test_a_node_serves_its_description_in_both_ways() -> None:
    async with served(FakeNode()) as url, httpx.AsyncClient(trust_env=False) as http:
        described = (await http.get(f"{url}/openrpc.json")).json()
        call = {"jsonrpc": "2.0", "id": 1, "method": DISCOVER}
        discovered = (await http.post(f"{url}/rpc", json=call)).json()["result"]
    assert discovered == described == document(METHODS, "p2pnode")
    assert DISCOVER in with_discovery(METHODS, "p2pnode")
