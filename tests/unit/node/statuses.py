"""Statuses that tests of the surfaces show."""

from __future__ import annotations

import dataclasses
from typing import Any

from p2pnode.node.jsonform import Amount
from p2pnode.node.status import MempoolStatus, NodeStatus, StateRoot

STATUS = NodeStatus(
    name="node0",
    chain="ab" * 32,
    chain_name="test-amber",
    engine="simplex",
    scheme="inline",
    roles=("validator", "executor"),
    version="0.1.0",
    height=812,
    finalized_height=810,
    executed_height=809,
    certified_height=808,
    view=3,
    epoch=0,
    proposer=2,
    proposer_name="node2",
    state_roots={0: StateRoot(809, "00" * 32), 1: StateRoot(809, "11" * 32)},
    peers_count=6,
    peers_in_count=2,
    mempool=MempoolStatus(4, 800),
    ready=True,
    last_block_age_s=0.25,
    supply={0: Amount(1 << 100), 1: Amount(7)},
    bytes_sent=1 << 20,
    bytes_received=1 << 21,
    cpu_s=1.5,
    memory_bytes=64 << 20,
    counters={"views_skipped": 5},
)


def status(**changes: Any) -> NodeStatus:
    return dataclasses.replace(STATUS, **changes)
