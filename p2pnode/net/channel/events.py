"""What the muxer's state machine is made of: streams, events and statistics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from p2pnode.net.channel.frames import INITIAL_WINDOW_BYTES


class StreamState:
    """One stream; changed by its `Yamux` only, read by all."""

    __slots__ = (
        "fin_received",
        "fin_sent",
        "is_accepted",
        "is_finishing",
        "is_gone",
        "is_ours",
        "is_ready",
        "is_reset",
        "owner",
        "queue",
        "received",
        "recv_window_bytes",
        "reserved_bytes",
        "send_window_bytes",
        "sent_bytes",
        "sent_seen_bytes",
        "since_s",
        "stream_id",
        "taken_bytes",
        "unsent_bytes",
        "window_bytes",
    )

    def __init__(self, stream_id: int, *, is_ours: bool) -> None:
        self.stream_id = stream_id
        self.is_ours = is_ours
        self.owner: Any = None
        """For the shell around."""
        self.received = bytearray()
        """What came and was not read."""
        self.window_bytes = INITIAL_WINDOW_BYTES
        """Most the peer may have sent without our having read it."""
        self.recv_window_bytes = INITIAL_WINDOW_BYTES
        """What the peer may still send."""
        self.taken_bytes = 0
        """Read since the peer was last allowed more."""
        self.reserved_bytes = INITIAL_WINDOW_BYTES
        """What the stream counts for in the sum of all windows."""
        self.queue: deque[memoryview] = deque()
        """Messages to be sent, the first of them perhaps begun."""
        self.unsent_bytes = 0
        self.sent_bytes = 0
        self.send_window_bytes = INITIAL_WINDOW_BYTES
        self.is_ready = False
        """Waits for its turn to send."""
        self.is_finishing = False
        """We write no more; what is queued still goes."""
        self.is_accepted = not is_ours
        """The peer has taken the stream."""
        self.fin_sent = False
        self.fin_received = False
        self.is_reset = False
        """By either side, or by the end of the connection."""
        self.is_gone = False
        """Not on the wire any more."""
        self.since_s: float | None = None
        """When the lack of progress, or of a reader, was first seen."""
        self.sent_seen_bytes = 0
        """`sent_bytes` at that time."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer has opened a stream."""

    stream: StreamState


@dataclass(frozen=True, slots=True)
class StreamReadable:
    """A stream has data again, or has come to its end."""

    stream: StreamState


@dataclass(frozen=True, slots=True)
class StreamReset:
    """A stream was reset by the peer, or by us because it made no progress."""

    stream: StreamState


@dataclass(frozen=True, slots=True)
class PingAnswered:
    """The peer has answered a ping of ours."""

    value: int


@dataclass(frozen=True, slots=True)
class GoAwayReceived:
    """The peer ends the connection; nothing more comes."""

    code: int
    """Of GoAway, or any other."""


@dataclass(frozen=True, slots=True)
class IdleExpired:
    """There was no stream for too long: we have said go-away, the shell closes."""


Event = StreamOpened | StreamReadable | StreamReset | PingAnswered | GoAwayReceived | IdleExpired


@dataclass(frozen=True, slots=True)
class YamuxStatistics:
    """State and totals of one connection's muxer."""

    streams_inbound: int
    """Streams open now that the peer opened."""
    streams_outbound: int
    """Streams open now that we opened."""
    streams_opened: int
    """Streams ever opened, by either side."""
    streams_refused: int
    """Streams of the peer reset as they came, for want of room."""
    resets_received: int
    """Streams reset by the peer."""
    resets_sent: int
    """Streams reset by us, those for lack of progress included."""
    stalls: int
    """Streams reset by us for lack of progress."""
    frames_received: int
    """Frames, a data frame when its body is complete."""
    frames_sent: int
    """Frames, control included."""
    data_received_bytes: int
    """Bodies, dropped ones included."""
    data_sent_bytes: int
    """Bodies."""
    stray_bytes: int
    """Bodies dropped because their streams had ended."""
    pings_sent: int
    """Pings of ours."""
    pings_answered: int
    """Answers to them."""
    buffered_bytes: int
    """Held because nobody has read it yet."""
    reserved_bytes: int
    """Sum of all windows: what could be held."""
    unsent_bytes: int
    """Written and not yet sent."""
    control_bytes: int
    """Answers that wait to be sent."""
