"""Requests and answers on streams that stay open.

Up to four streams per peer and protocol, each with one request under way, because opening one costs
as much as five round trips. A task owns each stream. Who asks waits for an event, not for the
stream: a request that takes too long resets its stream, and nothing is ever cancelled within a
read.

On the wire: a request is a frame; an answer is a frame that begins with a byte, 0 before the answer
and 1 before a text that says why there is none.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from p2pnode.errors import P2PNodeError, RemoteProtocolError
from p2pnode.net.config import NetworkLimits
from p2pnode.net.framing import FrameDecoder, OwnFrameTooLargeError, frame
from p2pnode.net.libp2p.streams import (
    ProtocolRefusedError,
    Stream,
    StreamBrokenError,
)
from p2pnode.net.meters import Meters
from p2pnode.ports import PeerId, RequestFailedError

_log = logging.getLogger("p2pnode.net")

STREAMS_MAX: Final = 4
"""Streams per peer and protocol; further requests wait for one."""

WAITING_MAX: Final = 256
"""Requests that wait for a stream, per peer and protocol; more fail at once."""

PING_BYTES_MAX: Final = 64
"""Largest ping; it comes back as it is."""

_REASON_BYTES_MAX: Final = 256

Handler = Callable[[PeerId, bytes], Awaitable[bytes]]


class PeerRefusedError(RequestFailedError):
    """The peer answered that it does not, or cannot, answer."""


class TooManyRequestsError(RequestFailedError):
    """More requests wait for this peer and protocol than we queue."""


class MalformedAnswerError(RemoteProtocolError):
    """A peer answers out of turn, or without saying whether it is an answer."""

    penalty = 25.0


@dataclass(slots=True, eq=False)
class _Job:
    body: bytes
    done: trio.Event
    answer: bytes | None = None
    reason: str = "the connection ended"
    refused: bool = False
    stream: Stream | None = None
    """Where it is under way, to be reset when it takes too long."""
    given_up: bool = False


class RequestPool:
    """Our requests of one protocol to one peer."""

    def __init__(
        self,
        nursery: trio.Nursery,
        open_raw: Callable[[], Awaitable[Stream]],
        propose: Callable[[Stream], Awaitable[None]],
        limits: NetworkLimits,
        on_nonsense: Callable[[RemoteProtocolError], None],
    ) -> None:
        """Make it without streams.

        Args:
            nursery: Of the connection; its end is the end of all requests.
            open_raw: Opens a stream.
            propose: Agrees on our protocol on it.
            limits: Bounds of bodies.
            on_nonsense: Told of answers that break the protocol.
        """
        self._nursery = nursery
        self._open_raw = open_raw
        self._propose = propose
        self._limits = limits
        self._on_nonsense = on_nonsense
        self._waiting: deque[_Job] = deque()
        self._parked = trio.lowlevel.ParkingLot()
        self._workers = 0
        self._idle = 0
        self._closed = False

    async def ask(self, body: bytes, timeout_s: float) -> bytes:
        """Send a request and wait for its answer.

        Raises:
            RequestFailedError: There is none.
        """
        if len(body) > self._limits.request_bytes_max:
            raise OwnFrameTooLargeError("request", len(body), self._limits.request_bytes_max)
        if self._closed:
            raise RequestFailedError("the connection ended")
        if len(self._waiting) >= WAITING_MAX:
            raise TooManyRequestsError(f"{WAITING_MAX} requests wait already")
        job = _Job(body, trio.Event())
        self._waiting.append(job)
        self._parked.unpark()
        if self._idle < len(self._waiting) and self._workers < STREAMS_MAX:
            self._workers += 1
            self._nursery.start_soon(self._work)
        try:
            with trio.move_on_after(timeout_s):
                await job.done.wait()
        finally:
            if not job.done.is_set():
                job.given_up = True
                job.reason = f"no answer in {timeout_s:g} s"
                if job.stream is not None:
                    job.stream.reset_soon(self._nursery)
        if job.answer is None:
            raise (PeerRefusedError if job.refused else RequestFailedError)(job.reason)
        return job.answer

    def close(self) -> None:
        """Fail what waits; the connection has ended."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().done.set()

    async def _next(self) -> _Job:
        self._idle += 1
        try:
            while True:
                while self._waiting:
                    job = self._waiting.popleft()
                    if not job.given_up:
                        return job
                await self._parked.park()
        finally:
            self._idle -= 1

    async def _work(self) -> None:
        """Own one stream: from the first request until it breaks."""
        job: _Job | None = None
        stream: Stream | None = None
        try:
            job = await self._next()
            stream = await self._open(job)
            decoder = FrameDecoder(self._limits.answer_bytes_max + 1)
            while True:
                await self._exchange(stream, decoder, job)
                job = None
                job = await self._next()
                job.stream = stream
        except StreamBrokenError as error:
            self._fail(job, f"the stream broke: {error}")
        except ProtocolRefusedError as error:
            if job is not None:
                job.refused = True
            self._fail(job, f"the peer does not speak {error}")
        except RemoteProtocolError as error:
            self._fail(job, f"nonsense: {error}")
            self._on_nonsense(error)
        finally:
            self._workers -= 1
            self._fail(job, "the connection ended")
            if stream is not None:
                await stream.reset()
            if self._waiting and self._workers == 0 and not self._closed:
                self._workers += 1
                self._nursery.start_soon(self._work)

    async def _open(self, job: _Job) -> Stream:
        stream = await self._open_raw()
        job.stream = stream
        if job.given_up:
            await stream.reset()
            raise StreamBrokenError("given up")
        await self._propose(stream)
        return stream

    async def _exchange(self, stream: Stream, decoder: FrameDecoder, job: _Job) -> None:
        await stream.write(frame(job.body))
        answers = decoder.feed(await stream.read())
        while not answers:
            answers = decoder.feed(await stream.read())
        if len(answers) != 1 or decoder.pending_bytes or answers[0][:1] not in (b"\0", b"\1"):
            raise MalformedAnswerError(f"{len(answers)} answers to one request")
        job.stream = None
        if answers[0][0] == 0:
            job.answer = answers[0][1:]
        else:
            job.refused = True
            job.reason = "refused: " + answers[0][1:].decode(errors="replace")
        job.done.set()

    def _fail(self, job: _Job | None, reason: str) -> None:
        if job is not None and not job.done.is_set():
            if not job.given_up:
                job.reason = reason
            job.done.set()


