"""The shell around a node's core: one nursery, effects become I/O.

The order of effects is kept. Everything that must be durable before something leaves (records of
what was signed, stored batches and payloads) is gathered, made durable by one sync in a worker
thread, and only then do the messages and signatures that came after it go out. New inputs are
handled meanwhile.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from p2pnode.errors import StorageError
from p2pnode.keys.safesigner import (
    BelowFloorError,
    DoubleSignError,
    ObserveOnlyError,
    SafeSigner,
)
from p2pnode.node.core import Core
from p2pnode.node.recovery import KEY_SIGNED_MARK, encode_mark, engine_record_epoch
from p2pnode.ports import (
    Clock,
    FrameReceived,
    Log,
    Network,
    PeerConnected,
    PeerLost,
    Published,
    RequestFailedError,
    Store,
    Verifier,
)
from p2pnode.types.effects import (
    AnswerIn,
    Append,
    ArmTimer,
    DisarmTimer,
    Effect,
    Emit,
    Forget,
    FrameIn,
    Input,
    Lane,
    Observe,
    PeerDown,
    PeerUp,
    Penalize,
    Publish,
    Put,
    Reply,
    Request,
    RttIn,
    SendTo,
    Sign,
    SignedIn,
    SubmitIn,
    TimerFired,
    TopicIn,
    VerifiedIn,
    Verify,
    Write,
)
from p2pnode.types.messages import FRAME_BYTES_MAX, MESSAGES_MAX, join_frame

NS_PER_S: Final = 1_000_000_000

REQUESTS_MAX: Final = 32
"""Most requests of ours under way at once."""

LOG_COMPACT_BYTES: Final = 16 * 1024 * 1024
"""The log is rewritten without old records after so many appended bytes."""

RTT_PERIOD_S: Final = 2.0
"""How often measured round trips are told to the core."""


@dataclass(frozen=True, slots=True)
class ShellStatistics:
    """What the shell did since start."""

    inputs_count: int
    effects_count: int
    syncs_count: int
    frames_sent: int
    effects_waiting: int
    signatures_refused: int


@dataclass(frozen=True, slots=True)
class Ports:
    """A node's adapters to the world."""

    network: Network
    clock: Clock
    store: Store
    log: Log
    verifier: Verifier
    sync_in_thread: bool
    """True on real disks; the simulator syncs inline."""
    check_now: Callable[[Sequence[tuple[bytes, bytes, bytes]]], list[bool]] | None = None
    """Checks signatures at once, without the event loop: the simulator's way."""


class DiskRefusesError(StorageError):
    """The node takes nothing any more, since its disk refuses writes."""

    def __init__(self, cause: StorageError) -> None:
        super().__init__(f"the disk refuses writes: {cause}")


