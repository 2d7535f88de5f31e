"""Errors of the secure channel and the muxer: what peers do wrong, and how streams end."""

from __future__ import annotations

from p2pnode.errors import LocalProtocolError, P2PNodeError, RemoteProtocolError


class ChannelProtocolError(RemoteProtocolError):
    """A peer breaks a rule of Noise or Yamux; the connection cannot be used any more."""

    penalty = 50.0


class HandshakeTooLongError(ChannelProtocolError):
    """A peer sends more during the handshake than any handshake needs."""

    def __init__(self, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"{size_bytes} bytes of handshake, at most {size_bytes_max} allowed")
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max


class RecordTooShortError(ChannelProtocolError):
    """A record has no room for its tag."""

    def __init__(self, size_bytes: int, size_bytes_min: int) -> None:
        super().__init__(f"record of {size_bytes} bytes, at least {size_bytes_min} needed")
        self.size_bytes = size_bytes


class RecordForgedError(ChannelProtocolError):
    """A record was not sealed with the key and the number it should have."""

    def __init__(self, number: int) -> None:
        super().__init__(f"record {number} does not open")
        self.number = number


class WrongVersionError(ChannelProtocolError):
    """A frame has another version than 0."""

    def __init__(self, version: int) -> None:
        super().__init__(f"frame of version {version} instead of 0")
        self.version = version


class UnknownFrameError(ChannelProtocolError):
    """A frame is of no type that exists."""

    def __init__(self, kind: int) -> None:
        super().__init__(f"frame of type {kind}, at most 3 exists")
        self.frame_type = kind


class StreamIdError(ChannelProtocolError):
    """A peer opens a stream under an id that is not its to take."""

    def __init__(self, stream_id: int, reason: str) -> None:
        super().__init__(f"stream {stream_id} opened: {reason}")
        self.stream_id = stream_id


class WindowExceededError(ChannelProtocolError):
    """A peer sends more on a stream than we allowed."""

    def __init__(self, stream_id: int, size_bytes: int, window_bytes: int) -> None:
        super().__init__(
            f"{size_bytes} bytes on stream {stream_id} whose window is {window_bytes} bytes"
        )
        self.stream_id = stream_id
        self.size_bytes = size_bytes
        self.window_bytes = window_bytes


class StrayDataError(ChannelProtocolError):
    """A peer sends more on streams that do not exist than can have been under way."""

    def __init__(self, stream_id: int, size_bytes: int, allowed_bytes: int) -> None:
        super().__init__(
            f"{size_bytes} bytes on stream {stream_id}, which does not exist; at most "
            f"{allowed_bytes} bytes can be late"
        )
        self.stream_id = stream_id
        self.size_bytes = size_bytes
        self.allowed_bytes = allowed_bytes


class WindowOverflowError(ChannelProtocolError):
    """A peer allows us more than a window can be."""

    def __init__(self, stream_id: int, window_bytes: int) -> None:
        super().__init__(f"window of {window_bytes} bytes on stream {stream_id}, beyond 2^32")
        self.stream_id = stream_id
        self.window_bytes = window_bytes


class ControlFloodError(ChannelProtocolError):
    """A peer makes us answer faster than it reads the answers."""

    penalty = 100.0

    def __init__(self, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"{size_bytes} bytes of answers wait, at most {size_bytes_max} allowed")
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max


class FrameFloodError(ChannelProtocolError):
    """A peer sends frames that carry nothing, far more than any traffic needs."""

    penalty = 100.0

    def __init__(self, what: str, count_max: int) -> None:
        super().__init__(f"more than {count_max} {what} in a second")
        self.count_max = count_max


class SilentPeerError(ChannelProtocolError):
    """A peer has sent no whole frame for too long, although it was asked to."""

    penalty = 5.0

    def __init__(self, silent_s: float) -> None:
        super().__init__(f"no frame for {silent_s:.1f} s")
        self.silent_s = silent_s


class StreamEndedError(P2PNodeError):
    """Nothing more can be done with a stream, or with a direction of it."""


class StreamFinishedError(StreamEndedError):
    """The peer has finished its direction, and all of it was read."""


class StreamResetError(StreamEndedError):
    """The stream was reset by either side, or its connection has ended."""


class ChannelClosedError(StreamEndedError):
    """The connection has ended."""


class StreamClosedError(LocalProtocolError):
    """We write to a stream we have closed."""

    def __init__(self, stream_id: int) -> None:
        super().__init__(f"stream {stream_id} is closed for writing")
        self.stream_id = stream_id


class TooManyStreamsError(LocalProtocolError):
    """We open more streams than our limits, or those of memory, allow."""

    def __init__(self, streams_count: int, reserved_bytes: int) -> None:
        super().__init__(
            f"{streams_count} streams opened by us, {reserved_bytes} bytes of windows in all"
        )
        self.streams_count = streams_count
        self.reserved_bytes = reserved_bytes