class RequestServer:
    """Answers the requests of all peers."""

    def __init__(
        self,
        limits: NetworkLimits,
        meters: Meters,
        *,
        accepts: Callable[[PeerId], bool],
        penalize: Callable[[PeerId, float, str], None],
    ) -> None:
        """Make it without requests.

        Args:
            limits: Sizes, and how many requests of a peer are answered at a time.
            meters: Say when a peer has to wait because it asks too fast.
            accepts: Whether a peer's score is good enough to be answered.
            penalize: Told of requests that break the protocol.
        """
        self._limits = limits
        self._meters = meters
        self._accepts = accepts
        self._penalize = penalize
        self._turns: dict[PeerId, trio.CapacityLimiter] = {}
        self.handler_errors = 0
        """Handlers that failed with anything but a P2PNodeError: our bugs."""

    async def serve(self, stream: Stream, handler: Handler) -> None:
        """Answer the requests of one stream in turn until it breaks.

        Raises:
            StreamBrokenError: The end.
            RemoteProtocolError: The peer sends nonsense.
        """
        peer = stream.peer
        decoder = FrameDecoder(
            self._limits.request_bytes_max, self._meters.of(peer).unfinished.change
        )
        try:
            while True:
                data = await stream.read()
                await self._pause(peer, len(data), 0)
                for body in decoder.feed(data):
                    async with self._turns_of(peer):
                        answer = await self._answer(peer, handler, body)
                        await stream.write(frame(answer))
                    await self._pause(peer, len(answer), 1)
        finally:
            decoder.close()

    async def serve_pings(self, stream: Stream) -> None:
        """Answer pings: nobody's turn, and whatever the score, for they keep the connection.

        Raises:
            StreamBrokenError: The end.
            RemoteProtocolError: The peer sends nonsense.
        """
        decoder = FrameDecoder(PING_BYTES_MAX)
        while True:
            data = await stream.read()
            await self._pause(stream.peer, len(data), 0)
            for body in decoder.feed(data):
                await stream.write(frame(b"\0" + body))
                await self._pause(stream.peer, len(body), 1)

    async def _pause(self, peer: PeerId, size_bytes: int, requests_count: int) -> None:
        now_s = trio.current_time()
        pause_s = self._meters.spend(peer, "requests", size_bytes, requests_count, now_s)
        if pause_s:
            await trio.sleep(pause_s)

    @asynccontextmanager
    async def _turns_of(self, peer: PeerId) -> AsyncIterator[None]:
        """Wait until few enough requests of a peer are being answered."""
        turns = self._turns.get(peer)
        if turns is None:
            turns = self._turns[peer] = trio.CapacityLimiter(self._limits.requests_at_a_time_max)
        try:
            # Each stream is a borrower of its own: one task reads it.
            async with turns:
                yield
        finally:
            seen = turns.statistics()
            if not seen.borrowed_tokens and not seen.tasks_waiting:
                self._turns.pop(peer, None)

    async def _answer(self, peer: PeerId, handler: Handler, body: bytes) -> bytes:
        if not self._accepts(peer):
            return b"\1your score is too low"
        try:
            answer = await handler(peer, body)
        except RemoteProtocolError as error:
            self._penalize(peer, error.penalty, f"request: {error}")
            return b"\1" + str(error).encode()[:_REASON_BYTES_MAX]
        except P2PNodeError as error:
            self._meters.refused(peer, str(error), trio.current_time())
            return b"\1" + str(error).encode()[:_REASON_BYTES_MAX]
        except Exception:  # noqa: BLE001 - a supervisor: it costs one request
            # One of the two supervisors of the network: a bug in a handler must not end the node.
            self.handler_errors += 1
            _log.exception("the handler of a request failed")
            return b"\1internal error"
        if len(answer) > self._limits.answer_bytes_max:
            _log.error("an answer of %d bytes is above the limit", len(answer))
            return b"\1the answer is too large"
        return b"\0" + answer
