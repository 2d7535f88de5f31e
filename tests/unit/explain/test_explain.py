from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from p2pnode.explain import (
    Condition,
    Explanation,
    Kind,
    LinkFacts,
    NodeFacts,
    Severity,
    Situation,
    explain,
    explain_node,
)
from p2pnode.explain.sentences import listed
from p2pnode.node.status import (
    DeviceStatus,
    NodeStatus,
    SkipReason,
    ViewOutcome,
    ViewRow,
    VoteCount,
)
from tests.unit.explain.networks import facts, node, stalled, unheard

FULL = DeviceStatus(storage_error="No space left on device")


def among(
    *statuses: NodeStatus, dead: tuple[NodeFacts, ...] = (), links: Sequence[LinkFacts] = ()
) -> Explanation:
    return explain(Situation((*facts(*statuses), *dead), tuple(links)))


def late(view: int, proposer: int, late_ms: int) -> ViewRow:
    return ViewRow(view, proposer, ViewOutcome.SKIPPED, skip=SkipReason.LATE, late_ms=late_ms)


def test_nothing_is_known_when_nobody_answers() -> None:
    found = explain(Situation((NodeFacts("node0", condition=Condition.SILENT),)))
    assert (found.kind, found.severity) == (Kind.UNKNOWN, Severity.STALLED)
    assert found.sentence == "nothing is known: node0 does not answer"
    both = explain(Situation(tuple(NodeFacts(n, condition=Condition.SILENT) for n in "ab")))
    assert both.sentence == "nothing is known: a, b do not answer"
    assert explain(Situation()).sentence == "nothing is known: no node was asked"
    assert explain_node(None).kind is Kind.UNKNOWN


def test_a_network_that_decides_is_well() -> None:
    found = among(*(node(i) for i in range(4)))
    assert (found.kind, found.severity, found.next_step) == (Kind.WELL, Severity.OK, "")
    assert found.sentence == "all is well: height 812, view 3, last block 0.4 s ago"


def test_a_network_with_nothing_to_decide_is_well_however_long() -> None:
    idle = [node(i, demand=False, demand_s=None, last_block_age_s=3000.0) for i in range(4)]
    found = among(*(replace(s, mempool=replace(s.mempool, transactions_count=0)) for s in idle))
    assert (found.kind, found.severity) == (Kind.IDLE, Severity.OK)
    assert "50 min ago" in found.sentence


def test_a_demand_that_is_new_is_no_stall() -> None:
    found = among(*(node(i, last_block_age_s=500.0, demand_s=0.2) for i in range(4)))
    assert found.severity is Severity.OK


def test_the_sentence_names_votes_who_is_missing_why_and_the_skipped_view() -> None:
    votes = (VoteCount("notarize", (0, 1, 3, 4), 4),)
    rows = (late(2, 1, 310), ViewRow(3, 1, ViewOutcome.OPEN))
    nodes = [stalled(i, 7, votes=votes, recent=rows) for i in range(5)]
    nodes[2] = stalled(2, 7, recent=rows)
    behind = stalled(6, 7, view=1)
    dead = NodeFacts("node5", condition=Condition.KILLED, since_s=40.0, validator=5)
    links = (LinkFacts("node2", "node1", cut_s=12.3),)
    found = explain(Situation((*facts(*nodes, behind), dead), links))
    assert found.sentence.startswith(
        "height 812, view 3: 4 of 5 votes; missing node2 (cut from the proposer for 12.3 s),"
        " node5 (killed 40 s ago), node6 (2 views behind); "
    )
    assert "because the proposal of node1 came 310 ms after the timer" in found.sentence


def test_where_nobody_votes_only_those_with_a_reason_are_named_and_the_rest_counted() -> None:
    dead = NodeFacts("node2", condition=Condition.KILLED, since_s=8.0, validator=2)
    found = among(stalled(0), stalled(1), stalled(3), dead=(dead,))
    assert found.sentence == (
        "height 812, view 3: no votes, 3 of 4 needed; missing node2 (killed 8 s ago);"
        " 3 more have not voted; nothing final for 20.0 s"
    )
    assert (found.nodes, found.next_step) == (("node2",), "start node2 again")
    behind = among(stalled(0), stalled(1, view=1), stalled(2), stalled(3))
    assert "missing node1 (2 views behind); 3 more have not voted" in behind.sentence


