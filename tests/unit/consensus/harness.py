"""A small scheduler of n engines in virtual time, with the least host that keeps the plug's
contract."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from p2pnode import crypto
from p2pnode.consensus.engine import (
    NS_PER_S,
    Behind,
    Broadcast,
    Build,
    Built,
    CancelTimer,
    Check,
    Checked,
    Deliver,
    Demand,
    Draft,
    Effect,
    Engine,
    EngineParameters,
    Entered,
    Epoch,
    Event,
    Fetch,
    Fired,
    Floor,
    Interest,
    Item,
    Msg,
    Offence,
    Persist,
    Report,
    Send,
    SetTimer,
    Signed,
    Summary,
    Synced,
    TrafficClass,
    encode_signed,
    genesis_floor,
)
from p2pnode.consensus.simplex import SimplexEngine

MS = 1_000_000
CHAIN = crypto.sha256(b"test-chain")


def fake_signature(signer: int, body: bytes, epoch: int = 0) -> bytes:
    """Something only `signer` may make in a test."""
    return crypto.sha256(b"%d/%d/" % (epoch, signer) + body) * 2


def signed(signer: int, body: bytes) -> Signed:
    return Signed(signer, body, fake_signature(signer, body))


def make_epoch(
    powers: tuple[int, ...] = (1, 1, 1, 1),
    me: int | None = 0,
    *,
    last_height: int = 1 << 40,
    seed: bytes = b"",
) -> Epoch:
    validators = tuple((bytes([i]) * 32, power) for i, power in enumerate(powers))
    return Epoch(CHAIN, 0, validators, me, 1, last_height, seed)


def digest_of(*parts: object) -> bytes:
    return crypto.sha256(repr(parts).encode())


@dataclass
class Node:
    """One validator: what survives a crash, and the engine of this life."""

    index: int
    log: list[bytes] = field(default_factory=list)
    """Records, in order."""
    synced: int = 0
    """How many of them are on disk for sure."""
    slots: dict[object, bytes] = field(default_factory=dict)
    """The signer's table, durable."""
    chain: list[Deliver] = field(default_factory=list)
    """Delivered heights, durable."""
    floor: Floor = field(default_factory=lambda: genesis_floor(CHAIN))
    """Newest height with a proof, durable."""
    engine: Engine | None = None
    life: int = 0
    timers: dict[object, int] = field(default_factory=dict)
    pending: Build | None = None
    demand: bool = False
    view: int = 0
    delivered_ns: int = 0
    deferred: list[tuple[int | None, Item]] = field(default_factory=list)
    offences: list[Offence] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    refused: int = 0
    held_max: int = 0

    @property
    def height(self) -> int:
        return len(self.chain)


