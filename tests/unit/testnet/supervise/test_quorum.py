"""What a fault does to the quorum."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.types.quorum import quorum_of
from testnet.supervise.quorum import Topology, critical, effect, reach, restart_effect


def validators(count: int, **changes: object) -> Topology:
    return Topology({f"node{i}": 1 for i in range(count)}, **changes)  # type: ignore[arg-type]


def both(a: int, b: int) -> set[tuple[str, str]]:
    return {(f"node{a}", f"node{b}"), (f"node{b}", f"node{a}")}


SEVEN = validators(7)


def test_a_cut_of_one_link_leaves_everybody_together() -> None:
    after = SEVEN.with_cut(both(2, 3))
    found = reach(after)
    assert (found.power, found.needed, found.lost) == (7, 5, ())
    assert effect("Cutting node2-node3", SEVEN, after) == (
        "Cutting node2-node3 leaves 7 of 7: blocks go on."
    )


def test_the_last_step_before_the_edge_names_whom_nobody_may_lose() -> None:
    before = SEVEN.without(["node6"])
    after = before.with_cut([p for other in (0, 1, 2, 3, 4) for p in both(5, other)])
    assert effect("Cutting off node5", before, after) == (
        "Cutting off node5 leaves 5 of 7: blocks go on. node5 falls behind, cut off. "
        "Losing any of node0, node1, node2 and 2 others too stops finality."
    )
    gone = after.without(["node0"])
    assert effect("Killing node0", after, gone) == (
        "Killing node0 leaves 4 of 7, 5 needed: finality stops; nothing can be reverted."
    )
    assert effect("Pausing node1", gone, gone.without(["node1"])).endswith(
        "still nothing becomes final."
    )
    assert effect("Restarting node0", gone, after).startswith(
        "Restarting node0 brings 5 of 7 together: blocks go on again."
    )


def test_a_restart_of_some_that_run_and_some_that_do_not_ends_those_that_run() -> None:
    four = validators(4).without(["node0", "node2"])
    assert restart_effect(["node0", "node3"], four) == (
        "Ending node3 for the restart leaves 1 of 4, 3 needed: still nothing becomes final."
        " Then they catch up, and blocks go on again."
    )
    assert restart_effect(["node3"], four).endswith("Then it catches up.")
    assert restart_effect(["node0"], four).startswith("Restarting node0 brings 3 of 4 together")


def test_a_single_collector_is_named() -> None:
    star = validators(4).with_cut(both(1, 2) | both(1, 3) | both(2, 3))
    assert reach(star).together[0] == "node0"
    assert critical(star) == ("node0",)
    whole = validators(4)
    assert effect("Cutting", whole, star).endswith(
        "Losing node0 too stops finality; nothing can be reverted."
    )


def test_a_link_cut_one_way_counts_as_cut() -> None:
    one_way = validators(4).with_cut([("node0", "node1")])
    assert not one_way.linked("node1", "node0")
    assert reach(one_way) == reach(validators(4).with_cut(both(0, 1)))


def test_votes_are_not_passed_on_round_a_ring() -> None:
    ring = validators(5)
    for a, b in combinations(range(5), 2):
        if (b - a) % 5 not in (1, 4):
            ring = ring.with_cut(both(a, b))
    found = reach(ring)
    assert (found.power, found.needed, found.is_final) == (3, 4, False)
    assert (len(found.followers), found.lost) == (2, ())


def test_powers_count_and_not_heads() -> None:
    heavy = Topology({"a": 5, "b": 1, "c": 1})
    assert reach(heavy.without(["b"])).is_final
    assert effect("Killing a", heavy, heavy.without(["a"])) == (
        f"Killing a leaves power 2 of 7, {quorum_of(7)} needed: finality stops; "
        "nothing can be reverted."
    )


PAIRS = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=30)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=7), st.sets(st.integers(0, 6)), PAIRS)
def test_no_two_groups_that_cannot_reach_each_other_both_go_on(
    powers: list[int], down: set[int], pairs: set[tuple[int, int]]
) -> None:
    names = {f"node{i}": power for i, power in enumerate(powers)}
    topology = Topology(
        names,
        frozenset(f"node{i}" for i in down),
        frozenset((f"node{a}", f"node{b}") for a, b in pairs),
    )
    found = reach(topology)
    running = {n for n in names if n not in topology.down}
    assert sorted([*found.together, *found.followers, *found.lost]) == sorted(running)
    # Whoever is lost cannot collect a quorum either.
    rest = Topology(names, frozenset(names) - frozenset(found.lost), topology.cut)
    assert not (found.is_final and reach(rest).is_final)
    # More faults never help.
    for name in running:
        assert reach(topology.without([name])).power <= found.power
