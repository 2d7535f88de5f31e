"""Scores and bans."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.net.scores import BAN_SCORE, REASONS_MAX, Scores
from p2pnode.ports import Deduction


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


def test_second_ban_lasts_twice_as_long_up_to_the_cap() -> None:
    scores = Scores(ban_s=60, ban_max_s=200)
    now_s, lengths = 0.0, []
    for _ in range(4):
        assert scores.penalize(b"a", 100, now_s)
        lengths.append(scores.banned_until_s(b"a") - now_s)
        now_s = scores.banned_until_s(b"a") + 1
    assert lengths == [60, 120, 200, 200]


def test_peer_that_behaved_for_long_is_as_good_as_new() -> None:
    scores = Scores(ban_s=60, ban_max_s=200)
    scores.penalize(b"a", 100, 0)
    assert scores.penalize(b"a", 100, 60 + 201)
    assert scores.banned_until_s(b"a") == 60 + 201 + 60


def test_end_of_a_ban_is_told_once() -> None:
    scores = Scores(ban_s=60)
    scores.penalize(b"a", 100, 0)
    assert scores.forgive(59) == ()
    assert scores.forgive(60) == (b"a",)
    assert scores.forgive(61) == ()
    assert scores.score(b"a", 61) == 0


def test_reasons_are_told_newest_first_and_repetitions_are_one() -> None:
    scores = Scores(ban_s=60)
    scores.penalize(b"a", 10, 0, "noise")
    scores.penalize(b"a", 10, 1, "noise")
    scores.penalize(b"a", 30, 2, "junk")
    assert scores.reasons(b"a", 4) == (Deduction("junk", 30, 2), Deduction("noise", 20, 3))
    for number in range(20):
        scores.penalize(b"a", 0.1, 5, f"{number}" * 1000)
    assert len(scores.reasons(b"a", 5)) == REASONS_MAX
    assert all(len(d.reason) <= 160 for d in scores.reasons(b"a", 5))


def test_banned_peers_are_listed_with_what_is_left() -> None:
    scores = Scores(ban_s=60)
    scores.penalize(b"b", 100, 0, "flood")
    scores.penalize(b"a", 99, 0, "almost")
    (banned,) = scores.all_banned(10)
    assert (banned.peer, banned.left_s, banned.bans_count) == (b"b", 50, 1)
    assert banned.reasons == (Deduction("flood", 100, 10),)
    assert scores.all_banned(61) == ()


def test_many_identities_do_not_push_out_a_ban() -> None:
    scores = Scores(ban_s=60, peers_max=10)
    scores.penalize(b"a", 100, 0)
    for number in range(100):
        scores.penalize(b"%d" % number, 1, 0)
    assert scores.banned(b"a", 1)


def test_a_ban_while_all_others_are_banned_is_kept_and_ends() -> None:
    scores = Scores(ban_s=60, peers_max=3)
    for peer in (b"a", b"b", b"c"):
        scores.penalize(peer, 100, 0)
    assert scores.penalize(b"d", 100, 1)
    assert scores.banned(b"d", 2)
    assert [banned.peer for banned in scores.all_banned(2)] == [b"b", b"c", b"d"]
    assert scores.forgive(62) == (b"b", b"c", b"d")


def test_a_peer_can_be_banned_by_and_by_while_all_others_are_banned() -> None:
    scores = Scores(ban_s=60, peers_max=3)
    for peer in (b"a", b"b", b"c"):
        scores.penalize(peer, 100, 0)
    bans = [scores.penalize(b"d", 25, 1) for _ in range(4)]
    assert bans == [False, False, False, True]
