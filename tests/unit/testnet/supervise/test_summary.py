"""The run summary: what it says, what it finds, and the exit code it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from p2pnode.cli.exit_codes import ExitCode
from p2pnode.node.answers import BlockStatus
from p2pnode.node.status import NodeStatus, StateRoot
from testnet.cli.screen import summary_text
from testnet.load.report import LoadReport, Named, Percentiles
from testnet.spec import TestnetSpec
from testnet.supervise.summary import Cost, Facts, Judged, NodeAtEnd, StateSeen, judge
from tests.unit.node.statuses import STATUS

ISSUED = {0: 1000, 1: 50}

NAMES = (
    "name",
    "seed",
    "engine",
    "validators",
    "light",
    "shards",
    "scheme",
    "commit",
    "ready_s",
    "duration_s",
    "exit",
    "height",
    "views",
    "trace_hash",
    "transactions",
    "throughput_tx_s",
    "finalization_s",
    "finalization_windows",
    "execution_s",
    "consensus_s",
    "cpu_s",
    "memory_bytes_max",
    "bytes_sent",
    "availability",
    "state_roots",
    "balances_conserved",
    "checks",
    "violations",
    "files",
)
"""The names that programs rely on."""


def chain(length: int, *, fork_at: int | None = None) -> tuple[BlockStatus, ...]:
    hashes = [f"{n:064x}" if n != fork_at else "ff" * 32 for n in range(length + 1)]
    return tuple(
        BlockStatus(
            n, hashes[n], hashes[n - 1], 0, n, 0, 1000 * n, (), finalized_time_ms=1000 * n + 40
        )
        for n in range(1, length + 1)
    )


def status(root: str = "11", height: int = 5) -> NodeStatus:
    return replace(STATUS, height=5, state_roots={1: StateRoot(height, root * 32)})


def node(name: str, **changes: Any) -> NodeAtEnd:
    cost = Cost()
    cost.begin()
    cost.measured(2.0, 1 << 20)
    cost.sent(1000)
    values: dict[str, Any] = {
        "status": status(),
        "blocks": chain(5),
        "supply": ISSUED,
        "cost": cost,
    }
    return NodeAtEnd(name, **{**values, **changes})


LOAD = LoadReport(
    due=100,
    submitted=100,
    accepted=99,
    finalized=99,
    executed=98,
    failed=1,
    skipped=0,
    certified=99,
    refused={"pool_full": 1},
    finalization_s=Percentiles(0.3, 0.9),
    started_ms=1000,
    finalized_ms=5040,
)


def judged(
    nodes: list[NodeAtEnd] | None = None,
    load: LoadReport | None = LOAD,
    roots: tuple[tuple[str, str], ...] = (("node0", "11"), ("node1", "11")),
    **changes: Any,
) -> Judged:
    seen = StateSeen()
    for name, root in roots:
        seen.status(name, status(root))
    facts = Facts(
        spec=TestnetSpec("amber-fox", 7),
        issued=ISSUED,
        ready_s=1.234567,
        duration_s=4.0,
        nodes=nodes if nodes is not None else [node("node0"), node("node1")],
        load=load,
        seen=seen,
    )
    return judge(replace(facts, **changes))


def checks(found: Judged) -> Mapping[str, str]:
    return {k: v for k, v in found.summary["checks"].items() if v != "pass"}


def test_a_run_in_which_everything_holds_exits_with_0() -> None:
    found = judged()
    summary = found.summary
    assert found.exit is ExitCode.OK
    assert [name for name in NAMES if name not in summary] == []
    assert checks(found) == {}
    assert summary["violations"] == []
    assert summary["state_roots"] == {"1": {"height": 5, "root": "11" * 32, "equal": True}}
    assert summary["balances_conserved"] == {"0": True, "1": True}
    assert summary["cpu_s"] == {
        "total": 4.0,
        "per_transaction": round(4 / 99, 6),
        "per_node": {"node0": 2.0, "node1": 2.0},
    }
    assert summary["bytes_sent"] == {"total": 2000, "per_transaction": 20}
    assert summary["consensus_s"] == {"p50": 0.04, "p99": 0.04}
    assert summary["throughput_tx_s"] == pytest.approx(99 / 4.04, abs=0.1)
    assert summary["pause_s_max"] == 1.0
    assert summary["transactions"]["refused"] == {"pool_full": 1}
    assert "99 finalized" in summary_text(summary)
    assert "checks  7 of 7 passed" in summary_text(summary)
    assert "1 pool_full" in summary_text(summary)


def test_a_run_without_load_has_nulls() -> None:
    summary = judged(load=None).summary
    for name in ("transactions", "throughput_tx_s", "finalization_s", "execution_s", "trace_hash"):
        assert summary[name] is None
    assert "accepted_finalized" not in summary["checks"]


def test_different_state_roots_violate_safety() -> None:
    found = judged(roots=(("node0", "11"), ("node1", "22")))
    assert found.exit is ExitCode.SAFETY_VIOLATED
    assert checks(found) == {"state_roots": "violation"}
    assert found.summary["state_roots"]["1"]["equal"] is False
    assert "VIOLATION state_roots: shard 1 height 5: node0 1111" in summary_text(found.summary)


def test_different_blocks_at_one_height_violate_safety() -> None:
    found = judged([node("node0"), node("node1", blocks=chain(5, fork_at=5))])
    assert found.exit is ExitCode.SAFETY_VIOLATED
    assert checks(found) == {"agreement": "violation"}


def test_a_chain_with_a_gap_or_a_wrong_parent_violates_safety() -> None:
    gap = chain(5)[:2] + chain(5)[3:]
    assert checks(judged([node("node0", blocks=gap)])) == {"contiguous_heights": "violation"}
    torn = (*chain(3), replace(chain(4)[3], parent="ee" * 32))
    assert checks(judged([node("node0", blocks=torn)])) == {"parent_links": "violation"}


@pytest.mark.parametrize(
    "supply", [{0: 1001, 1: 50}, {0: 999, 1: 50}, {0: 1000}, {0: 1000, 1: 50, 2: 1}]
)
def test_money_made_or_lost_violates_safety(supply: dict[int, int]) -> None:
    found = judged([node("node0"), node("node1", supply=supply)])
    assert found.exit is ExitCode.SAFETY_VIOLATED
    assert checks(found) == {"conservation": "violation"}
    assert False in found.summary["balances_conserved"].values()


def test_an_accepted_transaction_that_is_not_finalized_is_named_and_no_liveness() -> None:
    lost = Named("ab" * 32, "pooled", "", "node2")
    found = judged(load=replace(LOAD, unfinished_count=1, finalized=98, named=(lost,)))
    assert found.exit is ExitCode.NO_LIVENESS
    assert checks(found) == {"accepted_finalized": "violation"}
    assert found.summary["transactions"]["named"][0]["id"] == "ab" * 32
    assert "node2: pooled" in found.summary["violations"][0]["detail"]


def test_what_could_not_be_checked_is_inconclusive_and_not_passed() -> None:
    found = judged([node("node0", supply=None, blocks=())], roots=(("node0", "11"),))
    assert checks(found)["conservation"] == "inconclusive"
    assert checks(found)["agreement"] == "inconclusive"
    assert found.summary["balances_conserved"] is None


def test_a_crash_is_told_but_a_violation_of_safety_counts_more() -> None:
    crashed = [node("node0"), node("node1", status=None, blocks=(), supply=None, crash="ended")]
    found = judged(crashed)
    assert found.exit is ExitCode.NODE_CRASHED
    assert found.summary["crashes"] == ["node1 ended"]
    both = judged(crashed, roots=(("node0", "11"), ("node1", "22")))
    assert both.exit is ExitCode.SAFETY_VIOLATED


def test_an_interrupted_run_does_not_complain_about_what_was_on_its_way() -> None:
    load = replace(LOAD, unfinished_count=3, named=(Named("ab" * 32, "pooled", "", "node0"),))
    found = judged(load=load, interrupted=True)
    assert found.exit is ExitCode.INTERRUPTED
    assert found.summary["violations"] == []


def test_costs_add_up_through_restarts_and_begin_when_ready() -> None:
    cost = Cost()
    cost.measured(1.5, 100)
    cost.sent(40)
    cost.begin()
    assert (cost.cpu_s, cost.sent_bytes, cost.memory_bytes_max) == (0.0, 0, 0)
    cost.measured(2.0, 300)
    cost.sent(100)
    cost.new_process()
    cost.measured(0.25, 200)
    cost.sent(10)
    assert cost.cpu_s == 0.75
    assert cost.sent_bytes == 70
    assert cost.memory_bytes_max == 300


def test_roots_are_compared_only_at_equal_heights() -> None:
    seen = StateSeen()
    seen.status("node0", status("11", 5))
    seen.status("node1", status("22", 6))
    assert not seen.violations
    assert seen.shared() == {}
    seen.status("node0", status("22", 6))
    assert seen.shared() == {1: (6, "22" * 32)}
