"""What the API needs of a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import trio

from p2pnode.node.answers import (
    AccountStatus,
    BannedRow,
    BlockEvent,
    BlockStatus,
    GenesisInfo,
    PeerRow,
    SubmitOutcome,
    TransactionStatus,
    ValidatorRow,
)
from p2pnode.node.status import NodeStatus
from p2pnode.telemetry.ring import LogRecord


class NodeView(Protocol):
    """A running node, as its surfaces see it.

    Everything but `submit` answers at once, from memory or from one look into the store, and is
    called from the node's own Trio thread.
    """

    def status(self) -> NodeStatus:
        """Return the node at this moment."""

    async def submit(self, raws: Sequence[bytes]) -> list[SubmitOutcome]:
        """Offer signed envelopes to the pool; one outcome each, in order."""

    def transaction(self, id: bytes) -> TransactionStatus | None:
        """Return what is known of a transaction id (32 bytes), None when nothing is."""

    def account(self, address: bytes) -> AccountStatus:
        """Return an account (address of 32 bytes); one never used has nonce 0 and no balance."""

    def block(self, height: int | None) -> BlockStatus | None:
        """Return the block at a height, the newest for None; None where there is none."""

    def peers(self) -> tuple[PeerRow, ...]:
        """Return the connected peers, ascending by id."""

    def banned(self) -> tuple[BannedRow, ...]:
        """Return the peers refused for a while, ascending by id."""

    def validators(self) -> tuple[ValidatorRow, ...]:
        """Return the current epoch's validator set, in its order."""

    def genesis(self) -> GenesisInfo:
        """Return what the chain began with."""

    def supply(self) -> Mapping[int, int]:
        """Count what exists of each asset, over every account: slower than other questions."""

    def events(self) -> trio.MemoryReceiveChannel[BlockEvent]:
        """Open a channel of the blocks that become final from now on, without gaps.

        The channel is bounded and the node never waits for its reader: when it is full, the node
        closes it, and the reader sees its end after the events that fitted. It ends too when the
        node stops. The reader closes its side when done.
        """

    def log(self, after: int | None) -> tuple[LogRecord, ...]:
        """Return records of the node's log, ascending, at most `ring.SHOWN_MAX`.

        Args:
            after: Number of the last one known: the oldest kept ones after it. None: the newest.
        """

    def metrics(self) -> Mapping[str, float]:
        """Return totals and gauges by metric name, as p2pnode/telemetry/metrics.py wants them."""
