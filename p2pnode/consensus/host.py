"""The engine's host: one engine object an epoch, its drafts signed, its timers armed, its items
verified.

The host knows no engine's name and reads no engine's body. What is ordered (payloads) is the
application's, behind `Application`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from p2pnode import codec, crypto
from p2pnode.consensus.engine import (
    Available,
    Behind,
    Broadcast,
    Build,
    Built,
    CancelTimer,
    Certified,
    Check,
    Checked,
    Claim,
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
    Key,
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
    Tune,
)
from p2pnode.consensus.standing import Standing, standing_of
from p2pnode.errors import RemoteProtocolError
from p2pnode.types.chain import Chain
from p2pnode.types.desk import Desk
from p2pnode.types.effects import Forget, Lane
from p2pnode.types.messages import EngineItem, encode_message
from p2pnode.types.messages import Summary as SummaryMessage

SUMMARY_EVERY_NS: Final = 125_000_000
"""A validator's summaries are answered so often in the long run; an answer may be thousands of
times as large as its question."""

SUMMARY_BURST_NS: Final = 2_000_000_000
"""After a pause as many answers as fit into this time come at once."""

RECORD_ENGINE: Final = 3
"""Code of the log records that hold an engine's own record: `[3, epoch, record]`."""

_LANES: Final = {
    TrafficClass.VOTE: Lane.VOTE,
    TrafficClass.CERT: Lane.VOTE,
    TrafficClass.PROPOSAL: Lane.PROPOSAL,
    TrafficClass.BULK: Lane.PROPOSAL,
}


class Application(Protocol):
    """What is ordered. Answers go back through `EngineHost.built` and `.checked`, now or later."""

    def build(self, question: Build) -> None:
        """Propose a payload on `question.parent`."""

    def check(self, question: Check) -> None:
        """Judge a payload."""

    def fetch(self, payloads: Sequence[bytes], hints: Sequence[int]) -> None:
        """Get payload bodies; `EngineHost.available` answers."""

    def deliver(self, final: Deliver) -> None:
        """Take a final height; they come in order."""

    def certified(self, height: int, proof: bytes) -> None:
        """Take the proof of a height delivered without one."""

    def offence(self, epoch: int, kind: str, offence: Offence) -> None:
        """Take evidence of a double sign."""

    def behind(self, height_at_least: int, hints: Sequence[int]) -> None:
        """Others are further than votes can bring us: sync blocks."""

    def payload_body(self, body: bytes) -> bytes:
        """Return the payload body that a proposal with this engine body needs beside it, or
        empty.
        """

    def entered(self, view: tuple[int, ...]) -> None:
        """The engine moved to another view."""


@dataclass(frozen=True, slots=True)
class HostStatistics:
    """What the host saw since start."""

    epoch: int
    view: tuple[int, ...]
    proposer: int | None
    """Index of the view's proposer; None in an engine without one."""
    views_entered: int
    views_skipped: int
    """Views that ended with a nullification, as far as the engine reported them."""
    items_received: int
    items_dropped: int
    items_deferred: int
    items_invalid: int
    drafts_signed: int
    drafts_refused: int
    held: int


@dataclass(frozen=True, slots=True)
class _Start:
    """A new epoch waits behind the effects that ended the one before."""

    floor: Floor
    records: tuple[bytes, ...]


