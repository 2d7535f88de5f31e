from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from p2pnode.execution.pipeline import ExecutedBlock
from p2pnode.node import history as module
from p2pnode.node.history import EVENTS_MAX, BlockHistory
from p2pnode.types.payload import Block
from tests.spine import make_blocks, make_chain

BLOCKS = make_blocks(make_chain(), 12)


class Clock:
    """Ticks once whenever it is read."""

    def __init__(self) -> None:
        self.now = 0

    def now_ns(self) -> int:
        self.now += 1
        return self.now

    def wall_ms(self) -> int:
        return self.now_ns()


def history() -> BlockHistory:
    """Return the history of a node without shards."""
    core = SimpleNamespace(
        catchup=SimpleNamespace(syncing=False), identity=SimpleNamespace(index=0), executors={}
    )
    return BlockHistory(cast("Any", core), Clock())


def finalize(kept: BlockHistory, block: Block) -> None:
    kept.finalized(
        {
            "height": block.height,
            "hash": block.hash,
            "payload": block.payload,
            "view": block.view,
            "time_ms": block.time_ms,
        }
    )


def executed(block: Block) -> ExecutedBlock:
    return ExecutedBlock(block, (), (), 0)


def test_heights_seen_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEIGHTS_MAX", 10)
    kept = history()
    for block in BLOCKS:
        finalize(kept, block)
        kept.executed(executed(block))
    seen = [b.height for b in BLOCKS if kept.seen_ms(b.height) is not None]
    # One more than is kept costs a tenth, two times here.
    assert seen == [b.height for b in BLOCKS[2:]]


def test_a_subscriber_gets_every_event_until_it_stops_reading_and_then_its_end() -> None:
    kept = history()
    events = kept.subscribe()
    done = executed(BLOCKS[0])
    kept.executed(done)
    for _ in range(EVENTS_MAX + 2):
        kept.publish(done)
    assert len([events.receive_nowait() for _ in range(EVENTS_MAX)]) == EVENTS_MAX
    with pytest.raises(trio.EndOfChannel):
        events.receive_nowait()
