"""The shell: what leaves when, what waits for the disk, and what the core is told."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from p2pnode import codec, crypto
from p2pnode.consensus.host import RECORD_ENGINE
from p2pnode.keys.records import RECORD_SIGNED, record_code
from p2pnode.keys.safesigner import SafeSigner
from p2pnode.node import shell as module
from p2pnode.node.recovery import KEY_SIGNED_MARK, encode_mark
from p2pnode.node.shell import Ports, Shell
from p2pnode.ports import (
    FrameReceived,
    Incoming,
    PeerConnected,
    PeerLost,
    PeerStatus,
    Published,
    RequestFailedError,
)
from p2pnode.types import effects as fx
from p2pnode.types.effects import Lane, Write
from p2pnode.types.messages import (
    FRAME_BYTES_MAX,
    MESSAGES_MAX,
    Statements,
    Summary,
    decode_frame,
    encode_message,
)

KEY = crypto.SecretKey(bytes(range(32)))
CHAIN_ID = bytes(32)
KIND = "engine/toy/1"
ME = b"ourselves"
A, B, C = b"peer a", b"peer b", b"peer c"


def message(number: int) -> bytes:
    return encode_message(Summary(0, number, b""))


def send(number: int, *peers: bytes, lane: Lane = Lane.VOTE) -> fx.SendTo:
    return fx.SendTo(peers or (A,), lane, message(number))


def sign(ticket: int = 1, view: int = 1, *, epoch: int = 0, kind: str = KIND) -> fx.Sign:
    body = codec.encode([epoch, view])
    return fx.Sign(ticket, kind, epoch, body, {("v", view): body}, (view,))


class Disk:
    """Store and log that write down, in one list with everything else, what is done to them."""

    def __init__(self, trail: list[Any]) -> None:
        self.trail = trail
        self.log_records: list[bytes] = []
        self.log_durable = 0
        self.writes: list[Write] = []
        self.on_sync: Callable[[], None] = lambda: None
        self.mark_ahead: list[bytes] = []

    # the store
    def get(self, table: str, key: bytes) -> bytes | None:
        raise AssertionError("the shell reads nothing")

    def scan(self, table: str, **_: object) -> list[tuple[bytes, bytes]]:
        raise AssertionError("the shell reads nothing")

    def last(self, table: str) -> tuple[bytes, bytes] | None:
        raise AssertionError("the shell reads nothing")

    def commit(self, writes: Sequence[Write], *, sync: bool) -> None:
        self.writes += writes
        self.trail.append(("store synced",) if sync else ("stored", *(w.key for w in writes)))

    def close(self) -> None: ...

    # the log
    def records(self) -> list[bytes]:
        return list(self.log_records)

    def append(self, record: bytes) -> None:
        self.log_records.append(record)
        self.trail.append(("logged", record_code(record)))

    def sync(self) -> None:
        self.on_sync()
        self.log_durable = len(self.log_records)
        self.trail.append(("log synced",))

    def rewrite(self, records: Sequence[bytes]) -> None:
        self.log_records = list(records)
        self.trail.append(("log rewritten",))


class Network:
    """A network that writes down what leaves."""

    def __init__(self, trail: list[Any]) -> None:
        self.trail = trail
        self.send_in, self.incoming = trio.open_memory_channel[Incoming](100)
        self.peer_id = ME
        self.rows: tuple[PeerStatus, ...] = ()
        self.on_request: Callable[[bytes, str, bytes, float], Awaitable[bytes]] | None = None
        self.frames: list[tuple[bytes, Lane, bytes]] = []

    def send(self, peer: bytes, lane: Lane, frame: bytes) -> bool:
        self.frames.append((peer, lane, frame))
        heights = [m.height for m in decode_frame(frame) if isinstance(m, Summary)]
        self.trail.append(("sent", peer, lane, heights))
        return True

    def publish(self, topic: str, data: bytes) -> None:
        self.trail.append(("published", topic, data))

    def penalize(self, peer: bytes, points: float, reason: str) -> None:
        self.trail.append(("penalized", peer, points, reason))

    def peers(self) -> tuple[PeerStatus, ...]:
        return self.rows

    async def request(self, peer: bytes, protocol: str, body: bytes, *, timeout_s: float) -> bytes:
        assert self.on_request is not None
        return await self.on_request(peer, protocol, body, timeout_s)


class Clock:
    """Trio's clock."""

    def now_ns(self) -> int:
        return round(trio.current_time() * 1e9)

    def wall_ms(self) -> int:
        return round(trio.current_time() * 1e3)


