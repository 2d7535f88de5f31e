"""Mutants over real sockets at a whole node; tools/fuzz_wire.py throws more, and judges time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.wire import HANDLERS
from tests.fuzz.wire_run import run


@pytest.mark.slow
async def test_mutants_over_sockets_cost_their_senders_and_nobody_else(tmp_path: Path) -> None:
    outcome = await run(tmp_path / "node", HANDLERS, 20, quiet_s=0.5)
    print(f"p99 of honest requests with and without: {outcome.ratio:.2f}")  # the machine is busy
    assert outcome.faults() == []
    assert [row.thrown.handler for row in outcome.rows] == list(HANDLERS)
    assert outcome.banned_now == sum(outcome.ban_reasons.values()) > 0
    assert any("frame" in reason for reason in outcome.ban_reasons), outcome.ban_reasons
    assert outcome.failed == {}
