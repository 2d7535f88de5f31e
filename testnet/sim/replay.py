"""Lock step: the recorded inputs of one node, given to a fresh core, must give the same effects."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from p2pnode.keys.verifier import InlineVerifier
from p2pnode.net.memory import MemoryHub, MemoryNetwork
from p2pnode.node.inputs import decode_input, encode_input
from p2pnode.node.node import Node, NodeSetup
from p2pnode.node.shell import Ports
from p2pnode.store.memory import MemoryFile, MemoryLog, MemoryStore
from p2pnode.types.effects import Effect, Input
from testnet.sim.world import Machine, World


@dataclass(slots=True)
class Life:
    """What one life of a node began with, was told and did."""

    setup: NodeSetup
    store: MemoryStore
    """As the core found it."""
    log: bytes
    started: tuple[int, int] | None = None
    """(now_ns, wall_ms) of `Core.start`."""
    inputs: list[tuple[int, bytes]] = field(default_factory=list)
    """(now_ns, encoded input)."""
    effects: list[bytes] = field(default_factory=list)
    """Hash of the effects of `Core.start`, then of those of every input."""
    fingerprint: bytes = b""
    """The engine's, after the last input."""


class Recorder:
    """Records every life of one machine."""

    def __init__(self, world: World, machine: Machine) -> None:
        """Begin with the machine's next life."""
        self.lives: list[Life] = []
        self._machine = machine
        world.on_start.append(self._on_start)
        world.on_input.append(self._on_input)

    def _on_start(self, machine: Machine, node: Node) -> None:
        if machine is not self._machine:
            return
        life = Life(node.setup, copy.deepcopy(machine.store), machine.log.file.load())
        self.lives.append(life)
        core = node.core
        start, handle = core.start, core.handle

        def started(now_ns: int, wall_ms: int) -> list[Effect]:
            effects = start(now_ns, wall_ms)
            life.started = (now_ns, wall_ms)
            life.effects.append(hash_of_effects(effects))
            life.fingerprint = engine_fingerprint(node)
            return effects

        def handled(now_ns: int, wall_ms: int, given: Input) -> list[Effect]:
            effects = handle(now_ns, wall_ms, given)
            life.effects.append(hash_of_effects(effects))
            life.fingerprint = engine_fingerprint(node)
            return effects

        core.start = started  # type: ignore[method-assign]
        core.handle = handled  # type: ignore[method-assign]

    def _on_input(self, machine: Machine, now_ns: int, wall_ms: int, given: Input) -> None:
        if machine is self._machine:
            self.lives[-1].inputs.append((now_ns, encode_input(wall_ms, given)))


class _StoppedClock:
    """ports.Clock of a node that never runs."""

    def now_ns(self) -> int:
        return 0

    def wall_ms(self) -> int:
        return 0


def fresh_node(life: Life) -> Node:
    """Return a node as it was when a life began; nothing of it is shared with another one."""
    verifier = InlineVerifier()
    hub = MemoryHub(Random("nobody hears"))
    ports = Ports(
        network=MemoryNetwork(hub, b"replay"),
        clock=_StoppedClock(),
        store=copy.deepcopy(life.store),
        log=MemoryLog(MemoryFile(life.log)),
        verifier=verifier,
        sync_in_thread=False,
        check_now=verifier.check,
    )
    return Node(life.setup, ports)


def replay(life: Life) -> int | None:
    """Give a life's inputs to a fresh core.

    Returns:
        The first step whose effects differ (0 is the start, then the inputs), None when all are
        equal.
    """
    node = fresh_node(life)
    if life.started is None:
        return None
    steps: Sequence[tuple[int, bytes]] = life.inputs
    if hash_of_effects(node.core.start(*life.started)) != life.effects[0]:
        return 0
    # A life may end between an input's record and its effects.
    for step, (now_ns, encoded) in enumerate(steps[: len(life.effects) - 1], 1):
        wall_ms, given = decode_input(encoded)
        if hash_of_effects(node.core.handle(now_ns, wall_ms, given)) != life.effects[step]:
            return step
    return None if engine_fingerprint(node) == life.fingerprint else len(life.effects)


def hash_of_effects(effects: Sequence[Effect]) -> bytes:
    """Return a hash over everything that effects say."""
    return sha256(repr(effects).encode()).digest()


def engine_fingerprint(node: Node) -> bytes:
    """Return the fingerprint of a node's engine."""
    return node.core.ordering.host._engine.fingerprint()