class Verifier:
    """Says yes to what ends with b'ok'."""

    async def verify(self, checks: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
        await trio.lowlevel.checkpoint()
        return [signature.endswith(b"ok") for _, _, signature in checks]


class Core:
    """A core that does what a test says, and writes down what it is told."""

    def __init__(self, trail: list[Any]) -> None:
        self.trail = trail
        self.may_sign = True
        self.told: list[tuple[int, fx.Input]] = []
        self.at_start: list[fx.Effect] = []
        self.answers: Callable[[fx.Input], list[fx.Effect]] = lambda given: []
        self.rtts: list[dict[bytes, float]] = []

    def start(self, now_ns: int, wall_ms: int) -> list[fx.Effect]:
        return self.at_start

    def handle(self, now_ns: int, wall_ms: int, given: fx.Input) -> list[fx.Effect]:
        self.told.append((now_ns, given))
        self.trail.append(given)
        return self.answers(given)

    def quorum_rtt_s(self, rtts: dict[bytes, float]) -> float | None:
        self.rtts.append(dict(rtts))
        return max(rtts.values(), default=None)


class Rig:
    """A shell between fakes."""

    def __init__(self, **options: Any) -> None:
        self.trail: list[Any] = []
        self.disk = Disk(self.trail)
        self.network = Network(self.trail)
        self.core = Core(self.trail)
        self.events: list[fx.Emit] = []
        self.epoch = 0
        self.asked_self: list[tuple[str, bytes]] = []
        signer = SafeSigner(KEY, CHAIN_ID, ()) if options.pop("signs", True) else None
        self.signer = signer
        self.shell = Shell(
            self.core,  # type: ignore[arg-type]
            Ports(
                network=self.network,  # type: ignore[arg-type]
                clock=Clock(),
                store=self.disk,
                log=self.disk,
                verifier=Verifier(),
                sync_in_thread=options.pop("sync_in_thread", False),
                check_now=options.pop("check_now", None),
            ),
            signer,
            on_event=self.events.append,
            engine_kind=KIND,
            current_epoch=lambda: self.epoch,
            ask_self=self._ask_self,
            **options,
        )

    async def _ask_self(self, protocol: str, body: bytes) -> bytes:
        self.asked_self.append((protocol, body))
        return b"from our own store"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Rig]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.shell.run)
            await wait_all_tasks_blocked()
            yield self
            nursery.cancel_scope.cancel()

    async def do(self, *effects: fx.Effect) -> list[Any]:
        """Have the core ask for effects; return what followed."""
        self.trail.clear()
        answers, self.core.answers = self.core.answers, lambda given: list(effects)
        self.shell._perform(self.core.answers(fx.RttIn(0)))
        self.core.answers = answers
        await wait_all_tasks_blocked()
        return list(self.trail)


SYNC = [("store synced",), ("logged", RECORD_SIGNED), ("log synced",)]


def engine_record(epoch: int, content: bytes = b"") -> bytes:
    return codec.encode([RECORD_ENGINE, epoch, content])


# --- order and durability -------------------------------------------------------------------------


async def test_what_precedes_a_signature_does_not_wait_and_what_follows_does() -> None:
    async with Rig().running() as rig:
        trail = await rig.do(send(1), sign(7), send(2), fx.Publish("topic", b"after"))
    signature = rig.signer.signed_drafts(0, KIND)[0][1]  # type: ignore[union-attr]
    assert trail == [
        ("sent", A, Lane.VOTE, [1]),
        *SYNC,
        fx.SignedIn(7, signature),
        ("published", "topic", b"after"),
        ("sent", A, Lane.VOTE, [2]),
    ]


