"""A whole node, made but not run: what it says of transactions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from p2pnode.execution.outcomes import Outcome, Reason
from p2pnode.keys.verifier import InlineVerifier
from p2pnode.node.answers import TransactionState
from p2pnode.node.index import TABLE, Entry
from p2pnode.node.node import SUBMITTED_AT_ONCE, Node, NodeSetup
from p2pnode.node.shell import Ports
from p2pnode.store.memory import MemoryLog, MemoryStore
from p2pnode.types.effects import Write
from p2pnode.types.transaction import MalformedTransactionError
from tests.spine import KEYS, make_chain

CHAIN = make_chain(1, engine="solo")
ID = bytes([7]) * 32


class Clock:
    """Stands still."""

    def now_ns(self) -> int:
        return 0

    def wall_ms(self) -> int:
        return 0


def made(store: MemoryStore) -> Node:
    """Return a node that doesn't run: no network."""
    ports = Ports(cast("Any", None), Clock(), store, MemoryLog(), InlineVerifier(), False)
    return Node(NodeSetup("node", CHAIN.genesis.encode(), KEYS[0]), ports)


def outcome(reason: Reason) -> Outcome:
    return Outcome(ID, reason.status(), reason, 3, bytes(32), 0, 0, 0)


def state(node: Node) -> TransactionState | None:
    status = node.transaction(ID)
    return None if status is None else status.state


def test_a_copy_skipped_in_this_life_does_not_hide_what_executed_in_an_earlier_one() -> None:
    store = MemoryStore()
    done = Entry(5, 0, outcome(Reason.NONE))
    store.commit([Write(TABLE, ID, done.encode())], sync=True)
    node = made(store)
    assert state(node) is TransactionState.EXECUTED
    node.core.index.executed(outcome(Reason.NONCE_TOO_LOW), 9, 0)
    status = node.transaction(ID)
    assert status is not None
    assert (status.state, status.height) == (TransactionState.EXECUTED, 5)


def test_what_never_executed_is_skipped_for_its_nonce() -> None:
    node = made(MemoryStore())
    assert state(node) is None
    node.core.index.executed(outcome(Reason.NONCE_TOO_LOW), 9, 0)
    assert state(node) is TransactionState.SKIPPED


async def test_a_long_submission_reaches_the_core_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = made(MemoryStore())
    parts: list[int] = []

    async def submit(raws: tuple[bytes, ...]) -> tuple[object, ...]:
        parts.append(len(raws))
        return tuple(MalformedTransactionError(raw.decode()) for raw in raws)

    monkeypatch.setattr(node, "shell", SimpleNamespace(submit=submit))
    outcomes = await node.submit([b"%d" % number for number in range(1000)])
    assert max(parts) == SUBMITTED_AT_ONCE
    assert sum(parts) == 1000
    assert [o.message for o in outcomes] == [str(number) for number in range(1000)]
