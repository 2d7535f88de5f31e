"""Calls with any parameters at all, to a real node: every answer is one, none is an exception."""

from __future__ import annotations

import json
from typing import Any, cast

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.api.jsonrpc import Dispatcher
from p2pnode.api.methods import METHODS
from p2pnode.keys.verifier import InlineVerifier
from p2pnode.node.node import Node, NodeSetup
from p2pnode.node.shell import Ports
from p2pnode.store.memory import MemoryLog, MemoryStore
from tests.spine import KEYS, make_chain

CHAIN = make_chain(1, engine="solo")
LOOKUPS = ("account", "accounts", "block", "blocks", "genesis", "transaction", "transactions")
INTEGERS = st.sampled_from([0, 1, -1, 63, 1 << 31, 1 << 63, 1 << 64, 10**40, -(10**30)])
TEXTS = st.sampled_from(["", "0x", "ab" * 32, "ab" * 31, "zz", "0x" + "00" * 32, "1" * 5000])
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=8,
)
NAMES = sorted({p.name for name in LOOKUPS for p in METHODS[name].parameters})
PARAMS = st.lists(VALUES, max_size=3) | st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3)


class Clock:
    def now_ns(self) -> int:
        return 0

    def wall_ms(self) -> int:
        return 0


def made() -> Node:
    store = MemoryStore()
    ports = Ports(cast("Any", None), Clock(), store, MemoryLog(), InlineVerifier(), False)
    return Node(NodeSetup("node", CHAIN.genesis.encode(), KEYS[0]), ports)


NODE = made()


@settings(max_examples=300)
@given(st.sampled_from(LOOKUPS), PARAMS)
def test_every_call_has_an_answer(name: str, params: object) -> None:
    dispatcher = Dispatcher(NODE, METHODS)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": name, "params": params}).encode()

    async def ask() -> bytes | None:
        return await dispatcher.answer(body)

    answer = trio.run(ask)
    assert answer is not None
    found = json.loads(answer)
    assert ("result" in found) != ("error" in found)


def test_a_block_at_a_height_that_no_chain_has_is_none() -> None:
    assert [NODE.block(h) for h in (-1, 0, 1, 1 << 64, 10**40)] == [None] * 5
