"""What the commands about links ask for, and how links are shown."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from p2pnode.errors import ConfigError
from p2pnode.net.links.profile import LinkProfile
from testnet.cli.links import _wish
from testnet.cli.main import make_parser
from testnet.cli.screen import after_links, cut_lines, links_table


def wish(*arguments: str) -> dict[str, Any]:
    return _wish(make_parser().parse_args(["link", "--all", *arguments], argparse.Namespace()))


def test_numbers_of_a_link_become_a_profile() -> None:
    numbers = wish("--latency", "200ms", "--jitter", "20ms", "--loss", "1%", "--rate", "1MiB")
    assert LinkProfile.from_json(numbers["numbers"]) == LinkProfile(
        180, 220, loss=0.01, rate_bytes_per_s=1 << 20
    )
    assert wish("--clear") == {}
    assert wish("--profile", "aws:tokyo-seoul") == {"profile": "aws:tokyo-seoul"}


@pytest.mark.parametrize(
    "arguments",
    [[], ["--clear", "--loss", "1%"], ["--profile", "lan", "--rate", "1MiB"], ["--profile", "x"]],
)
def test_a_wish_that_is_none_or_two_is_refused(arguments: list[str]) -> None:
    with pytest.raises(ConfigError):
        wish(*arguments)


def row(here: str, there: str, **changes: object) -> dict[str, Any]:
    plain = {
        "from": here,
        "to": there,
        "profile": None,
        "numbers": None,
        "cut": False,
        "cut_s": None,
        "connected": True,
        "rtt_ms": 2.0,
        "rtt_age_s": 1.2,
    }
    return {**plain, **changes}


def test_both_directions_of_a_link_share_a_line_unless_they_differ() -> None:
    slow = {"profile": "slow", "numbers": LinkProfile(100, 120, loss=0.01).to_json()}
    rows = [
        row("a", "b"),
        row("a", "c", **slow),
        row("b", "a", rtt_ms=4.0, rtt_age_s=31.4),
        row("b", "c", cut=True, cut_s=3.0, connected=False, rtt_ms=None),
        row("c", "a"),
        row("c", "b", cut=True, cut_s=3.0, connected=False, rtt_ms=None),
    ]
    assert [line.split() for line in links_table(rows).splitlines()[1:]] == [
        ["a-b", "-", "-", "-", "-", "-", "2.0", "ms", "1", "s", "ago"],
        ["a→c", "slow", "100-120", "ms", "1.0%", "-", "-", "2.0", "ms", "1", "s", "ago"],
        ["c→a", "-", "-", "-", "-", "-", "2.0", "ms", "1", "s", "ago"],
        ["b-c", "-", "-", "-", "-", "3.0", "s", "none", "-"],
    ]


def test_a_round_trip_that_nobody_measures_any_more_shows_its_age() -> None:
    rows = [row("a", "b", rtt_age_s=31.4), row("b", "a", rtt_ms=None, rtt_age_s=None)]
    assert links_table(rows).splitlines()[1].endswith("2.0 ms  31 s ago")


def test_what_follows_a_look_at_the_links_mends_what_is_wrong_with_them() -> None:
    slow = {"profile": "slow", "numbers": LinkProfile(100, 120).to_json()}
    assert after_links([row("a", "b", cut=True, cut_s=1.0)]) == ("testnet heal",)
    assert after_links([row("a", "b", **slow)]) == ("testnet link --all --clear",)
    assert after_links([row("a", "b")])[0].startswith("testnet cut ")


def test_nodes_that_reach_nobody_are_named_before_other_cuts() -> None:
    cut = {"cut": True, "cut_s": 1.5}
    status = {
        "isolated": {"c": 4.0},
        "links": [row("a", "c", **cut), row("c", "a", **cut), row("a", "b", **cut)],
    }
    assert cut_lines(status) == [
        "",
        "  c is cut off from all others for 4.0 s",
        "  a→b is cut for 1.5 s",
    ]
    assert cut_lines({"isolated": {}, "links": []}) == []
