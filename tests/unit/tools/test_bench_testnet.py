"""When a rung of the benchmark's ladder holds, and how its cost is split."""

from __future__ import annotations

from typing import Any

import pytest

from tools.bench_testnet import PARTS, digest


def summary(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "exit": 0,
        "duration_s": 10.0,
        "throughput_tx_s": 98.0,
        "transactions": {
            "due": 1000,
            "submitted": 1000,
            "finalized": 1000,
            "refused": {},
            "unfinished": 0,
        },
        "finalization_s": {"p50": 0.3, "p99": 0.9},
        "consensus_s": {"p50": 0.03, "p99": 0.09},
        "cpu_s": {
            "total": 4.0,
            "per_node": {"node0": 2.0, "node1": 2.0},
            "parts": {"event_loop": 1.0, "node": 0.5, **dict.fromkeys(PARTS, 0.2)},
        },
        "bytes_sent": {"total": 5, "per_transaction": 3000},
        "memory_bytes_max": {"node0": 5, "node1": 7},
    }
    return {**found, **changes}


def transactions(**changes: Any) -> dict[str, Any]:
    return {**summary()["transactions"], **changes}


def test_costs_are_told_per_transaction_and_node() -> None:
    row = digest(100, summary())
    assert row["holds"]
    assert row["cpu_ms_per_transaction_and_node"] == 2.0
    assert row["parts_ms"]["codec"] == 0.1
    assert row["parts_ms"]["rest"] == 0.75
    assert row["rest_ms"] == {"event_loop": 0.5, "node": 0.25}
    assert row["memory_bytes_max"] == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"exit": 11},
        {"throughput_tx_s": 70.0},
        {"finalization_s": {"p50": 2.5, "p99": 9.0}},
        {"finalization_s": None, "transactions": transactions(finalized=0)},
        {"transactions": transactions(submitted=900)},
        {"transactions": transactions(refused={"pool_full": 10})},
    ],
)
def test_a_rate_that_is_not_kept_up_with_does_not_hold(changes: dict[str, Any]) -> None:
    assert not digest(100, summary(**changes))["holds"]
