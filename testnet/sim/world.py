"""A world of whole nodes in one process: virtual time, one seed, the same trace every time.

The nodes are the product's own (`p2pnode.node`), on the in-memory network, store and log. What a
run does is decided before it starts: everything random comes from the seed.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import trio

from p2pnode.crypto import SecretKey, peer_id_of
from p2pnode.errors import StorageError
from p2pnode.keys.keystore import derive_test_key
from p2pnode.keys.verifier import InlineVerifier
from p2pnode.net.links.profile import LinkProfile
from p2pnode.net.memory import MemoryHub, MemoryNetwork
from p2pnode.net.virtual import VirtualTime
from p2pnode.node import recovery
from p2pnode.node.node import Node, NodeSetup
from p2pnode.node.shell import Ports
from p2pnode.ports import Lane
from p2pnode.store.memory import MemoryLog, MemoryStore
from p2pnode.types.effects import Effect, Emit, FrameIn, Input, TopicIn, Write
from p2pnode.types.genesis import Genesis, decode_genesis

if TYPE_CHECKING:
    from collections.abc import Awaitable

WALL_START_MS: Final = 1_700_000_000_000
"""Wall clock at virtual time 0."""

FAULT_LINES: Final = 6
"""Last lines of a traceback that a report shows."""


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
    """Among the machines; the first ones are the validators in their order."""
    network_key: SecretKey
    validator_key: SecretKey | None
    """None for a node that only follows."""
    store: MemoryStore
    log: MemoryLog
    clock: VirtualClock
    node: Node | None = None
    scope: trio.CancelScope | None = None
    stopped: trio.Event | None = None
    network: MemoryNetwork | None = None
    lives: int = 0
    disk_full: bool = False
    """Its disk refuses whatever is written."""
    log_lost: bool = False
    """Told to the next life: its log was found damaged."""
    faults: list[str] = field(default_factory=list)
    """Why lives ended that nobody killed."""
    bytes_sent: int = 0
    """By earlier lives."""

    def refuse_if_full(self) -> None:
        """Refuse a write as a full disk does."""
        if self.disk_full:
            raise StorageError(f"{self.name}/store: No space left on device")

    @property
    def peer_id(self) -> bytes:
        """Its address on the network."""
        return peer_id_of(self.network_key.public)


class CrashHere(Exception):
    """Raised by `World.at_boundary` to end a node between two steps."""


class World:
    """The machines, the medium between them, and the trace of what they were told."""

    def __init__(
        self, genesis: Genesis, seed: int, links: LinkProfile, *, observers: int = 0
    ) -> None:
        """Build machines that are switched off.

        Args:
            genesis: The chain; its validators' keys derive from `seed` (make_genesis).
            seed: Decides everything random.
            links: Profile of every link.
            observers: Machines without a validator key, after the validators.
        """
        self.document = genesis.encode()
        self.genesis = decode_genesis(self.document)
        self.seed = seed
        self.hub = MemoryHub(random.Random(f"{seed}/links"), links)
        self.hub.on_frame = self._on_frame
        self.hub.on_bug = self._on_bug
        self.verifier = InlineVerifier()
        self.trace = sha256()
        self.inputs_count = 0
        self.bugs: list[str] = []
        """What a node's validators and handlers raised."""
        self.at_boundary: Callable[[Machine, str], None] | None = None
        """Called before each effect and each call to a disk or the network; may raise CrashHere."""
        self.on_start: list[Callable[[Machine, Node], None]] = []
        """Called with every new life, before it is attached to its network and takes inputs."""
        self.on_input: list[Callable[[Machine, int, int, Input], None]] = []
        """Called with (machine, now_ns, wall_ms, input) before the core sees it."""
        self.on_event: list[Callable[[Machine, Emit], None]] = []
        """Called with what cores emit."""
        self.taps: list[Callable[[bytes, bytes, Lane, bytes], None]] = []
        """See (sender, receiver, lane, frame) of everything that is sent, as it travels."""
        self.tampering: dict[bytes, Callable[[bytes, Lane, bytes], bytes | None]] = {}
        """By sender: changes (receiver, lane, frame) of an adversary; None drops it."""
        self._crash_rng = random.Random(f"{seed}/crash")
        self.machines: list[Machine] = []
        for i in range(len(genesis.validators)):
            self.add_machine(f"node{i}", derive_test_key(seed, "validator", i))
        for _ in range(observers):
            self.add_machine(f"node{len(self.machines)}", None)
        self._nursery: trio.Nursery

    def add_machine(self, name: str, validator_key: SecretKey | None) -> Machine:
        """Add a machine that is switched off."""
        index = len(self.machines)
        machine = Machine(
            name=name,
            index=index,
            network_key=derive_test_key(self.seed, "node", index),
            validator_key=validator_key,
            store=MemoryStore(),
            log=MemoryLog(),
            clock=VirtualClock(),
        )
        self.machines.append(machine)
        return machine

    async def run(self, main: Callable[[World], Awaitable[None]]) -> None:
        """Run the medium and `main`; when `main` returns, everything ends."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self.hub.run)
            await main(self)
            nursery.cancel_scope.cancel()

    async def start(self, machine: Machine) -> None:
        """Start a node on a machine, and return when it takes inputs.

        Raises:
            StorageError, ConfigError: The node refuses its disks.
        """
        assert machine.node is None, f"{machine.name} runs already"
        network = _Network(self.hub, machine, self._boundary)
        ports = Ports(
            network=network,
            clock=machine.clock,
            store=_Store(machine, self._boundary),
            log=_Log(machine, self._boundary),
            verifier=self.verifier,
            sync_in_thread=False,
            check_now=self.verifier.check,
        )
        has_blocks = recovery.head_height(machine.store) > 0
        setup = NodeSetup(
            name=machine.name,
            document=self.document,
            validator_key=machine.validator_key,
            # As the service tells it to a node on real disks.
            log_new=machine.log.opened.created,
            log_lost=machine.log_lost or (machine.log.opened.created and has_blocks),
        )
        machine.network = network
        machine.lives += 1

        def record(now_ns: int, wall_ms: int, given: Input) -> None:
            for listener in self.on_input:
                listener(machine, now_ns, wall_ms, given)
            self._trace(machine, now_ns, given)

        def before(effect: Effect) -> None:
            self._boundary(machine, type(effect).__name__)

        def emitted(event: Emit) -> None:
            if event.event == "storage_failed" and not machine.disk_full:
                machine.faults.append(f"its disk is not full: {event.data['reason']}")
            for listener in self.on_event:
                listener(machine, event)

        machine.node = Node(setup, ports, record=record, before_effect=before, on_event=emitted)
        machine.log_lost = False
        for listener in self.on_start:
            listener(machine, machine.node)
        machine.stopped = trio.Event()
        await self._nursery.start(self._live, machine)

    async def _live(
        self, machine: Machine, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        node, network, stopped = machine.node, machine.network, machine.stopped
        assert node is not None
        assert network is not None
        assert stopped is not None
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
            pass
        except* Exception as group:  # noqa: BLE001 - a fault of the node is a finding
            machine.faults.append(_last_lines(group))
        finally:
            machine.bytes_sent += network.bytes_sent
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
        assert machine.scope is not None, machine.name
        assert machine.stopped is not None, machine.name
        machine.scope.cancel()
        await machine.stopped.wait()

    def spawn(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run something beside the nodes, until it ends or the world does."""
        self._nursery.start_soon(task)

    def running(self) -> list[Machine]:
        """Return the machines whose node runs."""
        return [m for m in self.machines if m.node is not None]

    def wipe(self, machine: Machine, *, store: bool) -> None:
        """Take the log of a dead machine away, or everything it had on its disks."""
        assert machine.node is None, machine.name
        machine.log = MemoryLog()
        if store:
            machine.store = MemoryStore()

    def isolate(self, group: Sequence[Machine]) -> None:
        """Cut a group of machines off from all others, both ways."""
        for inside in group:
            for outside in self.machines:
                if outside not in group:
                    self.hub.cut(inside.peer_id, outside.peer_id)
                    self.hub.cut(outside.peer_id, inside.peer_id)

    def heal(self) -> None:
        """Undo every cut."""
        for a in self.machines:
            for b in self.machines:
                self.hub.heal(a.peer_id, b.peer_id)

    # --- what passes by --------------------------------------------------------------------------

    def _boundary(self, machine: Machine, where: str) -> None:
        if self.at_boundary is None:
            return
        try:
            self.at_boundary(machine, where)
        except CrashHere:
            # Nothing of this life may leave while its tasks are being cancelled.
            self.hub.crash(machine.peer_id)
            raise

    def _on_frame(self, sender: bytes, receiver: bytes, lane: Lane, frame: bytes) -> bytes | None:
        tamper = self.tampering.get(sender)
        if tamper is not None:
            changed = tamper(receiver, lane, frame)
            if changed is None:
                return None
            frame = changed
        for tap in self.taps:
            tap(sender, receiver, lane, frame)
        return frame

    def _on_bug(self, peer: bytes, error: Exception) -> None:
        name = next((m.name for m in self.machines if m.peer_id == peer), peer.hex())
        self.bugs.append(f"{name}: {_last_lines(error)}")

    def _trace(self, machine: Machine, now_ns: int, given: Input) -> None:
        self.inputs_count += 1
        match given:
            case FrameIn(peer, frame):
                detail = peer + frame
            case TopicIn(topic, origin, data):
                detail = topic.encode() + origin + data
            case _:
                detail = repr(given).encode()
        head = f"{machine.index} {now_ns} {type(given).__name__} {len(detail)} ".encode()
        self.trace.update(head)
        self.trace.update(detail)


