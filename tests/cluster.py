"""Cores of whole nodes on a desk: no Trio, no network, one queue of events.

The cores, signers and stores are the product's own; this shell carries effects out at once and
makes every write durable, so that a test can say exactly what arrives where, from whom, and when.
Crashes and lost writes are the simulator's (testnet/sim).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from p2pnode.crypto import SecretKey, address_of, peer_id_of, sha256, verify
from p2pnode.errors import P2PNodeError
from p2pnode.gossip.topics import transaction_topic
from p2pnode.gossip.validation import Judgement, judge_transactions
from p2pnode.keys.keystore import derive_test_key
from p2pnode.keys.safesigner import BelowFloorError, DoubleSignError, ObserveOnlyError
from p2pnode.keys.verifier import InlineVerifier
from p2pnode.node.node import Node, NodeSetup
from p2pnode.node.serve import StoreServer
from p2pnode.node.shell import Ports
from p2pnode.store.memory import MemoryLog, MemoryStore
from p2pnode.sync import catchup, fetcher
from p2pnode.types import effects as fx
from p2pnode.types.chain import Chain
from p2pnode.types.effects import Lane
from p2pnode.types.genesis import GenesisAccount, Parameters, decode_genesis
from p2pnode.types.messages import Message, decode_frame, encode_message, join_frame
from p2pnode.types.transaction import Transaction, Transfer, sign_transaction
from testnet.genesis import make_genesis

MS = 1_000_000
S = 1_000_000_000
START_MS = 1_700_000_000_000
ACCOUNTS = 16
BALANCE = 10**9


@dataclass(frozen=True, slots=True)
class Penalty:
    """A node lowered a peer's score."""

    node: int
    peer: bytes
    points: float
    reason: str


class NoNetwork:
    """Where the network would be; nothing here uses it."""


