"""Seeded runs: whole nodes, load and faults in virtual time, judged by independent checks.

Two phases: safety while faults fly, liveness after healing. The same spec and seed give the same trace.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from p2pnode.crypto import SecretKey, address_of
from p2pnode.execution.pipeline import ExecutedBlock
from p2pnode.keys.keystore import derive_test_key
from p2pnode.net.memory import LinkProfile
from p2pnode.node.node import Node, SeenBlock
from p2pnode.ports import Lane
from p2pnode.types.genesis import GenesisAccount, Parameters
from p2pnode.types.transaction import Transaction, Transfer, sign_transaction
from testnet.checks import chain as chain_checks
from testnet.checks.violation import Violation
from testnet.checks.votes import VoteWatcher
from testnet.genesis import make_genesis
from testnet.sim.world import WALL_START_MS, CrashHere, Machine, World, run_deterministically

ACCOUNTS: Final = 64
BALANCE: Final = 10**12

SETTLE_S: Final = 15.0
"""After the faults have healed and the load has ended."""

RESUBMIT_S: Final = 3.0
"""A transaction that is not final after so long is submitted again, to another node."""


@dataclass(frozen=True, slots=True)
class SimSpec:
    """A run, but for its seed."""

    validators: int = 4
    engine: str = "simplex"
    duration_s: float = 60.0
    """Virtual seconds of load and faults; settling comes on top."""
    load_tx_s: float = 5.0
    latency_ms: tuple[float, float] = (20.0, 80.0)
    loss: float = 0.0
    kills: int = 0
    """Kills spread over the run; never more than a minority is dead at once."""
    crashes_at_effects: bool = False
    """Kills strike between two effects rather than at a time."""
    dead_for_good: tuple[int, ...] = ()
    """Machines that never start."""
    powers: tuple[int, ...] = ()
    parameters: Parameters = field(
        default_factory=lambda: Parameters(epoch_blocks=20, block_interval_ms=500)
    )
    settle_s: float = SETTLE_S


@dataclass(frozen=True, slots=True)
class SimReport:
    """What a run gave."""

    seed: int
    spec: SimSpec
    trace_hash: str
    """SHA-256 over every input of every node, in order."""
    violations: tuple[Violation, ...]
    heights: tuple[int, int]
    """(least, greatest) final height at the end."""
    blocks: int
    views_entered: int
    views_skipped: int
    kills: int
    submitted: int
    refused: dict[str, int]
    finalized: int
    unfinished: int
    """Submitted, accepted, and not final at the end."""
    finalization_s: tuple[float, float]
    """(p50, p99) from submission to the final block."""
    consensus_s: tuple[float, float]
    """(p50, p99) from proposal to finality at node0."""
    longest_pause_s: float
    """Longest time without a new final height anywhere, from the first to the last."""
    virtual_s: float
    cpu_s: float
    inputs: int
    votes: int
    state_root: str

    @property
    def ok(self) -> bool:
        """Whether no invariant was violated."""
        return not self.violations

    def summary(self) -> dict[str, Any]:
        """Return the run summary's JSON object."""
        spec = self.spec
        return {
            "name": "sim",
            "seed": self.seed,
            "engine": spec.engine,
            "validators": spec.validators,
            "light": 0,
            "shards": 1,
            "scheme": "inline",
            "commit": None,
            "ready_s": None,
            "duration_s": self.virtual_s,
            "exit": 0 if self.ok else 10,
            "height": {"min": self.heights[0], "max": self.heights[1]},
            "views": {"total": self.views_entered, "skipped": self.views_skipped},
            "trace_hash": self.trace_hash,
            "transactions": {
                "submitted": self.submitted,
                "finalized": self.finalized,
                "executed": None,
                "failed": None,
                "refused": self.refused,
                "skipped_from_trace": {},
            },
            "throughput_tx_s": self.finalized / spec.duration_s,
            "finalization_s": {"p50": self.finalization_s[0], "p99": self.finalization_s[1]},
            "execution_s": None,
            "consensus_s": {"p50": self.consensus_s[0], "p99": self.consensus_s[1]},
            "cpu_s": {"total": self.cpu_s, "per_transaction": None, "per_node": {}},
            "memory_bytes_max": None,
            "bytes_sent": None,
            "availability": None,
            "state_roots": {
                "1": {"height": self.heights[1], "root": self.state_root, "equal": self.ok}
            },
            "balances_conserved": None,
            "checks": {
                name: "violation" if any(v.check == name for v in self.violations) else "pass"
                for name in sorted({*CHECKS, *(v.check for v in self.violations)})
            },
            "violations": [{"check": v.check, "detail": v.detail} for v in self.violations],
            "files": {},
        }