class EngineHost:
    """Runs the engine of the current epoch."""

    def __init__(
        self,
        chain: Chain,
        engine: type[Engine],
        parameters: EngineParameters,
        me: int | None,
        desk: Desk,
        application: Application,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            chain: Epochs and validator sets.
            engine: The engine's class.
            parameters: Its numbers.
            me: Our index among the validators, None for an observer.
            desk: Where effects go.
            application: What is ordered.
        """
        self._chain = chain
        self.engine_type = engine
        self._parameters = parameters
        self._me = me
        self._desk = desk
        self._application = application
        self.kind = f"engine/{engine.name}/{engine.version}"
        """Signing domain of the engine's bodies."""
        self._deferred: dict[int, deque[tuple[int | None, Item, bytes]]] = {}
        self._summary_due_ns: dict[int, int] = {}
        self._demand = False
        self._demand_ns = 0
        self._tuned_ns = 0
        self._floor_height = 0
        self._view: tuple[int, ...] = ()
        self._proposer: int | None = None
        self._counts = dict.fromkeys(
            (
                "entered",
                "skipped",
                "received",
                "dropped",
                "deferred",
                "invalid",
                "signed",
                "refused",
            ),
            0,
        )
        self._queue: deque[Event | _Start] = deque()
        self._running = False
        self.epoch: Epoch
        self._engine: Engine

    # --- epochs ----------------------------------------------------------------------------------

    def epoch_frame(self, number: int) -> Epoch:
        """Return the fixed frame of an epoch."""
        return Epoch(
            chain=self._chain.id,
            number=number,
            validators=tuple((v.public_key, v.power) for v in self._chain.validators_of(number)),
            me=self._me,
            first_height=self._chain.first_height(number),
            last_height=self._chain.last_height(number),
            seed=self._chain.proposer_seed(number),
        )

    def start(self, floor: Floor, records: Iterable[bytes]) -> None:
        """Begin the epoch after `floor`, or go on in the middle of one.

        Args:
            floor: Newest final height whose proof we have (or the last of the epoch before).
            records: The epoch's log records as the engine wants them (H6).
        """
        self._enqueue(_Start(floor, tuple(records)))

    def synced(self, floor: Floor) -> None:
        """Block sync brought us to `floor`, whose proof is verified."""
        if self._chain.epoch_of(floor.height + 1) != self.epoch.number:
            self.start(floor, ())
        else:
            self._floor_height = max(self._floor_height, floor.height)
            self._step(Synced(floor))

    # --- from the network ------------------------------------------------------------------------

    def receive(self, peer: bytes, message: EngineItem) -> None:
        """Take an engine item that a peer sent."""
        self._counts["received"] += 1
        if message.epoch != self.epoch.number:
            self._counts["dropped"] += 1
            return
        if message.signed is not None:
            item: Item = Signed(*message.signed)
        else:
            item = message.certificate
        self._offer(self._chain.validator_of_peer(peer), item, peer)

    def summary_from(self, peer: bytes, message: SummaryMessage) -> None:
        """Take a peer's summary: answer with what it lacks."""
        index = self._chain.validator_of_peer(peer)
        if message.epoch != self.epoch.number or index is None:
            return
        now_ns = self._desk.now_ns
        due_ns = self._summary_due_ns.get(index, 0)
        if due_ns > now_ns:
            self._counts["dropped"] += 1
            return
        self._summary_due_ns[index] = max(due_ns, now_ns - SUMMARY_BURST_NS) + SUMMARY_EVERY_NS
        try:
            self._step(Summary(index, message.blob))
        except RemoteProtocolError as error:
            self._blame(peer, error)

    def send_summary(self, to: Sequence[bytes], height: int) -> None:
        """Send our summary to peers."""
        message = SummaryMessage(self.epoch.number, height, self._engine.summary())
        self._desk.send(to, Lane.PROPOSAL, encode_message(message))

    def _offer(self, sender: int | None, item: Item, peer: bytes) -> None:
        match self._engine.interest(item):
            case Interest.DROP:
                self._counts["dropped"] += 1
            case Interest.DEFER:
                queue = self._deferred.setdefault(-1 if sender is None else sender, deque())
                if len(queue) < self._parameters.deferred_per_sender_max:
                    queue.append((sender, item, peer))
                    self._counts["deferred"] += 1
                else:
                    self._counts["dropped"] += 1
            case Interest.NOW:
                self._verify(sender, item, peer)

    def _verify(self, sender: int | None, item: Item, peer: bytes) -> None:
        epoch = self.epoch
        try:
            claims = self.engine_type.claims(item, epoch)
        except RemoteProtocolError as error:
            self._blame(peer, error)
            return

        def verified(ok: tuple[bool, ...]) -> None:
            if not all(ok):
                self._counts["invalid"] += 1
                self._desk.penalize(peer, 50.0, "bad signature in a consensus item")
            elif self.epoch is epoch:
                self._step(Msg(sender, item))

        self._desk.verify(self.checks(claims, epoch), verified)

    def checks(self, claims: Sequence[Claim], epoch: Epoch) -> list[tuple[bytes, bytes, bytes]]:
        """Return claims as (public key, message, signature)."""
        return [
            (
                epoch.validators[claim.signer][0],
                crypto.signing_hash(self._chain.id, self.kind, epoch.number, claim.body),
                claim.sig,
            )
            for claim in claims
        ]

    def _blame(self, peer: bytes, error: RemoteProtocolError) -> None:
        self._counts["invalid"] += 1
        self._desk.penalize(peer, error.penalty, f"consensus item: {error}")

    # --- from the application --------------------------------------------------------------------

    def built(self, ctx: Key, payload: bytes | None) -> None:
        """Answer a Build."""
        self._step(Built(ctx, payload))

    def checked(self, ctx: Key, ok: bool) -> None:
        """Answer a Check."""
        self._step(Checked(ctx, ok))

    def available(self, payload: bytes) -> None:
        """A payload's body is here."""
        self._step(Available(payload))

    def demand(self, pending: bool) -> None:
        """Tell whether there is something to propose."""
        if pending != self._demand:
            self._demand = pending
            self._demand_ns = self._desk.now_ns
            self._step(Demand(pending))

    def tune(self, delta_ns: int) -> None:
        """Tell a measured bound on message delay."""
        self._tuned_ns = delta_ns
        self._step(Tune(delta_ns))

    def fired(self, epoch: int, key: Key) -> None:
        """A timer of an epoch's engine fired."""
        if epoch == self.epoch.number:
            self._step(Fired(key))

    # --- the engine's effects --------------------------------------------------------------------

    def _step(self, event: Event) -> None:
        self._enqueue(event)

    def _enqueue(self, entry: Event | _Start) -> None:
        """Take an event after those before it: the application may answer inside an effect, and
        effects are carried out in list order.
        """
        self._queue.append(entry)
        if self._running:
            return
        self._running = True
        try:
            while self._queue:
                current = self._queue.popleft()
                if isinstance(current, _Start):
                    self._begin(current)
                else:
                    self._run(self._engine.step(self._desk.now_ns, current))
        finally:
            self._running = False

    def _begin(self, start: _Start) -> None:
        # What still waits in the queue was meant for the epoch that ends.
        self._queue.clear()
        number = self._chain.epoch_of(start.floor.height + 1)
        self.epoch = self.epoch_frame(number)
        self._engine = self.engine_type(self._parameters)
        self._deferred.clear()
        self._view = ()
        self._floor_height = start.floor.height
        now_ns = self._desk.now_ns
        self._run(self._engine.recover(now_ns, self.epoch, start.floor, start.records))
        if self._tuned_ns:
            self._enqueue(Tune(self._tuned_ns))
        if self._demand:
            self._enqueue(Demand(True))

    def _run(self, effects: Sequence[Effect]) -> None:
        reoffer = False
        for effect in effects:
            match effect:
                case Persist(record, sync):
                    encoded = codec.encode([RECORD_ENGINE, self.epoch.number, record])
                    self._desk.append(encoded, sync=sync)
                case Broadcast(item, traffic):
                    self._dispatch(None, item, traffic)
                case Send(to, item, traffic):
                    self._dispatch(to, item, traffic)
                case SetTimer(key, after_ns):
                    self._desk.arm(("engine", self.epoch.number, key), self._desk.now_ns + after_ns)
                case CancelTimer(key):
                    self._desk.disarm(("engine", self.epoch.number, key))
                case Build():
                    self._application.build(effect)
                case Check():
                    self._application.check(effect)
                case Fetch(payloads, certs, hints):
                    if payloads:
                        self._application.fetch(payloads, hints)
                    if certs:
                        self.send_summary(self.peers(hints), self._floor_height)
                case Deliver():
                    self._floor_height = max(self._floor_height, effect.height)
                    self._application.deliver(effect)
                case Certified(height, proof):
                    self._application.certified(height, proof)
                case Offence():
                    self._application.offence(self.epoch.number, self.kind, effect)
                case Behind(height, hints):
                    self._application.behind(height, hints)
                case Entered(view, proposer):
                    self._view = view
                    self._proposer = proposer
                    self._counts["entered"] += 1
                    reoffer = True
                    self._application.entered(view)
                case Report(kind, data):
                    if kind == "nullified":
                        self._counts["skipped"] += 1
                    self._desk.emit("engine_" + kind, **data)
                case _:
                    assert_never(effect)
        if reoffer:
            self._reoffer()

    def _reoffer(self) -> None:
        waiting, self._deferred = self._deferred, {}
        for sender in sorted(waiting):
            for index, item, peer in waiting[sender]:
                self._offer(index, item, peer)

    def prune_signer(self, position: tuple[int, ...]) -> None:
        """Let the signer forget this epoch's positions below `position`."""
        self._desk.add(Forget(self.kind, self.epoch.number, position))

    def _dispatch(
        self, to: tuple[int, ...] | None, item: Draft | Signed | bytes, traffic: TrafficClass
    ) -> None:
        if isinstance(item, Draft):
            self._sign(to, item, traffic)
            return
        signed = (item.sender, item.body, item.sig) if isinstance(item, Signed) else None
        certificate = item if isinstance(item, bytes) else b""
        # A relayed proposal carries its payload too: who gets it may have missed the first one.
        body = (
            self._application.payload_body(item.body)
            if isinstance(item, Signed) and traffic is TrafficClass.PROPOSAL
            else b""
        )
        message = EngineItem(self.epoch.number, signed, certificate, body)
        self._desk.send(self.peers(to), _LANES[traffic], encode_message(message))

    def _sign(self, to: tuple[int, ...] | None, draft: Draft, traffic: TrafficClass) -> None:
        epoch = self.epoch
        assert self._me is not None, "an observer's engine made a draft"
        me = self._me

        def signed(signature: bytes | None) -> None:
            if signature is None:
                self._counts["refused"] += 1
                self._desk.emit("draft_refused", epoch=epoch.number, kind=self.kind)
                return
            self._counts["signed"] += 1
            item = Signed(me, draft.body, signature)
            if self.epoch is not epoch:
                return
            self._dispatch(to, item, traffic)
            self._step(Msg(me, item))

        self._desk.sign(
            self.kind,
            epoch.number,
            draft.body,
            self.engine_type.slots(draft.body),
            self.engine_type.position(draft.body),
            signed,
        )

    def peers(self, indices: Sequence[int] | None) -> list[bytes]:
        """Return the peer ids of validators but ourselves; None means all.

        An index outside the set is nobody's: it may come from an epoch before.
        """
        validators = self._chain.validators_of(self.epoch.number)
        chosen = range(len(validators)) if indices is None else indices
        return [validators[i].peer_id for i in chosen if i != self._me and i < len(validators)]

    def verify_claims_of_proof(
        self, proof: bytes, height: int, digest: bytes
    ) -> list[tuple[bytes, bytes, bytes]]:
        """Return the signature checks that prove `digest` final at `height`.

        Raises:
            RemoteProtocolError: The proof is malformed or of something else.
        """
        epoch = self.epoch_frame(self._chain.epoch_of(height))
        return self.checks(self.engine_type.verify_proof(proof, epoch, height, digest), epoch)

    @property
    def view(self) -> tuple[int, ...]:
        """The engine's current position."""
        return self._view

    @property
    def proposer(self) -> int | None:
        """Index of the view's proposer; None in an engine without one."""
        return self._proposer

    @property
    def demanded(self) -> bool:
        """Whether there is something to propose."""
        return self._demand

    def demand_age_ns(self, now_ns: int) -> int | None:
        """Return for how long there has been something to propose; None when there is nothing."""
        return max(0, now_ns - self._demand_ns) if self._demand else None

    def standing(self, now_ns: int) -> Standing:
        """Return where the engine stands, for people."""
        return standing_of(self._engine, now_ns)

    def statistics(self) -> HostStatistics:
        """Return what was seen since start."""
        c = self._counts
        return HostStatistics(
            self.epoch.number,
            self._view,
            self._proposer,
            c["entered"],
            c["skipped"],
            c["received"],
            c["dropped"],
            c["deferred"],
            c["invalid"],
            c["signed"],
            c["refused"],
            self._engine.held(),
        )
