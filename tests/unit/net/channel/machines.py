"""Two Yamux machines and a wire between them that a test holds in its hands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from p2pnode.net.channel.events import Event, StreamOpened, StreamState
from p2pnode.net.channel.frames import HEADER, HEADER_BYTES
from p2pnode.net.channel.limits import MuxerLimits
from p2pnode.net.channel.yamux import Yamux

READ_ALL = 1 << 30


def machine(*, is_initiator: bool = False, **limits: Any) -> Yamux:
    return Yamux(is_initiator=is_initiator, limits=MuxerLimits(**limits))


def frames(data: bytes) -> list[tuple[int, int, int, int, bytes]]:
    """Cut what a machine sends into (type, flags, stream id, length, body)."""
    found = []
    at = 0
    while at < len(data):
        version, kind, flags, stream_id, length = HEADER.unpack_from(data, at)
        assert version == 0
        at += HEADER_BYTES
        body = data[at : at + length] if kind == 0 else b""
        assert kind or len(body) == length
        at += len(body)
        found.append((kind, flags, stream_id, length, body))
    return found


class Pair:
    """An initiator and a responder; `pump` moves all bytes until nothing moves."""

    def __init__(self, **limits: Any) -> None:
        self.a = machine(is_initiator=True, **limits)
        self.b = machine(is_initiator=False, **limits)
        self.events: list[Event] = []

    def pump(self) -> list[Event]:
        """Return the events of both sides since the last call."""
        events: list[Event] = []
        while self.a.has_output or self.b.has_output:
            events += self.b.receive(self.a.data_to_send())
            events += self.a.receive(self.b.data_to_send())
        self.events += events
        return events

    def open(self) -> tuple[StreamState, StreamState]:
        """Open a stream from a; return both ends."""
        ours = self.a.open()
        (theirs,) = opened(self.pump())
        return ours, theirs


def opened(events: Iterable[Event]) -> list[StreamState]:
    return [e.stream for e in events if isinstance(e, StreamOpened)]
