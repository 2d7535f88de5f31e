"""Scores and bans."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.net.scores import BAN_SCORE, Scores


def test_faults_add_up_to_a_ban_that_ends() -> None:
    scores = Scores(ban_s=60)
    assert scores.score(b"a", 0) == 0
    assert not scores.penalize(b"a", 60, now_s=0)
    assert scores.score(b"a", 0) == -60
    assert scores.penalize(b"a", 60, now_s=0)
    assert scores.banned(b"a", 59)
    assert scores.score(b"a", 59) == BAN_SCORE
    assert not scores.banned(b"a", 60)
    assert scores.score(b"a", 60) == 0


def test_scores_recover_with_time_and_no_further_than_0() -> None:
    scores = Scores(ban_s=60)
    scores.penalize(b"a", 10, now_s=0)
    assert scores.score(b"a", 10) == -5
    assert scores.score(b"a", 1000) == 0
    assert not scores.penalize(b"a", 95, now_s=1000)
    scores.penalize(b"a", -200, now_s=1000)
    assert scores.score(b"a", 1000) == 0


def test_a_banned_peer_is_banned_once() -> None:
    scores = Scores(ban_s=60)
    assert scores.penalize(b"a", 100, now_s=0)
    assert not scores.penalize(b"a", 100, now_s=30)
    assert not scores.banned(b"a", 61)


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(-50, 150), st.floats(0, 100)), max_size=60))
def test_memory_is_bounded_and_scores_stay_in_their_range(
    faults: list[tuple[int, float, float]],
) -> None:
    scores = Scores(ban_s=30, peers_max=5)
    now_s = 0.0
    for number, points, pause_s in faults:
        now_s += pause_s
        peer = b"%d" % number
        was_banned = scores.banned(peer, now_s)
        before = scores.score(peer, now_s)
        banned_now = scores.penalize(peer, points, now_s)
        assert BAN_SCORE <= scores.score(peer, now_s) <= 0
        assert len(scores._entries) <= 5
        if banned_now:
            assert not was_banned
            assert before - points <= BAN_SCORE
