"""The pace of a load, and its account of every transaction, against nodes that are tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import trio
import trio.testing

from p2pnode.client import NodeUnreachableError
from p2pnode.node.answers import (
    AccountStatus,
    SubmitOutcome,
    TransactionState,
    TransactionStatus,
)
from p2pnode.node.status import NodeStatus
from testnet.load.generator import Generator
from testnet.load.options import LoadOptions
from testnet.load.report import LoadReport, Window, percentiles, windows
from testnet.load.source import Signed
from tests.unit.node.statuses import STATUS
from tests.unit.testnet.load.test_trace import options

WALL_START_MS = 1_000_000


def wall_ms() -> int:
    return WALL_START_MS + round(trio.current_time() * 1000)


class Plain:
    """A source whose transactions are no more than their id; `senders` take turns."""

    repetitions = 0

    def __init__(self, senders: int = 50) -> None:
        self.count = 0
        self.senders = senders

    def next(self, last_valid_height: int) -> Signed:
        sender, nonce = self.count % self.senders, self.count // self.senders
        raw = self.count.to_bytes(32, "big")
        self.count += 1
        return Signed(raw, raw, bytes([sender]) * 32, nonce)

    def skipped(self, unused: int) -> dict[str, int]:
        return {"call": self.count - unused}


class Chain:
    """What all nodes share: transactions become final after a while."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.known: dict[bytes, float] = {}
        self.order: list[bytes] = []

    def add(self, raw: bytes) -> None:
        if raw not in self.known:
            self.known[raw] = trio.current_time()
            self.order.append(raw)

    def final_s(self, raw: bytes) -> float | None:
        at = self.known.get(raw)
        return (
            None if at is None or trio.current_time() < at + self.latency_s else at + self.latency_s
        )


class TableNode:
    def __init__(self, chain: Chain, senders: int = 50) -> None:
        self.chain = chain
        self.senders = senders
        self.down = False
        self.refuse: Callable[[bytes], str] = lambda raw: ""
        self.held: dict[bytes, None] = {}
        self.loses = False
        self.calls = 0

    def _check(self) -> None:
        if self.down:
            raise NodeUnreachableError("http://fake", "down")

    async def submit(self, raws: Sequence[bytes]) -> tuple[SubmitOutcome, ...]:
        await trio.sleep(0.01)
        self._check()
        self.calls += 1
        outcomes = []
        for raw in raws:
            kind = self.refuse(raw)
            if not kind and raw in self.chain.known:
                kind = "duplicate_transaction"
            if not kind:
                self.held[raw] = None
                if not self.loses:
                    self.chain.add(raw)
            outcomes.append(SubmitOutcome(raw.hex(), not kind, kind, kind))
        return tuple(outcomes)

    async def transactions(self, ids: Sequence[bytes]) -> tuple[TransactionStatus | None, ...]:
        await trio.sleep(0.005)
        self._check()
        return tuple(self._status(i) for i in ids)

    def _status(self, raw: bytes) -> TransactionStatus | None:
        final_s = self.chain.final_s(raw)
        if final_s is not None:
            ms = WALL_START_MS + round(final_s * 1000)
            state = TransactionState.CERTIFIED
            return TransactionStatus(raw.hex(), state, 1, finalized_time_ms=ms)
        if raw in self.held:
            return TransactionStatus(raw.hex(), TransactionState.POOLED)
        return None

    async def accounts(self, addresses: Sequence[bytes]) -> tuple[AccountStatus, ...]:
        await trio.sleep(0.005)
        self._check()
        found = []
        for address in addresses:
            mine = [r for r in self.chain.order if r[31] % self.senders == address[0]]
            done = sum(self.chain.final_s(raw) is not None for raw in mine)
            found.append(AccountStatus(address.hex(), done))
        return tuple(found)

    async def status(self) -> NodeStatus:
        await trio.sleep(0.005)
        self._check()
        height = int(trio.current_time())
        return replace(STATUS, height=height, certified_height=height)


