"""Lanes: one long-lived stream per peer, lane and direction, opened by the sender.

A lane's queue is bounded in frames and bytes. When it is full, VOTE drops its oldest frame (the
newest vote matters most) and the other lanes refuse the new one; both are counted. Frames of a
stream that breaks are lost with it; those still queued go out on the next one, and with the
connection they are lost, too. A receiver listens to the newest stream of a lane only, so that order
is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from p2pnode.net.config import NetworkLimits
from p2pnode.net.framing import FrameDecoder, frame
from p2pnode.net.libp2p.streams import (
    NegotiationError,
    ProtocolRefusedError,
    Stream,
    StreamBrokenError,
)
from p2pnode.net.meters import Meters
from p2pnode.ports import FrameReceived, Lane, PeerId

_WRITE_BYTES: Final = 1 << 16
"""Frames are gathered into one write up to this size: a write costs more than a small frame."""

_REOPEN_PAUSE_S: Final = 0.1


@dataclass(slots=True)
class LaneCounters:
    """Totals since start, over all peers."""

    sent: int = 0
    received: int = 0
    dropped: int = 0


class LaneSender:
    """The queue of one lane to one peer, and the task that empties it."""

    def __init__(
        self,
        lane: Lane,
        open_stream: Callable[[], Awaitable[Stream]],
        limits: NetworkLimits,
        counters: LaneCounters,
    ) -> None:
        """Make an empty queue.

        Args:
            lane: Decides what is dropped from a full queue.
            open_stream: Opens the lane's stream on the connection.
            limits: Bounds of the queue.
            counters: Where to count.
        """
        self._lane = lane
        self._open_stream = open_stream
        self._frames_max = limits.lane_frames_max
        self._bytes_max = limits.lane_bytes_max
        self._counters = counters
        self._frames: deque[bytes] = deque()
        self._size_bytes = 0
        self._wake = trio.Event()

    def push(self, payload: bytes) -> bool:
        """Queue a frame; False when it was refused."""
        encoded = frame(payload)
        while len(self._frames) >= self._frames_max or (
            self._frames and self._size_bytes + len(encoded) > self._bytes_max
        ):
            self._counters.dropped += 1
            if self._lane is not Lane.VOTE:
                return False
            self._size_bytes -= len(self._frames.popleft())
        self._frames.append(encoded)
        self._size_bytes += len(encoded)
        self._wake.set()
        return True

    def take_over(self, other: LaneSender) -> None:
        """Move the frames queued for an older connection here."""
        self._frames.extendleft(reversed(other._frames))
        self._size_bytes += other._size_bytes
        other._frames.clear()
        other._size_bytes = 0
        if self._frames:
            self._wake.set()

    def drop_all(self) -> None:
        """Give up what is queued, counted as dropped."""
        self._counters.dropped += len(self._frames)
        self._frames.clear()
        self._size_bytes = 0

    async def run(self) -> None:
        """Write queued frames as long as the connection lives; cancelled with it."""
        while True:
            await self._wait()
            try:
                stream = await self._open_stream()
                try:
                    await self._write_all(stream)
                finally:
                    await stream.reset()
            except (StreamBrokenError, ProtocolRefusedError, NegotiationError):
                await trio.sleep(_REOPEN_PAUSE_S)

    async def _wait(self) -> None:
        while not self._frames:
            self._wake = trio.Event()
            await self._wake.wait()

    async def _write_all(self, stream: Stream) -> None:
        while True:
            await self._wait()
            batch = [self._frames.popleft()]
            size = len(batch[0])
            while self._frames and size + len(self._frames[0]) <= _WRITE_BYTES:
                batch.append(self._frames.popleft())
                size += len(batch[-1])
            self._size_bytes -= size
            try:
                await stream.write(b"".join(batch) if len(batch) > 1 else batch[0])
            except StreamBrokenError:
                self._counters.dropped += len(batch)
                raise
            self._counters.sent += len(batch)


class LaneReceiver:
    """Reads the lanes of all peers."""

    def __init__(
        self,
        limits: NetworkLimits,
        counters: LaneCounters,
        deliver: Callable[[FrameReceived], Awaitable[None]],
        meters: Meters,
    ) -> None:
        """Make it without streams.

        Args:
            limits: Bound of a frame.
            counters: Where to count.
            deliver: Takes frames, and may wait: then the peer waits, too.
            meters: Say when a peer has to wait because it is too fast.
        """
        self._meters = meters
        self._frame_bytes_max = limits.frame_bytes_max
        self._counters = counters
        self._deliver = deliver
        self._newest: dict[tuple[PeerId, Lane], Stream] = {}

    async def receive_from(self, stream: Stream, lane: Lane) -> None:
        """Read frames until the stream breaks or a newer one takes its place; one task a stream.

        Raises:
            StreamBrokenError: The end.
            RemoteProtocolError: A frame above the limit.
        """
        key = (stream.peer, lane)
        older = self._newest.get(key)
        self._newest[key] = stream
        if older is not None:
            await older.reset()
        unfinished = self._meters.of(stream.peer).unfinished
        decoder = FrameDecoder(self._frame_bytes_max, unfinished.change)
        kind = f"lane/{lane:d}"
        try:
            while True:
                data = await stream.read()
                payloads = decoder.feed(data)
                pause_s = self._meters.spend(
                    stream.peer, kind, len(data), len(payloads), trio.current_time()
                )
                for payload in payloads:
                    if self._newest.get(key) is not stream:
                        return
                    self._counters.received += 1
                    await self._deliver(FrameReceived(stream.peer, lane, payload))
                if pause_s:
                    await trio.sleep(pause_s)
        finally:
            decoder.close()
            if self._newest.get(key) is stream:
                del self._newest[key]

    def forget(self, peer: PeerId) -> None:
        """Deliver nothing more of a peer whose connection is gone."""
        for lane in Lane:
            self._newest.pop((peer, lane), None)
