"""Our side of requests: streams are reused, given up, replaced, and never cancelled within."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from p2pnode.errors import P2PNodeError, RemoteProtocolError
from p2pnode.net.config import NetworkLimits
from p2pnode.net.framing import FrameDecoder, OwnFrameTooLargeError, frame
from p2pnode.net.libp2p.requests import (
    STREAMS_MAX,
    WAITING_MAX,
    MalformedAnswerError,
    PeerRefusedError,
    RequestPool,
    RequestServer,
    TooManyRequestsError,
)
from p2pnode.net.libp2p.streams import ProtocolRefusedError, StreamBrokenError
from p2pnode.ports import RequestFailedError
from tests.unit.net.libp2p.fakes import FakeStream, free_meters, stream_pair

LIMITS = NetworkLimits()


class Peer:
    """The other side: opens streams on demand and answers each as it is told."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.streams: list[FakeStream] = []
        self.answer_after_s = 0.0
        self.answer = b"\0"
        self.refuses = False
        self.nonsense: list[RemoteProtocolError] = []
        self.pool = RequestPool(
            nursery,
            self.open_raw,  # type: ignore[arg-type]
            self.propose,  # type: ignore[arg-type]
            LIMITS,
            self.nonsense.append,
        )

    async def open_raw(self) -> FakeStream:
        await trio.lowlevel.checkpoint()
        near, far = stream_pair()
        self.streams.append(near)
        self.nursery.start_soon(self.serve, far)
        return near

    async def propose(self, stream: FakeStream) -> None:
        await trio.lowlevel.checkpoint()
        if self.refuses:
            raise ProtocolRefusedError("/test/1")

    async def serve(self, stream: FakeStream) -> None:
        decoder = FrameDecoder(LIMITS.request_bytes_max)
        try:
            while True:
                for body in decoder.feed(await stream.read()):
                    await trio.sleep(self.answer_after_s)
                    await stream.write(frame(self.answer + body))
        except StreamBrokenError:
            pass


async def test_stream_is_reused_by_requests_one_after_another() -> None:
    async with trio.open_nursery() as nursery:
        peer = Peer(nursery)
        for number in range(20):
            body = b"%d" % number
            assert await peer.pool.ask(body, 5) == body
        assert len(peer.streams) == 1
        nursery.cancel_scope.cancel()


