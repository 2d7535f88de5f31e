from __future__ import annotations

import logging

from p2pnode.telemetry.logging import LogOptions, configure, get_logger
from p2pnode.telemetry.ring import LogRing


def filled(count: int, kept_max: int) -> LogRing:
    ring = LogRing(kept_max)
    for _ in range(count):
        ring.add(1.0, "info", "node", "tick", {})
    return ring


def numbers(ring: LogRing, after: int | None, records_max: int = 500) -> list[int]:
    return [record.number for record in ring.after(after, records_max)]


def test_a_ring_keeps_the_newest_records() -> None:
    assert numbers(filled(10, 4), None) == [7, 8, 9, 10]


def test_a_reader_begins_with_the_newest_and_goes_on_with_the_oldest_it_lacks() -> None:
    ring = filled(10, 8)
    assert numbers(ring, None, 3) == [8, 9, 10]
    assert numbers(ring, 4, 3) == [5, 6, 7]
    assert numbers(ring, 10) == []


def test_a_reader_that_was_too_slow_sees_the_gap_in_the_numbers() -> None:
    assert numbers(filled(10, 4), 2) == [7, 8, 9, 10]


def test_events_reach_the_ring_as_plain_values() -> None:
    ring = LogRing()
    level = logging.getLogger().level
    try:
        configure(LogOptions(ring=ring), node="node0")
        get_logger("net").warning("peer_banned", peer=b"\x01\x02", text="x" * 5000)
        get_logger("net").debug("peer_heard")
    finally:
        configure(LogOptions())
        logging.getLogger().setLevel(level)
    (record,) = ring.after(None)
    assert (record.level, record.logger, record.event) == ("warning", "net", "peer_banned")
    assert record.fields["peer"] == "0102"
    assert len(record.fields["text"]) == 2048