@pytest.mark.parametrize(("proposer", "is_told"), [(1, True), (2, False)])
def test_a_skip_is_told_unless_the_missing_vote_of_its_proposer_says_it(
    proposer: int, is_told: bool
) -> None:
    dead = tuple(
        NodeFacts(f"node{i}", condition=Condition.KILLED, since_s=8.0, validator=i) for i in (2, 3)
    )
    rows = (ViewRow(2, proposer, ViewOutcome.SKIPPED, skip=SkipReason.SILENT),)
    found = among(stalled(0, recent=rows), stalled(1, recent=rows), dead=dead)
    assert ("the last view was skipped because nothing came" in found.sentence) == is_told
    long_ago = (replace(rows[0], view=1, proposer=1),)
    assert "skipped" not in among(stalled(0, recent=long_ago), stalled(1), dead=dead).sentence
    others = (ViewRow(2, 1, ViewOutcome.SKIPPED, skip=SkipReason.OTHERS),)
    assert "skipped" not in among(stalled(0, recent=others), stalled(1), dead=dead).sentence


def test_one_node_alone_asks_to_look_before_it_says_to_start() -> None:
    found = explain_node(unheard(node(0), (3,)))
    assert (found.kind, found.next_step) == (
        Kind.DEGRADED,
        "look at node3, and at the network between",
    )


def test_one_that_waits_beside_the_cause_is_counted_in_the_singular() -> None:
    dead = tuple(
        NodeFacts(f"node{i}", condition=Condition.KILLED, since_s=8.0, validator=i) for i in (2, 3)
    )
    votes = (VoteCount("nullify", (0,), 1),)
    found = among(stalled(0, votes=votes), stalled(1), dead=dead)
    assert "node3 (killed 8 s ago); 1 more has not voted" in found.sentence


def test_names_are_told_without_a_reason_only_where_others_voted() -> None:
    votes = (VoteCount("notarize", (0, 1), 2),)
    some = among(*(stalled(i, votes=votes) for i in range(4)))
    assert "2 of 3 votes; missing node2, node3; nothing final" in some.sentence
    nobody = among(*(stalled(i) for i in range(4)))
    assert "no votes, 3 of 4 needed; nothing final" in nobody.sentence


def test_too_few_validators_alive_are_named_with_what_became_of_them() -> None:
    dead = (
        NodeFacts("node2", condition=Condition.KILLED, since_s=12.0, validator=2),
        NodeFacts("node3", condition=Condition.PAUSED, since_s=3.0, validator=3),
    )
    found = among(stalled(0), stalled(1), dead=dead)
    assert (found.kind, found.nodes) == (Kind.TOO_FEW, ("node2", "node3"))
    assert "node2 (killed 12 s ago), node3 (paused for 3 s)" in found.sentence
    assert found.next_step == "start node2, node3 again"


def test_too_few_are_too_few_before_anything_is_wanted() -> None:
    dead = tuple(NodeFacts(f"node{i}", condition=Condition.CRASHED, validator=i) for i in (2, 3))
    idle = [node(i, demand=False, demand_s=None) for i in range(2)]
    assert among(*idle, dead=dead).kind is Kind.TOO_FEW


def test_one_node_says_whom_it_does_not_reach() -> None:
    found = explain_node(unheard(stalled(0, 7), (2, 5, 6), heard_s=12.0))
    assert (found.kind, found.nodes) == (Kind.TOO_FEW, ("node2", "node5", "node6"))
    assert "no votes, 5 of 7 needed" in found.sentence
    assert "node2 (unreachable for 12 s)" in found.sentence


def test_a_node_that_hears_nobody_blames_its_own_network() -> None:
    found = explain_node(unheard(stalled(0), (1, 2, 3)))
    assert (found.kind, found.severity, found.nodes) == (
        Kind.ISOLATED,
        Severity.STALLED,
        ("node0",),
    )


