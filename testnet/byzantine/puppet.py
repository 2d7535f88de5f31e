"""What every adversary has: a node to pull strings of, its key without a guard, and the wire."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import trio

from p2pnode.crypto import SecretKey, signing_hash
from p2pnode.errors import ConfigError
from p2pnode.node.node import Node
from p2pnode.ports import Lane
from p2pnode.types.genesis import chain_id
from p2pnode.types.messages import EngineItem, Message, decode_frame, encode_message, join_frame
from testnet.sim.world import Machine, World

TEST_PREFIX = "test-"
"""How the name of a chain begins on which adversaries may run."""


class NotATestChainError(ConfigError):
    """Adversaries run on chains for tests only."""

    def __init__(self, name: str) -> None:
        super().__init__(f"chain {name!r}: adversaries need one whose name begins with 'test-'")


class Puppet:
    """A machine whose node does what an adversary wants."""

    def __init__(self, world: World, machine: Machine) -> None:
        """Take over a machine, before it starts.

        Raises:
            NotATestChainError: The chain is not one for tests.
        """
        name = world.genesis.name
        if not name.startswith(TEST_PREFIX):
            raise NotATestChainError(name)
        assert machine.validator_key is not None, machine.name
        self.world = world
        self.machine = machine
        self.key: SecretKey = machine.validator_key
        self.chain = chain_id(world.document)
        self.engine_kind = f"engine/{world.genesis.engine}/1"
        self.rng = random.Random(f"{world.seed}/byzantine/{machine.index}")
        self._own = False

    @property
    def index(self) -> int:
        """Its index among the validators."""
        return self.machine.index

    @property
    def node(self) -> Node | None:
        """Its node, while it runs."""
        return self.machine.node

    @property
    def epoch(self) -> int:
        """The engine's epoch; 0 while the node is dead."""
        return 0 if self.node is None else self.node.core.ordering.host.epoch.number

    @property
    def view(self) -> int:
        """The engine's view."""
        view = () if self.node is None else self.node.core.ordering.host.view
        return view[-1] if view else 0

    def peers(self) -> list[bytes]:
        """Return the other machines' peer ids."""
        return [m.peer_id for m in self.world.machines if m is not self.machine]

    def odd(self, receiver: bytes) -> bool:
        """Tell whether a receiver's index is odd: who is told the other story."""
        return any(m.peer_id == receiver and m.index % 2 == 1 for m in self.world.machines)

    def sign(self, kind: str, epoch: int, body: bytes) -> bytes:
        """Sign anything, with no guard and no log."""
        return self.key.sign(signing_hash(self.chain, kind, epoch, body))

    def vote(self, epoch: int, body: bytes) -> EngineItem:
        """Return a signed vote."""
        signed = (self.index, body, self.sign(self.engine_kind, epoch, body))
        return EngineItem(epoch, signed, b"", b"")

    def send(self, receiver: bytes, lane: Lane, messages: Sequence[Message]) -> None:
        """Send messages past the adversary's own tampering."""
        self.send_frame(receiver, lane, join_frame([encode_message(m) for m in messages]))

    def send_frame(self, receiver: bytes, lane: Lane, frame: bytes) -> None:
        """Send a frame, whatever it is, past the adversary's own tampering."""
        network = self.machine.network
        if self.machine.node is None or network is None:
            return
        self._own = True
        try:
            network.send(receiver, lane, frame)
        finally:
            self._own = False

    def tamper(self, change: Callable[[bytes, Message], Sequence[Message]]) -> None:
        """Change every message that the node sends.

        Args:
            change: Takes (receiver, message); returns what is sent instead, perhaps nothing.
        """

        def changed(receiver: bytes, lane: Lane, frame: bytes) -> bytes | None:
            if self._own:
                return frame
            messages = [m for told in decode_frame(frame) for m in change(receiver, told)]
            if not messages:
                return None
            return join_frame([encode_message(m) for m in messages])

        self.world.tampering[self.machine.peer_id] = changed

    def every(self, period_s: float, act: Callable[[], None]) -> None:
        """Act again and again while the node lives."""

        async def acting() -> None:
            while self.machine.node is not None:
                await trio.sleep(period_s)
                act()

        def started(machine: Machine, node: Node) -> None:
            if machine is self.machine:
                self.world.spawn(acting)

        self.world.on_start.append(started)

    def on_node(self, change: Callable[[Node], None]) -> None:
        """Change every new life of the node, before it runs."""

        def started(machine: Machine, node: Node) -> None:
            if machine is self.machine:
                change(node)

        self.world.on_start.append(started)