class Shell:
    """Feeds a core and carries out what it asks."""

    def __init__(
        self,
        core: Core,
        ports: Ports,
        signer: SafeSigner | None,
        *,
        on_event: Callable[[Emit], None],
        record: Callable[[int, int, Input], None] | None = None,
        before_effect: Callable[[Effect], None] | None = None,
        engine_kind: str,
        current_epoch: Callable[[], int],
        ask_self: Callable[[str, bytes], Awaitable[bytes]],
    ) -> None:
        """Assemble; `run` begins.

        Args:
            core: The node's core.
            ports: Its adapters.
            signer: Guard of the validator's key; None for a node without one.
            on_event: Called with everything the core emits.
            record: Called with (now_ns, wall_ms, input) before the core sees it.
            before_effect: Called before each effect is carried out; a test may crash there.
            engine_kind: Signing domain of the engine's votes.
            current_epoch: Gives the engine's epoch; older engine records need not be kept.
            ask_self: Answers (protocol, body) from our own store as we would answer a peer.
        """
        self._ask_self = ask_self
        self._engine_kind = engine_kind
        self._current_epoch = current_epoch
        self._mark: tuple[int, tuple[int, ...]] | None = None
        self._mark_durable: tuple[int, tuple[int, ...]] | None = None
        self._mark_stored: tuple[int, tuple[int, ...]] | None = None
        self._appended_bytes = 0
        self._core = core
        self._ports = ports
        self._signer = signer
        self._on_event = on_event
        self._record = record
        self._before_effect = before_effect
        self._ordered: deque[Effect] = deque()
        self._unsigned: list[Sign] = []
        """What a core asked to sign before it may."""
        self._work = trio.Event()
        self._timers: dict[Hashable, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, Hashable]] = []
        self._timer_count = 0
        self._timer_due_ns: int | None = None
        self._timer_wake = trio.Event()
        self._replies: dict[int, Callable[[tuple[object, ...]], None]] = {}
        self._reply_ticket = 0
        self._waiting: dict[int, trio.Event] = {}
        self._requests = trio.CapacityLimiter(REQUESTS_MAX)
        self._counts = dict.fromkeys(("inputs", "effects", "syncs", "frames", "refused"), 0)
        self._storage_error: StorageError | None = None
        self._nursery: trio.Nursery

    @property
    def storage_error(self) -> StorageError | None:
        """Why the disk refuses writes; None while it doesn't."""
        return self._storage_error

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the core until cancelled; started once it takes inputs."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._carry_out)
            nursery.start_soon(self._run_timers)
            self._perform(self._core.start(self._ports.clock.now_ns(), self._ports.clock.wall_ms()))
            nursery.start_soon(self._receive)
            nursery.start_soon(self._measure_rtt)
            task_status.started()

    def statistics(self) -> ShellStatistics:
        """Return what was done since start."""
        c = self._counts
        return ShellStatistics(
            c["inputs"], c["effects"], c["syncs"], c["frames"], len(self._ordered), c["refused"]
        )

    async def submit(self, raws: tuple[bytes, ...]) -> tuple[object, ...]:
        """Hand transactions in; returns None or the refusal for each.

        Raises:
            DiskRefusesError: The disk refuses writes, or began to while this waited.
        """
        if self._storage_error is not None:
            raise DiskRefusesError(self._storage_error)
        done = trio.Event()
        result: list[tuple[object, ...]] = []

        def reply(outcomes: tuple[object, ...]) -> None:
            result.append(outcomes)
            done.set()

        self._reply_ticket += 1
        self._replies[self._reply_ticket] = reply
        ticket = self._reply_ticket
        self._waiting[ticket] = done
        try:
            self.input(SubmitIn(ticket, raws))
            await done.wait()
        finally:
            del self._waiting[ticket]
        if not result:
            assert self._storage_error is not None
            raise DiskRefusesError(self._storage_error)
        return result[0]

    # --- inputs ----------------------------------------------------------------------------------

    def input(self, given: Input) -> None:
        """Hand one input to the core: the only way in."""
        if self._storage_error is not None:
            return
        self._counts["inputs"] += 1
        now_ns, wall_ms = self._ports.clock.now_ns(), self._ports.clock.wall_ms()
        try:
            if self._record is not None:
                self._record(now_ns, wall_ms, given)
            self._perform(self._core.handle(now_ns, wall_ms, given))
        except StorageError as error:
            self._stop_acting(error)

    def _stop_acting(self, error: StorageError) -> None:
        """Do nothing any more: the disk refused what must be on it before anything may leave.

        The core is ahead of the disk from here on, so it gets no input, and no effect of it is
        carried out, until a new life begins with what the disk has. The process stays, to say why.
        """
        if self._storage_error is not None:
            return
        self._storage_error = error
        self._ordered.clear()
        self._unsigned.clear()
        self._timers.clear()
        self._replies.clear()
        for waiting in self._waiting.values():
            waiting.set()
        self._on_event(Emit("storage_failed", {"reason": str(error)}))

    async def _receive(self) -> None:
        async for event in self._ports.network.incoming:
            match event:
                case FrameReceived(peer, _, frame):
                    self.input(FrameIn(peer, frame))
                case Published(topic, _, origin, data):
                    self.input(TopicIn(topic, origin, data))
                case PeerConnected(peer):
                    self.input(PeerUp(peer))
                case PeerLost(peer, _):
                    self.input(PeerDown(peer))

    async def _measure_rtt(self) -> None:
        while True:
            await trio.sleep(RTT_PERIOD_S)
            rtts = {p.peer: p.rtt_s for p in self._ports.network.peers() if p.rtt_s is not None}
            rtt_s = self._core.quorum_rtt_s(rtts)
            if rtt_s is not None:
                self.input(RttIn(int(rtt_s * NS_PER_S)))

    # --- effects ---------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        """Carry out at once what needs no order, and queue the rest."""
        self._counts["effects"] += len(effects)
        check_now = self._ports.check_now
        checked: list[VerifiedIn] = []
        for effect in effects:
            match effect:
                case Verify(ticket, checks):
                    if check_now is not None:
                        checked.append(VerifiedIn(ticket, tuple(check_now(checks))))
                    else:
                        self._nursery.start_soon(self._verify, effect)
                case ArmTimer(key, at_ns):
                    self._arm(key, at_ns)
                case DisarmTimer(key):
                    self._timers.pop(key, None)
                case Request():
                    self._nursery.start_soon(self._request, effect)
                case Penalize(peer, points, reason):
                    self._ports.network.penalize(peer, points, reason)
                case Emit():
                    self._on_event(effect)
                case Sign() if not self._core.may_sign:
                    self._unsigned.append(effect)
                case _:
                    self._ordered.append(effect)
        if self._unsigned and self._core.may_sign:
            self._ordered.extend(self._unsigned)
            self._unsigned.clear()
        if self._ordered:
            self._work.set()
        for answer in checked:
            self.input(answer)

    async def _carry_out(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self._ordered:
                batch = list(self._ordered)
                self._ordered.clear()
                if self._storage_error is not None:
                    continue
                try:
                    await self._carry_out_batch(batch)
                except StorageError as error:
                    self._stop_acting(error)

    async def _carry_out_batch(self, batch: list[Effect]) -> None:
        """Carry out a run of effects around at most one sync.

        What precedes the first barrier leaves before the sync; all else waits for it.
        """
        writes: list[Write] = []
        records: list[bytes] = []
        signed: dict[int, SignedIn] = {}
        barrier: int | None = None
        for position, effect in enumerate(batch):
            if self._before_effect is not None:
                self._before_effect(effect)
            match effect:
                case Put(new):
                    writes.extend(new)
                case Append(record, sync):
                    records.append(record)
                    if sync and barrier is None:
                        barrier = position
                case Sign(ticket):
                    signature = self._sign(effect, records)
                    signed[position] = SignedIn(ticket, signature)
                    # Even a signature without a record waits: a "stored" for its batch, one given
                    # before for its record.
                    if signature is not None and barrier is None:
                        barrier = position
                case Forget(kind, epoch, below):
                    if self._signer is not None:
                        records.append(self._signer.prune(kind, epoch, below))
                case Observe(until_epoch):
                    if self._signer is not None:
                        records.extend(self._signer.observe(until_epoch))
                        if barrier is None:
                            barrier = position
                case _:
                    pass
        if writes:
            mark = self._mark_durable
            if mark is not None and mark != self._mark_stored:
                self._mark_stored = mark
                writes.append(Write("meta", KEY_SIGNED_MARK, encode_mark(*mark)))
            self._ports.store.commit(writes, sync=False)
        first = len(batch) if barrier is None else barrier
        self._release(batch[:first], signed, 0)
        self._appended_bytes += sum(len(record) for record in records)
        if barrier is None:
            self._append(records)
        else:
            self._counts["syncs"] += 1
            mark = self._mark
            if self._ports.sync_in_thread:
                await trio.to_thread.run_sync(self._sync, records)
            else:
                self._sync(records)
            self._mark_durable = mark
            self._release(batch[first:], signed, first)
        if self._appended_bytes > LOG_COMPACT_BYTES:
            await self._compact()
        await trio.lowlevel.checkpoint()

    def _sync(self, records: list[bytes]) -> None:
        # The store first: a vote in the log, even in a log that is not synced yet, must never name
        # a payload or a batch that the store lost. Of a validator alone nobody else has them. The
        # store's mark names only votes that an earlier sync of the log made durable.
        self._ports.store.commit((), sync=True)
        self._append(records)
        self._ports.log.sync()

    def _append(self, records: list[bytes]) -> None:
        for record in records:
            self._ports.log.append(record)

    async def _compact(self) -> None:
        """Rewrite the log without what neither the signer nor the engine needs any more."""
        self._appended_bytes = 0
        epoch = self._current_epoch()
        if self._signer is not None and epoch >= 2:
            # Results of the epoch before may still be wanted; nothing older is ever signed.
            self._ports.log.append(self._signer.prune_epochs(epoch - 1))
        records = [r for r in self._ports.log.records() if engine_record_epoch(r) in (None, epoch)]
        if self._signer is not None:
            records = self._signer.compacted(records)
        if self._ports.sync_in_thread:
            await trio.to_thread.run_sync(self._rewrite, records)
        else:
            self._rewrite(records)

    def _rewrite(self, records: list[bytes]) -> None:
        # The store first here too: records of an epoch are dropped because its last block is
        # stored; without that block the next life would go on in the epoch, and miss them.
        self._ports.store.commit((), sync=True)
        self._ports.log.rewrite(records)

    def _sign(self, effect: Sign, records: list[bytes]) -> bytes | None:
        """Return a signature, its record added to `records`; None when the signer refuses."""
        if self._signer is None:
            return None
        try:
            prepared = self._signer.prepare(
                effect.kind, effect.epoch, effect.body, effect.slots, effect.position
            )
        except (DoubleSignError, ObserveOnlyError, BelowFloorError) as error:
            self._counts["refused"] += 1
            reason = {"signing_kind": effect.kind, "reason": str(error)}
            self._on_event(Emit("signature_refused", reason))
            return None
        if prepared.record is not None:
            records.append(prepared.record)
        if effect.kind == self._engine_kind:
            place = (effect.epoch, effect.position)
            if self._mark is None or place > self._mark:
                self._mark = place
        return prepared.signature

    def _release(self, effects: list[Effect], signed: dict[int, SignedIn], offset: int) -> None:
        """Let out what waited, several messages of one (peer, lane) in one frame."""
        outgoing: dict[tuple[bytes, Lane], list[bytes]] = {}
        for position, effect in enumerate(effects, offset):
            match effect:
                case SendTo(peers, lane, message):
                    for peer in peers:
                        outgoing.setdefault((peer, lane), []).append(message)
                case Publish(topic, data):
                    self._ports.network.publish(topic, data)
                case Reply(ticket, outcomes):
                    reply = self._replies.pop(ticket, None)
                    if reply is not None:
                        reply(outcomes)
                case Sign():
                    self.input(signed[position])
                case _:
                    pass
        for (peer, lane), messages in outgoing.items():
            for frame in _frames(messages):
                self._counts["frames"] += 1
                self._ports.network.send(peer, lane, frame)

    async def _verify(self, effect: Verify) -> None:
        ok = await self._ports.verifier.verify(effect.checks)
        self.input(VerifiedIn(effect.ticket, tuple(ok)))

    async def _request(self, effect: Request) -> None:
        body: bytes | None
        if effect.peer == self._ports.network.peer_id:
            body = await self._ask_self(effect.protocol, effect.body)
            self.input(AnswerIn(effect.ticket, body))
            return
        try:
            async with self._requests:
                body = await self._ports.network.request(
                    effect.peer,
                    effect.protocol,
                    effect.body,
                    timeout_s=effect.timeout_ns / NS_PER_S,
                )
        except RequestFailedError:
            body = None
        self.input(AnswerIn(effect.ticket, body))

    # --- timers ----------------------------------------------------------------------------------

    def _arm(self, key: Hashable, at_ns: int) -> None:
        self._timer_count += 1
        self._timers[key] = (at_ns, self._timer_count)
        heapq.heappush(self._heap, (at_ns, self._timer_count, key))
        if self._timer_due_ns is None or at_ns < self._timer_due_ns:
            self._timer_wake.set()

    async def _run_timers(self) -> None:
        while True:
            now_ns = self._ports.clock.now_ns()
            while self._heap and self._heap[0][0] <= now_ns:
                at_ns, count, key = heapq.heappop(self._heap)
                if self._timers.get(key) == (at_ns, count):
                    del self._timers[key]
                    self.input(TimerFired(key))
            while self._heap and self._timers.get(self._heap[0][2]) != self._heap[0][:2]:
                heapq.heappop(self._heap)
            self._timer_due_ns = self._heap[0][0] if self._heap else None
            self._timer_wake = trio.Event()
            if self._timer_due_ns is None:
                await self._timer_wake.wait()
            else:
                wait_s = (self._timer_due_ns - self._ports.clock.now_ns()) / NS_PER_S
                with trio.move_on_after(max(0.0, wait_s)):
                    await self._timer_wake.wait()


def _frames(messages: list[bytes]) -> list[bytes]:
    """Return as few frames as hold the messages, in order."""
    frames: list[bytes] = []
    group: list[bytes] = []
    size = 8
    for message in messages:
        if group and (size + len(message) > FRAME_BYTES_MAX or len(group) == MESSAGES_MAX):
            frames.append(join_frame(group))
            group, size = [], 8
        group.append(message)
        size += len(message)
    if group:
        frames.append(join_frame(group))
    return frames