class Net:
    """n engines and the links between them."""

    def __init__(
        self,
        powers: tuple[int, ...] = (1, 1, 1, 1),
        *,
        seed: int = 0,
        parameters: EngineParameters | None = None,
        engine: type[Engine] = SimplexEngine,
        delay_ns: Callable[[random.Random], int] = lambda rng: rng.randint(5 * MS, 15 * MS),
        drop: float = 0.0,
        duplicate: float = 0.0,
        always_demand: bool = True,
        heartbeat_s: float = 10.0,
        summary_s: float = 1.0,
        last_height: int = 1 << 40,
        check_delay_ns: int = 0,
        crash_between_effects: float = 0.0,
    ) -> None:
        self.rng = random.Random(seed)
        self.powers = powers
        self.parameters = parameters or EngineParameters()
        self.engine_type = engine
        self.drop = drop
        self.duplicate = duplicate
        self.always_demand = always_demand
        self.heartbeat_ns = int(heartbeat_s * NS_PER_S)
        self.summary_ns = int(summary_s * NS_PER_S)
        self.last_height = last_height
        self.check_delay_ns = check_delay_ns
        self.crash_between_effects = crash_between_effects
        self.now_ns = NS_PER_S
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.count = 0
        self.nodes = [Node(i) for i in range(len(powers))]
        self.cut: Callable[[int, int], bool] = lambda a, b: False
        self.link_delay_ns: Callable[[int, int], int] = lambda a, b: delay_ns(self.rng)
        self.outgoing: Callable[[int, int, Item], bool] = lambda a, b, item: True
        """Adversary's hook: may an item of node a go to node b?"""
        self.signed_by_slot: dict[tuple[int, object], bytes] = {}
        self.signed_bodies: list[tuple[int, bytes]] = []
        self.blocks: dict[bytes, tuple[bytes, int]] = {}
        self.trace: list[bytes] = []
        self.sent: list[tuple[int, int, Item]] = []
        self.nullified: list[int] = []

    # --- time -------------------------------------------------------------------------------------

    def at(self, after_ns: int, action: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.queue, (self.now_ns + after_ns, self.count, action))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        end_ns = self.now_ns + int(seconds * NS_PER_S)
        while self.queue and self.queue[0][0] <= end_ns:
            if until is not None and until():
                return True
            self.now_ns, _, action = heapq.heappop(self.queue)
            action()
        self.now_ns = max(self.now_ns, end_ns)
        return until is not None and until()

    # --- life -------------------------------------------------------------------------------------

    def start(self, *indices: int) -> None:
        for i in indices or range(len(self.nodes)):
            node = self.nodes[i]
            node.life += 1
            node.engine = self.engine_type(self.parameters)
            node.timers, node.pending, node.deferred, node.demand = {}, None, [], False
            epoch = make_epoch(self.powers, i, last_height=self.last_height)
            node.delivered_ns = self.now_ns
            self._do(node, node.engine.recover(self.now_ns, epoch, node.floor, list(node.log)))
            if node.engine is None:
                continue
            self._demand(node)
            life = node.life
            first_ns = self.summary_ns * (i + 1) // len(self.nodes)
            self.at(first_ns, lambda node=node, life=life: self._tick(node, life))

    def crash(self, *indices: int) -> None:
        for i in indices:
            node = self.nodes[i]
            node.engine = None
            node.life += 1
            # Records behind the last barrier may be lost, from any point on.
            del node.log[self.rng.randint(node.synced, len(node.log)) :]
            node.synced = len(node.log)

    def _revive(self, node: Node) -> None:
        if node.engine is None:
            self.start(node.index)

    def _tick(self, node: Node, life: int) -> None:
        if node.engine is None or node.life != life:
            return
        self._summarize(node, tuple(range(len(self.nodes))))
        self.at(self.summary_ns, lambda: self._tick(node, life))

    def _summarize(self, node: Node, to: tuple[int, ...]) -> None:
        assert node.engine is not None
        blob = node.engine.summary()
        assert len(blob) < 1024
        for peer in to:
            if peer != node.index:
                self._carry(
                    node.index,
                    peer,
                    lambda peer=peer: self.step(self.nodes[peer], Summary(node.index, blob)),
                )

    def _demand(self, node: Node) -> None:
        if node.engine is None:
            return
        due_ns = node.delivered_ns + self.heartbeat_ns
        wanted = self.always_demand or self.now_ns >= due_ns
        if wanted != node.demand:
            node.demand = wanted
            self.step(node, Demand(wanted))
        if not wanted:
            life = node.life
            self.at(
                due_ns - self.now_ns,
                lambda: self._demand(node) if node.life == life else None,
            )
        self._answer_build(node)

    # --- events and effects -----------------------------------------------------------------------

    def step(self, node: Node, event: Event) -> None:
        if node.engine is None:
            return
        effects = node.engine.step(self.now_ns, event)
        self.trace.append(repr((node.index, self.now_ns, effects)).encode())
        node.held_max = max(node.held_max, node.engine.held())
        self._do(node, effects)

    def _do(self, node: Node, effects: list[Effect]) -> None:
        life = node.life
        for effect in effects:
            if node.life != life or node.engine is None:
                return
            if self.rng.random() < self.crash_between_effects:
                self.crash(node.index)
                self.at(NS_PER_S // 2, lambda: self._revive(node))
                return
            match effect:
                case Persist(record, sync):
                    node.log.append(record)
                    if sync:
                        node.synced = len(node.log)
                case Broadcast(item, traffic):
                    self._send(node, tuple(range(len(self.nodes))), item, traffic)
                case Send(to, item, traffic):
                    self._send(node, to, item, traffic)
                case SetTimer(key, after_ns):
                    assert after_ns >= 0
                    self._set_timer(node, key, after_ns)
                case CancelTimer(key):
                    node.timers.pop(key, None)
                case Build():
                    node.pending = effect
                    self._answer_build(node)
                case Check():
                    self._check(node, effect)
                case Fetch(_, certs, hints):
                    assert certs
                    self._summarize(node, hints)
                case Deliver():
                    self._deliver(node, effect)
                case Behind(_, hints):
                    for peer in hints:
                        self._carry(node.index, peer, lambda peer=peer: self._sync(node, peer))
                case Offence():
                    node.offences.append(effect)
                case Entered((view,), _):
                    node.view = view
                    waiting, node.deferred = node.deferred, []
                    for sender, item in waiting:
                        self.at(0, lambda s=sender, i=item: self.receive(node, s, i))
                case Report(kind, data):
                    node.reports.append(effect)
                    if kind == "nullified":
                        self.nullified.append(int(str(data["view"])))

    def _set_timer(self, node: Node, key: object, after_ns: int) -> None:
        self.count += 1
        token = self.count
        node.timers[key] = token
        life = node.life

        def fire() -> None:
            if node.life == life and node.timers.get(key) == token:
                del node.timers[key]
                self.step(node, Fired(key))

        self.at(after_ns, fire)

    def _answer_build(self, node: Node) -> None:
        build = node.pending
        if build is None or not node.demand:
            return
        life = node.life

        def answer() -> None:
            if node.life != life or node.pending is not build or not node.demand:
                return
            node.pending = None
            digest = digest_of(build.parent, build.height, node.index, node.life, self.now_ns)
            self.blocks[digest] = (build.parent, build.height)
            self.step(node, Built(build.ctx, digest))

        self.at(max(0, build.not_before_ns - self.now_ns), answer)

    def _check(self, node: Node, check: Check) -> None:
        ok = self.blocks.get(check.payload) == (check.parent, check.height)
        life = node.life

        def answer() -> None:
            if node.life == life:
                self.step(node, Checked(check.ctx, ok))

        self.at(self.check_delay_ns, answer)

    def _send(
        self, node: Node, to: tuple[int, ...], item: Draft | Item, traffic: TrafficClass
    ) -> None:
        if isinstance(item, Draft):
            for key, value in self.engine_type.slots(item.body).items():
                if node.slots.get(key, value) != value:
                    node.refused += 1
                    return
            for key, value in self.engine_type.slots(item.body).items():
                node.slots[key] = value
                # G5, over all lives.
                assert self.signed_by_slot.setdefault((node.index, key), value) == value
            vote = signed(node.index, item.body)
            self.signed_bodies.append((node.index, item.body))
            node.log.append(encode_signed(vote))
            node.synced = len(node.log)
            life = node.life
            self.at(
                0,
                lambda: self.step(node, Msg(node.index, vote)) if node.life == life else None,
            )
            item = vote
        for peer in to:
            if peer != node.index and self.outgoing(node.index, peer, item):
                self.sent.append((node.index, peer, item))
                target = self.nodes[peer]
                self._carry(
                    node.index,
                    peer,
                    lambda target=target, item=item: self.receive(target, node.index, item),
                )

    def _carry(self, a: int, b: int, action: Callable[[], None]) -> None:
        copies = 2 if self.rng.random() < self.duplicate else 1
        for _ in range(copies):
            if self.rng.random() >= self.drop and not self.cut(a, b):
                self.at(self.link_delay_ns(a, b), action)

    def receive(self, node: Node, sender: int | None, item: Item) -> None:
        """What a host does with an item from the network (H4)."""
        if node.engine is None:
            return
        before = node.engine.fingerprint() if self.count % 64 == 0 else b""
        interest = node.engine.interest(item)
        assert not before or before == node.engine.fingerprint(), "interest changed something"
        if interest is Interest.DEFER:
            mine = [d for d in node.deferred if d[0] == sender]
            if len(mine) < self.parameters.deferred_per_sender_max:
                node.deferred.append((sender, item))
        elif interest is Interest.NOW:
            epoch = make_epoch(self.powers, node.index, last_height=self.last_height)
            for claim in self.engine_type.claims(item, epoch):
                if claim.sig != fake_signature(claim.signer, claim.body):
                    return
            self.step(node, Msg(sender, item))

    def _deliver(self, node: Node, final: Deliver) -> None:
        if final.height <= node.height:
            # Restarted from an older floor: the same again (G2).
            assert node.chain[final.height - 1].anchor == final.anchor
        else:
            assert final.height == node.height + 1, (final.height, node.height)
            node.chain.append(final)
            if final.anchor in self.blocks:
                parent = node.chain[-2].anchor if node.height > 1 else genesis_floor(CHAIN).digest
                assert self.blocks[final.anchor] == (parent, final.height)
        if final.proof is not None and final.height > node.floor.height:
            node.floor = Floor(final.height, final.anchor, final.proof)
            epoch = make_epoch(self.powers, None, last_height=self.last_height)
            for claim in self.engine_type.verify_proof(
                final.proof, epoch, final.height, final.anchor
            ):
                assert claim.sig == fake_signature(claim.signer, claim.body)
        node.delivered_ns = self.now_ns
        self.at(0, lambda: self._demand(node))

    def _sync(self, node: Node, peer: int) -> None:
        """Block sync: take the peer's chain up to its newest proof."""
        other = self.nodes[peer]
        if node.engine is None or other.engine is None:
            return
        if other.floor.height <= node.height:
            return
        node.chain += other.chain[node.height : other.floor.height]
        node.floor = other.floor
        node.delivered_ns = self.now_ns
        self.step(node, Synced(other.floor))

    # --- checks -----------------------------------------------------------------------------------

    def heights(self) -> list[int]:
        return [node.height for node in self.nodes]

    def check_agreement(self) -> None:
        """G1: one digest a height."""
        longest = max(self.nodes, key=lambda node: node.height).chain
        for node in self.nodes:
            for mine, theirs in zip(node.chain, longest, strict=False):
                assert (mine.height, mine.anchor) == (theirs.height, theirs.anchor)

    def trace_hash(self) -> bytes:
        return crypto.sha256(b"".join(self.trace))
