"""How fast whole nodes are when nothing happens, when the network is slow, when one is dead."""

from __future__ import annotations

from testnet.sim.run import SimSpec, run_seeded, sim_parameters
from tests.sim.scenes import assert_ok


def test_idle_nodes_make_a_heartbeat_and_skip_no_view() -> None:
    report = assert_ok(run_seeded(SimSpec(load_tx_s=0.0, duration_s=60.0, settle_s=0.5), 7))
    assert 5 <= report.blocks <= 13
    assert report.views_skipped == 0


def test_idle_nodes_with_loss_make_a_heartbeat() -> None:
    report = assert_ok(
        run_seeded(SimSpec(load_tx_s=0.0, duration_s=60.0, settle_s=12.0, loss=0.02), 8)
    )
    assert 5 <= report.blocks <= 16


def test_a_delay_of_four_times_delta_leaves_two_fifths_of_the_possible_rate() -> None:
    """A block takes two delays at best: half a block a second at 1 s."""
    delta_ms, duration_s = 250, 120.0
    delay_ms = 4.0 * delta_ms
    spec = SimSpec(
        duration_s=duration_s,
        latency_ms=(delay_ms, delay_ms),
        parameters=sim_parameters(delta_ms=delta_ms),
        settle_s=40.0,
    )
    report = assert_ok(run_seeded(spec, 9))
    possible = duration_s / (2 * delay_ms / 1000)
    in_time = report.blocks * duration_s / report.virtual_s
    assert in_time >= 0.4 * possible, f"{in_time:.0f} blocks of {possible:.0f} possible"


def test_one_of_four_dead_for_good_leaves_half_of_the_rate() -> None:
    healthy = assert_ok(run_seeded(SimSpec(duration_s=40.0), 10))
    for dead in (0, 3):
        report = assert_ok(run_seeded(SimSpec(duration_s=40.0, dead_for_good=(dead,)), 10))
        assert report.blocks >= 0.5 * healthy.blocks, (report.blocks, healthy.blocks)
        assert report.longest_pause_s < 3.0


def test_transactions_are_final_within_a_second_or_two() -> None:
    report = assert_ok(run_seeded(SimSpec(duration_s=30.0), 11))
    p50_s, p99_s = report.finalization_s
    assert p50_s < 1.2
    assert p99_s < 2.5
