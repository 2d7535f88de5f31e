"""What one connection may cost: streams, memory and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pnode.errors import ConfigError
from p2pnode.net.channel.frames import INITIAL_WINDOW_BYTES, WINDOW_BYTES_MAX

STREAMS_OPENED_MAX: Final = 400
"""Default of `MuxerLimits` and of `NetworkLimits`: streams that one peer opens in a second."""


class MuxerLimitsError(ConfigError):
    """Limits of the muxer that contradict the protocol or one another."""


@dataclass(frozen=True, slots=True)
class MuxerLimits:
    """Bounds of one connection's muxer."""

    streams_inbound_max: int = 128
    """Streams the peer may hold open; more are reset as they come. go-yamux: 1000 by default."""
    streams_outbound_max: int = 128
    """Streams we hold open. Others refuse more than 256 that wait to be accepted."""
    streams_opened_max: int = STREAMS_OPENED_MAX
    """Streams the peer may open between two ticks; more end the connection. To open and reset them
    again costs the peer two frames, and us the handling of a stream."""
    window_bytes_max: int = 1 << 20
    """How far the window of a stream that is read fast grows. 1 MiB is 10 MB/s at 100 ms."""
    reserved_bytes_max: int = 48 << 20
    """Sum of all windows, which is the most the peer can make us hold. Windows grow in its first
    half; streams are refused beyond it."""
    control_bytes_max: int = 64 << 10
    """Answers that wait for a peer that does not read them; more end the connection."""
    small_frames_max: int = 20_000
    """Frames with a body below 1 KiB, or none (window updates, resets, pings), between two ticks;
    more end the connection. A peer that reads 160 MB/s says 1,200 times a second that more may
    come; of messages, the rates of all traffic allow 2,600."""
    pings_max: int = 100
    """Pings between two ticks; more end the connection. Others send one in 10 s and more."""
    keepalive_s: float = 10.0
    """Silence after which the peer is pinged."""
    silence_s: float = 30.0
    """Silence after which the connection is given up."""
    idle_s: float = 300.0
    """Time without any stream after which the connection is closed."""
    stall_s: float = 30.0
    """How long a stream with something to send may make no progress until it is reset."""
    linger_s: float = 60.0
    """How long what nobody reads is kept of a stream that both sides have finished."""
    close_s: float = 1.0
    """Time for what waits to be sent when the connection is closed by us."""
    tick_s: float = 1.0
    """How often the times above are looked at."""

    def __post_init__(self) -> None:
        if not INITIAL_WINDOW_BYTES <= self.window_bytes_max <= WINDOW_BYTES_MAX:
            raise MuxerLimitsError(
                f"a window of {self.window_bytes_max} bytes is not between "
                f"{INITIAL_WINDOW_BYTES} and {WINDOW_BYTES_MAX}"
            )
        if self.reserved_bytes_max < INITIAL_WINDOW_BYTES:
            raise MuxerLimitsError(
                f"{self.reserved_bytes_max} bytes do not hold one window of {INITIAL_WINDOW_BYTES}"
            )
        if self.keepalive_s >= self.silence_s:
            raise MuxerLimitsError(
                f"a ping after {self.keepalive_s} s cannot be answered within {self.silence_s} s"
            )