async def test_requests_at_the_same_time_share_four_streams(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        peer = Peer(nursery)
        peer.answer_after_s = 1.0
        answers: list[bytes] = []

        async def ask(number: int) -> None:
            answers.append(await peer.pool.ask(b"%d" % number, 60))

        began_s = trio.current_time()
        async with trio.open_nursery() as asking:
            for number in range(40):
                asking.start_soon(ask, number)
        assert sorted(answers) == sorted(b"%d" % n for n in range(40))
        assert len(peer.streams) == STREAMS_MAX
        assert trio.current_time() - began_s == pytest.approx(10.0)
        nursery.cancel_scope.cancel()


async def test_request_without_an_answer_fails_in_time_and_its_stream_is_replaced(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        peer = Peer(nursery)
        peer.answer_after_s = 100.0
        began_s = trio.current_time()
        with pytest.raises(RequestFailedError, match=r"no answer in 1\.5 s"):
            await peer.pool.ask(b"x", 1.5)
        assert trio.current_time() - began_s == pytest.approx(1.5)
        await trio.testing.wait_all_tasks_blocked()
        assert peer.streams[0].was_reset
        peer.answer_after_s = 0.0
        assert await peer.pool.ask(b"y", 1.5) == b"y"
        assert len(peer.streams) == 2
        nursery.cancel_scope.cancel()


async def test_request_that_is_cancelled_gives_its_stream_up(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        peer = Peer(nursery)
        peer.answer_after_s = 10.0
        with trio.move_on_after(1):
            await peer.pool.ask(b"x", 60)
        await trio.testing.wait_all_tasks_blocked()
        assert peer.streams[0].was_reset
        peer.answer_after_s = 0.0
        assert await peer.pool.ask(b"y", 60) == b"y"
        nursery.cancel_scope.cancel()


async def test_refusals_are_told_apart_from_silence() -> None:
    async with trio.open_nursery() as nursery:
        peer = Peer(nursery)
        peer.answer = b"\1no such block"
        with pytest.raises(PeerRefusedError, match="no such block"):
            await peer.pool.ask(b"", 5)
        peer.refuses = True
        await peer.streams[0].reset()
        with pytest.raises(RequestFailedError):
            await peer.pool.ask(b"", 5)  # the broken stream is noticed
        with pytest.raises(PeerRefusedError, match="does not speak"):
            await peer.pool.ask(b"", 5)
        nursery.cancel_scope.cancel()


async def test_nonsense_for_an_answer_is_reported_and_the_stream_replaced() -> None:
    async with trio.open_nursery() as nursery:
        peer = Peer(nursery)
        peer.answer = b"\7"
        with pytest.raises(RequestFailedError, match="nonsense"):
            await peer.pool.ask(b"", 5)
        assert [type(e) for e in peer.nonsense] == [MalformedAnswerError]
        assert peer.streams[0].was_reset
        peer.answer = b"\0"
        assert await peer.pool.ask(b"on", 5) == b"on"
        nursery.cancel_scope.cancel()


async def test_end_of_the_connection_fails_every_request(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as outer:
        failed = 0
        pool: list[RequestPool] = []

        async def ask() -> None:
            nonlocal failed
            with pytest.raises(RequestFailedError, match="the connection ended"):
                await pool[0].ask(b"x", 1000)
            failed += 1

        async with trio.open_nursery() as connection:
            peer = Peer(connection)
            peer.answer_after_s = 1000.0
            pool.append(peer.pool)
            for _ in range(10):
                outer.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            peer.pool.close()
            connection.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert failed == 10
        with pytest.raises(RequestFailedError):
            await pool[0].ask(b"x", 1)


async def test_requests_that_wait_are_bounded(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        peer = Peer(nursery)
        peer.answer_after_s = 1000.0

        async def ask() -> None:
            with pytest.raises(RequestFailedError):
                await peer.pool.ask(b"x", 10)

        for _ in range(STREAMS_MAX):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(WAITING_MAX):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TooManyRequestsError):
            await peer.pool.ask(b"x", 10)
        with pytest.raises(OwnFrameTooLargeError):
            await peer.pool.ask(bytes(LIMITS.request_bytes_max + 1), 10)
        nursery.cancel_scope.cancel()


async def test_server_answers_in_turn_and_outlives_its_handlers() -> None:
    async def handler(peer: bytes, body: bytes) -> bytes:
        if body == b"refuse":
            raise P2PNodeError("not for you")
        if body == b"crash":
            raise KeyError("a bug")
        if body == b"nonsense":
            raise RemoteProtocolError("no request")
        return body.upper()

    near, far = stream_pair()
    blamed: list[tuple[bytes, float, str]] = []
    server = RequestServer(
        LIMITS,
        free_meters(LIMITS),
        accepts=lambda peer: True,
        penalize=lambda *blame: blamed.append(blame),
    )
    decoder = FrameDecoder(1000)
    answers: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, far, handler)
        await near.write(b"".join(map(frame, [b"a", b"refuse", b"crash", b"nonsense", b"b"])))
        while len(answers) < 5:
            answers += decoder.feed(await near.read())
        nursery.cancel_scope.cancel()
    assert answers == [b"\0A", b"\1not for you", b"\1internal error", b"\1no request", b"\0B"]
    assert server.handler_errors == 1
    # Refusals and bugs are ours; what is no request is the fault of who asks.
    assert blamed == [(far.peer, 10.0, "request: no request")]
