from __future__ import annotations

import random

import pytest

from p2pnode.node.clocks import SAMPLES_MAX, SAMPLES_MIN, Clocks

US, OTHERS = 0, (1, 2, 3)
BLOCK_MS = 250


def seen(
    skew_ms: int,
    *,
    rounds: int = SAMPLES_MAX,
    final_ms: tuple[int, ...] = (100, 100, 100, 100),
    sent_ms: tuple[int, ...] = (0, 0, 0, 0),
) -> Clocks:
    """Validators propose in turn; clock 2 is ahead by `skew_ms`.

    Args:
        skew_ms: Of validator 2.
        rounds: Payloads of each.
        final_ms: From sending to finality here, by proposer.
        sent_ms: From a payload's own time until it is sent, by proposer.
    """
    clocks = Clocks()
    now_ms = 1_000_000
    for _ in range(rounds):
        for proposer in (US, *OTHERS):
            time_ms = now_ms + (skew_ms if proposer == 2 else 0)
            now_ms += sent_ms[proposer] + final_ms[proposer]
            clocks.saw(proposer, time_ms, now_ms, own=proposer == US)
            now_ms += BLOCK_MS
    return clocks


def test_a_clock_ahead_makes_payloads_that_are_final_before_their_time() -> None:
    clocks = seen(5000)
    assert [clocks.ahead_ms(i) for i in OTHERS] == [0, 4900, 0]


def test_a_clock_behind_makes_payloads_on_top_of_ours_that_claim_to_be_older() -> None:
    clocks = seen(-5000)
    # Two payloads lie between ours and its own.
    assert [clocks.ahead_ms(i) for i in OTHERS] == [0, -5000 + 2 * (BLOCK_MS + 100), 0]


@pytest.mark.parametrize("slow", range(4))
@pytest.mark.parametrize("part", ["sends", "sees"])
def test_a_node_that_is_late_for_seconds_has_no_wrong_clock(slow: int, part: str) -> None:
    delays = tuple(6000 if proposer == slow else 100 for proposer in range(4))
    clocks = seen(0, sent_ms=delays) if part == "sends" else seen(0, final_ms=delays)
    assert [clocks.ahead_ms(i) for i in OTHERS] == [0, 0, 0]


def test_what_is_said_is_never_more_than_the_clock_is_off_whatever_the_delays() -> None:
    rng = random.Random(1)
    for _ in range(300):
        skew_ms = rng.randrange(-20_000, 20_000)
        delays = [tuple(rng.randrange(9000) for _ in range(4)) for _ in range(2)]
        clocks = seen(skew_ms, sent_ms=delays[0], final_ms=delays[1])
        found = clocks.ahead_ms(2)
        assert found is not None
        assert min(0, skew_ms) <= found <= max(0, skew_ms), (skew_ms, delays)
        assert (clocks.ahead_ms(1), clocks.ahead_ms(3)) == (0, 0), (skew_ms, delays)


def test_a_clock_that_was_just_set_is_believed_after_a_few_payloads() -> None:
    clocks = seen(0)
    for count in range(1, SAMPLES_MIN + 1):
        assert clocks.ahead_ms(1) == 0
        clocks.saw(1, 2_000_000 + 5000 + count, 2_000_000 + count, own=False)
    assert clocks.ahead_ms(1) == 5000


def test_a_few_payloads_say_nothing() -> None:
    assert seen(0, rounds=SAMPLES_MIN - 1).ahead_ms(1) is None
    assert seen(0, rounds=SAMPLES_MIN).ahead_ms(1) == 0
    assert Clocks().ahead_ms(1) is None


def test_who_proposes_nothing_sees_only_clocks_ahead() -> None:
    clocks = Clocks()
    for now_ms in range(10_000, 10_000 + SAMPLES_MIN):
        clocks.saw(1, now_ms + 5000, now_ms, own=False)
        clocks.saw(2, now_ms - 5000, now_ms, own=False)
    assert [clocks.ahead_ms(i) for i in (1, 2)] == [5000, 0]
