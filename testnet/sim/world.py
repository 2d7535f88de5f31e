"""A world of whole nodes in one process: virtual time, one seed, the same trace every time.

The nodes are the product's own (`p2pnode.node`), on the in-memory network, store and log. What a run
does is decided before it starts: everything random comes from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import trio


from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.keys.keystore import derive_test_key
from p2pnode.keys.verifier import InlineVerifier
from p2pnode.net.memory import LinkProfile, MemoryHub, MemoryNetwork
from p2pnode.net.virtual import VirtualTime
from p2pnode.node.node import Node, NodeSetup
from p2pnode.node.runtime import Ports
from p2pnode.store.memory import MemoryLog, MemoryStore
from p2pnode.types.effects import Effect, FrameIn, Input, TopicIn
from p2pnode.types.genesis import Genesis, decode_genesis

if TYPE_CHECKING:
    from collections.abc import Awaitable

WALL_START_MS: Final = 1_700_000_000_000
"""Wall clock at virtual time 0."""


class VirtualClock:
    """ports.Clock over Trio's clock, with a skew a fault may set."""

    def __init__(self) -> None:
        """Start without skew."""
        self.skew_ms = 0

    def now_ns(self) -> int:
        """Monotonic nanoseconds."""
        return round(trio.current_time() * 1_000_000_000)

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return WALL_START_MS + round(trio.current_time() * 1000) + self.skew_ms


@dataclass(slots=True)
class Machine:
    """What of a node survives its process: keys and disks."""

    name: str
    index: int
    network_key: SecretKey
    validator_key: SecretKey
    store: MemoryStore
    log: MemoryLog
    clock: VirtualClock
    node: Node | None = None
    scope: trio.CancelScope | None = None
    stopped: trio.Event | None = None
    network: MemoryNetwork | None = None
    lives: int = 0
    faults: list[str] = field(default_factory=list)
    """Why lives ended that were not killed."""

    @property
    def peer_id(self) -> bytes:
        """Its address on the network."""
        return peer_id_of(self.network_key.public)


class World:
    """The machines, the medium between them, and the trace of what they were told."""

    def __init__(self, genesis: Genesis, seed: int, links: LinkProfile) -> None:
        """Build machines that are switched off.

        Args:
            genesis: The chain; its validators' keys derive from `seed` (make_genesis).
            seed: Decides everything random.
            links: Profile of every link.
        """
        self.document = genesis.encode()
        self.genesis = decode_genesis(self.document)
        self.seed = seed
        self.hub = MemoryHub(random.Random(f"{seed}/links"), links)
        self.verifier = InlineVerifier()
        self.trace = sha256()
        self.inputs_count = 0
        self.before_effect: Callable[[Machine, Effect], None] | None = None
        """Called before each effect is carried out; may raise CrashHere."""
        self.on_start: Callable[[Machine, Node], None] | None = None
        """Called with every new life, before it takes inputs."""
        self._crash_rng = random.Random(f"{seed}/crash")
        self.machines = [
            Machine(
                name=f"node{i}",
                index=i,
                network_key=derive_test_key(seed, "node", i),
                validator_key=derive_test_key(seed, "validator", i),
                store=MemoryStore(),
                log=MemoryLog(),
                clock=VirtualClock(),
            )
            for i in range(len(genesis.validators))
        ]
        self._nursery: trio.Nursery

    async def run(self, main: Callable[[World], Awaitable[None]]) -> None:
        """Run the medium and `main`; when `main` returns, everything ends."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self.hub.run)
            await main(self)
            nursery.cancel_scope.cancel()

    async def start(self, machine: Machine) -> None:
        """Start a node on a machine, and return when it takes inputs."""
        assert machine.node is None, f"{machine.name} runs already"
        network = MemoryNetwork(self.hub, machine.peer_id)
        ports = Ports(
            network=network,
            clock=machine.clock,
            store=machine.store,
            log=machine.log,
            verifier=self.verifier,
            sync_in_thread=False,
            check_now=self.verifier.check,
        )
        setup = NodeSetup(
            name=machine.name,
            document=self.document,
            validator_key=machine.validator_key,
            log_new=machine.lives == 0,
        )
        machine.network = network
        machine.lives += 1

        def record(now_ns: int, wall_ms: int, given: Input) -> None:
            self._trace(machine, now_ns, given)

        hook = self.before_effect
        before = (lambda effect: hook(machine, effect)) if hook is not None else None
        machine.node = Node(setup, ports, record=record, before_effect=before)
        if self.on_start is not None:
            self.on_start(machine, machine.node)
        machine.stopped = trio.Event()
        await self._nursery.start(self._live, machine)

    async def _live(
        self, machine: Machine, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        node, network, stopped = machine.node, machine.network, machine.stopped
        assert node is not None and network is not None and stopped is not None
        started = False

        async def both(nursery: trio.Nursery) -> None:
            nonlocal started
            # The node serves and subscribes before its network runs.
            node.attach()
            await nursery.start(network.run)
            await nursery.start(node.run)
            started = True
            task_status.started()

        try:
            with trio.CancelScope() as machine.scope:
                async with trio.open_nursery() as nursery:
                    await both(nursery)
        except* CrashHere:
            machine.faults.append("crashed at an effect")
        finally:
            self.hub.crash(machine.peer_id)
            machine.store.crash(self._crash_rng)
            machine.log.crash(self._crash_rng)
            machine.store, machine.log = machine.store.reopen(), machine.log.reopen()
            machine.node = None
            machine.scope = None
            stopped.set()
            if not started:
                task_status.started()

    async def kill(self, machine: Machine) -> None:
        """Kill a node: its process ends between two instructions, unsynced writes are lost."""
        assert machine.scope is not None and machine.stopped is not None, machine.name
        machine.scope.cancel()
        await machine.stopped.wait()

    def running(self) -> list[Machine]:
        """Return the machines whose node runs."""
        return [m for m in self.machines if m.node is not None]

    def _trace(self, machine: Machine, now_ns: int, given: Input) -> None:
        self.inputs_count += 1
        match given:
            case FrameIn(peer, frame):
                detail = peer + frame
            case TopicIn(topic, peer, data):
                detail = topic.encode() + peer + data
            case _:
                detail = repr(given).encode()
        head = f"{machine.index} {now_ns} {type(given).__name__} {len(detail)} ".encode()
        self.trace.update(head)
        self.trace.update(detail)


class CrashHere(Exception):  # noqa: N818  (an instruction, not an error)
    """Raised by `before_effect` to end a node between two effects."""


def run_deterministically(main: Callable[[], Awaitable[None]], seed: int) -> None:
    """Run an async function in virtual time with a scheduler that repeats from a seed.

    Two private names of Trio, as its own tests use them; this is the only place.
    """
    from trio._core import _run

    flag = "_ALLOW_DETERMINISTIC_SCHEDULING"
    previous = getattr(_run, flag)
    setattr(_run, flag, True)
    state = _run._r.getstate()
    _run._r.seed(seed)
    try:
        trio.run(main, clock=VirtualTime())
    finally:
        setattr(_run, flag, previous)
        _run._r.setstate(state)
