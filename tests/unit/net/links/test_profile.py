"""Names of links, and what their numbers mean."""

from __future__ import annotations

import random

import pytest

from p2pnode.net.links.profile import (
    PROFILES,
    LinkProfile,
    LinkProfileError,
    UnknownProfileError,
    aws_regions,
    profile_named,
    reverse_name,
)


def test_links_between_regions_have_the_latency_of_the_table() -> None:
    profile = profile_named("aws:Ireland-Tokyo")
    assert profile.latency_ms == pytest.approx(100.0)
    assert profile.latency_ms_max <= 105.01
    assert len(aws_regions()) == 13
    assert 0 < profile_named("aws:sydney-sydney").latency_ms < 1


def test_the_way_back_between_regions_is_the_other_entry_of_the_table() -> None:
    assert reverse_name("aws:seoul-tokyo") == "aws:tokyo-seoul"
    assert profile_named("aws:tokyo-seoul").latency_ms == pytest.approx(16.0)
    assert profile_named("aws:seoul-tokyo").latency_ms == pytest.approx(17.0)
    assert reverse_name("lan") == "lan"


@pytest.mark.parametrize("name", ["aws:ireland", "aws:ireland-mars", "wifi", ""])
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UnknownProfileError, match=r"satellite|singapore"):
        profile_named(name)


def test_losses_of_a_bursty_link_have_its_share_and_come_in_runs() -> None:
    profile = LinkProfile(loss=0.05, loss_burst=4.0)
    rng = random.Random(1)
    losing, lost, runs = False, 0, 0
    for _ in range(200_000):
        before, losing = losing, profile.loses(losing, rng.random())
        lost += losing
        runs += losing and not before
    assert lost / 200_000 == pytest.approx(0.05, rel=0.1)
    assert lost / runs == pytest.approx(4.0, rel=0.1)


def test_a_profile_survives_json() -> None:
    for profile in PROFILES.values():
        assert LinkProfile.from_json(profile.to_json()) == profile


@pytest.mark.parametrize(
    "numbers",
    [{"latency": 3}, {"loss": "1"}, {"loss": None}, {"loss": True}, {"loss_burst": 0.5}],
)
def test_json_that_is_no_profile_is_refused(numbers: dict[str, object]) -> None:
    with pytest.raises(LinkProfileError):
        LinkProfile.from_json(numbers)
