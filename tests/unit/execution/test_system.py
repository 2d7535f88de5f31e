from __future__ import annotations

from dataclasses import replace

import pytest

from p2pnode import crypto
from p2pnode.execution.accounts import StateCorruptError
from p2pnode.execution.receipts import KIND_FEES, KIND_TRANSFER, Inbox, Receipt
from p2pnode.execution.results import result_of
from p2pnode.execution.system import SystemExecutor
from p2pnode.types.genesis import Genesis, Validator
from tests.unit.execution.scaffold import (
    CHAIN,
    KEYS,
    PARAMETERS,
    batch_of,
    executor_of,
    transfer,
)

GENESIS = Genesis(
    name="test-execution",
    time_ms=0,
    engine="solo",
    scheme="inline",
    validators=tuple(
        Validator(key.public, power, crypto.peer_id_of(key.public))
        for key, power in zip(KEYS[:4], (1, 2, 3, 4), strict=True)
    ),
    parameters=PARAMETERS,
    accounts=(),
)


def fees(amount: int) -> tuple[Receipt, ...]:
    return (Receipt(KIND_FEES, b"", 0, b"", 0, amount),)


def test_fee_receipts_reach_the_pot_once_and_in_order() -> None:
    system = SystemExecutor(GENESIS)
    before = system.root()
    block = system.execute(5, 0, False, [Inbox(1, 3, 1, fees(40))], [])
    assert block.has_result
    assert block.pre_root == before
    assert block.post_root == system.root() != before
    assert block.supply_delta == ((0, 40),)
    assert system.record.pot == {0: 40}
    repeated = system.execute(6, 0, False, [Inbox(1, 3, 1, fees(40))], [])
    early = system.execute(7, 0, False, [Inbox(1, 9, 3, fees(40))], [])
    assert (repeated.has_result, early.has_result) == (False, False)
    assert (repeated.inboxes_waiting, len(early.inboxes_waiting)) == ((), 1)
    assert repeated.watermarks_root == block.watermarks_root
    system.execute(8, 0, False, [Inbox(1, 8, 2, fees(2))], [])
    assert system.record.pot == {0: 42}
    assert system.height == 8


def test_receipts_for_accounts_are_not_the_system_shards() -> None:
    system = SystemExecutor(GENESIS)
    receipt = Receipt(KIND_TRANSFER, bytes(32), 0, bytes(32), 0, 9)
    block = system.execute(1, 0, False, [Inbox(1, 1, 1, (receipt,))], [])
    # The watermark moves, since outboxes are consumed whole.
    assert block.has_result
    assert block.supply_delta == ()
    assert block.pre_root == block.post_root


def test_the_sum_over_the_shards_never_changes_while_fees_travel() -> None:
    shard, system = executor_of({0: {0: 1000}}), SystemExecutor(GENESIS)

    def total() -> int:
        return shard.supply().get(0, 0) + system.supply().get(0, 0)

    assert total() == 1000
    out = shard.execute(1, 0, True, [], [batch_of([transfer(0, 0, (1, 0, 3))])])
    assert total() == 1000
    system.execute(2, 1, False, [Inbox(1, 1, 1, out.outbox)], [])
    assert total() == 1000
    assert sum(system.record.pot.values()) == 5
    assert system.supply() == {}


def test_registry_parameters_and_layout_are_read_by_epoch() -> None:
    system = SystemExecutor(GENESIS)
    for epoch in (0, 1, 7):
        assert system.validators_of(epoch) == GENESIS.validators
        assert system.parameters_of(epoch) == PARAMETERS
        assert system.layout_of(epoch).uids() == (0, 1)
        assert system.executors_of(1, epoch) == (0, 1, 2, 3)


def test_the_root_covers_registry_parameters_and_pot() -> None:
    roots = [
        SystemExecutor(genesis).root()
        for genesis in (
            GENESIS,
            replace(GENESIS, validators=GENESIS.validators[:3]),
            replace(GENESIS, parameters=replace(PARAMETERS, fee_base=9)),
        )
    ]
    assert len(dict.fromkeys(roots)) == 3


def test_a_loaded_system_shard_goes_on_where_the_other_was() -> None:
    system = SystemExecutor(GENESIS)
    pairs = {write.key: write.value or b"" for write in system.genesis_writes()}
    block = system.execute(5, 0, False, [Inbox(1, 3, 1, fees(40))], [])
    pairs.update({write.key: write.value or b"" for write in block.writes})
    loaded = SystemExecutor(GENESIS)
    loaded.load(sorted(pairs.items()))
    assert loaded.root() == system.root()
    assert loaded.record == system.record
    with pytest.raises(StateCorruptError):
        SystemExecutor(replace(GENESIS, validators=GENESIS.validators[:3])).load(pairs.items())
    with pytest.raises(StateCorruptError):
        SystemExecutor(GENESIS).load([])


def test_a_system_block_makes_a_result_like_any_other() -> None:
    block = SystemExecutor(GENESIS).execute(5, 0, True, [Inbox(1, 3, 1, fees(40))], [])
    result, outbox = result_of(CHAIN, block)
    assert (result.uid, result.height, outbox) == (0, 5, b"")
