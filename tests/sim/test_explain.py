"""Staged stalls of whole nodes, and whether `explain` names the cause and the nodes."""

from __future__ import annotations

from dataclasses import replace

import trio

from p2pnode.explain import Explanation, Kind, LinkFacts, Severity, explain, explain_node
from p2pnode.net.links.profile import LinkProfile
from testnet.sim.run import Run, SimSpec, run_seeded, sim_parameters
from testnet.sim.world import Machine
from tests.sim.scenes import assert_ok, situation

SPEC = SimSpec(duration_s=32.0, settle_s=25.0)
STALLED_S = 14.0
"""Longer than a validator may be silent before it counts as unreachable."""


def own_view(machine: Machine) -> Explanation:
    assert machine.node is not None
    return explain_node(machine.node.status())


def test_two_of_four_killed_are_named() -> None:
    found: list[Explanation] = []

    async def script(run: Run) -> None:
        await trio.sleep(5.0)
        killed = run.world.machines[1:3]
        for machine in killed:
            await run.kill(machine)
        await trio.sleep(STALLED_S)
        found.append(explain(situation(run)))
        found.append(own_view(run.world.machines[0]))
        for machine in killed:
            await run.start(machine)

    assert_ok(run_seeded(SPEC, 41, script=script))
    whole, own = found
    assert (whole.kind, whole.severity) == (Kind.TOO_FEW, Severity.STALLED)
    assert whole.nodes == ("node1", "node2")
    assert "missing node1 (killed), node2 (killed)" in whole.sentence
    assert own.kind is Kind.TOO_FEW
    assert own.nodes == ("validator 1", "validator 2")
    assert "unreachable for" in own.sentence


def test_a_partition_is_told_by_its_groups() -> None:
    found: list[Explanation] = []

    async def script(run: Run) -> None:
        await trio.sleep(5.0)
        run.world.isolate(run.world.machines[:2])
        await trio.sleep(STALLED_S)
        found.append(explain(situation(run)))
        found.append(own_view(run.world.machines[3]))
        run.world.heal()

    assert_ok(run_seeded(SPEC, 42, script=script))
    whole, own = found
    assert (whole.kind, whole.severity) == (Kind.PARTITION, Severity.STALLED)
    assert whole.facts.groups == (("node0", "node1"), ("node2", "node3"))
    assert "node0, node1 | node2, node3" in whole.sentence
    # One node alone can't tell a partition from death.
    assert own.kind is Kind.TOO_FEW
    assert own.nodes == ("validator 0", "validator 1")


def test_one_node_cut_off_is_a_warning_and_its_own_view_is_a_stall() -> None:
    found: list[Explanation] = []

    async def script(run: Run) -> None:
        await trio.sleep(5.0)
        run.world.isolate(run.world.machines[2:3])
        await trio.sleep(STALLED_S)
        found.append(explain(situation(run)))
        found.append(own_view(run.world.machines[2]))
        run.world.heal()

    assert_ok(run_seeded(SPEC, 43, script=script))
    whole, own = found
    assert (whole.kind, whole.severity) == (Kind.ISOLATED, Severity.WARNING)
    assert whole.nodes == ("node2",)
    assert (own.kind, own.severity, own.nodes) == (Kind.ISOLATED, Severity.STALLED, ("node2",))


def test_links_slower_than_the_longest_timer_are_told_with_how_late_proposals_come() -> None:
    spec = replace(SPEC, parameters=replace(sim_parameters(), delta_ms=250, delta_max_ms=400))
    found: list[Explanation] = []

    async def script(run: Run) -> None:
        await trio.sleep(5.0)
        slow = LinkProfile(latency_ms_min=1800, latency_ms_max=1900)
        usual = run.world.hub.profile(run.world.machines[0].peer_id, run.world.machines[1].peer_id)
        run.world.hub.set_links(slow)
        await trio.sleep(STALLED_S + 4)
        found.append(explain(situation(run)))
        links = (LinkFacts("node0", "node1", latency_ms=1850.0),)
        found.append(explain(situation(run, links=links)))
        found.append(own_view(run.world.machines[0]))
        run.world.hub.set_links(usual)

    assert_ok(run_seeded(spec, 44, script=script))
    whole, told, own = found
    assert (whole.kind, whole.severity) == (Kind.SLOW_LINK, Severity.STALLED)
    assert "ms after the timer" in whole.sentence
    assert told.nodes == ("node0", "node1")
    assert "1850 ms one way" in told.sentence
    assert own.kind is Kind.SLOW_LINK


def test_full_disks_are_told_from_dead_nodes() -> None:
    found: list[Explanation] = []

    async def script(run: Run) -> None:
        await trio.sleep(5.0)
        full = run.world.machines[2:]
        for machine in full:
            machine.disk_full = True
        await trio.sleep(STALLED_S)
        found.append(explain(situation(run)))
        found.append(own_view(full[0]))
        for machine in full:
            machine.disk_full = False
            await run.kill(machine)
            await run.start(machine)

    assert_ok(run_seeded(SPEC, 45, script=script))
    whole, own = found
    assert (whole.kind, whole.severity) == (Kind.DISK, Severity.STALLED)
    assert whole.nodes == ("node2", "node3")
    assert "node2 (its disk refuses writes: node2/store: No space left on device)" in whole.sentence
    assert (own.kind, own.nodes) == (Kind.DISK, ("node2",))


def test_a_network_under_load_is_well_and_an_idle_one_too() -> None:
    found: list[Explanation] = []

    async def script(run: Run) -> None:
        for _ in range(20):
            await trio.sleep(1.0)
            engines = [m.node.core.ordering.host._engine for m in run.world.machines if m.node]
            before = [engine.fingerprint() for engine in engines]
            situation(run)
            assert [engine.fingerprint() for engine in engines] == before, "a look changed it"
            found.append(explain(situation(run)))
            found.append(own_view(run.world.machines[1]))

    assert_ok(run_seeded(SPEC, 46, script=script))
    assert {e.kind for e in found} <= {Kind.WELL, Kind.IDLE}, [e.sentence for e in found]


def test_a_clock_that_is_wrong_is_told() -> None:
    found: list[Explanation] = []

    async def script(run: Run) -> None:
        await trio.sleep(2.0)
        run.world.machines[2].clock.skew_ms = -5_000
        await trio.sleep(24.0)
        found.append(explain(situation(run)))
        run.world.machines[2].clock.skew_ms = 0

    assert_ok(run_seeded(SPEC, 47, script=script))
    assert (found[0].kind, found[0].nodes) == (Kind.CLOCK, ("node2",)), found[0].sentence
    assert " s behind" in found[0].sentence