def test_groups_that_do_not_hear_each_other_are_a_partition() -> None:
    left = [unheard(stalled(i), (2, 3)) for i in (0, 1)]
    right = [unheard(stalled(i), (0, 1)) for i in (2, 3)]
    found = among(*left, *right)
    assert found.kind is Kind.PARTITION
    assert found.facts.groups == (("node0", "node1"), ("node2", "node3"))
    assert "missing node2, node3; 2 more have not voted" in found.sentence


def test_cuts_that_are_known_make_a_partition_at_once() -> None:
    links = tuple(LinkFacts(f"node{a}", f"node{b}", cut_s=1.0) for a in (0, 1) for b in (2, 3))
    found = explain(Situation(facts(*(node(i) for i in range(4))), links))
    assert found.kind is Kind.PARTITION


def test_one_way_cuts_split_too() -> None:
    deaf = [unheard(stalled(i), (2, 3)) for i in (0, 1)]
    assert among(*deaf, stalled(2), stalled(3)).kind is Kind.PARTITION


def test_links_too_slow_for_pings_part_a_network_as_well_as_cuts_do() -> None:
    left = [unheard(stalled(i), (2, 3)) for i in (0, 1)]
    right = [unheard(stalled(i), (0, 1)) for i in (2, 3)]
    slow = [LinkFacts("node1", "node2", latency_ms=ms) for ms in (30.0, 1850.0)]
    found = among(*left, *right, links=slow[1:])
    assert found.kind is Kind.PARTITION
    assert "node0, node1 | node2, node3, over links of 1850 ms one way" in found.sentence
    assert found.next_step == "mend the links between the groups"
    assert "one way" not in among(*left, *right, links=slow[:1]).sentence
    cut = (slow[1], LinkFacts("node0", "node3", cut_s=5.0))
    assert "one way" not in among(*left, *right, links=cut).sentence


def test_a_minority_that_is_cut_off_is_a_warning() -> None:
    most = [unheard(node(i), (3,)) for i in range(3)]
    found = among(*most, unheard(stalled(3, height=700), (0, 1, 2)))
    assert (found.kind, found.severity, found.nodes) == (
        Kind.ISOLATED,
        Severity.WARNING,
        ("node3",),
    )


def test_full_disks_that_stop_a_quorum_are_the_cause() -> None:
    full = [stalled(i, device=FULL) for i in (2, 3)]
    found = among(stalled(0), stalled(1), *full)
    assert (found.kind, found.nodes) == (Kind.DISK, ("node2", "node3"))
    assert "node2 (its disk refuses writes: No space left on device)" in found.sentence
    assert found.next_step.startswith("free some space on node2, node3")


def test_a_full_disk_beside_a_quorum_is_a_warning() -> None:
    found = among(node(0), node(1), node(2), stalled(3, device=FULL))
    assert (found.kind, found.severity, found.nodes) == (Kind.DISK, Severity.WARNING, ("node3",))


def test_a_node_says_once_why_its_own_disk_is_full() -> None:
    found = explain_node(stalled(3, device=FULL))
    assert found.kind is Kind.DISK
    assert found.sentence.count("No space left on device") == 1


def test_observers_that_lack_for_a_quorum_are_the_cause() -> None:
    found = among(stalled(0), stalled(1), stalled(2, observing=True), stalled(3, observing=True))
    assert (found.kind, found.nodes) == (Kind.OBSERVING, ("node2", "node3"))
    assert among(*(node(i) for i in range(3)), node(3, observing=True)).kind is Kind.OBSERVING


def test_one_proposer_whose_payloads_come_late_is_named() -> None:
    rows = (late(1, 2, 310), ViewRow(2, 3, ViewOutcome.FINAL), late(5, 2, 450))
    found = among(*(stalled(i, recent=rows) for i in range(4)))
    assert (found.kind, found.severity, found.nodes) == (
        Kind.SLOW_PROPOSER,
        Severity.STALLED,
        ("node2",),
    )
    assert "450 ms late" in found.sentence
    going = among(*(node(i, recent=rows) for i in range(4)))
    assert (going.kind, going.severity) == (Kind.SLOW_PROPOSER, Severity.WARNING)