async def test_a_signature_verifies_and_its_record_is_durable_before_the_core_has_it() -> None:
    rig = Rig()
    durable_at: list[int] = []
    rig.core.answers = lambda given: (durable_at.append(rig.disk.log_durable), [])[1]  # type: ignore[func-returns-value]
    async with rig.running():
        rig.shell._perform([sign(1)])
        await wait_all_tasks_blocked()
    assert durable_at == [1]
    ((_, given),) = rig.core.told
    assert isinstance(given, fx.SignedIn)
    assert given.signature is not None
    body = sign().body
    assert crypto.verify(KEY.public, crypto.signing_hash(CHAIN_ID, KIND, 0, body), given.signature)


async def test_only_synced_records_hold_back_what_follows() -> None:
    async with Rig().running() as rig:
        lazy = await rig.do(fx.Append(engine_record(0), False), send(1))
        eager = await rig.do(fx.Append(engine_record(0), True), send(2))
    assert lazy == [("sent", A, Lane.VOTE, [1]), ("logged", RECORD_ENGINE)]
    assert eager == [
        ("store synced",),
        ("logged", RECORD_ENGINE),
        ("log synced",),
        ("sent", A, Lane.VOTE, [2]),
    ]


async def test_what_is_stored_is_durable_before_a_record_that_names_it() -> None:
    # Even where it is stored after the signature was asked for: one sync covers all.
    async with Rig().running() as rig:
        trail = await rig.do(
            fx.Put((Write("bodies", b"before", b""),)),
            sign(),
            fx.Put((Write("bodies", b"behind", b""),)),
            send(1),
        )
    assert trail[:4] == [("stored", b"before", b"behind"), *SYNC]
    assert trail[-1] == ("sent", A, Lane.VOTE, [1])


async def test_writes_alone_wait_for_nothing() -> None:
    async with Rig().running() as rig:
        trail = await rig.do(fx.Put((Write("blocks", b"k", b"v"),)), send(1))
    assert trail == [("stored", b"k"), ("sent", A, Lane.VOTE, [1])]
    assert rig.shell.statistics().syncs_count == 0


async def test_a_signature_given_before_waits_again() -> None:
    # Its record may still be on its way to the disk.
    async with Rig().running() as rig:
        await rig.do(sign(1))
        trail = await rig.do(send(1), sign(2), send(2))
    assert [step for step in trail if not isinstance(step, fx.SignedIn)] == [
        ("sent", A, Lane.VOTE, [1]),
        ("store synced",),
        ("log synced",),
        ("sent", A, Lane.VOTE, [2]),
    ]


async def test_one_sync_covers_many_signatures() -> None:
    async with Rig().running() as rig:
        trail = await rig.do(*(sign(view, view) for view in range(1, 6)), send(1))
    assert trail.count(("log synced",)) == 1
    assert [s.ticket for s in trail if isinstance(s, fx.SignedIn)] == [1, 2, 3, 4, 5]
    assert trail[-1] == ("sent", A, Lane.VOTE, [1])


async def test_a_refused_signature_holds_nothing_back() -> None:
    async with Rig().running() as rig:
        await rig.do(sign(1, 1))
        other = fx.Sign(2, KIND, 0, b"another", {("v", 1): b"another"}, (1,))
        trail = await rig.do(other, send(1))
    assert trail == [fx.SignedIn(2, None), ("sent", A, Lane.VOTE, [1])]
    assert rig.shell.statistics().signatures_refused == 1
    assert [e.event for e in rig.events] == ["signature_refused"]


async def test_signatures_wait_until_the_core_may_sign_and_nothing_else_does() -> None:
    rig = Rig()
    rig.core.may_sign = False
    async with rig.running():
        trail = await rig.do(sign(1, 1), send(1), sign(2, 2))
        assert trail == [("sent", A, Lane.VOTE, [1])]
        rig.core.may_sign = True
        trail = await rig.do(send(2))
    assert [given.ticket for given in trail if isinstance(given, fx.SignedIn)] == [1, 2]
    assert trail[0] == ("sent", A, Lane.VOTE, [2])
    assert trail.count(("log synced",)) == 1


