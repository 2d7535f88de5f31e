"""A node that packs nothing: what its clients submit must not end with it."""

from __future__ import annotations

from p2pnode.types.effects import Publish
from tests.spine import forged, transaction
from tests.unit.mempool.test_intake import ENTRY_NS, GOSSIP_WAIT_NS, Desk


def sent_on(at: Desk) -> int:
    """Return how many envelopes have left for collators, and on the topic as often."""
    at.bench.pass_ns(GOSSIP_WAIT_NS)
    for which in ("direct", "gossip"):
        at.intake.fired(which)
    published = len(at.bench.take(Publish))
    sent = sum(len(raws) for _, raws in at.sent())
    assert (published > 0) == (sent > 0)
    return sent


def test_what_a_client_submits_again_to_an_observer_is_sent_on_again() -> None:
    at = Desk(me=None)
    raw = transaction(at.chain).raw
    for _ in range(2):
        assert at.submit(raw) == (None,)
        assert sent_on(at) == 1


def test_a_validator_packs_it_itself_and_tells_nobody_twice() -> None:
    at = Desk(me=0)
    raw = transaction(at.chain).raw
    assert at.submit(raw) == (None,)
    assert sent_on(at) == 1
    assert at.submit(raw) == (None,)
    assert sent_on(at) == 0


def test_a_forged_copy_of_what_is_held_is_not_sent_on() -> None:
    at = Desk(me=None)
    at.submit(transaction(at.chain).raw)
    at.bench.pass_ns(ENTRY_NS)
    assert sent_on(at) == 1
    at.submit(forged(at.chain))
    assert sent_on(at) == 0
