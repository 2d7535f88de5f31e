"""A whole node attacked by mutants over 127.0.0.1, beside two honest peers that measure it.

Windows without and with the attack take turns, so that both are measured on the same machine at
the same time of its day.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import trio

from p2pnode import codec
from p2pnode.client import NodeClient
from p2pnode.net.libp2p import Libp2pNetwork, NetworkConfig
from p2pnode.ports import PeerConnected, RequestFailedError
from p2pnode.sync import catchup
from tests.fuzz.tally import GROWTH_BYTES_MAX
from tests.fuzz.wire import BLAMELESS, Plan, Thrown

ROOT: Final = Path(__file__).resolve().parents[2]
READY_S: Final = 120.0
HONEST: Final = 2
HONEST_PER_S: Final = 25.0
"""Requests of each honest peer."""
SLOWER_MAX: Final = 2.0
"""The p99 of honest requests under attack must stay below so many times that without."""
OFFENCE: Final = "p2pnode_network_offences_total"
BANS: Final = "p2pnode_network_bans_total"


@dataclass(frozen=True, slots=True)
class Row:
    """What the mutants of one handler did."""

    thrown: Thrown
    offences: int
    """Deductions the victim made, but for pings not answered."""
    bans: int
    grown_bytes: int
    """Resident memory of the victim."""
    quiet_p99_s: float
    attacked_p99_s: float


@dataclass(slots=True)
class Outcome:
    """A whole run."""

    rows: list[Row] = field(default_factory=list)
    quiet_s: list[float] = field(default_factory=list)
    """Round trips of honest requests without an attack."""
    attacked_s: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    """Honest requests without an answer, by reason."""
    grown_bytes: int = 0
    """From before the first attack to after the last."""
    ban_reasons: Counter[str] = field(default_factory=Counter)
    """From the victim's log."""
    banned_now: int = 0
    """Peers the API says are banned."""
    honest_banned: int = 0
    errors: list[str] = field(default_factory=list)
    """The victim's own errors in its log."""
    crashed: bool = False
    load: tuple[float, float] = (0.0, 0.0)
    """One-minute load of the machine at the beginning and at the end."""

    @property
    def ratio(self) -> float:
        """Say how many times the p99 under attack is that without."""
        return quantile(self.attacked_s, 0.99) / max(1e-9, quantile(self.quiet_s, 0.99))

    def faults(self) -> list[str]:
        """Say which bounds are broken, but for that on time."""
        found = []
        if self.crashed:
            found.append("the node has ended")
        if self.errors:
            found.append(f"{len(self.errors)} errors in the node's log: {self.errors[0]}")
        if self.grown_bytes >= GROWTH_BYTES_MAX:
            found.append(f"{self.grown_bytes >> 10} KiB more memory")
        if self.honest_banned:
            found.append("an honest peer was banned")
        for row in self.rows:
            name = row.thrown.handler
            punished = row.thrown.cut_off if name.startswith("channel") else row.offences
            if name not in BLAMELESS and not punished:
                found.append(f"{name}: nobody lost score")
            if row.thrown.lost:
                found.append(f"{name}: {row.thrown.lost} mutants could not be sent")
        return found

    def too_slow(self) -> list[str]:
        """Say whether honest requests took too long; not for a test on a busy machine."""
        if self.ratio < SLOWER_MAX:
            return []
        return [f"p99 of honest requests is {self.ratio:.2f} times that without attack"]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of all do not exceed; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


@dataclass(slots=True)
class _Victim:
    process: subprocess.Popen[str]
    folder: Path
    client: NodeClient
    host: str = ""
    port: int = 0
    peer: str = ""
    address: str = ""
    chain: str = ""

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def log(self) -> list[dict[str, Any]]:
        raw = (self.folder / "logs" / "node.jsonl").read_text(encoding="utf-8")
        return [json.loads(text) for text in raw.splitlines() if text.endswith("}")]