async def test_a_node_without_a_key_signs_nothing() -> None:
    async with Rig(signs=False).running() as rig:
        trail = await rig.do(sign(1), fx.Forget(KIND, 0, (5,)), fx.Observe(3), send(1))
    assert trail == [fx.SignedIn(1, None), ("sent", A, Lane.VOTE, [1])]


async def test_to_observe_is_durable_before_anything_else_happens() -> None:
    async with Rig().running() as rig:
        trail = await rig.do(fx.Observe(0), send(1), sign(1))
        assert await rig.do(sign(2, 1, epoch=1)) != []
    assert ("log synced",) in trail
    assert trail.index(("log synced",)) < trail.index(("sent", A, Lane.VOTE, [1]))
    assert fx.SignedIn(1, None) in trail
    assert rig.signer is not None
    assert rig.signer.observing_until_epoch == 0


async def test_forgetting_appends_a_record_and_waits_for_nothing() -> None:
    async with Rig().running() as rig:
        await rig.do(sign(1, 1))
        trail = await rig.do(fx.Forget(KIND, 0, (5,)), send(1))
        refused = await rig.do(sign(2, 2))
    assert ("log synced",) not in trail
    assert [step[0] for step in trail] == ["sent", "logged"]
    assert refused == [fx.SignedIn(2, None)]


async def test_the_mark_names_only_votes_that_are_durable_in_the_log() -> None:
    rig = Rig()
    marks: list[bytes] = []

    def put(number: int) -> fx.Put:
        return fx.Put((Write("blocks", bytes([number]), b""),))

    async with rig.running():
        for view in (3, 4, 5):
            rig.disk.writes.clear()
            await rig.do(put(view), sign(view, view))
            marks += [w.value or b"" for w in rig.disk.writes if w.key == KEY_SIGNED_MARK]
        rig.disk.writes.clear()
        await rig.do(put(9), sign(9, 9, kind="result"))
        marks += [w.value or b"" for w in rig.disk.writes if w.key == KEY_SIGNED_MARK]
        rig.disk.writes.clear()
        await rig.do(put(10))
        marks += [w.value or b"" for w in rig.disk.writes if w.key == KEY_SIGNED_MARK]
    # One vote behind; a result is no vote, and an unchanged mark is not written again.
    assert marks == [encode_mark(0, (3,)), encode_mark(0, (4,)), encode_mark(0, (5,))]


class Gate:
    """A disk sync that waits until a test lets it pass."""

    def __init__(self) -> None:
        self.entered = trio.Event()
        self.go = threading.Event()
        self.token = trio.lowlevel.current_trio_token()

    def __call__(self) -> None:
        trio.from_thread.run_sync(self.entered.set, trio_token=self.token)
        assert self.go.wait(5), "nobody let the sync pass"


async def test_inputs_are_handled_while_the_disk_is_busy_and_their_messages_wait() -> None:
    rig = Rig(sync_in_thread=True)
    async with rig.running():
        gate = rig.disk.on_sync = Gate()
        rig.shell._perform([send(1), sign(1), send(2)])
        await gate.entered.wait()
        assert ("sent", A, Lane.VOTE, [1]) in rig.trail
        rig.core.answers = lambda given: [send(3)] if isinstance(given, fx.PeerUp) else []
        rig.shell.input(fx.PeerUp(B))
        assert rig.trail[-1] == fx.PeerUp(B)
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        leaving = [s for s in rig.trail if isinstance(s, tuple) and s[0] == "sent"]
        assert leaving == [("sent", A, Lane.VOTE, [1])]
        gate.go.set()
        with trio.fail_after(5):
            while ("sent", A, Lane.VOTE, [3]) not in rig.trail:
                await trio.lowlevel.checkpoint()
        leaving = [s for s in rig.trail if isinstance(s, tuple) and s[0] == "sent"]
        assert [s[3] for s in leaving] == [[1], [2], [3]]