def test_late_payloads_of_several_proposers_are_slow_links() -> None:
    rows = (late(1, 1, 500), late(2, 2, 600))
    found = among(*(stalled(i, recent=rows, delta_s=1.0, delta_max_s=1.0) for i in range(4)))
    assert found.kind is Kind.SLOW_LINK
    assert "600 ms late at a timer of 3.0 s, at most 3.0 s" in found.sentence


def test_a_link_that_is_known_to_be_slower_than_the_cap_is_named() -> None:
    rows = (late(1, 1, 500), late(2, 2, 600))
    nodes = facts(*(stalled(i, recent=rows, delta_max_s=1.0) for i in range(4)))
    links = (LinkFacts("node0", "node1", latency_ms=4000.0), LinkFacts("node1", "node2"))
    found = explain(Situation(nodes, links))
    assert (found.kind, found.nodes) == (Kind.SLOW_LINK, ("node0", "node1"))


def test_a_payload_nobody_gives_is_named() -> None:
    waiting = "payload 3f2a1b0c… of node1"
    found = among(*(stalled(i, waiting=waiting) for i in range(4)))
    assert found.kind is Kind.PAYLOAD
    assert waiting in found.sentence


def test_a_stall_without_a_known_reason_is_said_as_one() -> None:
    found = among(*(stalled(i) for i in range(4)))
    assert (found.kind, found.severity) == (Kind.STALLED, Severity.STALLED)
    assert "nothing final for 20.0 s" in found.sentence


def test_a_node_that_syncs_says_how_far_it_is() -> None:
    found = explain_node(node(0, height=5, best_height=812, syncing=True))
    assert (found.kind, found.severity) == (Kind.SYNCING, Severity.WARNING)
    assert "at height 5 of 812, 807 to go" in found.sentence


def test_execution_that_is_behind_is_told_with_the_first_block() -> None:
    found = explain_node(node(0, executed_height=700))
    assert found.kind is Kind.EXECUTION
    assert "111 final blocks not executed, 701 the first" in found.sentence


def test_one_node_behind_though_connected_is_named() -> None:
    found = among(*(node(i) for i in range(3)), node(3, height=700))
    assert (found.kind, found.nodes) == (Kind.BEHIND, ("node3",))


def test_a_dead_minority_is_a_warning() -> None:
    dead = NodeFacts("node3", condition=Condition.KILLED, since_s=5.0, validator=3)
    found = among(*(unheard(node(i), (3,)) for i in range(3)), dead=(dead,))
    assert (found.kind, found.severity, found.nodes) == (
        Kind.DEGRADED,
        Severity.WARNING,
        ("node3",),
    )


def clocks(status: NodeStatus, offsets: dict[int, int]) -> NodeStatus:
    seen = tuple(replace(v, clock_ms=offsets.get(v.index, 0)) for v in status.consensus.validators)
    return replace(status, consensus=replace(status.consensus, validators=seen))


@pytest.mark.parametrize("asked", [(0,), (2,), (0, 1, 2, 3)])
def test_a_wrong_clock_is_told_by_everybody_and_by_itself(asked: tuple[int, ...]) -> None:
    nodes = [clocks(node(i), {2: -4000}) for i in range(4)]
    nodes[2] = clocks(node(2), {0: 4000, 1: 4000, 3: 4000})
    found = among(*(nodes[i] for i in asked))
    assert (found.kind, found.nodes) == (Kind.CLOCK, ("node2",))
    assert "4.0 s behind" in found.sentence


def test_a_node_that_says_nothing_of_validators_is_believed() -> None:
    bare = replace(node(0), consensus=type(node(0).consensus)())
    assert explain_node(bare).severity is Severity.OK


def test_a_long_list_of_names_is_cut_and_counted() -> None:
    assert listed([f"n{i}" for i in range(9)]) == "n0, n1, n2, n3, n4 and 4 more"


def test_votes_to_skip_do_not_read_as_votes_for_a_block() -> None:
    votes = (VoteCount("nullify", (0, 1), 2),)
    found = among(*(stalled(i, votes=votes) for i in range(4)))
    assert "2 of 3 votes to skip it" in found.sentence