def _start(folder: Path) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("P2PNODE_")}
    environment["P2PNODE_NETWORK_LISTEN"] = "/ip4/127.0.0.1/tcp/0"
    command = [sys.executable, "-m", "p2pnode"]
    subprocess.run(
        [*command, "init", "--single", "--data", str(folder), "--quiet", "--api-port", "0"],
        check=True,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    with (folder / "stderr").open("w") as stderr:
        return subprocess.Popen(
            [*command, "run", "--data", str(folder), "--quiet"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )


@asynccontextmanager
async def _victim(folder: Path) -> AsyncIterator[_Victim]:
    """Run a chain of one validator as people do, and find out where it listens."""
    process = await trio.to_thread.run_sync(_start, folder)
    try:
        assert process.stdout is not None
        first = await trio.to_thread.run_sync(process.stdout.readline)
        async with NodeClient(first.split()[1]) as client:
            victim = _Victim(process, folder, client)
            (ready,) = [e for e in victim.log() if e["event"] == "node_ready"]
            parts = ready["p2p"].split("/")
            victim.address, victim.chain = ready["p2p"], ready["chain"]
            victim.host, victim.port, victim.peer = parts[2], int(parts[4]), parts[-1]
            yield victim
    finally:
        process.terminate()
        await trio.to_thread.run_sync(process.communicate)


class _Attacker:
    """The stranger's process, at the lowest priority: only its traffic is to count."""

    def __init__(self, plan: Plan) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.wire", json.dumps(asdict(plan))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=lambda: os.nice(10),
        )

    async def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        text = await trio.to_thread.run_sync(self._process.stdout.readline, abandon_on_cancel=True)
        found: dict[str, Any] = json.loads(text)
        return found

    async def throw(self, handler: str) -> Thrown:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{handler}\n")
        self._process.stdin.flush()
        return Thrown(**await self.answer())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class _Honest:
    """Two peers that ask at a steady rate, for blocks and for an echo in turn."""

    def __init__(self, victim: _Victim) -> None:
        self.failed: Counter[str] = Counter()
        self.samples: list[float] = []
        """Round trips since it was last replaced."""
        self.networks = [
            Libp2pNetwork(
                NetworkConfig(
                    seed=hashlib.sha256(b"honest %d" % number).digest(),
                    chain=bytes.fromhex(victim.chain),
                    bootstrap=(victim.address,),
                )
            )
            for number in range(HONEST)
        ]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            for network in self.networks:
                await nursery.start(network.run)
            for network in self.networks:
                peer = await self._connected(network)
                nursery.start_soon(self._drain, network)
                nursery.start_soon(self._ask_on, network, peer, nursery)
            task_status.started()

    async def _connected(self, network: Libp2pNetwork) -> bytes:
        with trio.fail_after(READY_S):
            async for item in network.incoming:
                if isinstance(item, PeerConnected):
                    return item.peer
        raise AssertionError("the network has ended")

    async def _drain(self, network: Libp2pNetwork) -> None:
        async for _ in network.incoming:
            pass

    async def _ask_on(self, network: Libp2pNetwork, peer: bytes, nursery: trio.Nursery) -> None:
        number = 0
        while True:
            number += 1
            # At its time, however long the others take: a node that hangs delays all that follow.
            nursery.start_soon(self._ask, network, peer, number)
            await trio.sleep(1 / HONEST_PER_S)

    async def _ask(self, network: Libp2pNetwork, peer: bytes, number: int) -> None:
        samples = self.samples
        began_s = trio.current_time()
        protocol, body = ("ping", b"?") if number % 2 else (catchup.PROTOCOL, codec.encode([1, 4]))
        try:
            await network.request(peer, protocol, body, timeout_s=5.0)
        except RequestFailedError as error:
            self.failed[str(error)] += 1
        samples.append(trio.current_time() - began_s)

    def begin(self) -> list[float]:
        """Begin a window; requests count in the one they began in."""
        self.samples = []
        return self.samples


async def _counts(victim: _Victim) -> tuple[int, int]:
    seen = await victim.client.metrics()
    offences = sum(v for k, v in seen.items() if k.startswith(OFFENCE) and "missed_ping" not in k)
    return int(offences), int(seen[BANS])


async def run(
    folder: Path,
    handlers: Sequence[str],
    mutants: int,
    *,
    seed: int = 1,
    rate: float = 50.0,
    quiet_s: float = 4.0,
    on_row: Callable[[Row], None] = lambda row: None,
) -> Outcome:
    """Attack a node with so many mutants of each handler.

    Args:
        folder: Where the node lives; must not be there yet.
        handlers: Of `wire.HANDLERS`.
        mutants: Of each.
        seed: Decides the mutants.
        rate: Mutants a second at most.
        quiet_s: Length of each window without attack.
        on_row: Told of each handler's figures when its mutants are thrown.
    """
    outcome = Outcome(load=(os.getloadavg()[0], 0.0))
    async with _victim(folder) as victim, trio.open_nursery() as nursery:
        plan = Plan(
            victim.host,
            victim.port,
            victim.peer,
            victim.chain,
            tuple(handlers),
            mutants,
            seed,
            rate,
        )
        attacker = _Attacker(plan)
        try:
            with trio.fail_after(READY_S + mutants):
                await attacker.answer()
            honest = _Honest(victim)
            await nursery.start(honest.run)
            honest.begin()
            await trio.sleep(quiet_s)
            first_bytes = victim.resident_bytes()
            for handler in handlers:
                quiet = honest.begin()
                await trio.sleep(quiet_s)
                before, before_bytes = await _counts(victim), victim.resident_bytes()
                attacked = honest.begin()
                thrown = await attacker.throw(handler)
                honest.begin()
                if victim.process.poll() is not None:
                    outcome.crashed = True
                    break
                after = await _counts(victim)
                row = Row(
                    thrown,
                    after[0] - before[0],
                    after[1] - before[1],
                    victim.resident_bytes() - before_bytes,
                    quantile(quiet, 0.99),
                    quantile(attacked, 0.99),
                )
                outcome.rows.append(row)
                outcome.quiet_s += quiet
                outcome.attacked_s += attacked
                on_row(row)
            outcome.failed = honest.failed
            if not outcome.crashed:
                await trio.sleep(quiet_s)
                outcome.grown_bytes = victim.resident_bytes() - first_bytes
                outcome.banned_now = len(await victim.client.peers_banned())
        finally:
            attacker.close()
        nursery.cancel_scope.cancel()
    _read_log(victim, honest, outcome)
    outcome.load = (outcome.load[0], os.getloadavg()[0])
    return outcome


def _read_log(victim: _Victim, honest: _Honest, outcome: Outcome) -> None:
    from libp2p.peer.id import ID

    names = [str(ID(network.peer_id)) for network in honest.networks]
    for event in victim.log():
        if event["event"] == "peer_banned":
            outcome.ban_reasons[str(event["reason"])] += 1
            outcome.honest_banned += event["peer"] in names
        elif event.get("level") in ("error", "critical") and not str(
            event.get("logger")
        ).startswith("libp2p"):
            outcome.errors.append(str(event))
    text = (victim.folder / "stderr").read_text(encoding="utf-8")
    if "Traceback" in text:
        outcome.errors.append(text[text.index("Traceback") :][:2000])
