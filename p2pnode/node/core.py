"""A node's core: the parts put together, and every input led to the part it concerns.

Pure: the same recovered state and the same inputs give the same effects. `Shell` (shell.py)
carries the effects out.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from p2pnode.availability.certifier import Certifier
from p2pnode.availability.custody import Custody, CustodyConfig
from p2pnode.availability.dispersal import Dispersal, DispersalConfig
from p2pnode.availability.scheme import Scheme
from p2pnode.availability.shelf import HeldBatch, Shelf
from p2pnode.consensus.engine import Engine, EngineParameters, Floor
from p2pnode.consensus.ordering import Ordering
from p2pnode.consensus.roll import Roll
from p2pnode.errors import RemoteProtocolError
from p2pnode.execution.block import Executor, ReadyBatch
from p2pnode.execution.executor import ShardExecutor
from p2pnode.execution.outcomes import Reason, Status
from p2pnode.execution.pipeline import ExecutedBlock, Pipeline
from p2pnode.gossip.frames import decode_frame as decode_transaction_frame
from p2pnode.gossip.topics import transaction_topic
from p2pnode.mempool.collator import Collator, CollatorConfig
from p2pnode.mempool.intake import Intake
from p2pnode.mempool.pool import Pool, PoolConfig
from p2pnode.node.index import TransactionIndex
from p2pnode.sync.catchup import LAG_HEIGHTS, Catchup
from p2pnode.sync.fetcher import Fetcher
from p2pnode.types.allowances import Allowances
from p2pnode.types.chain import NS_PER_MS, Chain
from p2pnode.types.desk import Desk
from p2pnode.types.effects import (
    AnswerIn,
    Effect,
    FrameIn,
    Input,
    Observe,
    PeerDown,
    PeerUp,
    RttIn,
    SignedIn,
    SubmitIn,
    TimerFired,
    TopicIn,
    VerifiedIn,
    Write,
)
from p2pnode.types.genesis import FIRST_UID
from p2pnode.types.messages import (
    BatchOffer,
    EngineItem,
    Message,
    ResultVote,
    Statements,
    Stored,
    Summary,
    Transactions,
    decode_frame,
)
from p2pnode.types.payload import Block, Payload
from p2pnode.types.quorum import quorum_of, quorum_of_set
from p2pnode.types.statement import BatchCertificate, Statement

SUMMARY_PERIOD_NS: Final = 1_000_000_000
"""Every so often our summary goes to one validator in turn (anti-entropy)."""

OPEN_CHECKS_MAX: Final = 8192
"""Signatures of one validator's messages that may wait for their check; a correct one stays far
below, and what is dropped comes again: every message may be lost."""

STRANGER_CHECKS_MAX: Final = 256
"""The same for any other peer: an identity costs nothing, a check 70 µs."""

GOSSIP_CHECKS_MAX: Final = 2048
"""The same for all that strangers publish, whoever its origins: names cost nothing. Collators get
transactions directly, too."""

_GOSSIP: Final = b"gossip"

UNORDERED_MAX: Final = 1024
"""Batches remembered that are not ordered yet; feeds have far fewer."""

MESSAGES_PER_S: Final = 5000
"""Messages of a peer that are read in a second, in the long run. The network paces its frames by
number and bytes; but one of 12 KB can hold 4,096 messages, each of which costs its decoding, and
asks nothing of anybody."""

MESSAGES_AT_ONCE_MAX: Final = 20_000
"""What it may send at once."""

STALL_NS: Final = 1_500_000_000
"""Nothing final for so long while there is demand: the summary goes to all validators."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is among the validators."""

    index: int | None
    """Its index, None for an observer."""
    public_key: bytes
    """Its validator key, 32 bytes, or empty."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a node knows when it starts, from its store and its log."""

    head: Block | None
    """Newest block, None at genesis."""
    floor: Floor
    """Newest height whose proof is stored in the running epoch, or the last of the one before."""
    engine_records: tuple[bytes, ...]
    """The running epoch's, in the order written."""
    executed_height: int
    unexecuted: tuple[tuple[Block, tuple[Statement, ...]], ...]
    """Final blocks above the executed height."""
    batches: tuple[HeldBatch, ...]
    """Stored batches that those blocks order."""
    next_sequence: int
    """Above every batch sequence this node ever signed."""
    forgetful: bool
    """New, lost or repaired log: an epoch reached by block sync is only observed."""
    feeds: tuple[tuple[int, bytes, int], ...]
    """(uid, collator, last ordered sequence)."""
    results: tuple[tuple[int, int, int], ...]
    """(uid, last height whose result was ordered, outboxes ordered)."""
    own_results: bytes | None
    """As `Pipeline.start` takes it."""
    inboxes: bytes | None
    """As `Pipeline.start` takes it."""