class Shell:
    """One node: its core, what survives it, and what it asked for."""

    def __init__(self, cluster: Cluster, index: int) -> None:
        self.cluster = cluster
        self.index = index
        self.key = derive_test_key(cluster.seed, "validator", index)
        self.network_key = derive_test_key(cluster.seed, "node", index)
        self.peer = peer_id_of(self.network_key.public)
        self.store = MemoryStore()
        self.log = MemoryLog()
        self.lives = 0
        self.up = False

    def start(self) -> None:
        """Begin a life from store and log."""
        setup = NodeSetup(
            name=f"node{self.index}",
            document=self.cluster.document,
            validator_key=self.key,
            log_new=self.lives == 0,
        )
        ports = Ports(
            network=NoNetwork(),  # type: ignore[arg-type]
            clock=self.cluster,
            store=self.store,
            log=self.log,
            verifier=InlineVerifier(),
            sync_in_thread=False,
        )
        # The node's own shell never runs: this one carries out what its core asks.
        node = Node(setup, ports)
        assert node.signer is not None
        self.core, self.signer = node.core, node.signer
        self.server = StoreServer(self.store)
        self.timers: dict[Hashable, tuple[int, int]] = {}
        self.replies: dict[int, tuple[object, ...]] = {}
        self._unsigned: list[fx.Sign] = []
        self.lives += 1
        self.up = True
        self.perform(self.core.start(self.cluster.now_ns(), self.cluster.wall_ms()))
        for other in self.cluster.shells:
            if other is not self and other.up:
                self.input(fx.PeerUp(other.peer))
                other.input(fx.PeerUp(self.peer))

    def stop(self) -> None:
        """End a life; nothing durable is lost."""
        self.up = False
        for other in self.cluster.shells:
            if other is not self and other.up:
                other.input(fx.PeerDown(self.peer))

    def input(self, given: fx.Input) -> list[fx.Effect]:
        """Hand one input to the core, carry its effects out, and return them."""
        cluster = self.cluster
        if cluster.on_input is not None:
            cluster.on_input(self, given)
        effects = self.core.handle(cluster.now_ns(), cluster.wall_ms(), given)
        self.perform(effects)
        return effects

    def frame(self, peer: bytes, *messages: Message) -> list[fx.Effect]:
        """Let a peer send messages in one frame."""
        return self.input(fx.FrameIn(peer, join_frame([encode_message(m) for m in messages])))

    def submit(self, *transactions: Transaction) -> tuple[object, ...]:
        """Submit as a client."""
        ticket = self.cluster.ticket()
        self.input(fx.SubmitIn(ticket, tuple(t.raw for t in transactions)))
        return self.replies[ticket]

    def perform(self, effects: Sequence[fx.Effect]) -> None:
        """Carry effects out."""
        cluster = self.cluster
        answers: list[fx.Input] = []
        for effect in effects:
            match effect:
                case fx.Put(writes):
                    self.store.commit(writes, sync=True)
                case fx.Append(record, _):
                    self.log.append(record)
                case fx.Sign():
                    self._unsigned.append(effect)
                case fx.Verify(ticket, checks):
                    ok = tuple(cluster.verify(check) for check in checks)
                    answers.append(fx.VerifiedIn(ticket, ok))
                case fx.Forget(kind, epoch, below):
                    self.log.append(self.signer.prune(kind, epoch, below))
                case fx.Observe(until_epoch):
                    for record in self.signer.observe(until_epoch):
                        self.log.append(record)
                case fx.SendTo(peers, lane, message):
                    for peer in peers:
                        cluster.send(self, peer, lane, message)
                case fx.Publish(topic, data):
                    cluster.publish(self, topic, data)
                case fx.Request():
                    cluster.request(self, effect)
                case fx.ArmTimer(key, at_ns):
                    self._arm(key, at_ns)
                case fx.DisarmTimer(key):
                    self.timers.pop(key, None)
                case fx.Reply(ticket, outcomes):
                    self.replies[ticket] = outcomes
                case fx.Penalize(peer, points, reason):
                    cluster.penalties.append(Penalty(self.index, peer, points, reason))
                case fx.Emit(event, data):
                    cluster.emitted(self, event, dict(data))
        if self.core.may_sign:
            unsigned, self._unsigned = self._unsigned, []
            answers += [fx.SignedIn(effect.ticket, self._sign(effect)) for effect in unsigned]
        for answer in answers:
            self.input(answer)

    def _sign(self, effect: fx.Sign) -> bytes | None:
        try:
            prepared = self.signer.prepare(
                effect.kind, effect.epoch, effect.body, effect.slots, effect.position
            )
        except (DoubleSignError, ObserveOnlyError, BelowFloorError):
            return None
        if prepared.record is not None:
            self.log.append(prepared.record)
        return prepared.signature

    def _arm(self, key: Hashable, at_ns: int) -> None:
        number = self.cluster.ticket()
        self.timers[key] = (at_ns, number)
        life = self.lives

        def fire() -> None:
            if self.up and self.lives == life and self.timers.get(key) == (at_ns, number):
                del self.timers[key]
                self.input(fx.TimerFired(key))

        self.cluster.at(at_ns, fire)

    @property
    def height(self) -> int:
        """Newest executed height."""
        return self.core.pipeline.height