async def test_a_test_may_crash_before_any_effect() -> None:
    seen: list[fx.Effect] = []

    class Crash(Exception):
        pass

    def before(effect: fx.Effect) -> None:
        seen.append(effect)
        if isinstance(effect, fx.Sign):
            raise Crash

    rig = Rig(before_effect=before)
    with pytest.RaisesGroup(Crash, flatten_subgroups=True):
        async with rig.running():
            rig.shell._perform([send(1), sign(1), send(2)])
            await trio.sleep_forever()
    assert seen == [send(1), sign(1)]
    assert rig.disk.log_records == []


# --- frames ---------------------------------------------------------------------------------------


async def test_messages_of_one_peer_and_lane_travel_in_one_frame() -> None:
    async with Rig().running() as rig:
        await rig.do(
            send(1, A, B),
            send(2, A, lane=Lane.BULK),
            send(3, B),
            send(4, A),
        )
    assert [
        (peer, lane, [m.height for m in decode_frame(frame) if isinstance(m, Summary)])
        for peer, lane, frame in rig.network.frames
    ] == [(A, Lane.VOTE, [1, 4]), (B, Lane.VOTE, [1, 3]), (A, Lane.BULK, [2])]


async def test_a_frame_holds_at_most_a_mebibyte() -> None:
    big = encode_message(Statements(tuple(bytes(65536) for _ in range(6))))
    count = 7
    async with Rig().running() as rig:
        await rig.do(*(fx.SendTo((A,), Lane.BULK, big) for _ in range(count)))
    frames = [frame for _, _, frame in rig.network.frames]
    assert all(len(frame) <= FRAME_BYTES_MAX for frame in frames)
    assert sum(len(decode_frame(frame)) for frame in frames) == count
    assert len(frames) == 4


async def test_a_frame_holds_at_most_4096_messages() -> None:
    async with Rig().running() as rig:
        await rig.do(*(send(i % 20) for i in range(MESSAGES_MAX + 1)))
    assert [len(decode_frame(frame)) for _, _, frame in rig.network.frames] == [MESSAGES_MAX, 1]


# --- answers --------------------------------------------------------------------------------------


async def test_what_needs_no_order_is_done_at_once() -> None:
    rig = Rig()
    async with rig.running():
        rig.shell._perform([sign(1), fx.Penalize(A, 5.0, "junk"), fx.Emit("block", {"height": 1})])
        assert rig.trail == [("penalized", A, 5.0, "junk")]
        assert [e.event for e in rig.events] == ["block"]


async def test_signatures_are_checked_away_from_the_loop_or_at_once() -> None:
    checks = ((b"k", b"m", b"is ok"), (b"k", b"m", b"is bad"))
    async with Rig().running() as rig:
        assert await rig.do(fx.Verify(3, checks)) == [fx.VerifiedIn(3, (True, False))]
    inline = Rig(check_now=lambda checks: [True] * len(checks))
    async with inline.running():
        inline.shell._perform([fx.Verify(4, checks), send(1)])
        assert inline.trail == [fx.VerifiedIn(4, (True, True))], "without a step of the loop"


async def test_requests_are_answered_or_fail_without_a_body() -> None:
    rig = Rig()

    async def respond(peer: bytes, protocol: str, body: bytes, timeout_s: float) -> bytes:
        assert (protocol, timeout_s) == ("fetch", 1.5)
        if peer == B:
            raise RequestFailedError("gone")
        return b"answer to " + body

    rig.network.on_request = respond
    async with rig.running():
        trail = await rig.do(
            fx.Request(1, A, "fetch", b"x", 1_500_000_000),
            fx.Request(2, B, "fetch", b"y", 1_500_000_000),
        )
    assert sorted(trail, key=lambda given: given.ticket) == [
        fx.AnswerIn(1, b"answer to x"),
        fx.AnswerIn(2, None),
    ]


async def test_a_request_to_ourselves_is_answered_from_our_store() -> None:
    async with Rig().running() as rig:
        trail = await rig.do(fx.Request(1, ME, "fetch", b"x", 10**9))
    assert trail == [fx.AnswerIn(1, b"from our own store")]
    assert rig.asked_self == [("fetch", b"x")]


