"""What a load remembers: transactions on their way, those that are through, senders and nodes."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from p2pnode.node.answers import (
    AccountStatus,
    SubmitOutcome,
    TransactionState,
    TransactionStatus,
)
from p2pnode.node.status import NodeStatus
from testnet.load.source import Signed

FINALIZED: Final = (
    TransactionState.ORDERED,
    TransactionState.EXECUTED,
    TransactionState.CERTIFIED,
    TransactionState.FAILED,
)


class Client(Protocol):
    """What the load needs of a node (p2pnode.client.NodeClient has it)."""

    async def submit(self, raws: Sequence[bytes]) -> tuple[SubmitOutcome, ...]: ...
    async def transactions(self, ids: Sequence[bytes]) -> tuple[TransactionStatus | None, ...]: ...
    async def accounts(self, addresses: Sequence[bytes]) -> tuple[AccountStatus, ...]: ...
    async def status(self) -> NodeStatus: ...


@dataclass(slots=True, eq=False)
class Sent:
    signed: Signed
    at_ms: int
    """Wall clock when it was due."""
    route: int
    """Index of the node it was given to last."""
    tries: int = 0
    answered: bool = False
    accepted: bool = False
    reason: str = ""
    """Of the last refusal."""
    state: TransactionState | None = None
    state_reason: str = ""
    height: int | None = None
    final_ms: int | None = None
    sent_s: float = 0.0
    """When it was sent last."""

    @property
    def finalized(self) -> bool:
        return self.final_ms is not None and self.state in FINALIZED

    closed: bool = False
    """Nothing more is to be learnt of it, but that its result is certified."""


class Closed:
    """Transactions that are through, in a few numbers each: a load may run for days."""

    def __init__(self) -> None:
        self.at_ms = array("q")
        self.final_ms = array("q")
        self.heights = array("q")
        self.failed = 0

    def add(self, sent: Sent) -> None:
        sent.closed = True
        self.at_ms.append(sent.at_ms)
        self.final_ms.append(sent.final_ms or sent.at_ms)
        self.heights.append(sent.height or 0)
        self.failed += sent.state is TransactionState.FAILED


class LoadNode:
    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.client = client
        self.queue: deque[Sent] = deque()
        self.wake = trio.Event()
        self.down_until_s = -1.0
        self.open: dict[bytes, Sent] = {}
        """Accepted or tried here, and not resolved."""

    def push(self, sent: Sent) -> None:
        self.queue.append(sent)
        self.wake.set()


class Sender:
    __slots__ = ("address", "done", "held", "route", "sent")

    def __init__(self, address: bytes, route: int, nonce: int) -> None:
        self.address = address
        self.route = route
        self.sent = nonce
        """Next nonce to send."""
        self.done = nonce
        """Next nonce of the account, as far as it is known."""
        self.held: deque[Signed] = deque()