class Cluster:
    """Some nodes, the queue of what happens next, and everything that was seen."""

    def __init__(
        self,
        validators: int = 4,
        *,
        seed: int = 1,
        latency_ns: int = 5 * MS,
        engine: str = "simplex",
        powers: tuple[int, ...] = (),
        **parameters: int,
    ) -> None:
        """Start all nodes."""
        self.seed = seed
        self.time_ns = S
        self.latency_ns = latency_ns
        self.accounts = [derive_test_key(seed, "account", i) for i in range(ACCOUNTS)]
        self.nonces = [0] * ACCOUNTS
        genesis = make_genesis(
            name=f"test-cluster-{seed}",
            validators=validators,
            seed=seed,
            engine=engine,
            parameters=Parameters(**{"block_interval_ms": 100, "epoch_blocks": 20, **parameters}),
            accounts=tuple(
                GenesisAccount(address_of(k.public), ((0, BALANCE),)) for k in self.accounts
            ),
            powers=powers,
            time_ms=START_MS,
        )
        self.document = genesis.encode()
        self.chain = Chain.from_genesis(decode_genesis(self.document), self.document)
        self.topic = transaction_topic(0)
        self.penalties: list[Penalty] = []
        self.events: dict[str, list[tuple[int, dict[str, object]]]] = {}
        self.blocks: dict[int, bytes] = {}
        self.roots: dict[tuple[int, int], bytes] = {}
        self.executed: dict[bytes, int] = {}
        """Id to height, of transactions that executed."""
        self.outgoing: Callable[[Shell, bytes, Lane, bytes], bytes | None] = (
            lambda shell, peer, lane, message: message
        )
        """Called with every message sent; may change it, or swallow it with None."""
        self.answering: dict[bytes, Callable[[str, bytes], bytes | None]] = {}
        """How strangers answer requests, by peer; others fail."""
        self.on_input: Callable[[Shell, fx.Input], None] | None = None
        self._verified: dict[bytes, bool] = {}
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._ticket = 0
        self.shells: list[Shell] = []
        for index in range(validators):
            self.shells.append(Shell(self, index))
        for shell in self.shells:
            shell.start()

    def now_ns(self) -> int:
        """Monotonic time, the same everywhere."""
        return self.time_ns

    def wall_ms(self) -> int:
        """Wall clock, the same everywhere."""
        return START_MS + self.time_ns // MS

    def ticket(self) -> int:
        """Return a new number."""
        self._ticket += 1
        return self._ticket

    def at(self, at_ns: int, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._queue, (max(at_ns, self.time_ns), self.ticket(), action))

    def run(self, duration_ns: int) -> None:
        """Let time pass."""
        until_ns = self.time_ns + duration_ns
        while self._queue and self._queue[0][0] <= until_ns:
            at_ns, _, action = heapq.heappop(self._queue)
            self.time_ns = max(self.time_ns, at_ns)
            action()
        self.time_ns = until_ns

    def run_until(self, done: Callable[[], bool], within_ns: int, step_ns: int = 20 * MS) -> bool:
        """Let time pass until something is so; tell whether it came to be."""
        until_ns = self.time_ns + within_ns
        while not done():
            if self.time_ns >= until_ns:
                return False
            self.run(step_ns)
        return True

    # --- traffic ---------------------------------------------------------------------------------

    def shell_of(self, peer: bytes) -> Shell | None:
        """Return the node at a peer id."""
        return next((s for s in self.shells if s.peer == peer), None)

    def send(self, sender: Shell, peer: bytes, lane: Lane, message: bytes) -> None:
        """Carry one message."""
        changed = self.outgoing(sender, peer, lane, message)
        receiver = self.shell_of(peer)
        if changed is None or receiver is None:
            return
        frame = join_frame([changed])

        def arrive() -> None:
            if receiver.up and sender.up:
                receiver.input(fx.FrameIn(sender.peer, frame))

        self.at(self.time_ns + self.latency_ns, arrive)

    def publish(self, sender: Shell, topic: str, data: bytes) -> None:
        """Spread a message: everybody gets it from the next of the ring, not from its origin."""
        if judge_transactions(data, len) is not Judgement.ACCEPT:
            return
        count = len(self.shells)
        for step in range(1, count):
            receiver = self.shells[(sender.index + step) % count]
            given = fx.TopicIn(topic, sender.peer, data)
            self.at(
                self.time_ns + step * self.latency_ns,
                lambda to=receiver, what=given: to.input(what) if to.up else None,  # type: ignore[misc]
            )

    def request(self, sender: Shell, effect: fx.Request) -> None:
        """Carry a request and its answer; nobody there is a failure after the timeout."""
        life = sender.lives

        def deliver(body: bytes | None) -> None:
            if sender.up and sender.lives == life:
                sender.input(fx.AnswerIn(effect.ticket, body))

        def arrive() -> None:
            body = self.serve(effect.peer, effect.protocol, sender.peer, effect.body)
            wait_ns = self.latency_ns if body is not None else effect.timeout_ns
            self.at(self.time_ns + wait_ns, lambda: deliver(body))

        self.at(self.time_ns + self.latency_ns, arrive)

    def serve(self, peer: bytes, protocol: str, asker: bytes, body: bytes) -> bytes | None:
        """Answer a request as the peer would."""
        script = self.answering.get(peer)
        if script is not None:
            return script(protocol, body)
        shell = self.shell_of(peer)
        if shell is None or not shell.up:
            return None
        handlers = {catchup.PROTOCOL: shell.server.blocks, fetcher.PROTOCOL: shell.server.fetch}
        call = handlers[protocol](asker, body)
        try:
            call.send(None)
        except StopIteration as answer:
            return bytes(answer.value)
        except P2PNodeError:
            return None
        raise AssertionError("a handler of the store waits")

    def verify(self, check: tuple[bytes, bytes, bytes]) -> bool:
        """Check a signature, each once."""
        name = sha256(b"".join(check))
        if name not in self._verified:
            self._verified[name] = verify(*check)
        return self._verified[name]

    # --- what is seen ----------------------------------------------------------------------------

    def emitted(self, shell: Shell, event: str, data: dict[str, object]) -> None:
        """Note an event; blocks and roots must be the same everywhere."""
        if event == "block_finalized":
            height, digest = data["height"], data["hash"]
            assert isinstance(height, int)
            assert isinstance(digest, bytes)
            assert self.blocks.setdefault(height, digest) == digest, f"two blocks at {height}"
        elif event == "block_executed":
            self._executed(data["done"])
            return
        self.events.setdefault(event, []).append((shell.index, data))

    def _executed(self, done: object) -> None:
        for execution in done.executions:  # type: ignore[attr-defined]
            key = (execution.uid, execution.height)
            root = execution.post_root + execution.watermarks_root + execution.outcome_root
            assert self.roots.setdefault(key, root) == root, f"two roots of shard and height {key}"
            for outcome in execution.outcomes:
                if outcome.status == 0:
                    height = self.executed.setdefault(outcome.id, execution.height)
                    assert height == execution.height, f"{outcome.id.hex()} executed twice"

    def blamed(self, peer: bytes) -> list[Penalty]:
        """Return the penalties a peer got, from anybody."""
        return [p for p in self.penalties if p.peer == peer]

    def honest_blamed(self, *hostile: int) -> list[Penalty]:
        """Return the penalties of nodes that only did what they should."""
        good = [s.peer for s in self.shells if s.index not in hostile]
        return [p for p in self.penalties if p.peer in good]

    # --- transactions ----------------------------------------------------------------------------

    def transfer(self, account: int = 0, *, nonce: int | None = None) -> Transaction:
        """Return the next transaction of an account, or one with a nonce of its own."""
        key: SecretKey = self.accounts[account]
        if nonce is None:
            nonce = self.nonces[account]
            self.nonces[account] += 1
        to = address_of(self.accounts[(account + 1) % ACCOUNTS].public)
        return sign_transaction(
            key,
            self.chain.id,
            nonce=nonce,
            last_valid_height=50_000,
            fee_limit=10,
            actions=(Transfer(0, to, 1),),
        )

    def finalizes(self, *, by: int = 0, account: int = 0, within_ns: int = 10 * S) -> bool:
        """Submit a transaction to a node and tell whether it executes everywhere that is up."""
        transaction = self.transfer(account)
        assert self.shells[by].submit(transaction) == (None,)

        def done() -> bool:
            height = self.executed.get(transaction.id)
            return height is not None and all(s.height >= height for s in self.shells if s.up)

        return self.run_until(done, within_ns)


def messages_of(given: fx.Input) -> list[Message]:
    """Return the messages of a frame that arrived."""
    return decode_frame(given.frame) if isinstance(given, fx.FrameIn) else []


STRANGER = peer_id_of(sha256(b"a stranger's key"))
"""A peer that is no validator."""