async def test_requests_under_way_are_bounded() -> None:
    rig = Rig()
    under_way = [0]
    most = [0]

    async def respond(*_: object) -> bytes:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        under_way[0] -= 1
        return b""

    rig.network.on_request = respond
    async with rig.running():
        trail = await rig.do(*(fx.Request(i, A, "p", b"", 10**9) for i in range(100)))
    assert len(trail) == 100
    assert most[0] == module.REQUESTS_MAX


async def test_a_submission_is_answered_by_its_reply() -> None:
    rig = Rig()
    outcomes: list[tuple[object, ...]] = []

    async def submit() -> None:
        outcomes.append(await rig.shell.submit((b"raw",)))

    async with rig.running(), trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await wait_all_tasks_blocked()
        ((_, given),) = rig.core.told
        assert isinstance(given, fx.SubmitIn)
        assert given.raws == (b"raw",)
        await rig.do(fx.Reply(given.ticket + 1, ("nobody asked",)))
        assert outcomes == []
        await rig.do(fx.Reply(given.ticket, (None,)))
    assert outcomes == [(None,)]


async def test_what_the_network_brings_becomes_inputs_in_order() -> None:
    rig = Rig()
    async with rig.running():
        for event in (
            PeerConnected(A),
            FrameReceived(A, Lane.BULK, b"frame"),
            Published("topic", B, C, b"data"),
            PeerLost(A, "gone"),
        ):
            rig.network.send_in.send_nowait(event)
        await wait_all_tasks_blocked()
    assert [given for _, given in rig.core.told] == [
        fx.PeerUp(A),
        fx.FrameIn(A, b"frame"),
        fx.TopicIn("topic", C, b"data"),
        fx.PeerDown(A),
    ]


async def test_every_input_is_recorded_before_the_core_sees_it() -> None:
    recorded: list[tuple[int, int, fx.Input]] = []
    rig = Rig(record=lambda now_ns, wall_ms, given: recorded.append((now_ns, wall_ms, given)))
    seen: list[int] = []
    rig.core.answers = lambda given: (seen.append(len(recorded)), [])[1]  # type: ignore[func-returns-value]
    async with rig.running():
        rig.shell.input(fx.PeerUp(A))
        rig.shell.input(fx.PeerDown(A))
    assert [given for _, _, given in recorded] == [fx.PeerUp(A), fx.PeerDown(A)]
    assert seen == [1, 2]


async def test_effects_of_the_start_are_carried_out() -> None:
    rig = Rig()
    rig.core.at_start = [send(1)]
    async with rig.running():
        assert rig.trail == [("sent", A, Lane.VOTE, [1])]


async def test_round_trips_are_told_every_two_seconds(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.network.rows = (
        PeerStatus(A, 0.25, False, "", 0.0),
        PeerStatus(B, None, False, "", 0.0),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.shell.run)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert [given for _, given in rig.core.told] == [fx.RttIn(250_000_000)] * 2
    assert rig.core.rtts == [{A: 0.25}] * 2


# --- timers ---------------------------------------------------------------------------------------


async def fired(rig: Rig, seconds: float, *effects: fx.Effect) -> list[tuple[float, object]]:
    """Run for a while; return (seconds, key) of the timers that fired."""
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.shell.run)
        rig.shell._perform(list(effects))
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return [
        (now_ns / 1e9, given.key)
        for now_ns, given in rig.core.told
        if isinstance(given, fx.TimerFired)
    ]


def at(seconds: float) -> int:
    return round(seconds * 1e9)


async def test_timers_fire_in_order_at_their_time_once(autojump_clock: MockClock) -> None:
    assert await fired(
        Rig(),
        1.9,
        fx.ArmTimer("later", at(0.5)),
        fx.ArmTimer(("sooner", 1), at(0.25)),
        fx.ArmTimer("past", -5),
    ) == [(0.0, "past"), (0.25, ("sooner", 1)), (0.5, "later")]


async def test_a_timer_is_replaced_earlier_and_later(autojump_clock: MockClock) -> None:
    assert await fired(
        Rig(),
        1.9,
        fx.ArmTimer("a", at(0.25)),
        fx.ArmTimer("a", at(0.75)),
        fx.ArmTimer("b", at(0.75)),
        fx.ArmTimer("b", at(0.5)),
    ) == [(0.5, "b"), (0.75, "a")]


