"""What this life of a node saw of its blocks: when they were final, what they did, who follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import trio

from p2pnode.execution.pipeline import ExecutedBlock
from p2pnode.node.answers import BlockEvent
from p2pnode.node.clocks import Clocks
from p2pnode.node.core import Core
from p2pnode.node.status import StateRoot
from p2pnode.ports import Clock
from p2pnode.telemetry.percentile import Newest
from p2pnode.types.payload import decode_payload

EVENTS_MAX: Final = 256
"""Block events that wait for a slow reader before its channel is closed."""

LATENCIES_KEPT: Final = 2048
"""Recent propose-to-final times kept for statistics."""

HEIGHTS_MAX: Final = 10_000
"""Heights of which it is remembered when they were seen."""


@dataclass(frozen=True, slots=True)
class SeenBlock:
    """What a node tells an observer in the same process about a final block."""

    height: int
    hash: bytes
    parent: bytes
    view: tuple[int, ...]
    time_ms: int
    seen_ms: int
    """Wall clock."""


class BlockHistory:
    """Takes what the core says of final and executed blocks; in memory only."""

    def __init__(self, core: Core, clock: Clock) -> None:
        """Start with no block seen.

        Args:
            core: Whose blocks they are.
            clock: Says when something is seen.
        """
        self._core = core
        self._clock = clock
        self._seen_ms: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        self._subscribers: list[trio.MemorySendChannel[BlockEvent]] = []
        self._last_ns: int | None = None
        self.clocks = Clocks()
        """How far the validators' clocks are off, as their proposals tell."""
        self.finality_ms: Newest[int] = Newest(LATENCIES_KEPT)
        """Recent times from a proposal to its finality here."""
        self.roots: dict[int, StateRoot] = {}
        """By shard's uid: the newest."""

    def finalized(self, data: Mapping[str, object]) -> SeenBlock:
        """Take the data of an event `block_finalized`."""
        height, digest, body = data["height"], data["hash"], data["payload"]
        view, time_ms = data["view"], data["time_ms"]
        assert isinstance(height, int)
        assert isinstance(digest, bytes)
        assert isinstance(body, bytes)
        assert isinstance(view, tuple)
        assert isinstance(time_ms, int)
        payload = decode_payload(body)
        now_ms = self._clock.wall_ms()
        self._last_ns = self._clock.now_ns()
        self._seen_ms[height] = now_ms
        self.finality_ms.add(max(0, now_ms - payload.time_ms))
        if payload.proposer is not None and not self._core.catchup.syncing:
            own = payload.proposer == self._core.identity.index
            self.clocks.saw(payload.proposer, payload.time_ms, now_ms, own=own)
        if len(self._seen_ms) > HEIGHTS_MAX:
            for old in list(self._seen_ms)[: HEIGHTS_MAX // 10]:
                del self._seen_ms[old]
                self._counts.pop(old, None)
        return SeenBlock(height, digest, payload.parent or b"", view, time_ms, now_ms)

    def executed(self, done: ExecutedBlock) -> None:
        """Take a block that was executed."""
        self._counts[done.block.height] = sum(len(e.outcomes) for e in done.executions)
        self.note_roots(done.block.height)

    def note_roots(self, height: int) -> None:
        """Take the shards' state roots as those after a height."""
        for uid, executor in self._core.executors.items():
            self.roots[uid] = StateRoot(height, executor.root().hex())

    def publish(self, done: ExecutedBlock) -> None:
        """Tell the subscribers of a block; one that does not read loses its channel."""
        payload = decode_payload(done.block.payload)
        height = done.block.height
        event = BlockEvent(
            height=height,
            hash=done.block.hash.hex(),
            time_ms=self._seen_ms.get(height, done.executed_ms),
            view=done.block.view[-1] if done.block.view else 0,
            epoch=payload.epoch,
            proposer=payload.proposer,
            transactions_count=self._counts[height],
        )
        for subscriber in list(self._subscribers):
            try:
                subscriber.send_nowait(event)
            except (trio.WouldBlock, trio.BrokenResourceError):
                subscriber.close()
                self._subscribers.remove(subscriber)

    def subscribe(self) -> trio.MemoryReceiveChannel[BlockEvent]:
        """Open a channel of what is published from now on, bounded by `EVENTS_MAX`."""
        send, receive = trio.open_memory_channel[BlockEvent](EVENTS_MAX)
        self._subscribers.append(send)
        return receive

    def close(self) -> None:
        """End all subscriptions."""
        for subscriber in self._subscribers:
            subscriber.close()

    def seen_ms(self, height: int) -> int | None:
        """Return the wall clock when a block became final here, if that was in this life."""
        return self._seen_ms.get(height)

    def transactions_count(self, height: int) -> int:
        """Return how many transactions a block executed, 0 where this life did not see it."""
        return self._counts.get(height, 0)

    def last_block_ns(self) -> int | None:
        """Return when the newest block became final, by the node's own clock."""
        return self._last_ns
