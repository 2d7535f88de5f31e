"""Build: what is proposed and when; demand and the heartbeat."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from p2pnode.consensus.builder import BUILD_AT_ONCE_CERTIFICATES
from p2pnode.consensus.engine import (
    Build,
    Built,
    Demand,
    Entered,
)
from p2pnode.types.effects import Put, Write
from p2pnode.types.payload import (
    Payload,
    decode_payload,
    digest_of,
)
from tests.spine import (
    S,
    batch_certificate,
    evidence,
    make_payload,
    result_certificate,
)
from tests.unit.consensus.ordering_bench import (
    CHAIN,
    GENESIS,
    HEARTBEAT_NS,
    INTERVAL_NS,
    At,
)

# --- Build ----------------------------------------------------------------------------------------


NOW = S


def question(**changes: Any) -> Build:
    return replace(Build("ctx", GENESIS, 1, 0, False), **changes)


def built(at: At) -> list[Payload]:
    found = []
    for event in at.told(Built):
        (body,) = [p.encode() for p in at.sink.payloads if digest_of(p.encode()) == event.payload]
        found.append(decode_payload(body))
    return found


def test_what_waits_is_proposed() -> None:
    at = At(me=2)
    items = at.knows(batch_certificate(CHAIN), result_certificate(CHAIN, 1))
    at.engine_does(question())
    (payload,) = built(at)
    assert payload == make_payload(CHAIN, 1, None, items, proposer=2, time_ms=at.bench.desk.wall_ms)
    writes = [w for put in at.bench.take(Put) for w in put.writes]
    assert Write("bodies", digest_of(payload.encode()), payload.encode()) in writes
    assert at.ordering.payload_body(b"") == payload.encode()


def test_what_we_propose_we_accept_ourselves() -> None:
    at = At(me=2)
    at.knows(batch_certificate(CHAIN), evidence(CHAIN))
    at.engine_does(question())
    (payload,) = built(at)
    at.ask(digest_of(payload.encode()), proposer=2)
    assert at.verdicts() == [True]


def test_with_nothing_to_list_nothing_is_proposed_until_something_comes() -> None:
    at = At()
    at.engine_does(question())
    assert built(at) == []
    (digest,) = at.knows(batch_certificate(CHAIN))
    assert [p.items for p in built(at)] == [(digest,)]


def test_a_proposal_keeps_the_pace() -> None:
    at = At()
    at.knows(batch_certificate(CHAIN))
    due_ns = at.bench.desk.now_ns + INTERVAL_NS
    at.engine_does(question(not_before_ns=due_ns))
    assert built(at) == []
    assert at.timers()["ordering", "build"] == due_ns
    at.bench.pass_ns(INTERVAL_NS - 1)
    at.ordering.timer("build")
    assert built(at) == []
    at.bench.pass_ns(1)
    at.ordering.timer("build")
    assert len(built(at)) == 1


@pytest.mark.parametrize(
    ("count", "at_once"),
    [(BUILD_AT_ONCE_CERTIFICATES, False), (BUILD_AT_ONCE_CERTIFICATES + 1, True)],
)
def test_more_than_64_statements_are_proposed_at_once(count: int, at_once: bool) -> None:
    at = At()
    at.knows(*(batch_certificate(CHAIN, sequence=i + 1) for i in range(count)))
    at.engine_does(question(not_before_ns=at.bench.desk.now_ns + INTERVAL_NS))
    assert len(built(at)) == at_once


def test_a_result_alone_waits_a_little_for_a_batch_on_its_way() -> None:
    at = At()
    (first,) = at.knows(result_certificate(CHAIN, 1))
    at.sink.expected = True
    at.engine_does(question(not_before_ns=at.bench.desk.now_ns))
    assert built(at) == []
    (second,) = at.knows(batch_certificate(CHAIN))
    assert [p.items for p in built(at)] == [(second, first)]
    at = At()
    at.knows(result_certificate(CHAIN, 1))
    at.sink.expected = True
    at.engine_does(question(not_before_ns=at.bench.desk.now_ns))
    at.bench.desk.now_ns = at.timers()["ordering", "build"]
    assert at.bench.desk.now_ns == NOW + INTERVAL_NS // 2
    at.ordering.timer("build")
    assert [p.items for p in built(at)] == [(first,)]


def test_a_parent_that_is_not_final_is_helped_by_an_empty_payload_under_demand() -> None:
    at = At()
    (listed,) = at.knows(batch_certificate(CHAIN))
    parent = make_payload(CHAIN, 1, None, [listed])
    digest = at.check(parent)
    at.engine_does(question(parent=digest, height=2, may_be_empty=True))
    assert [p.items for p in built(at)] == [()], "what the parent lists is not listed again"
    at = At()
    digest = at.check(make_payload(CHAIN, 1))
    at.engine_does(question(parent=digest, height=2, may_be_empty=True))
    assert built(at) == [], "no demand"


def test_no_statement_is_listed_that_an_ancestor_lists() -> None:
    at = At()
    first, second, third = at.knows(*(batch_certificate(CHAIN, sequence=s) for s in (1, 2, 3)))
    one = make_payload(CHAIN, 1, None, [first])
    two = make_payload(CHAIN, 2, digest_of(one.encode()), [second])
    at.check(one)
    at.check(two, parent=digest_of(one.encode()), height=2)
    at.engine_does(question(parent=digest_of(two.encode()), height=3))
    assert [p.items for p in built(at)] == [(third,)]


def test_one_question_is_answered_once_and_a_new_view_makes_it_void() -> None:
    at = At()
    at.knows(batch_certificate(CHAIN))
    at.engine_does(question())
    at.ordering.reconsider()
    assert len(built(at)) == 1
    at = At()
    at.engine_does(question(), Entered((2,)))
    at.knows(batch_certificate(CHAIN))
    assert built(at) == []


def test_an_observer_proposes_nothing() -> None:
    at = At(me=None)
    at.knows(batch_certificate(CHAIN))
    at.engine_does(question())
    assert built(at) == []


# --- demand and heartbeat -------------------------------------------------------------------------


def test_what_waits_raises_demand_and_ordering_it_ends_it() -> None:
    at = At()
    (digest,) = at.knows(batch_certificate(CHAIN))
    at.deliver(make_payload(CHAIN, 1, None, [digest]))
    assert at.told(Demand) == [Demand(True), Demand(False)]


def test_the_heartbeat_raises_demand_and_proposes_an_empty_payload() -> None:
    at = At()
    at.engine_does(question())
    assert at.timers()["ordering", "heartbeat"] == NOW + HEARTBEAT_NS
    at.bench.pass_ns(HEARTBEAT_NS - 1)
    at.ordering.timer("heartbeat")
    assert at.told(Demand) == []
    at.bench.pass_ns(1)
    at.ordering.timer("heartbeat")
    assert at.told(Demand) == [Demand(True)]
    assert [p.items for p in built(at)] == [()]


def test_every_block_puts_the_heartbeat_off() -> None:
    at = At()
    at.bench.pass_ns(HEARTBEAT_NS // 2)
    at.deliver(make_payload(CHAIN, 1))
    assert at.timers()["ordering", "heartbeat"] == NOW + HEARTBEAT_NS * 3 // 2
    at.bench.pass_ns(HEARTBEAT_NS // 2)
    at.ordering.timer("heartbeat")
    assert at.told(Demand) == []
