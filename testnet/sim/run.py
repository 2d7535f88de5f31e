"""Seeded runs: whole nodes, load and faults in virtual time, judged by independent checks.

Two phases: safety while faults fly, liveness after healing. The same spec and seed give the same
trace.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import trio

from p2pnode.errors import P2PNodeError
from p2pnode.execution.pipeline import ExecutedBlock
from p2pnode.net.links.profile import LinkProfile
from p2pnode.node.history import SeenBlock
from p2pnode.node.node import Node
from p2pnode.ports import Lane
from p2pnode.telemetry.percentile import percentile
from p2pnode.types.effects import Emit
from p2pnode.types.genesis import FIRST_UID
from testnet.checks import chain as chain_checks
from testnet.checks.audit import READS, Audit, Rows
from testnet.checks.double_sign import check_logs
from testnet.checks.ledger import (
    Ledger,
    MissingBatchError,
    compare,
    compare_counts,
    compare_results,
)
from testnet.checks.proofs import PluggedProofs
from testnet.checks.violation import Violation
from testnet.checks.votes import VoteWatcher
from testnet.genesis import make_genesis
from testnet.sim.load import ACCOUNTS, BALANCE, Load, account_keys, genesis_accounts
from testnet.sim.nemesis import Nemesis
from testnet.sim.report import CHECKS, SimReport
from testnet.sim.spec import SimSpec, sim_parameters
from testnet.sim.world import WALL_START_MS, Machine, World, run_deterministically

__all__ = [
    "CHECKS",
    "Run",
    "SimReport",
    "SimSpec",
    "account_keys",
    "run_seeded",
    "sim_parameters",
]


OBSERVER_LAG_S: Final = 15.0
"""A node without a key has what was final so long ago."""


class Run:
    """One run: its world, its load, its nemesis and what was seen."""

    def __init__(
        self,
        spec: SimSpec,
        seed: int,
        prepare: Callable[[World], None] | None = None,
        script: Callable[[Run], Awaitable[None]] | None = None,
    ) -> None:
        """Build the world.

        Args:
            spec: What to run.
            seed: Decides everything random.
            prepare: Called with the world before it starts: adversaries, hooks.
            script: Runs beside the load; the run lasts until both its time and the script are over.
        """
        self.spec = spec
        self.seed = seed
        self._script = script
        keys = account_keys(seed)
        genesis = make_genesis(
            name=f"test-sim-{seed}",
            validators=spec.validators,
            seed=seed,
            engine=spec.engine,
            parameters=spec.parameters,
            accounts=genesis_accounts(keys),
            powers=spec.powers,
            time_ms=WALL_START_MS,
        )
        links = LinkProfile(*spec.latency_ms, loss=spec.loss, duplicate=spec.duplicate)
        self.world = World(genesis, seed, links, observers=spec.observers)
        self.honest = [m for m in self.world.machines if m.index not in spec.byzantine]
        self.alive = [m for m in self.honest if m.index not in spec.dead_for_good]
        self.load = Load(self.world, seed, spec.load_tx_s, self.alive)
        self.nemesis = Nemesis(
            self.world, spec, [m for m in self.alive if m.validator_key is not None], self.start
        )
        powers = spec.powers or (1,) * spec.validators
        honest_indices = tuple(m.index for m in self.honest if m.index < spec.validators)
        self.watcher = VoteWatcher(powers, honest_indices)
        self.blocks: list[chain_checks.SeenBlock] = []
        self.roots: list[tuple[str, int, int, bytes]] = []
        self.violations: list[Violation] = []
        self.height_s: dict[int, float] = {}
        """By height: when the first node had it final."""
        self._counted: dict[int, tuple[int, ...]] = {}
        """By height: transactions executed, failed, skipped."""
        self._executed: dict[str, dict[bytes, int]] = {}
        self._report: SimReport | None = None
        self._index: dict[bytes, int] = {}
        self.world.on_start.append(self._on_start)
        self.world.on_event.append(self._on_event)
        self.world.taps.append(self._on_frame)
        if prepare is not None:
            prepare(self.world)

    def run(self) -> SimReport:
        """Run it, and judge."""
        started = time.process_time()

        async def main() -> None:
            await self.world.run(self._main)

        run_deterministically(main, self.seed)
        assert self._report is not None
        return replace(self._report, cpu_s=time.process_time() - started)

    # --- what happens ----------------------------------------------------------------------------

    async def start(self, machine: Machine) -> None:
        """Start a machine; that it refuses is a violation."""
        try:
            await self.world.start(machine)
        except P2PNodeError as error:
            machine.faults.append(f"refused to start: {type(error).__name__}: {error}")

    async def kill(self, machine: Machine) -> None:
        """Kill a machine."""
        self.nemesis.kills += 1
        await self.world.kill(machine)

    async def wait_for_height(self, height: int, *, within_s: float = 30.0) -> None:
        """Wait until some node has executed a height; a script's way to see progress.

        Raises:
            trio.TooSlowError: It took longer.
        """
        with trio.fail_after(within_s):
            while self.height() < height:  # noqa: ASYNC110  (virtual time: looking costs nothing)
                await trio.sleep(0.05)

    def height(self) -> int:
        """Return the greatest height that a running honest node has executed."""
        return max((m.node.core.pipeline.height for m in self.alive if m.node), default=0)

    async def _main(self, world: World) -> None:
        keys = [v.public_key for v in world.genesis.validators]
        for machine in world.machines:
            # Two machines may share a validator's key.
            key = machine.validator_key
            self._index[machine.peer_id] = machine.index if key is None else keys.index(key.public)
        late = dict(self.spec.late)
        for machine in world.machines:
            if machine.index not in late and machine.index not in self.spec.dead_for_good:
                await self.start(machine)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.load.run)
            nursery.start_soon(self.load.repeat)
            for index, at_s in self.spec.late:
                nursery.start_soon(self._start_at, world.machines[index], at_s)
            if self.spec.kills:
                nursery.start_soon(self.nemesis.run)
            await self._wait()
            nursery.cancel_scope.cancel()
        world.at_boundary = None
        for machine in self.alive:
            if machine.node is None:
                await self.start(machine)
        healed_s = trio.current_time()
        await self._settle(healed_s)
        self._report = self._judge(healed_s)

    async def _wait(self) -> None:
        """Wait for the end of the run's time, and of its script."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, self.spec.duration_s)
            if self._script is not None:
                nursery.start_soon(self._script, self)

    async def _start_at(self, machine: Machine, at_s: float) -> None:
        await trio.sleep_until(at_s)
        await self.start(machine)

    async def _settle(self, healed_s: float) -> None:
        """Wait until everything submitted is final everywhere, or the time is over."""
        begun = max((b.height for b in self.blocks), default=0)
        with trio.move_on_after(self.spec.settle_s):
            while True:
                await trio.sleep(0.5)
                await self.load.repeat_once()
                heights = [m.node.core.pipeline.height for m in self.alive if m.node is not None]
                if (
                    not self.load.unfinished()
                    and len(dict.fromkeys(heights)) == 1
                    and min(heights) > begun
                    and trio.current_time() > healed_s + 2.0
                ):
                    return

    # --- what is seen ----------------------------------------------------------------------------

    def _on_start(self, machine: Machine, node: Node) -> None:
        if machine not in self.honest:
            return
        life = machine.lives

        def block(seen: SeenBlock) -> None:
            self.blocks.append(
                chain_checks.SeenBlock(machine.name, life, seen.height, seen.hash, seen.parent)
            )
            self.height_s.setdefault(seen.height, trio.current_time())

        def executed(done: ExecutedBlock) -> None:
            for execution in done.executions:
                if execution.has_result:
                    key = (machine.name, execution.uid, execution.height, execution.post_root)
                    self.roots.append(key)
                if execution.uid == FIRST_UID:
                    self._counted.setdefault(execution.height, execution.counters[:3])
                for outcome in execution.outcomes:
                    if outcome.status == 0:
                        self._count_execution(machine, outcome.id, execution.height)
                        self.load.executed(outcome.id)

        node.observe_block = block
        node.observe_executed = executed

    def _count_execution(self, machine: Machine, transaction: bytes, height: int) -> None:
        known = self._executed.setdefault(machine.name, {}).setdefault(transaction, height)
        if known != height:
            detail = f"{machine.name}: {transaction.hex()[:12]} at heights {known} and {height}"
            self.violations.append(Violation("executed once", detail))

    def _on_frame(self, sender: bytes, receiver: bytes, lane: Lane, frame: bytes) -> None:
        index = self._index.get(sender)
        if index is not None:
            self.watcher.frame(index, frame)

    def _on_event(self, machine: Machine, event: Emit) -> None:
        # The guard holds, but a correct core never puts it to the test.
        if event.event == "signature_refused" and machine in self.honest:
            reason = str(event.data.get("reason"))
            if " is signed, " in reason:
                name = "never asks to sign a second value"
                self.violations.append(Violation(name, f"{machine.name}: {reason}"))

    # --- the verdict -----------------------------------------------------------------------------

    def _judge(self, healed_s: float) -> SimReport:
        known = self.spec.engine in READS
        plugged = None if known else PluggedProofs(self.world.document).fault
        audit = Audit(self.world.document, plugged)
        violations = self.violations + self.watcher.violations()
        violations += chain_checks.check_agreement(self.blocks)
        violations += chain_checks.check_order(self.blocks)
        violations += chain_checks.check_roots(self.roots)
        violations += self._judge_states()
        violations += self._judge_stores(audit)
        violations += self._judge_logs()
        violations += self._judge_liveness(healed_s)
        nodes = [m.node for m in self.alive if m.node is not None]
        heights = [node.core.pipeline.height for node in nodes] or [0]
        latencies = self.load.latencies_s()
        status = nodes[0].status() if nodes else None
        counters = status.counters if status is not None else {}
        evidence: dict[int, int] = {}
        for culprit in audit.evidence.values():
            evidence[culprit] = evidence.get(culprit, 0) + 1
        return SimReport(
            seed=self.seed,
            spec=self.spec,
            trace_hash=self.world.trace.hexdigest(),
            violations=tuple(violations),
            heights=(min(heights), max(heights)),
            blocks=len(self.height_s),
            views_entered=counters.get("views_entered", 0),
            views_skipped=max(
                (n.core.ordering.host.statistics().views_skipped for n in nodes), default=0
            ),
            kills=self.nemesis.kills,
            crash_points=self.nemesis.crash_points,
            submitted=len(self.load.submitted),
            refused=dict(sorted(self.load.refused.items())),
            finalized=len(latencies),
            unfinished=len(self.load.unfinished()),
            evidence=dict(sorted(evidence.items())),
            finalization_s=_percentiles(latencies),
            consensus_s=(
                counters.get("consensus_p50_ms", 0) / 1000,
                counters.get("consensus_p99_ms", 0) / 1000,
            ),
            longest_pause_s=self._longest_pause(),
            virtual_s=trio.current_time(),
            cpu_s=0.0,
            inputs=self.world.inputs_count,
            votes=self.watcher.votes_count,
            bytes_sent=sum(
                m.bytes_sent + (m.network.bytes_sent if m.network and m.node else 0)
                for m in self.world.machines
            ),
            held_max=max((n.core.ordering.host.statistics().held for n in nodes), default=0),
            state_root=status.state_roots[1].root if status is not None else "",
        )

    def _judge_states(self) -> list[Violation]:
        supplies = {m.name: m.node.supply() for m in self.alive if m.node is not None}
        found = chain_checks.check_conservation({0: ACCOUNTS * BALANCE}, supplies)
        for machine in self.honest:
            found += [
                Violation("node stopped by itself", f"{machine.name}: {fault}")
                for fault in machine.faults
            ]
        return found + [Violation("node stopped by itself", bug) for bug in self.world.bugs]

    def _judge_stores(self, audit: Audit) -> list[Violation]:
        """Audit every honest node's store, and execute its chain a second time."""
        found: list[Violation] = []
        batches: dict[bytes, bytes] = {}
        for machine in self.honest:
            batches.update(table(machine, "batches"))
        ledgers: dict[int, Ledger] = {}
        for machine in self.alive:
            blocks, statements = table(machine, "blocks"), table(machine, "statements")
            found += audit.check(machine.name, blocks, statements, table(machine, "batches"))
            if machine.node is None or found:
                continue
            height = machine.node.core.pipeline.height
            try:
                if height not in ledgers:
                    ledgers[height] = Ledger(audit.facts, audit.signature_ok)
                    ledgers[height].follow(blocks, statements, batches, height)
                    for detail in compare_results(ledgers[height], blocks, statements):
                        found.append(Violation("results follow from the chain", detail))
                    for detail in compare_counts(ledgers[height], self._counted):
                        found.append(Violation("results follow from the chain", detail))
                for detail in compare(machine.name, ledgers[height], self._accounts(machine)):
                    found.append(Violation("balances follow from the chain", detail))
            except MissingBatchError as error:
                found.append(Violation("valid batches", f"nobody holds the batch of {error}"))
        for culprit in audit.evidence.values():
            if culprit not in self.spec.byzantine:
                found.append(Violation("only the guilty are accused", f"validator {culprit}"))
        digests = dict.fromkeys(b.hash for b in self.blocks)
        found += self.watcher.unchecked(list(digests)) if self.spec.engine == "simplex" else []
        return found

    def _accounts(self, machine: Machine) -> dict[bytes, tuple[int, dict[int, int]]]:
        node = machine.node
        assert node is not None
        held = {}
        for account in self.world.genesis.accounts:
            status = node.account(account.address)
            held[account.address] = (
                status.nonce,
                {asset: int(amount) for asset, amount in status.balances.items()},
            )
        return held

    def _judge_logs(self) -> list[Violation]:
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for machine in self.honest:
                path = Path(folder) / machine.name
                path.write_bytes(machine.log.file.load())
                paths.append(path)
            return check_logs(paths)

    def _judge_liveness(self, healed_s: float) -> list[Violation]:
        found = []
        nodes = [(m, m.node.core.pipeline.height) for m in self.alive if m.node is not None]
        heights = [height for _, height in nodes] or [0]
        # An observer gets blocks by asking, one peer after the other, and requests are lost too.
        lately_s = trio.current_time() - OBSERVER_LAG_S
        for_observers = max((h for h, at_s in self.height_s.items() if at_s <= lately_s), default=0)
        for machine, height in nodes:
            due = max(heights) if machine.validator_key is not None else for_observers
            if height < due - 1:
                found.append(Violation("every node at the same height", f"heights {heights}"))
                break
        if not any(at > healed_s for at in self.height_s.values()) and self._demanded(healed_s):
            detail = f"no block after {healed_s:.1f} s: heights {heights}"
            found.append(Violation("liveness after healing", detail))
        unfinished = self.load.unfinished()
        if unfinished:
            first = unfinished[0]
            detail = (
                f"{len(unfinished)} of {len(self.load.submitted)}, first submitted at "
                f"{first.first_s:.1f} s: {first.transaction.id.hex()[:12]}"
            )
            found.append(Violation("nothing submitted is lost", detail))
        return found

    def _demanded(self, since_s: float) -> bool:
        """Tell whether a block was due: transactions waited, or a heartbeat's time passed."""
        return self.spec.settle_s > self.spec.parameters.heartbeat_ms / 1000 or any(
            s.final_s is None or s.final_s > since_s for s in self.load.submitted.values()
        )

    def _longest_pause(self) -> float:
        # While there is load: afterwards only a heartbeat is due.
        times = sorted(at_s for at_s in self.height_s.values() if at_s <= self.spec.duration_s)
        return max((b - a for a, b in pairwise(times)), default=0.0)


def run_seeded(
    spec: SimSpec,
    seed: int,
    prepare: Callable[[World], None] | None = None,
    script: Callable[[Run], Awaitable[None]] | None = None,
) -> SimReport:
    """Run whole nodes in one process in virtual time.

    Args:
        spec: What to run.
        seed: Decides everything random; the same gives the same trace hash.
        prepare: Called with the world before it starts: adversaries, hooks.
        script: Runs beside the load: faults at chosen moments.

    Returns:
        What was seen, and every violated invariant.
    """
    return Run(spec, seed, prepare, script).run()


def table(machine: Machine, name: str) -> Rows:
    """Return a table of a machine's store."""
    return dict(machine.store.scan(name, limit=1_000_000))


def _percentiles(ordered: list[float]) -> tuple[float, float]:
    if not ordered:
        return 0.0, 0.0
    return percentile(ordered, 50), percentile(ordered, 99)
