from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.api.jsonrpc import VALUES_MAX, Dispatcher, RpcLimits
from p2pnode.api.methods import LOOKUPS_MAX, METHODS, SUBMIT_MAX
from tests.unit.api.fake_node import FakeNode, block


def call(method: str, params: Any = None, id: Any = 1) -> dict[str, Any]:
    made = {"jsonrpc": "2.0", "id": id, "method": method}
    return made if params is None else {**made, "params": params}


async def ask(node: FakeNode, request: Any, limits: RpcLimits | None = None) -> Any:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    answer = await Dispatcher(node, METHODS, limits).answer(body)
    return None if answer is None else json.loads(answer)


async def refused(node: FakeNode, request: Any) -> tuple[int, str]:
    error = (await ask(node, request))["error"]
    return error["code"], error["data"]["kind"]


async def test_a_call_is_answered_with_its_id() -> None:
    answer = await ask(FakeNode(), call("status", id="seven"))
    assert answer["jsonrpc"] == "2.0"
    assert answer["id"] == "seven"
    assert answer["result"]["height"] == 812


@pytest.mark.parametrize("id", ["1e999", "-1e999", '"' + "x" * 257 + '"', "[]", "true"])
async def test_an_id_that_can_not_be_sent_back_is_refused_and_answered_with_null(id: str) -> None:
    # 1e999 is read as infinity, and would come back as `Infinity`, which is no JSON.
    body = f'{{"jsonrpc": "2.0", "id": {id}, "method": "status"}}'.encode()
    answer = await ask(FakeNode(), body)
    assert answer["id"] is None
    assert answer["error"]["code"] == -32600


async def test_every_method_without_parameters_answers() -> None:
    for name, method in METHODS.items():
        if not any(parameter.required for parameter in method.parameters):
            assert "result" in await ask(FakeNode(chain={1: block(1)}), call(name)), name


async def test_parameters_go_by_position_or_by_name() -> None:
    node = FakeNode(chain={height: block(height) for height in range(1, 5)})
    by_position = await ask(node, call("blocks", [2, 2]))
    by_name = await ask(node, call("blocks", {"count": 2, "from": 2}))
    assert by_position == by_name
    assert [entry["height"] for entry in by_name["result"]] == [2, 3]


async def test_blocks_that_are_not_there_are_left_out() -> None:
    node = FakeNode(chain={9: block(9)})
    assert [b["height"] for b in (await ask(node, call("blocks", [-5])))["result"]] == [9]
    assert (await ask(node, call("block", [3])))["result"] is None
    assert (await ask(node, call("block")))["result"]["height"] == 9


async def test_transactions_are_submitted_as_hex_or_base64_alone_or_in_a_list() -> None:
    node = FakeNode()
    raws = [b"\xd2\x84abc", b"\x01\x02"]
    texts = [base64.b64encode(raws[0]).decode(), "0x" + raws[1].hex()]
    answer = await ask(node, call("submit", [texts]))
    assert [outcome["accepted"] for outcome in answer["result"]] == [True, True]
    await ask(node, call("submit", [texts[0]]))
    assert node.submitted == [*raws, raws[0]]


async def test_a_text_that_is_no_envelope_is_named_by_its_place() -> None:
    answer = await ask(FakeNode(), call("submit", [["00", "$$"]]))
    assert answer["error"]["data"]["kind"] == "not_an_envelope"
    assert "transaction 1" in answer["error"]["message"]


async def test_many_transactions_are_looked_up_at_once() -> None:
    node = FakeNode()
    await ask(node, call("submit", [["01"]]))
    answer = await ask(node, call("transactions", [["01" * 32, "02" * 32]]))
    assert answer["result"][0]["state"] == "pooled"
    assert answer["result"][1] is None


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("blocks", [1, 101]),
        ("submit", [["00"] * (SUBMIT_MAX + 1)]),
        ("transactions", [["00" * 32] * (LOOKUPS_MAX + 1)]),
        ("accounts", [["00" * 32] * (LOOKUPS_MAX + 1)]),
    ],
)
async def test_more_items_than_a_call_may_have_are_refused(method: str, params: Any) -> None:
    assert await refused(FakeNode(), call(method, params)) == (-32000, "too_many_items")


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"1," * VALUES_MAX + b"1]",
        b"[" * 5 + b"{}," * VALUES_MAX + b"{}" + b"]" * 5,
        b'["' + b"\\u0041" * (VALUES_MAX + 1) + b'"]',
        b'{"jsonrpc": "2.0", "id": 1, "method": "submit", "params": [['
        + b"[]" * (VALUES_MAX + 1)
        + b"]]}",
    ],
    ids=["numbers", "objects", "escapes", "parameters"],
)
async def test_a_request_of_very_many_values_is_refused_unread(body: bytes) -> None:
    assert await refused(FakeNode(), body) == (-32001, "too_many_values")


async def test_the_longest_calls_there_may_be_have_few_enough_values() -> None:
    for method, count in (("submit", SUBMIT_MAX), ("transactions", LOOKUPS_MAX)):
        answer = await ask(FakeNode(), call(method, [["00" * 32] * count]))
        assert len(answer["result"]) == count


