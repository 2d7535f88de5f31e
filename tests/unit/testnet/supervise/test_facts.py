from __future__ import annotations

from p2pnode.explain import LinkFacts
from testnet.supervise.facts import link_facts


def test_links_are_known_by_their_cuts_and_their_profiles() -> None:
    numbers = {"latency_ms_min": 100.0, "latency_ms_max": 300.0, "loss": 0.0}
    rows = (
        {"from": "node0", "to": "node1", "cut_s": 12.3, "numbers": None},
        {"from": "node1", "to": "node0", "cut_s": None, "numbers": numbers},
    )
    assert link_facts(rows) == (
        LinkFacts("node0", "node1", cut_s=12.3),
        LinkFacts("node1", "node0", latency_ms=200.0),
    )
