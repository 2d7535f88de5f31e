"""The supervisor's links: selecting, cutting, healing, undoing, and what nodes are told."""

from __future__ import annotations

import pytest

from p2pnode.net.links.profile import LinkProfile
from testnet.supervise.links import UNDO_MAX, Links, NamedProfile, NotALinkError
from testnet.supervise.noderun import UnknownNodeError

SLOW = NamedProfile("slow", LinkProfile(100, 100))


@pytest.fixture
def links() -> Links:
    return Links({f"node{i}": bytes([i]) for i in range(4)})


def test_links_are_selected_by_ends_by_node_and_by_group(links: Links) -> None:
    assert links.between("0", "node2") == (("node0", "node2"), ("node2", "node0"))
    assert links.between("0", "2", one_way=True) == (("node0", "node2"),)
    assert len(links.across(["1"])) == 6
    assert len(links.across(["0", "1", "0"])) == 8
    assert len(links.everything()) == 12


def test_what_is_no_link_is_refused(links: Links) -> None:
    with pytest.raises(NotALinkError):
        links.between("0", "node0")
    with pytest.raises(NotALinkError):
        links.across(["0", "1", "2", "3"])
    with pytest.raises(NotALinkError):
        links.across([])
    with pytest.raises(UnknownNodeError):
        links.across(["node7"])


def test_the_last_cut_is_undone_without_the_one_before(links: Links) -> None:
    links.cut(links.between("0", "1"), 1000)
    # What was cut already is not part of this one.
    new = links.cut(links.across(["0"]), 2000)
    assert len(new) == 4
    assert links.last_cut == new
    links.heal(links.last_cut)
    assert links.cuts == {("node0", "node1"), ("node1", "node0")}
    links.heal(links.between("0", "1", one_way=True))
    assert links.last_cut == (("node1", "node0"),)
    links.heal(links.last_cut)
    assert links.last_cut == ()
    assert links.heal(links.everything()) == ()


def test_cuts_to_undo_are_bounded(links: Links) -> None:
    for n in range(UNDO_MAX + 5):
        links.cut(links.between("0", "1"), n)
        links.heal(links.between("0", "1"))
        links.cut(links.between("2", "3"), n)
        links.heal(links.between("2", "3"))
    assert links.last_cut == ()


def test_a_node_is_told_of_what_it_sends_only(links: Links) -> None:
    links.cut(links.between("0", "1", one_way=True), 0)
    links.set_profile([("node0", "node2"), ("node1", "node0")], {("node0", "node2"): SLOW})
    assert {peer: (s.cut, s.profile) for peer, s in links.states("node0").items()} == {
        bytes([1]): (True, None),
        bytes([2]): (False, SLOW.profile),
    }
    assert links.states("node1") == {}
    assert links.version == 2


def test_rows_name_profile_and_age_of_a_cut(links: Links) -> None:
    links.set_profile(links.between("0", "1"), dict.fromkeys(links.between("0", "1"), SLOW))
    links.cut(links.between("0", "1", one_way=True), 1_000)
    rows = links.rows(3_500, changed_only=True)
    assert [(r["from"], r["to"], r["profile"], r["cut_s"]) for r in rows] == [
        ("node0", "node1", "slow", 2.5),
        ("node1", "node0", "slow", None),
    ]
    assert len(links.rows(0, changed_only=False)) == 12