class _Network(MemoryNetwork):
    """A node's network with a boundary before everything that leaves."""

    def __init__(
        self, hub: MemoryHub, machine: Machine, boundary: Callable[[Machine, str], None]
    ) -> None:
        super().__init__(hub, machine.peer_id)
        self._machine = machine
        self._boundary = boundary

    def send(self, peer: bytes, lane: Lane, frame: bytes) -> bool:
        self._boundary(self._machine, "send")
        return super().send(peer, lane, frame)

    def publish(self, topic: str, data: bytes) -> None:
        self._boundary(self._machine, "publish")
        super().publish(topic, data)


class _Store:
    """A node's store with a boundary before every commit."""

    def __init__(self, machine: Machine, boundary: Callable[[Machine, str], None]) -> None:
        self._store = machine.store
        self._machine = machine
        self._boundary = boundary
        self.get = machine.store.get
        self.scan = machine.store.scan
        self.last = machine.store.last
        self.close = machine.store.close

    def commit(self, writes: Sequence[Write], *, sync: bool) -> None:
        self._boundary(self._machine, "commit")
        self._machine.refuse_if_full()
        self._store.commit(writes, sync=sync)


class _Log:
    """A node's log with a boundary before every sync."""

    def __init__(self, machine: Machine, boundary: Callable[[Machine, str], None]) -> None:
        self._log = machine.log
        self._machine = machine
        self._boundary = boundary
        self.records = machine.log.records
        self.append = machine.log.append
        self.rewrite = machine.log.rewrite
        self.close = machine.log.close

    def sync(self) -> None:
        self._boundary(self._machine, "sync")
        self._machine.refuse_if_full()
        self._log.sync()


def _last_lines(error: BaseException) -> str:
    """Return the end of the innermost exception's traceback, on one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    return " | ".join(line.strip() for line in lines[-FAULT_LINES:])


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
