from __future__ import annotations

from p2pnode.telemetry.resources import ResourceSampler
from p2pnode.telemetry.status_line import status_line
from tests.unit.node.statuses import status


def test_a_status_line_says_height_view_proposer_peers_and_rates() -> None:
    before = status()
    now = status(bytes_received=before.bytes_received + 61_500, bytes_sent=before.bytes_sent + 999)
    assert status_line(now, before, 5.0) == (
        "node0  h 812 final 810  view 3  proposer node2  peers 6 (2 in)  shards 1  pool 4  "
        "↓ 12.0 KiB/s ↑ 200 B/s"
    )


def test_the_first_line_has_no_rates() -> None:
    assert "↓" not in status_line(status())


def test_a_restarted_peer_never_shows_a_negative_rate() -> None:
    assert "↓ 0 B/s" in status_line(status(bytes_received=0), status(), 1.0)


def test_trouble_is_said_at_the_end() -> None:
    reasons = ("3 of 4 validators needed, 2 connected", "more")
    line = status_line(
        status(syncing=True, observing=True, ready=False, not_ready_reasons=reasons, proposer=None)
    )
    assert line.endswith("syncing  observing  not ready: 3 of 4 validators needed, 2 connected")
    assert "proposer" not in line


def test_the_sampler_sees_this_process_work() -> None:
    sampler = ResourceSampler()
    first = sampler.sample()
    sum(range(2_000_000))
    second = sampler.sample()
    assert second.cpu_s > first.cpu_s > 0
    assert second.memory_bytes > 1 << 20
    assert second.memory_bytes_max >= first.memory_bytes_max
    assert second.threads_count >= 1
    assert second.files_count >= 3
