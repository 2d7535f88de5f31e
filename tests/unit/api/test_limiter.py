"""How many calls a connection may make."""

from __future__ import annotations

import json

import httpx
import pytest
import trio

from p2pnode.api.app import ApiOptions
from p2pnode.api.jsonrpc import Dispatcher
from p2pnode.api.limiter import BURST_S, RateLimiter
from p2pnode.api.methods import METHODS
from tests.unit.api.fake_node import FakeNode, served

RATE = 10


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(limiter: RateLimiter, cost: float = 1.0) -> int:
    count = 0
    while limiter.take(cost) and count < 10_000:
        count += 1
    return count


def test_a_silent_connection_has_a_burst_and_then_its_rate(clock: Clock) -> None:
    limiter = RateLimiter(RATE, clock=clock)
    assert taken(limiter) == RATE * BURST_S
    assert limiter.wait_s() == pytest.approx(1 / RATE)
    for _ in range(5):
        clock.now_s += 1.0
        assert taken(limiter) == RATE
    clock.now_s += 1e9
    assert taken(limiter) == RATE * BURST_S


def test_what_costs_more_than_there_is_is_made_once_and_paid_off(clock: Clock) -> None:
    limiter = RateLimiter(RATE, clock=clock)
    assert limiter.take(RATE * BURST_S + 100)
    assert not limiter.take(1)
    assert limiter.wait_s() == pytest.approx(10.1)
    clock.now_s += 10.2
    assert limiter.take(1)


def test_without_a_rate_nothing_is_refused(clock: Clock) -> None:
    assert taken(RateLimiter(0, clock=clock)) == 10_000


async def test_each_call_of_a_batch_counts_and_notifications_are_not_carried_out(
    clock: Clock,
) -> None:
    node = FakeNode()
    limiter = RateLimiter(1, clock=clock)
    calls = [{"jsonrpc": "2.0", "id": i, "method": "status"} for i in range(6)]
    notification = {"jsonrpc": "2.0", "method": "submit", "params": [["d2"]]}
    body = json.dumps([*calls, notification]).encode()
    answer = await Dispatcher(node, METHODS).answer(body, limiter)
    assert answer is not None
    answers = json.loads(answer)
    assert [a["id"] for a in answers if "result" in a] == [0, 1, 2, 3]
    errors = [a["error"] for a in answers if "error" in a]
    assert [(e["code"], e["data"]["kind"]) for e in errors] == 2 * [(-32002, "rate_limited")]
    assert node.submitted == []


async def test_unknown_methods_cost_too(clock: Clock) -> None:
    limiter = RateLimiter(1, clock=clock)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "nothing"}).encode()
    codes = []
    for _ in range(5):
        answer = await Dispatcher(FakeNode(), METHODS).answer(body, limiter)
        assert answer is not None
        codes.append(json.loads(answer)["error"]["code"])
    assert codes == [-32601] * 4 + [-32002]


async def test_over_http_the_answer_is_429_and_says_when_to_come_again() -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "status"}
    async with served(FakeNode(), ApiOptions(calls_per_s_max=1)) as url:
        async with httpx.AsyncClient(trust_env=False) as http:
            answers = [await http.post(f"{url}/rpc", json=call) for _ in range(6)]
            assert [a.status_code for a in answers][:4] == [200] * 4
            refused = answers[-1]
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["data"]["kind"] == "rate_limited"
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.post(f"{url}/rpc", json=call)).status_code == 200


def test_time_is_trios_by_default(mock_clock: trio.testing.MockClock) -> None:
    async def main() -> None:
        limiter = RateLimiter(1)
        assert taken(limiter) == BURST_S

    trio.run(main, clock=mock_clock)
