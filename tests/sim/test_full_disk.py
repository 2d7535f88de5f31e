"""A disk that refuses writes: the node signs nothing more, stays to say why, and comes back."""

from __future__ import annotations

import pytest
import trio

from p2pnode.errors import StorageError
from p2pnode.node.status import NodeStatus
from testnet.sim.run import Run, SimSpec, run_seeded
from tests.sim.scenes import assert_ok

SPEC = SimSpec(duration_s=25.0, settle_s=20.0)


def test_a_node_whose_disk_is_full_says_so_and_signs_nothing_more() -> None:
    seen: list[NodeStatus] = []

    async def script(run: Run) -> None:
        await trio.sleep(5.0)
        machine = run.world.machines[1]
        node = machine.node
        assert node is not None
        machine.disk_full = True
        await trio.sleep(2.0)
        seen.append(node.status())
        with pytest.raises(StorageError, match="No space left"):
            await node.submit([b"anything"])
        height = run.height()
        await trio.sleep(8.0)
        seen.append(node.status())
        assert run.height() > height + 5, "the others stopped too"
        machine.disk_full = False
        await run.kill(machine)
        await run.start(machine)
        await trio.sleep(6.0)
        assert machine.node is not None
        seen.append(machine.node.status())

    assert_ok(run_seeded(SPEC, 51, script=script))
    full, later, back = seen
    assert "No space left on device" in full.device.storage_error
    assert not full.ready
    assert any("refuses writes" in reason for reason in full.not_ready_reasons)
    assert later.counters["drafts_signed"] == full.counters["drafts_signed"]
    assert later.counters["frames_sent"] == full.counters["frames_sent"]
    assert back.ready
    assert back.device.storage_error == ""
    assert back.height > later.height


def test_a_transaction_that_waits_when_the_disk_fills_hears_so() -> None:
    refused: list[str] = []

    async def script(run: Run) -> None:
        await trio.sleep(5.0)
        machine = run.world.machines[1]
        node = machine.node
        assert node is not None

        async def submit() -> None:
            try:
                await node.submit([b"not an envelope"])
            except StorageError as error:
                refused.append(str(error))

        machine.disk_full = True
        run.world.spawn(submit)
        await trio.sleep(3.0)
        run.world.spawn(submit)
        await trio.sleep(1.0)
        machine.disk_full = False
        await run.kill(machine)
        await run.start(machine)

    assert_ok(run_seeded(SPEC, 52, script=script))
    assert refused
