"""Yamux without I/O: bytes in, events out, bytes to send; every transition of a stream is here.

Rules beyond the specification, each a bound on what a peer can cost:

* A stream's window is the most of it we ever hold. Who sends more is cut off (`receive` raises, and
  the go-away that says so waits in `data_to_send`).
* All windows together are bounded: a stream whose window does not fit is refused.
* Data on streams that do not exist (any more) is dropped, and may be as much as was under way when
  they ended, not more.
* What a peer makes us answer waits in a bounded queue, before all data. Reading never waits for
  writing: that is what stock Yamux deadlocks by.
* What is written goes out whole and in order; streams with something to send take turns, a frame
  each.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from p2pnode.net.channel.errors import (
    ChannelClosedError,
    ChannelProtocolError,
    ControlFloodError,
    FrameFloodError,
    SilentPeerError,
    StrayDataError,
    StreamClosedError,
    StreamFinishedError,
    StreamIdError,
    StreamResetError,
    TooManyStreamsError,
    UnknownFrameError,
    WindowExceededError,
    WindowOverflowError,
    WrongVersionError,
)
from p2pnode.net.channel.events import (
    Event,
    GoAwayReceived,
    IdleExpired,
    PingAnswered,
    StreamOpened,
    StreamReadable,
    StreamReset,
    StreamState,
    YamuxStatistics,
)
from p2pnode.net.channel.frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_BYTES,
    INITIAL_WINDOW_BYTES,
    PING,
    RST,
    STREAM_ID_MAX,
    SYN,
    WINDOW_BYTES_MAX,
    WINDOW_UPDATE,
    GoAway,
    header,
)
from p2pnode.net.channel.limits import MuxerLimits
from p2pnode.net.channel.noise import PLAINTEXT_BYTES_MAX

BODY_BYTES_MAX: Final = PLAINTEXT_BYTES_MAX - HEADER_BYTES
"""Longest body sent: such a frame fills a Noise record. Others accept 64 KiB and more."""

OUTPUT_BYTES: Final = 2 * PLAINTEXT_BYTES_MAX
"""Sent at a time: more costs hardly less, and keeps small messages waiting."""

FAREWELL_BYTES_MAX: Final = 64 << 10
"""What is kept of streams that were reset while something was unsent."""

SMALL_BODY_BYTES: Final = 1024
"""A frame with a smaller body costs us its handling, which no rate of bytes bounds."""

_BODY_BYTES_MIN: Final = 1024
"""A message is not cut for less than this."""


class Yamux:
    """The muxer of one connection.

    The shell passes what arrives to `receive`, sends what `data_to_send` returns, and calls `tick`
    about every `limits.tick_s`. Nothing here waits.
    """

    def __init__(self, *, is_initiator: bool, limits: MuxerLimits) -> None:
        """Begin on a connection that carries nothing yet.

        Args:
            is_initiator: Whether we dialled: our streams then have odd ids.
            limits: Bounds.
        """
        self.sent_streams: list[StreamState] = []
        """Streams of which the last `data_to_send` returned something."""
        self.is_closed = False
        """Nothing comes any more; only a last go-away may still be sent."""
        self._limits = limits
        self._own_parity = 1 if is_initiator else 0
        self._next_id = 1 if is_initiator else 2
        self._streams: dict[int, StreamState] = {}
        self._unread: dict[StreamState, None] = {}
        self._inbound = 0
        self._reserved_bytes = 0
        self._stray_allowed_bytes = 0
        self._control = bytearray()
        self._farewell = bytearray()
        self._ready: deque[StreamState] = deque()
        # The decoder: a header cut short, or the frame whose body is coming.
        self._rest = b""
        self._body_bytes = 0
        self._body_id = 0
        self._body_flags = 0
        # Times.
        self._heard_s: float | None = None
        self._heard_frames = 0
        self._is_pinged = False
        self._small_frames = self._pings_received = self._streams_opened = 0
        self._idle_since_s: float | None = None
        self._ping_value = 0
        self._ping_open: int | None = None
        # Totals.
        self._opened = self._refused = self._resets_received = self._resets_sent = 0
        self._stalls = self._frames_received = self._frames_sent = 0
        self._data_received_bytes = self._data_sent_bytes = self._stray_bytes = 0
        self._pings_sent = self._pings_answered = 0

    # --- what comes ---------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Take the next bytes of the connection.

        Raises:
            ChannelProtocolError: The peer broke a rule. The connection is closed, and the go-away
                that says so is the next thing to send.
        """
        events: list[Event] = []
        try:
            self._decode(data, events)
        except ChannelProtocolError:
            self._close(GoAway.PROTOCOL_ERROR)
            raise
        return events

    def _decode(self, data: bytes, events: list[Event]) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at, size = 0, len(data)
        while not self.is_closed:
            if self._body_bytes:
                if at == size:
                    return
                end = min(size, at + self._body_bytes)
                self._body_bytes -= end - at
                self._on_body(data[at:end] if at or end < size else data, events)
                at = end
                if not self._body_bytes:
                    self._frames_received += 1
                    self._on_flags(self._body_flags, self._body_id, events)
                continue
            if size - at < HEADER_BYTES:
                self._rest = data[at:]
                return
            version, kind, flags, stream_id, length = HEADER.unpack_from(data, at)
            at += HEADER_BYTES
            if version:
                raise WrongVersionError(version)
            if kind <= WINDOW_UPDATE:
                if flags & SYN:
                    self._on_syn(stream_id, events)
                if kind == DATA and length:
                    if length < SMALL_BODY_BYTES:
                        self._count_small()
                    self._begin_body(stream_id, flags, length)
                    continue
                self._count_small()
                if length:
                    self._on_window(stream_id, length)
                self._on_flags(flags, stream_id, events)
            elif kind == PING:
                self._count_small()
                self._on_ping(flags, length, events)
            elif kind == GO_AWAY:
                self._close(None)
                events.append(GoAwayReceived(length))
            else:
                raise UnknownFrameError(kind)
            self._frames_received += 1

    def _count_small(self) -> None:
        self._small_frames += 1
        if self._small_frames > self._limits.small_frames_max:
            what = f"frames with a body below {SMALL_BODY_BYTES} bytes"
            raise FrameFloodError(what, self._limits.small_frames_max)

    def _begin_body(self, stream_id: int, flags: int, length: int) -> None:
        # Before any of it is held: the window bounds our memory.
        stream = self._streams.get(stream_id)
        if stream is None or stream.fin_received:
            if length > self._stray_allowed_bytes:
                raise StrayDataError(stream_id, length, self._stray_allowed_bytes)
            self._stray_allowed_bytes -= length
        elif length > stream.recv_window_bytes:
            raise WindowExceededError(stream_id, length, stream.recv_window_bytes)
        else:
            stream.recv_window_bytes -= length
        self._body_id, self._body_flags, self._body_bytes = stream_id, flags, length

    def _on_body(self, data: bytes, events: list[Event]) -> None:
        size = len(data)
        self._data_received_bytes += size
        stream = self._streams.get(self._body_id)
        if stream is None or stream.fin_received:
            self._stray_bytes += size
            return
        if not stream.received:
            events.append(StreamReadable(stream))
        stream.received += data

    def _on_window(self, stream_id: int, length: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        window_bytes = stream.send_window_bytes + length
        if window_bytes > WINDOW_BYTES_MAX:
            raise WindowOverflowError(stream_id, window_bytes)
        stream.send_window_bytes = window_bytes
        self._make_ready(stream)

    def _on_syn(self, stream_id: int, events: list[Event]) -> None:
        if not stream_id:
            raise StreamIdError(stream_id, "0 is the connection")
        if stream_id & 1 == self._own_parity:
            raise StreamIdError(stream_id, "ids of its parity are ours")
        if stream_id in self._streams:
            raise StreamIdError(stream_id, "it is open already")
        self._streams_opened += 1
        if self._streams_opened > self._limits.streams_opened_max:
            raise FrameFloodError("streams opened", self._limits.streams_opened_max)
        if (
            self._inbound >= self._limits.streams_inbound_max
            or self._reserved_bytes + INITIAL_WINDOW_BYTES > self._limits.reserved_bytes_max
        ):
            self._refused += 1
            # Until it hears of the refusal, the peer may fill the window.
            self._stray_allowed_bytes += INITIAL_WINDOW_BYTES
            self._answer(WINDOW_UPDATE, RST, stream_id, 0)
            return
        self._inbound += 1
        stream = self._add(StreamState(stream_id, is_ours=False))
        self._answer(WINDOW_UPDATE, ACK, stream_id, 0)
        events.append(StreamOpened(stream))

    def _on_flags(self, flags: int, stream_id: int, events: list[Event]) -> None:
        if not flags:
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if flags & ACK:
            stream.is_accepted = True
        if flags & FIN and not stream.fin_received:
            stream.fin_received = True
            self._reserve(stream, len(stream.received))
            events.append(StreamReadable(stream))
            self._remove_if_done(stream)
        if flags & RST and not stream.is_gone:
            self._resets_received += 1
            self._end(stream, keep_received=False)
            events.append(StreamReset(stream))

    def _on_ping(self, flags: int, value: int, events: list[Event]) -> None:
        if flags & SYN:
            self._pings_received += 1
            if self._pings_received > self._limits.pings_max:
                raise FrameFloodError("pings", self._limits.pings_max)
            self._answer(PING, ACK, 0, value)
        elif flags & ACK and value == self._ping_open:
            self._ping_open = None
            self._pings_answered += 1
            events.append(PingAnswered(value))

    def _answer(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        self._say(kind, flags, stream_id, length)
        if len(self._control) > self._limits.control_bytes_max:
            raise ControlFloodError(len(self._control), self._limits.control_bytes_max)

    # --- what we do ---------------------------------------------------------------

    def open(self) -> StreamState:
        """Open a stream; it can be written to at once.

        Raises:
            ChannelClosedError: The connection has ended.
            TooManyStreamsError: A limit of ours is reached.
        """
        if self.is_closed:
            raise ChannelClosedError("the connection has ended")
        outbound = len(self._streams) - self._inbound
        if (
            outbound >= self._limits.streams_outbound_max
            or self._reserved_bytes + INITIAL_WINDOW_BYTES > self._limits.reserved_bytes_max
            or self._next_id > STREAM_ID_MAX
        ):
            raise TooManyStreamsError(outbound, self._reserved_bytes)
        stream = self._add(StreamState(self._next_id, is_ours=True))
        self._next_id += 2
        self._say(WINDOW_UPDATE, SYN, stream.stream_id, 0)
        return stream

    def write(self, stream: StreamState, data: bytes) -> None:
        """Queue a message: all of it will be sent, as the peer's window allows.

        Raises:
            StreamResetError: The stream has ended.
            StreamClosedError: We have finished it.
        """
        if stream.is_reset:
            raise StreamResetError(f"stream {stream.stream_id} was reset")
        if stream.is_finishing:
            raise StreamClosedError(stream.stream_id)
        if data:
            stream.queue.append(memoryview(data))
            stream.unsent_bytes += len(data)
            self._make_ready(stream)

    def read(self, stream: StreamState, size_bytes_max: int) -> bytes:
        """Take what has come, at most so much; the peer may then send more.

        Returns:
            Nothing when nothing has come yet.

        Raises:
            StreamFinishedError: All was read.
            StreamResetError: The stream has ended before its end.
        """
        received = stream.received
        size = len(received)
        if not size:
            if stream.fin_received:
                raise StreamFinishedError(f"stream {stream.stream_id} is finished")
            if stream.is_reset:
                raise StreamResetError(f"stream {stream.stream_id} was reset")
            return b""
        if size > size_bytes_max:
            data = bytes(received[:size_bytes_max])
            del received[:size_bytes_max]
            size = size_bytes_max
        else:
            data = bytes(received)
            received.clear()
        if stream.fin_received or stream.is_gone:
            self._reserve(stream, len(received))
            if not received:
                self._unread.pop(stream, None)
        else:
            stream.taken_bytes += size
            if stream.taken_bytes * 2 >= stream.window_bytes:
                self._allow_more(stream)
        return data

    def finish(self, stream: StreamState) -> None:
        """Say that nothing more will be written, after all that was; repeatable."""
        if stream.is_finishing or stream.is_reset:
            return
        stream.is_finishing = True
        if not stream.unsent_bytes:
            self._say_finished(stream)

    def reset(self, stream: StreamState) -> None:
        """End a stream at once, in both directions; repeatable.

        What was received and not read is dropped. What was written still goes before the reset, as
        far as it is little and the window allows it: other implementations do so, and who answers
        and then resets counts on it.
        """
        if not stream.is_gone:
            self._resets_sent += 1
            sendable_bytes = min(stream.unsent_bytes, stream.send_window_bytes)
            if 0 < sendable_bytes <= FAREWELL_BYTES_MAX - len(self._farewell):
                pieces: list[bytes | memoryview] = []
                self._take_frame(stream, sendable_bytes, pieces)
                self._farewell += b"".join(pieces)
                self._farewell += header(WINDOW_UPDATE, RST, stream.stream_id, 0)
                self._frames_sent += 1
            else:
                self._say(WINDOW_UPDATE, RST, stream.stream_id, 0)
            if not stream.fin_received:
                self._stray_allowed_bytes += stream.recv_window_bytes
        self._end(stream, keep_received=False)

    def ping(self) -> int:
        """Ask the peer for a sign of life; returns the value PingAnswered will carry."""
        self._ping_value = (self._ping_value + 1) & 0xFFFFFFFF
        self._ping_open = self._ping_value
        self._pings_sent += 1
        self._say(PING, SYN, 0, self._ping_value)
        return self._ping_value

    def go_away(self, code: GoAway = GoAway.NORMAL) -> None:
        """End the connection; what waits in `data_to_send` should still be sent."""
        self._close(code)

    def lose(self) -> None:
        """Note that the connection below is gone."""
        self._close(None)
        self._control.clear()

    def tick(self, now_s: float) -> list[Event]:
        """Look at what takes too long.

        Raises:
            SilentPeerError: The peer has sent nothing for too long; the connection is closed.
        """
        events: list[Event] = []
        if self.is_closed:
            return events
        self._small_frames = self._pings_received = self._streams_opened = 0
        self._tick_liveness(now_s)
        for stream in list(self._streams.values()):
            if not stream.unsent_bytes:
                stream.since_s = None
            elif stream.since_s is None or stream.sent_bytes != stream.sent_seen_bytes:
                stream.since_s = now_s
                stream.sent_seen_bytes = stream.sent_bytes
            elif now_s - stream.since_s >= self._limits.stall_s:
                self._stalls += 1
                self.reset(stream)
                events.append(StreamReset(stream))
        for stream in list(self._unread):
            if stream.since_s is None:
                stream.since_s = now_s
            elif now_s - stream.since_s >= self._limits.linger_s:
                self._end(stream, keep_received=False)
        if self._streams or self._unread:
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = now_s
        elif now_s - self._idle_since_s >= self._limits.idle_s:
            self._close(GoAway.NORMAL)
            events.append(IdleExpired())
        return events

    def _tick_liveness(self, now_s: float) -> None:
        if self._heard_s is None or self._frames_received != self._heard_frames:
            self._heard_s = now_s
            self._heard_frames = self._frames_received
            self._is_pinged = False
        silent_s = now_s - self._heard_s
        if silent_s >= self._limits.silence_s:
            self._close(GoAway.NORMAL)
            raise SilentPeerError(silent_s)
        if silent_s >= self._limits.keepalive_s and not self._is_pinged:
            self._is_pinged = True
            self.ping()

    # --- what goes ----------------------------------------------------------------

    @property
    def has_output(self) -> bool:
        """Whether `data_to_send` would return something."""
        return bool(self._control or self._farewell or self._ready)

    def data_to_send(self, size_bytes_max: int = OUTPUT_BYTES) -> bytes:
        """Return what is to be sent next: all control frames, then data, streams in turn.

        Args:
            size_bytes_max: Data is added up to this size.
        """
        pieces: list[bytes | memoryview] = []
        size = len(self._control)
        if size:
            pieces.append(bytes(self._control))
            self._control.clear()
        if self._farewell:
            pieces.append(bytes(self._farewell))
            size += len(self._farewell)
            self._farewell.clear()
        ready = self._ready
        self.sent_streams.clear()
        while ready:
            room = size_bytes_max - size - HEADER_BYTES
            stream = ready[0]
            if room < _BODY_BYTES_MIN and room < stream.unsent_bytes:
                if pieces:
                    break
                room = _BODY_BYTES_MIN
            ready.popleft()
            if stream.is_gone:
                stream.is_ready = False
                continue
            size += self._take_frame(stream, room, pieces)
            self.sent_streams.append(stream)
            if stream.unsent_bytes and stream.send_window_bytes:
                ready.append(stream)
                continue
            stream.is_ready = False
            if stream.is_finishing and not stream.unsent_bytes:
                # Finished streams send nothing later: behind the data is where this belongs.
                pieces.append(header(WINDOW_UPDATE, FIN, stream.stream_id, 0))
                size += HEADER_BYTES
                self._frames_sent += 1
                stream.fin_sent = True
                self._remove_if_done(stream)
        return pieces[0] if len(pieces) == 1 and isinstance(pieces[0], bytes) else b"".join(pieces)

    def _take_frame(self, stream: StreamState, room: int, pieces: list[bytes | memoryview]) -> int:
        """Move one frame of a stream to the pieces; returns its size."""
        body_bytes = min(stream.unsent_bytes, stream.send_window_bytes, BODY_BYTES_MAX, room)
        stream.unsent_bytes -= body_bytes
        stream.sent_bytes += body_bytes
        stream.send_window_bytes -= body_bytes
        self._frames_sent += 1
        self._data_sent_bytes += body_bytes
        pieces.append(HEADER.pack(0, DATA, 0, stream.stream_id, body_bytes))
        queue = stream.queue
        left = body_bytes
        while left:
            message = queue[0]
            if len(message) <= left:
                pieces.append(queue.popleft())
                left -= len(message)
            else:
                pieces.append(message[:left])
                queue[0] = message[left:]
                left = 0
        return HEADER_BYTES + body_bytes

    def _say(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        self._frames_sent += 1
        self._control += HEADER.pack(0, kind, flags, stream_id, length)

    def _say_finished(self, stream: StreamState) -> None:
        stream.fin_sent = True
        self._say(WINDOW_UPDATE, FIN, stream.stream_id, 0)
        self._remove_if_done(stream)

    def _allow_more(self, stream: StreamState) -> None:
        increment = stream.taken_bytes
        grown = min(2 * stream.window_bytes, self._limits.window_bytes_max) - stream.window_bytes
        if grown and 2 * (self._reserved_bytes + grown) <= self._limits.reserved_bytes_max:
            stream.window_bytes += grown
            self._reserve(stream, stream.window_bytes)
            increment += grown
        stream.taken_bytes = 0
        stream.recv_window_bytes += increment
        self._say(WINDOW_UPDATE, 0, stream.stream_id, increment)

    # --- streams come and go --------------------------------------------------------

    def _add(self, stream: StreamState) -> StreamState:
        self._streams[stream.stream_id] = stream
        self._reserved_bytes += stream.reserved_bytes
        self._opened += 1
        return stream

    def _make_ready(self, stream: StreamState) -> None:
        if stream.unsent_bytes and stream.send_window_bytes and not stream.is_ready:
            stream.is_ready = True
            self._ready.append(stream)

    def _reserve(self, stream: StreamState, size_bytes: int) -> None:
        self._reserved_bytes += size_bytes - stream.reserved_bytes
        stream.reserved_bytes = size_bytes

    def _remove_if_done(self, stream: StreamState) -> None:
        if stream.fin_sent and stream.fin_received and not stream.is_gone:
            self._remove(stream)
            if stream.received:
                stream.since_s = None
                self._unread[stream] = None

    def _end(self, stream: StreamState, *, keep_received: bool) -> None:
        """Forget a stream that did not come to its proper end, or what is left of one."""
        self._remove(stream)
        stream.is_reset = True
        stream.queue.clear()
        stream.unsent_bytes = 0
        if not keep_received:
            stream.received.clear()
            # Its reader must not take this for the proper end.
            stream.fin_received = False
        self._unread.pop(stream, None)
        self._reserve(stream, len(stream.received))

    def _remove(self, stream: StreamState) -> None:
        if not stream.is_gone:
            stream.is_gone = True
            del self._streams[stream.stream_id]
            if not stream.is_ours:
                self._inbound -= 1

    def _close(self, code: GoAway | None) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        if code is not None:
            self._say(GO_AWAY, 0, 0, code)
        # What has come can still be read.
        for stream in list(self._streams.values()):
            self._end(stream, keep_received=True)
        self._ready.clear()
        self._farewell.clear()

    def statistics(self) -> YamuxStatistics:
        """Return state and totals."""
        streams = [*self._streams.values(), *self._unread]
        return YamuxStatistics(
            streams_inbound=self._inbound,
            streams_outbound=len(self._streams) - self._inbound,
            streams_opened=self._opened,
            streams_refused=self._refused,
            resets_received=self._resets_received,
            resets_sent=self._resets_sent,
            stalls=self._stalls,
            frames_received=self._frames_received,
            frames_sent=self._frames_sent,
            data_received_bytes=self._data_received_bytes,
            data_sent_bytes=self._data_sent_bytes,
            stray_bytes=self._stray_bytes,
            pings_sent=self._pings_sent,
            pings_answered=self._pings_answered,
            buffered_bytes=sum(len(s.received) for s in streams),
            reserved_bytes=self._reserved_bytes,
            unsent_bytes=sum(s.unsent_bytes for s in streams),
            control_bytes=len(self._control),
        )
