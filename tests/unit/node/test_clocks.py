from __future__ import annotations

from p2pnode.node.clocks import SAMPLES_MIN, Clocks


def seen(lags: dict[int, int]) -> Clocks:
    clocks = Clocks()
    for proposer, lag_ms in lags.items():
        for _ in range(SAMPLES_MIN):
            clocks.saw(proposer, lag_ms)
    return clocks


def test_a_clock_ahead_makes_its_payloads_final_sooner_than_our_own() -> None:
    clocks = seen({0: 300, 1: 310, 2: -4700})
    assert [clocks.ahead_ms(i, 0) for i in range(3)] == [0, -10, 5000]


def test_without_payloads_of_our_own_nothing_is_said() -> None:
    clocks = seen({1: 310})
    assert clocks.ahead_ms(1, 0) is None
    assert clocks.ahead_ms(1, None) is None


def test_a_few_payloads_say_nothing() -> None:
    clocks = seen({0: 300})
    clocks.saw(1, 300)
    assert clocks.ahead_ms(1, 0) is None
