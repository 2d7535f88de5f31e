"""Roots of one fixed chain: a change here is a change of what every node must agree on."""

from __future__ import annotations

from p2pnode.execution.receipts import Inbox
from p2pnode.execution.results import result_of
from p2pnode.execution.system import SystemExecutor
from tests.unit.execution.scaffold import CHAIN, batch_of, executor_of, transfer
from tests.unit.execution.test_system import GENESIS

EXPECTED = {
    "post_root": "b5b39eb40688e6a058b983430e3ebf0cc34763dfad0a49e4c085afd6e4e48ebc",
    "watermarks_root": "3e2433d19ace80e2cdca944c24ea2b4b8925922c47ffc081df38d6ebf86feb72",
    "outcome_root": "c2be0f44a4c15a6fdf91b6421d179bc59691404d89e4cfeccb6ac79b7305b339",
    "outbox_root": "bc67e3f1a45736a400f8147c64d680ec87436e87f6dab69a39690690163045a0",
    "system_root": "329f1a7b6eac7c5bc3714e7d554f180327d34b58f8481cf0c6ac47c9fb881923",
    "system_watermarks_root": "2a9fb762aa5e472656fadebb45dfeb52225241fb85ce5b837bd08c036deeba05",
}


def roots() -> dict[str, str]:
    executor, system = executor_of({0: {0: 1000, 7: 50}, 1: {0: 30}}), SystemExecutor(GENESIS)
    first = batch_of([transfer(0, 0, (1, 7, 50)), None, transfer(1, 0, (2, 0, 99), fee_limit=9)])
    second = batch_of([transfer(0, 0, (1, 7, 50)), transfer(0, 1, (2, 0, 5))], collator=1)
    block = executor.execute(3, 0, True, (), [first, second])
    result, _ = result_of(CHAIN, block)
    taken = system.execute(4, 0, False, [Inbox(1, 3, 1, block.outbox)], [])
    return {
        "post_root": result.post_root.hex(),
        "watermarks_root": result.watermarks_root.hex(),
        "outcome_root": result.outcome_root.hex(),
        "outbox_root": result.outbox_root.hex(),
        "system_root": taken.post_root.hex(),
        "system_watermarks_root": taken.watermarks_root.hex(),
    }


def test_the_roots_of_a_fixed_chain_do_not_change() -> None:
    assert roots() == EXPECTED