async def run(
    nodes: list[TableNode], source: Plain | None = None, **changes: object
) -> tuple[LoadReport, Generator]:
    asked: LoadOptions = options(**{"rate_tx_s": 100.0, "for_s": 5.0, **changes})
    clients = [(f"node{i}", node) for i, node in enumerate(nodes)]
    generator = Generator(asked, clients, source or Plain(), wall_ms)
    return await generator.run(), generator


async def test_rate_times_time_is_submitted_and_all_of_it_finalized(
    autojump_clock: trio.testing.MockClock,
) -> None:
    chain = Chain(0.4)
    nodes = [TableNode(chain) for _ in range(4)]
    report, _ = await run(nodes)
    assert (report.due, report.submitted, report.accepted, report.finalized) == (500,) * 4
    assert (report.executed, report.certified, report.unfinished_count) == (500, 500, 0)
    assert report.refused == {}
    assert report.named == ()
    assert report.finalization_s is not None
    assert 0.4 <= report.finalization_s.p50 <= 0.42
    assert report.execution_s is not None
    assert report.execution_s.p50 >= 0.0
    assert all(node.calls > 50 for node in nodes)


async def test_a_sender_s_transactions_arrive_in_order_at_one_node(
    autojump_clock: trio.testing.MockClock,
) -> None:
    chain = Chain(0.2)
    nodes = [TableNode(chain) for _ in range(3)]
    await run(nodes)
    for node in nodes:
        numbers = [int.from_bytes(raw, "big") for raw in node.held]
        assert numbers == sorted(numbers)
    senders = [{int.from_bytes(raw, "big") % 50 for raw in node.held} for node in nodes]
    assert not senders[0] & senders[1]
    assert not senders[1] & senders[2]


async def test_a_slow_node_delays_nobody_s_hand_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    chain = Chain(30.0)
    report, _ = await run([TableNode(chain)], for_s=3.0, settle_s=5.0, source=Plain(senders=250))
    assert report.submitted == 300
    assert report.finalized == 0
    assert report.unfinished_count == 300
    assert report.named[0].state == "pooled"
    assert report.named[0].node == "node0"