CHECKS: Final = (
    "agreement",
    "contiguous heights",
    "parent links",
    "equal state roots",
    "conservation",
    "one vote of a kind",
    "not both nullify and finalize",
    "no nullification beside a finalization",
    "one notarized payload a view",
    "finalized what was notarized",
    "a certificate is a quorum",
    "liveness after healing",
    "every node at the same height",
    "nothing submitted is lost",
    "executed once",
    "node stopped by itself",
)


@dataclass(slots=True)
class _Submitted:
    transaction: Transaction
    first_s: float
    last_s: float
    final_s: float | None = None


class Run:
    """One run: its world, its load, its nemesis and what was seen."""

    def __init__(
        self, spec: SimSpec, seed: int, prepare: Callable[[World], None] | None = None
    ) -> None:
        """Build the world.

        Args:
            spec: What to run.
            seed: Decides everything random.
            prepare: Called with the world before it starts: adversaries, hooks.
        """
        self.spec = spec
        self.seed = seed
        self.keys = [derive_test_key(seed, "account", i) for i in range(ACCOUNTS)]
        accounts = tuple(GenesisAccount(address_of(k.public), ((0, BALANCE),)) for k in self.keys)
        genesis = make_genesis(
            name=f"test-sim-{seed}",
            validators=spec.validators,
            seed=seed,
            engine=spec.engine,
            parameters=spec.parameters,
            accounts=accounts,
            powers=spec.powers,
            time_ms=WALL_START_MS,
        )
        links = LinkProfile(*spec.latency_ms, loss=spec.loss)
        self.world = World(genesis, seed, links)
        powers = spec.powers or (1,) * spec.validators
        self.watcher = VoteWatcher(powers, tuple(range(spec.validators)))
        self.blocks: list[chain_checks.SeenBlock] = []
        self.roots: list[tuple[str, int, int, bytes]] = []
        self.violations: list[Violation] = []
        self.height_s: dict[int, float] = {}
        self.kills = 0
        self.refused: dict[str, int] = {}
        self._submitted: dict[bytes, _Submitted] = {}
        self._nonces = [0] * ACCOUNTS
        self._executed: dict[str, dict[bytes, int]] = {}
        self._report: SimReport | None = None
        self._index = {m.peer_id: m.index for m in self.world.machines}
        self.world.on_start = self._on_start
        self.world.hub.on_frame = self._on_frame
        if prepare is not None:
            prepare(self.world)

    def run(self) -> SimReport:
        """Run it, and judge."""
        started = time.process_time()

        async def main() -> None:
            await self.world.run(self._main)

        run_deterministically(main, self.seed)
        report = self._report
        assert report is not None
        object.__setattr__(report, "cpu_s", time.process_time() - started)
        return report

    # --- what happens ----------------------------------------------------------------------------

    async def _main(self, world: World) -> None:
        alive = [m for m in world.machines if m.index not in self.spec.dead_for_good]
        for machine in alive:
            await world.start(machine)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._load)
            nursery.start_soon(self._resubmit, nursery.cancel_scope)
            if self.spec.kills:
                nursery.start_soon(self._nemesis)
            await trio.sleep(self.spec.duration_s)
            nursery.cancel_scope.cancel()
        for machine in alive:
            if machine.node is None:
                await world.start(machine)
        await self._settle(alive)
        self._report = self._judge(alive)

    async def _load(self) -> None:
        rng = random.Random(f"{self.seed}/load")
        if self.spec.load_tx_s <= 0:
            return
        while True:
            await trio.sleep(rng.expovariate(self.spec.load_tx_s))
            i, j = rng.randrange(ACCOUNTS), rng.randrange(ACCOUNTS)
            running = self.world.running()
            if not running:
                continue
            machine = running[i % len(running)]
            node = machine.node
            assert node is not None
            transaction = sign_transaction(
                self.keys[i],
                node.chain.id,
                nonce=self._nonces[i],
                last_valid_height=50_000,
                fee_limit=10,
                actions=(Transfer(0, address_of(self.keys[j].public), rng.randrange(1, 1000)),),
            )
            now = trio.current_time()
            self._nonces[i] += 1
            self._submitted[transaction.id] = _Submitted(transaction, now, now)
            await self._submit(node, transaction)

    async def _submit(self, node: Node, transaction: Transaction) -> None:
        with trio.move_on_after(1.0):
            for outcome in await node.submit([transaction.raw]):
                if not outcome.accepted and outcome.kind != "nonce_too_low":
                    self.refused[outcome.kind] = self.refused.get(outcome.kind, 0) + 1

    async def _resubmit(self, scope: trio.CancelScope | None) -> None:
        while True:
            await trio.sleep(1.0)
            await self._resubmit_once()

    async def _resubmit_once(self) -> None:
        now = trio.current_time()
        for submitted in list(self._submitted.values()):
            running = self.world.running()
            if submitted.final_s is None and now - submitted.last_s >= RESUBMIT_S and running:
                submitted.last_s = now
                machine = running[int(now) % len(running)]
                if machine.node is not None:
                    await self._submit(machine.node, submitted.transaction)

    async def _nemesis(self) -> None:
        """Kill and restart, one machine at a time: a minority of four is one."""
        rng = random.Random(f"{self.seed}/nemesis")
        period = (self.spec.duration_s - 8.0) / self.spec.kills
        for _ in range(self.spec.kills):
            await trio.sleep(rng.uniform(0.1, 0.4) * period)
            machine = self.world.machines[rng.randrange(len(self.world.machines))]
            if machine.node is None:
                continue
            if self.spec.crashes_at_effects:
                await self._crash_at_effect(machine, rng.randrange(1, 60))
            else:
                await self.world.kill(machine)
            self.kills += 1
            await trio.sleep(rng.uniform(0.2, 0.5) * period)
            await self.world.start(machine)

    async def _crash_at_effect(self, machine: Machine, countdown: int) -> None:
        left = countdown

        def before(of: Machine, effect: object) -> None:
            nonlocal left
            if of is machine:
                left -= 1
                if left <= 0:
                    raise CrashHere

        self.world.before_effect = before
        assert machine.stopped is not None
        with trio.move_on_after(5.0):
            await machine.stopped.wait()
        self.world.before_effect = None
        if machine.node is not None:
            await self.world.kill(machine)

    async def _settle(self, alive: Sequence[Machine]) -> None:
        """Wait until everything submitted is final everywhere, or the time is over."""
        begun = max((b.height for b in self.blocks), default=0)
        with trio.move_on_after(self.spec.settle_s):
            while True:
                await trio.sleep(0.5)
                await self._resubmit_once()
                nodes = [m.node for m in alive if m.node is not None]
                heights = [node.core.pipeline.height for node in nodes]
                if (
                    all(s.final_s is not None for s in self._submitted.values())
                    and len({*heights}) == 1
                    and min(heights) > begun
                    and trio.current_time() > self.spec.duration_s + 2.0
                ):
                    return

    # --- what is seen ----------------------------------------------------------------------------

    def _on_start(self, machine: Machine, node: Node) -> None:
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
                for outcome in execution.outcomes:
                    if outcome.status == 0:
                        self._count_execution(machine, outcome.id, execution.height)
                        submitted = self._submitted.get(outcome.id)
                        if submitted is not None and submitted.final_s is None:
                            submitted.final_s = trio.current_time()

        node.observe_block = block
        node.observe_executed = executed

    def _count_execution(self, machine: Machine, transaction: bytes, height: int) -> None:
        known = self._executed.setdefault(machine.name, {}).setdefault(transaction, height)
        if known != height:
            detail = f"{machine.name}: {transaction.hex()[:12]} at heights {known} and {height}"
            self.violations.append(Violation("executed once", detail))

    def _on_frame(self, sender: bytes, receiver: bytes, lane: Lane, frame: bytes) -> bytes:
        self.watcher.frame(self._index[sender], frame)
        return frame

    # --- the verdict -----------------------------------------------------------------------------

    def _judge(self, alive: Sequence[Machine]) -> SimReport:
        violations = self.violations + self.watcher.violations()
        violations += chain_checks.check_agreement(self.blocks)
        violations += chain_checks.check_order(self.blocks)
        violations += chain_checks.check_roots(self.roots)
        expected = {0: ACCOUNTS * BALANCE}
        nodes = [m.node for m in alive if m.node is not None]
        supplies = {m.name: m.node.supply() for m in alive if m.node is not None}
        violations += chain_checks.check_conservation(expected, supplies)
        for machine in alive:
            if machine.node is None:
                violations.append(Violation("node stopped by itself", machine.name))
        heights = [node.core.pipeline.height for node in nodes] or [0]
        if max(heights) - min(heights) > 1:
            violations.append(Violation("every node at the same height", f"heights {heights}"))
        healed_s = self.spec.duration_s
        if not any(at > healed_s for at in self.height_s.values()) and self._demanded(healed_s):
            violations.append(
                Violation("liveness after healing", f"no block after {healed_s} s: {heights}")
            )
        unfinished = [s for s in self._submitted.values() if s.final_s is None]
        if unfinished:
            violations.append(
                Violation(
                    "nothing submitted is lost",
                    f"{len(unfinished)} of {len(self._submitted)}, first submitted at "
                    f"{unfinished[0].first_s:.1f} s: {unfinished[0].transaction.id.hex()[:12]}",
                )
            )
        latencies = sorted(
            s.final_s - s.first_s for s in self._submitted.values() if s.final_s is not None
        )
        status = nodes[0].status() if nodes else None
        counters = status.counters if status is not None else {}
        return SimReport(
            seed=self.seed,
            spec=self.spec,
            trace_hash=self.world.trace.hexdigest(),
            violations=tuple(violations),
            heights=(min(heights), max(heights)),
            blocks=len(self.height_s),
            views_entered=counters.get("views_entered", 0),
            views_skipped=counters.get("views_skipped", 0),
            kills=self.kills,
            submitted=len(self._submitted),
            refused=dict(sorted(self.refused.items())),
            finalized=len(latencies),
            unfinished=len(unfinished),
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
            state_root=status.state_roots[1].root if status is not None else "",
        )

    def _demanded(self, since_s: float) -> bool:
        """Tell whether a block was due: transactions waited, or a heartbeat's time passed."""
        return self.spec.settle_s > self.spec.parameters.heartbeat_ms / 1000 or any(
            s.final_s is None or s.final_s > since_s for s in self._submitted.values()
        )

    def _longest_pause(self) -> float:
        times = sorted(self.height_s.values())
        return max((b - a for a, b in zip(times, times[1:], strict=False)), default=0.0)


def run_seeded(
    spec: SimSpec, seed: int, prepare: Callable[[World], None] | None = None
) -> SimReport:
    """Run whole nodes in one process in virtual time.

    Args:
        spec: What to run.
        seed: Decides everything random; the same gives the same trace hash.
        prepare: Called with the world before it starts: adversaries, hooks.

    Returns:
        What was seen, and every violated invariant.
    """
    return Run(spec, seed, prepare).run()


def account_keys(seed: int) -> list[SecretKey]:
    """Return the keys of the funded accounts of a run."""
    return [derive_test_key(seed, "account", i) for i in range(ACCOUNTS)]


def _percentiles(ordered: list[float]) -> tuple[float, float]:
    if not ordered:
        return 0.0, 0.0
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