async def test_a_cancelled_timer_does_not_fire_and_may_be_armed_again(
    autojump_clock: MockClock,
) -> None:
    assert await fired(
        Rig(),
        1.9,
        fx.ArmTimer("a", at(0.25)),
        fx.DisarmTimer("a"),
        fx.DisarmTimer("never armed"),
        fx.ArmTimer("b", at(0.25)),
        fx.DisarmTimer("b"),
        fx.ArmTimer("b", at(0.5)),
    ) == [(0.5, "b")]


async def test_a_timer_armed_by_a_timer_fires_in_its_turn(autojump_clock: MockClock) -> None:
    rig = Rig()
    again = {"a": fx.ArmTimer("b", at(0.5)), "b": fx.ArmTimer("c", at(0.5))}

    def answers(given: fx.Input) -> list[fx.Effect]:
        assert isinstance(given, fx.TimerFired)
        return [again[given.key]] if given.key in again else []  # type: ignore[index]

    rig.core.answers = answers
    assert await fired(rig, 1.9, fx.ArmTimer("a", at(0.5)), fx.ArmTimer("z", at(0.75))) == [
        (0.5, "a"),
        (0.5, "b"),
        (0.5, "c"),
        (0.75, "z"),
    ]


async def test_a_timer_due_at_once_with_another_may_still_be_moved_or_cancelled_by_it(
    autojump_clock: MockClock,
) -> None:
    rig = Rig()

    def answers(given: fx.Input) -> list[fx.Effect]:
        if given == fx.TimerFired("first"):
            return [fx.ArmTimer("moved", at(0.75)), fx.DisarmTimer("cancelled")]
        return []

    rig.core.answers = answers
    due = [fx.ArmTimer(key, at(0.5)) for key in ("first", "moved", "cancelled")]
    assert await fired(rig, 1.9, *due) == [(0.5, "first"), (0.75, "moved")]


async def test_an_earlier_timer_wakes_the_one_who_sleeps(autojump_clock: MockClock) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.shell.run)
        rig.shell._perform([fx.ArmTimer("late", at(1.5))])
        await trio.sleep(0.25)
        rig.shell._perform([fx.ArmTimer("soon", at(0.5))])
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    assert [(now_ns, given.key) for now_ns, given in rig.core.told] == [  # type: ignore[union-attr]
        (at(0.5), "soon")
    ]


# --- compaction -----------------------------------------------------------------------------------


async def test_compaction_keeps_what_signer_and_engine_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    rig.epoch = 3
    async with rig.running():
        await rig.do(
            *(sign(epoch, 1, epoch=epoch) for epoch in (1, 2, 3)),
            *(fx.Append(engine_record(epoch), False) for epoch in (1, 2, 3)),
            fx.Append(codec.encode([4, b"of somebody else"]), False),
        )
        monkeypatch.setattr(module, "LOG_COMPACT_BYTES", 0)
        trail = await rig.do(fx.Append(engine_record(3, b"last"), True), send(1))
        await rig.do(sign(9, 7, epoch=1))
    assert trail[-2:] == [("store synced",), ("log rewritten",)], "never a log ahead of the store"
    engines = [r for r in rig.disk.log_records if record_code(r) == RECORD_ENGINE]
    assert engines == [engine_record(3), engine_record(3, b"last")]
    assert codec.encode([4, b"of somebody else"]) in rig.disk.log_records
    again = SafeSigner(KEY, CHAIN_ID, rig.disk.log_records)
    assert [len(again.signed_drafts(epoch, KIND)) for epoch in (1, 2, 3)] == [0, 1, 1]
    assert rig.trail == [fx.SignedIn(9, None)], "what was forgotten is refused"


async def test_a_log_is_compacted_only_when_it_has_grown() -> None:
    async with Rig().running() as rig:
        trail = await rig.do(fx.Append(engine_record(0, bytes(1000)), True))
    assert ("log rewritten",) not in trail