async def test_a_sender_with_too_many_on_their_way_waits_and_others_take_its_turns(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class OneBurst(Plain):
        def next(self, last_valid_height: int) -> Signed:
            signed = super().next(last_valid_height)
            number = self.count - 1
            # Half of all are of sender 0.
            if number % 2 == 0:
                return replace(signed, sender=bytes(32), nonce=number // 2)
            return replace(signed, sender=bytes([1 + number % 40]) * 32, nonce=number // 40)

    class Counting(TableNode):
        most = 0

        async def submit(self, raws: Sequence[bytes]) -> tuple[SubmitOutcome, ...]:
            outcomes = await super().submit(raws)
            burst = [r for r in self.chain.order if r[31] % 2 == 0]
            open_ = [r for r in burst if self.chain.final_s(r) is None]
            Counting.most = max(Counting.most, len(open_))
            return outcomes

        async def accounts(self, addresses: Sequence[bytes]) -> tuple[AccountStatus, ...]:
            await trio.sleep(0.005)
            burst = [r for r in self.chain.order if r[31] % 2 == 0]
            done = sum(self.chain.final_s(r) is not None for r in burst)
            return tuple(
                AccountStatus(a.hex(), done if a == bytes(32) else 10**6) for a in addresses
            )

    chain = Chain(1.0)
    report, _ = await run([Counting(chain)], OneBurst(), rate_tx_s=200.0, for_s=5.0)
    assert report.submitted == 1000
    assert report.finalized == 1000
    assert 40 <= Counting.most <= 64
    numbers = [int.from_bytes(raw, "big") for raw in chain.order]
    burst = [n for n in numbers if n % 2 == 0]
    assert burst == sorted(burst)
    # It got about 56 a second, the others the rest.
    assert len(burst) < 400


async def test_refusals_are_counted_by_reason_and_not_as_lost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    node = TableNode(Chain(0.1))
    node.refuse = lambda raw: "insufficient_balance" if raw[31] % 10 == 0 else ""
    report, _ = await run([node], for_s=2.0)
    assert report.submitted == 200
    assert report.refused == {"insufficient_balance": 20}
    assert report.accepted == report.finalized == 180
    assert report.unfinished_count == 0


async def test_a_full_pool_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    node = TableNode(Chain(0.1))
    node.refuse = lambda raw: "pool_full" if 1.0 < trio.current_time() < 2.0 else ""
    report, _ = await run([node], for_s=4.0)
    assert report.refused == {}
    assert report.finalized == report.submitted == 400


async def test_what_a_killed_node_had_goes_to_the_next_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    chain = Chain(0.3)
    nodes = [TableNode(chain) for _ in range(4)]
    nodes[1].loses = True

    async with trio.open_nursery() as nursery:

        async def kill() -> None:
            await trio.sleep(2.0)
            nodes[1].down = True
            await trio.sleep(2.0)
            nodes[1].held.clear()
            nodes[1].down = nodes[1].loses = False

        nursery.start_soon(kill)
        report, _ = await run(nodes)
    assert report.submitted == 500
    assert report.finalized == 500, report.named
    assert report.resubmitted > 40


async def test_a_transaction_its_node_forgot_is_sent_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    chain = Chain(0.2)
    nodes = [TableNode(chain), TableNode(chain)]
    nodes[0].loses = True

    async def forget() -> None:
        await trio.sleep(1.5)
        nodes[0].held.clear()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(forget)
        report, _ = await run(nodes, for_s=1.0)
    assert report.finalized == report.submitted == 100


async def test_stop_ends_submissions_and_still_settles(
    autojump_clock: trio.testing.MockClock,
) -> None:
    chain = Chain(0.5)
    asked = options(rate_tx_s=100.0, for_s=None)
    generator = Generator(asked, [("node0", TableNode(chain))], Plain(), wall_ms)
    reports = []
    async with trio.open_nursery() as nursery:

        async def stop() -> None:
            await trio.sleep(3.0)
            generator.stop()

        nursery.start_soon(stop)
        reports.append(await generator.run())
    assert 250 <= reports[0].submitted <= 300
    assert reports[0].finalized == reports[0].submitted
    assert generator.progress()["finalized"] == reports[0].finalized


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles([]) is None
    found = percentiles([float(n) for n in range(1, 101)])
    assert found is not None
    assert (found.p50, found.p99) == (51.0, 100.0)
    only = percentiles([0.5])
    assert only is not None
    assert (only.p50, only.p99) == (0.5, 0.5)


def test_windows_say_when_a_load_was_slow() -> None:
    quick = [(1_000 + at_ms, 1_100 + at_ms) for at_ms in range(0, 30_000, 100)]
    slow = [(11_500, 15_500)]
    assert windows(1_000, []) == ()
    found = windows(1_000, quick + slow)
    assert [(w.from_s, w.count) for w in found] == [(0, 100), (10, 101), (20, 100)]
    assert [(w.p50, w.p99) for w in found] == [(0.1, 0.1), (0.1, 0.1), (0.1, 0.1)]
    assert windows(1_000, slow) == (Window(10, 1, 4.0, 4.0),)


def test_windows_of_a_long_load_are_wider_not_more() -> None:
    hours = [(at_s * 1000, at_s * 1000 + 50) for at_s in range(0, 4 * 3600, 7)]
    found = windows(0, hours)
    assert len(found) == 120
    assert {b.from_s - a.from_s for a, b in pairwise(found)} == {120}
    assert sum(w.count for w in found) == len(hours)


def test_a_report_survives_the_way_to_another_process() -> None:
    made = LoadReport(
        *(1, 1, 1, 1, 1, 0, 0, 1),
        {"x": 2},
        finalization_s=percentiles([0.1]),
        finalization_windows=windows(0, [(0, 100)]),
    )
    assert LoadReport.from_json(made.to_json()) == made


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0)