async def test_an_integer_of_many_digits_is_not_read() -> None:
    body = json.dumps(call("block", ["DIGITS"])).replace('"DIGITS"', "9" * 4000).encode()
    assert await refused(FakeNode(), body) == (-32700, "parse_error")


@pytest.mark.parametrize("method", ["transactions", "accounts"])
async def test_a_long_answer_is_made_while_others_have_their_turn(method: str) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await ask(FakeNode(), call(method, [["00" * 32] * LOOKUPS_MAX]))
        nursery.cancel_scope.cancel()
    assert turns >= LOOKUPS_MAX // 128


async def test_an_id_of_the_wrong_length_is_refused() -> None:
    assert await refused(FakeNode(), call("transaction", ["abcd"])) == (-32000, "wrong_length")
    assert await refused(FakeNode(), call("account", ["ab" * 33])) == (-32000, "wrong_length")


async def test_a_refusal_of_the_node_keeps_its_kind() -> None:
    assert await refused(FakeNode(full=True), call("submit", ["00"])) == (-32000, "pool_full")


@pytest.mark.parametrize(
    "params",
    [[1, 2, 3], {"from": 1, "to": 2}, {"count": 1}, ["1"], [None], [True], [1.5], {"from_": 1}],
)
async def test_parameters_that_do_not_fit_are_invalid(params: Any) -> None:
    assert await refused(FakeNode(), call("blocks", params)) == (-32602, "invalid_params")


async def test_an_unknown_method_is_answered_with_the_known_ones() -> None:
    answer = await ask(FakeNode(), call("stauts"))
    assert answer["error"]["code"] == -32601
    assert "status" in answer["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nul", b"\xff", b'{"id": NaN}', b"[" * 50_000, b"1" * 5000, b'"\\ud800'],
)
async def test_what_is_no_json_is_a_parse_error(body: bytes) -> None:
    answer = await ask(FakeNode(), body)
    assert answer["error"]["code"] == -32700
    assert answer["id"] is None


@pytest.mark.parametrize(
    "request_",
    [
        5,
        "status",
        None,
        {},
        [],
        {"jsonrpc": "1.0", "id": 1, "method": "status"},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "method": 5},
        {"jsonrpc": "2.0", "id": 1, "method": "status", "params": "x"},
        {"jsonrpc": "2.0", "id": True, "method": "status"},
        {"jsonrpc": "2.0", "id": [1], "method": "status"},
        {"jsonrpc": "2.0", "id": "x" * 1000, "method": "status"},
        {"jsonrpc": "1.0", "method": "status"},
    ],
)
async def test_what_is_no_call_is_an_invalid_request(request_: Any) -> None:
    assert await refused(FakeNode(), request_) == (-32600, "invalid_request")


async def test_a_notification_is_carried_out_and_not_answered() -> None:
    node = FakeNode()
    request = {"jsonrpc": "2.0", "method": "submit", "params": ["0102"]}
    assert await ask(node, request) is None
    assert node.submitted == [b"\x01\x02"]
    assert await ask(node, {"jsonrpc": "2.0", "method": "no_such"}) is None


async def test_a_batch_is_answered_in_order_without_its_notifications() -> None:
    batch = [
        call("status", id=1),
        {"jsonrpc": "2.0", "method": "status"},
        7,
        call("nothing", id=2),
        call("peers", id=3),
    ]
    answers = await ask(FakeNode(), batch)
    assert [answer["id"] for answer in answers] == [1, None, 2, 3]
    assert ["error" in answer for answer in answers] == [False, True, True, False]


async def test_a_batch_of_notifications_is_not_answered() -> None:
    assert await ask(FakeNode(), [{"jsonrpc": "2.0", "method": "status"}] * 2) is None


async def test_a_batch_over_its_limit_is_refused_whole() -> None:
    node = FakeNode()
    assert await refused(node, [call("submit", ["00"])] * 1001) == (-32001, "batch_too_large")
    assert node.submitted == []
    assert len(await ask(node, [call("peers")] * 1000)) == 1000


async def test_calls_beyond_the_largest_answer_are_refused_one_by_one() -> None:
    limits = RpcLimits(answer_bytes_max=3000)
    answers = await ask(FakeNode(), [call("status", id=i) for i in range(9)], limits)
    assert [answer["id"] for answer in answers] == list(range(9))
    assert "result" in answers[0]
    assert answers[-1]["error"]["data"]["kind"] == "answer_too_large"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(METHODS)), JSON)
async def test_any_parameters_get_an_answer_or_an_error_with_a_kind(name: str, params: Any) -> None:
    answer = await ask(FakeNode(), {**call(name), "params": params})
    assert "result" in answer or answer["error"]["data"]["kind"]


@given(st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode()))
async def test_any_bytes_get_an_answer(body: bytes) -> None:
    answer = await ask(FakeNode(), body)
    assert answer is not None
    for each in answer if isinstance(answer, list) else [answer]:
        assert "error" in each
