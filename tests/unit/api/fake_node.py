"""A node that answers from tables: what tests of the surfaces run against."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field

import trio

from p2pnode.api.app import ApiOptions
from p2pnode.api.server import serve
from p2pnode.errors import RejectedTransaction
from p2pnode.node.answers import (
    AccountStatus,
    BannedRow,
    BlockEvent,
    BlockStatus,
    DeductionRow,
    GenesisInfo,
    PeerRow,
    SubmitOutcome,
    TransactionState,
    TransactionStatus,
    ValidatorRow,
)
from p2pnode.node.jsonform import Amount
from p2pnode.node.status import NodeStatus
from p2pnode.telemetry.ring import LogRecord, LogRing
from p2pnode.types.genesis import Parameters
from tests.unit.node.statuses import STATUS


class PoolFullError(RejectedTransaction):
    """Says that the pool is full."""


@dataclass
class FakeNode:
    now: NodeStatus = STATUS
    submitted: list[bytes] = field(default_factory=list)
    known: dict[bytes, TransactionStatus] = field(default_factory=dict)
    chain: dict[int, BlockStatus] = field(default_factory=dict)
    readers: list[trio.MemorySendChannel[BlockEvent]] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    buffer: int = 8
    full: bool = False
    ring: LogRing = field(default_factory=LogRing)

    def log(self, after: int | None) -> tuple[LogRecord, ...]:
        return self.ring.after(after)

    def status(self) -> NodeStatus:
        return self.now

    async def submit(self, raws: Sequence[bytes]) -> list[SubmitOutcome]:
        if self.full:
            raise PoolFullError("20000 transactions wait, at most 20000 allowed")
        await trio.lowlevel.checkpoint()
        outcomes = []
        for raw in raws:
            self.submitted.append(raw)
            id = raw[:1] * 32
            self.known[id] = TransactionStatus(id.hex(), TransactionState.POOLED)
            outcomes.append(SubmitOutcome(id.hex(), True))
        return outcomes

    def transaction(self, id: bytes) -> TransactionStatus | None:
        return self.known.get(id)

    def account(self, address: bytes) -> AccountStatus:
        return AccountStatus(address.hex(), 3, {0: Amount(1 << 100)}, height=self.now.height)

    def block(self, height: int | None) -> BlockStatus | None:
        return self.chain.get(max(self.chain, default=0) if height is None else height)

    def peers(self) -> tuple[PeerRow, ...]:
        return (
            PeerRow(
                "12D3Koo",
                "node1",
                "/ip4/127.0.0.1/tcp/1",
                True,
                1.5,
                -12.0,
                reasons=(DeductionRow("a ping without an answer", 12.0, 3.0),),
            ),
        )

    def banned(self) -> tuple[BannedRow, ...]:
        return (BannedRow("12D3Bad", 250.0, 2, (DeductionRow("junk", 100.0, 50.0),)),)

    def validators(self) -> tuple[ValidatorRow, ...]:
        return (ValidatorRow(0, "00" * 32, 1, "12D3Koo", own=True, connected=True),)

    def genesis(self) -> GenesisInfo:
        parameters = asdict(Parameters())
        return GenesisInfo(
            STATUS.chain, "test-amber", 1, "simplex", "inline", 4, 2, parameters, {0: Amount(9)}
        )

    def supply(self) -> Mapping[int, int]:
        return {0: 9}

    def events(self) -> trio.MemoryReceiveChannel[BlockEvent]:
        send, receive = trio.open_memory_channel[BlockEvent](self.buffer)
        self.readers.append(send)
        return receive

    def metrics(self) -> Mapping[str, float]:
        return self.numbers

    def finalize(self, height: int, note: str = "") -> None:
        """Tell readers of a block, as a node does: one that is full is closed."""
        event = BlockEvent(height, f"{height:064x}{note}", 1000 + height, height)
        for reader in list(self.readers):
            try:
                reader.send_nowait(event)
            except trio.WouldBlock:
                reader.close()
                self.readers.remove(reader)
            except trio.BrokenResourceError:
                self.readers.remove(reader)


def block(height: int) -> BlockStatus:
    return BlockStatus(
        height, f"{height:064x}", f"{height - 1:064x}", 0, height, 0, 1000 + height, ("ab" * 32,)
    )


@asynccontextmanager
async def served(node: FakeNode, options: ApiOptions | None = None) -> AsyncIterator[str]:
    """Serve a node on a free port of the loopback interface; yields its URL."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, node, options or ApiOptions())
        yield f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()