def engine_parameters(chain: Chain) -> EngineParameters:
    """Return the engine's numbers from genesis."""
    p = chain.genesis.parameters
    return EngineParameters(
        delta_ns=p.delta_ms * NS_PER_MS,
        delta_max_ns=p.delta_max_ms * NS_PER_MS,
        block_interval_ns=p.block_interval_ms * NS_PER_MS,
        skip_ns=p.skip_ms * NS_PER_MS,
        retry_ns=p.retry_ms * NS_PER_MS,
    )


class Core:
    """All of a node's rules, behind one `handle`."""

    def __init__(
        self,
        chain: Chain,
        engine: type[Engine],
        scheme: Scheme,
        identity: Identity,
        executors: Mapping[int, Executor],
        recovered: Recovered,
        pool: PoolConfig,
    ) -> None:
        """Assemble the parts; `start` begins.

        Args:
            chain: The chain's rules.
            engine: The consensus engine's class.
            scheme: The availability scheme.
            identity: Who we are.
            executors: By uid, at the recovered state.
            recovered: What store and log hold.
            pool: Limits of the pool.
        """
        self.chain = chain
        self.identity = identity
        self._recovered = recovered
        self._newcomer = (
            recovered.forgetful and recovered.head is None and identity.index is not None
        )
        self._unordered: dict[tuple[bytes, int], int] = {}
        """Epochs of batches seen and not ordered yet, by (collator, sequence)."""
        self._told: dict[int, int] = {}
        """Final heights that validators told a newcomer, by index."""
        self._started_ns = 0
        self._summary_turn = 0
        self._connected: dict[bytes, None] = {}
        self._messages = Allowances(per_s=MESSAGES_PER_S, at_once_max=MESSAGES_AT_ONCE_MAX)
        self._topic = transaction_topic(0)
        self._epoch = -1
        self.desk = Desk()
        self.executors = dict(executors)
        parameters = chain.genesis.parameters
        self.fetcher = Fetcher(self.desk)
        self.roll = Roll()
        self.pool = Pool(pool)
        self.intake = Intake(
            chain,
            identity.index,
            self.desk,
            self.pool,
            self._account,
            self.heights,
            self._is_current,
            lambda transaction_id: self.index.recent(transaction_id) is not None,
            self._wake_certifier,
        )
        self.shelf = Shelf(
            self.desk,
            self.fetcher,
            lambda name: scheme,
            self.intake.verified_before,
            self._batch_ready,
            parameters.batch_bytes_max,
        )
        self.index = TransactionIndex()
        self.ordering = Ordering(
            chain,
            engine,
            engine_parameters(chain),
            identity.index,
            self.desk,
            self.fetcher,
            self,
        )
        self.pipeline = Pipeline(
            chain,
            identity.index,
            self.desk,
            self.shelf,
            executors,
            self.ordering.own_statement,
            self._executed,
        )
        self.catchup = Catchup(
            chain,
            self.desk,
            self.ordering,
            self.ordering.host.verify_claims_of_proof,
            # Votes never bring an observer anything.
            lag_heights=LAG_HEIGHTS if identity.index is not None else 1,
        )
        self.certifier: Certifier | None = None
        self.collator: Collator | None = None
        if identity.index is not None:
            self.collator = Collator(
                CollatorConfig.of(chain.id, FIRST_UID, identity.public_key, parameters),
                self.pool,
                scheme,
                next_sequence=recovered.next_sequence,
            )
            self.certifier = Certifier(
                chain,
                identity.index,
                self.desk,
                self.collator,
                Dispersal(DispersalConfig()),
                Custody(CustodyConfig.of(chain.id, parameters), scheme),
                self.shelf,
                self.ordering.own_statement,
                self.heights,
                self.pool,
                self.ordering.unlisted_batches,
            )

    # --- the two ways in -------------------------------------------------------------------------

    def start(self, now_ns: int, wall_ms: int) -> list[Effect]:
        """Go on where the store and the log end; called once, before any input."""
        self.desk.now_ns, self.desk.wall_ms = now_ns, wall_ms
        self._started_ns = now_ns
        r = self._recovered
        for uid, collator, sequence in r.feeds:
            self.ordering.pool.restore_feed(uid, collator, sequence)
        for uid, height, outboxes in r.results:
            self.ordering.pool.restore_results(uid, height, outboxes)
        if self.identity.index is not None:
            # What we lack may lie on our own disk: a payload signed and stored just before the end
            # of our last life. A validator alone has nobody else to ask.
            self.fetcher.connected(self.chain.genesis.validators[self.identity.index].peer_id)
        self._follow_epoch(r.executed_height)
        self.pipeline.start(r.executed_height, r.own_results, r.inboxes)
        for held in r.batches:
            self.shelf.put(held)
        self.ordering.start(r.head, r.floor, r.engine_records)
        for block, statements in r.unexecuted:
            self.pipeline.block(block, statements)
        self.desk.arm(("core", "summary"), now_ns + SUMMARY_PERIOD_NS)
        if self._newcomer:
            self._judge_start()
        return self.desk.drain()

    def handle(self, now_ns: int, wall_ms: int, given: Input) -> list[Effect]:
        """Take one input and return its effects, in order."""
        self.desk.now_ns, self.desk.wall_ms = now_ns, wall_ms
        match given:
            case FrameIn(peer, frame):
                self._frame(peer, frame)
            case VerifiedIn() | SignedIn() | AnswerIn():
                self.desk.answer(given)
            case TimerFired(key):
                self._timer(key)
            case TopicIn(topic, origin, data):
                if topic == self._topic:
                    self._published(origin, data)
            case SubmitIn(ticket, raws):
                self.intake.submit(ticket, raws)
            case PeerUp(peer):
                self._connected[peer] = None
                self.fetcher.connected(peer)
                self.ordering.host.send_summary([peer], self.ordering.height)
            case PeerDown(peer):
                self._connected.pop(peer, None)
                self.fetcher.lost(peer)
                self.catchup.lost(peer)
            case RttIn(rtt_ns):
                self.ordering.host.tune(2 * rtt_ns)
            case _:
                assert_never(given)
        return self.desk.drain()

    # --- routing ---------------------------------------------------------------------------------

    def _frame(self, peer: bytes, frame: bytes) -> None:
        now_ns = self.desk.now_ns
        if not self._messages.left(peer, now_ns):
            return  # told when it was spent
        try:
            messages = decode_frame(frame)
        except RemoteProtocolError as error:
            self.desk.penalize(peer, error.penalty, f"frame: {error}")
            return
        self._messages.spend(peer, len(messages), now_ns)
        if not self._messages.left(peer, now_ns):
            self.desk.emit("messages_dropped", peer=peer)
        stranger = self.chain.validator_of_peer(peer) is None
        if not stranger:
            self.roll.heard(peer, self.desk.now_ns)
        checks_max = STRANGER_CHECKS_MAX if stranger else OPEN_CHECKS_MAX
        self.desk.cause = peer
        for message in messages:
            if self.desk.open_checks(peer) >= checks_max:
                self.desk.emit("messages_dropped", peer=peer)
                break
            if isinstance(message, Statements):
                for raw in message.statements:
                    if self.desk.open_checks(peer) < checks_max:
                        self.ordering.statement_from(peer, raw)
            else:
                self._message(peer, message)
        self.desk.cause = None

    def _published(self, origin: bytes, data: bytes) -> None:
        try:
            raws = decode_transaction_frame(data)
        except RemoteProtocolError:
            return  # the network's validator has judged it, and whoever forwarded it
        # Strangers share one measure: who publishes under ever new names has no more than one.
        stranger = self.chain.validator_of_peer(origin) is None
        checks_max = GOSSIP_CHECKS_MAX if stranger else OPEN_CHECKS_MAX
        self.desk.cause = _GOSSIP if stranger else origin
        if self.desk.open_checks(self.desk.cause) < checks_max:
            self.intake.arrived(origin, raws)
        else:
            self.desk.emit("messages_dropped", peer=origin)
        self.desk.cause = None

    def _message(self, peer: bytes, message: Message) -> None:
        match message:
            case EngineItem():
                if message.payload:
                    self.ordering.payload_from(peer, message.payload)
                self.ordering.host.receive(peer, message)
            case Summary(_, height, _):
                self.ordering.host.summary_from(peer, message)
                self._heard(peer, height)
            case BatchOffer():
                if self.certifier is not None:
                    self.certifier.offer_from(peer, message)
            case Stored():
                if self.certifier is not None:
                    self.certifier.stored_from(peer, message)
            case ResultVote():
                self.pipeline.vote_from(peer, message)
            case Statements():
                raise AssertionError("statements are counted one by one, see _frame")
            case Transactions(raws):
                self.intake.arrived(peer, raws)
            case _:
                assert_never(message)

    def _heard(self, peer: bytes, height: int) -> None:
        """A peer told how far its chain is final."""
        index = self.chain.validator_of_peer(peer)
        if index is not None:
            self.roll.told(peer, height)
        if self._newcomer and index is not None:
            self._told[index] = height
            self._judge_start()
        if peer not in self._connected:
            return  # a frame that arrives after its connection ended
        self.catchup.heard(peer, height)
        if height < self.ordering.height and index is None:
            # Validators tell each other in turn; an observer hears only who answers it.
            self.ordering.host.send_summary([peer], self.ordering.height)

    def _timer(self, key: Hashable) -> None:
        match key:
            case ("engine", int(epoch), engine_key):
                self.ordering.host.fired(epoch, engine_key)
            case ("ordering", str(name)):
                self.ordering.timer(name)
            case ("fetcher",):
                self.fetcher.fired()
            case ("catchup",):
                self.catchup.fired()
            case ("pipeline",):
                self.pipeline.fired()
            case ("intake", str(which)):
                self.intake.fired(which)
            case ("feeds", str(which)):
                if self.certifier is not None:
                    self.certifier.fired(which)
            case ("core", "summary"):
                self._summarize()
            case _:
                raise AssertionError(f"timer of nobody: {key!r}")

    def _summarize(self) -> None:
        """Tell one validator in turn what we have, or all of them when nothing moves."""
        self.desk.arm(("core", "summary"), self.desk.now_ns + SUMMARY_PERIOD_NS)
        validators = self.chain.validators_of(self.chain.epoch_of(self.ordering.height + 1))
        peers = [v.peer_id for v in validators if v.peer_id in self._connected]
        if not peers:
            return
        stalled = self.desk.now_ns - self.ordering.last_block_ns > STALL_NS
        if not (stalled and self.ordering.pool.has_waiting()):
            self._summary_turn += 1
            peers = [peers[self._summary_turn % len(peers)]]
        self.ordering.host.send_summary(peers, self.ordering.height)

    # --- what parts tell each other --------------------------------------------------------------

    def block(self, block: Block, statements: tuple[Statement, ...]) -> None:
        """Take a final block from the ordering."""
        self.desk.emit(
            "block_finalized",
            height=block.height,
            hash=block.hash,
            payload=block.payload,
            view=block.view,
            time_ms=block.time_ms,
        )
        for statement in statements:
            if isinstance(statement, BatchCertificate):
                ready = self.shelf.ready(statement.header.digest())
                if ready is not None:
                    ids = [t.id for t in ready.transactions if t is not None]
                    self.index.ordered(ids, block.height)
        self.pipeline.block(block, statements)

    def statement(self, statement: Statement) -> None:
        """A verified statement waits to be ordered."""
        if isinstance(statement, BatchCertificate):
            header = statement.header
            self.pool.certified(self.desk.now_ns, header.collator, header.sequence)
            if self.certifier is not None:
                self.certifier.certified(statement)
            self._wake_certifier()

    def batch_expected(self) -> bool:
        """Tell whether a batch certificate is about to come."""
        return self.certifier is not None and self.certifier.expected()

    @property
    def may_sign(self) -> bool:
        """Whether signatures may be made yet; until then the shell lets them wait.

        A validator without any memory either begins with its chain or has lost earlier lives; its
        peers know. A quorum has to be there before anything can be decided, so waiting to hear one
        costs nothing.
        """
        return not self._newcomer

    def _judge_start(self) -> None:
        """Tell from what validators say whether the chain begins or is under way."""
        validators = self.chain.validators_of(0)
        total = sum(v.power for v in validators)
        needed = quorum_of(total)
        beginning = sum(
            v.power
            for i, v in enumerate(validators)
            if i == self.identity.index or self._told.get(i, LAG_HEIGHTS) < LAG_HEIGHTS
        )
        vouched, power = 0, 0
        for height, i in sorted(((h, i) for i, h in self._told.items()), reverse=True):
            power += validators[i].power
            if power > total - needed:
                vouched = height  # somebody correct is that far
                break
        if vouched >= LAG_HEIGHTS:
            self.desk.add(Observe(self.chain.epoch_of(vouched + 1)))
            self._newcomer = False
        elif beginning >= needed:
            self._newcomer = False

    def synced(self, height: int) -> None:
        """Block sync brought us to a height."""
        self._newcomer = False
        if self._recovered.forgetful and not self.ordering.host.statistics().drafts_signed:
            # A validator without memory that finds the chain under way may have signed in this
            # epoch, in a life it has lost.
            self.desk.add(Observe(self.chain.epoch_of(height + 1)))

    def proposed(self, payload: Payload) -> None:
        """Somebody proposed a payload."""
        if payload.items and self.certifier is not None:
            self.certifier.listed()

    def behind(self, height_at_least: int, hints: Sequence[int]) -> None:
        """The engine can't follow by votes."""
        self.catchup.behind(height_at_least)

    def _batch_ready(self, batch: ReadyBatch) -> None:
        ids = [t.id for t in batch.transactions if t is not None]
        header = batch.header
        if header.collator != self.identity.public_key:
            self.pool.mark_batched(self.desk.now_ns, ids, header.collator, header.sequence)
        self._unordered[header.collator, header.sequence] = header.epoch
        if len(self._unordered) > UNORDERED_MAX:
            del self._unordered[next(iter(self._unordered))]
        self.pipeline.advance()
        self._wake_certifier()

    def _executed(self, done: ExecutedBlock) -> list[Write]:
        height = done.block.height
        transactions = {
            (batch.digest, i): t
            for batch in done.batches
            for i, t in enumerate(batch.transactions)
            if t is not None
        }
        finished: list[bytes] = []
        nonces: dict[bytes, int] = {}
        writes: list[Write] = []
        for execution in done.executions:
            for outcome in execution.outcomes:
                # A copy with a broken signature has the id of the true one: it ends nothing.
                if not outcome.id or outcome.reason in (Reason.BAD_SIGNATURE, Reason.NONCE_GAP):
                    continue
                finished.append(outcome.id)
                if outcome.status is not Status.SKIPPED:
                    transaction = transactions[outcome.batch, outcome.index]
                    nonces[transaction.sender] = transaction.nonce + 1
                write = self.index.executed(outcome, height, done.executed_ms)
                if write is not None:
                    writes.append(write)
        self.index.passed(height)
        headers = [batch.header for batch in done.batches]
        dropped = self.pool.on_block(
            self.desk.now_ns,
            height,
            ordered=[(h.collator, h.sequence) for h in headers],
            finished=finished,
            next_nonces=nonces,
        )
        for gone in dropped:
            self.index.dropped(gone.id, str(gone.reason))
        if self.certifier is not None:
            writes += self.certifier.executed(height, headers, self.identity.public_key)
        self._give_up_batches(height, {h.collator: h.sequence for h in headers})
        self._follow_epoch(height)
        self.desk.emit("block_executed", done=done)
        self._wake_certifier()
        return writes

    def _give_up_batches(self, height: int, ordered: Mapping[bytes, int]) -> None:
        """Make the transactions of batches ready again that no later payload may list.

        Args:
            height: The executed height.
            ordered: By collator, the sequence it ordered.
        """
        now_ns, epoch = self.desk.now_ns, self.chain.epoch_of(height + 1)
        for key, of in list(self._unordered.items()):
            collator, sequence = key
            if sequence <= ordered.get(collator, 0):
                del self._unordered[key]
            elif of < epoch and not self.chain.admissible(of, height + 1):
                del self._unordered[key]
                if self.collator is not None and collator == self.identity.public_key:
                    self.collator.abandoned(now_ns, sequence)
                else:
                    self.pool.unbatch(now_ns, collator, sequence)

    def _follow_epoch(self, executed_height: int) -> None:
        epoch = self.chain.epoch_of(executed_height + 1)
        if epoch != self._epoch:
            self._epoch = epoch
            if self.certifier is not None:
                self.certifier.enter_epoch(epoch, self.chain.first_height(epoch) - 1)

    def _wake_certifier(self) -> None:
        if self.certifier is not None:
            self.certifier.wake()

    # --- questions -------------------------------------------------------------------------------

    def heights(self) -> tuple[int, int]:
        """Return (final height, executed height)."""
        return self.ordering.height, self.pipeline.height

    def _is_current(self) -> bool:
        """Tell whether our state is as new as others'; no if anybody, liars too, is ahead of it."""
        height = self.pipeline.height
        return height == self.ordering.height and 0 < self.catchup.best_height <= height + 1

    def quorum_rtt_s(self, rtts: Mapping[bytes, float]) -> float | None:
        """Return the round trip to the farthest of the nearest quorum; None when too few are known.

        Args:
            rtts: Measured round trips by peer id, seconds.
        """
        validators = self.chain.validators_of(self.chain.epoch_of(self.ordering.height + 1))
        needed = quorum_of_set(validators)
        known = sorted(
            (0.0 if i == self.identity.index else rtts.get(v.peer_id, -1.0), v.power)
            for i, v in enumerate(validators)
        )
        power = 0
        for rtt_s, weight in known:
            if rtt_s < 0:
                continue
            power += weight
            if power >= needed:
                return rtt_s
        return None

    def _account(self, address: bytes) -> tuple[int, int]:
        executor = self.executors[FIRST_UID]
        assert isinstance(executor, ShardExecutor)
        flat = executor.state.flat(address)
        # Flat is (nonce, asset, amount, asset, amount …), assets ascending: fees are asset 0.
        balance = flat[2] if len(flat) > 2 and flat[1] == 0 else 0
        return flat[0], balance
