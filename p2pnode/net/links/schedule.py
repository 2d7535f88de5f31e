"""When which bytes leave over a faulty link: what TCP makes of latency, rate, loss and cuts. Pure.

One direction of one connection. TCP keeps order and loses nothing: a lost segment is late, and so
is everything behind it; a cut link stalls. What is modelled, per piece of at most a few segments:

* rate: pieces follow one another on the wire, and what waits for it is bounded;
* latency: drawn for each piece, but none overtakes an earlier one;
* loss: a lost segment is sent again after a round trip when enough segments behind it tell of the
  loss (fast retransmission), else after the retransmission time-out, which doubles with each loss;
* cut: what is on the wire arrives; everything else waits for the healing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final

from p2pnode.net.links.profile import LinkProfile

SEGMENT_BYTES: Final = 1448
"""Payload of a TCP segment on Ethernet, with time stamps."""

PIECE_BYTES_MAX: Final = 16 * 1024
"""What shares one fate: small, so that a long write trickles at the link's rate."""

FAST_SEGMENTS: Final = 3
"""Segments behind a lost one that make its sender send it again at once (RFC 5681: 3 duplicate
acknowledgements)."""

RTO_MARGIN_S: Final = 0.2
"""The retransmission time-out is the round trip and this (Linux, TCP_RTO_MIN)."""

RTO_S_MAX: Final = 10.0
"""Longest pause of one retransmission; TCP's 120 s outlast every connection here."""

RETRANSMISSIONS_MAX: Final = 8
"""A segment lost so often comes through: the connection is given up long before, by pings."""

BUFFERED_S: Final = 1.0
"""What waits for a limited rate: a second of it, as queues of access links do, …"""

QUEUE_BYTES_MIN: Final = 64 * 1024
"""… but never less, …"""

QUEUE_BYTES_MAX: Final = 4 << 20
"""… nor more than a sender's buffer (Linux, tcp_wmem), which also bounds what is under way."""

TAKEN_BYTES_MAX: Final = 256 * 1024
"""Most that leaves in one write."""

CLEAR: Final = LinkProfile(0.0, 0.0)
"""A link that does nothing."""


class LinkSchedule:
    """The bytes of one direction of one connection that have not left yet."""

    __slots__ = (
        "_busy_until_s", "_cut", "_draw", "_held", "_losing", "_profile", "_queue",
        "_queued_bytes",
    )  # fmt: skip

    def __init__(self, profile: LinkProfile | None, draw: Callable[[], float]) -> None:
        """Begin empty and not cut.

        Args:
            profile: What the link is like; None does nothing.
            draw: Returns random numbers in [0, 1).
        """
        self._profile = profile or CLEAR
        self._draw = draw
        self._cut = False
        self._queue: deque[tuple[float, float, bytes]] = deque()
        """(when it is on the wire for the last time, when it arrives, piece)."""
        self._held: deque[bytes] = deque()
        """Pieces that wait for the healing, behind those of the queue."""
        self._queued_bytes = 0
        self._busy_until_s = -inf
        self._losing = False

    @property
    def queued_bytes(self) -> int:
        """Bytes that have not left."""
        return self._queued_bytes

    @property
    def queued_bytes_max(self) -> int:
        """Above it, a sender waits."""
        rate = self._profile.rate_bytes_per_s
        if rate is None:
            return QUEUE_BYTES_MAX
        carried_s = BUFFERED_S + 2 * self._profile.latency_ms_max / 1e3
        return max(QUEUE_BYTES_MIN, min(QUEUE_BYTES_MAX, int(rate * carried_s)))

    @property
    def has_room(self) -> bool:
        """A piece may be put."""
        return self._queued_bytes < self.queued_bytes_max

    @property
    def next_due_s(self) -> float:
        """When the next bytes leave; infinity for none, or not before the healing."""
        return self._queue[0][1] if self._queue else inf

    def put(self, piece: bytes, now_s: float) -> None:
        """Take bytes in, at most `PIECE_BYTES_MAX`; does not ask `has_room`."""
        assert 0 < len(piece) <= PIECE_BYTES_MAX, len(piece)
        self._queued_bytes += len(piece)
        if self._cut:
            self._held.append(piece)
        else:
            self._schedule(piece, now_s)

    def take(self, now_s: float) -> bytes:
        """Return what leaves now, in order; nothing when nothing is due."""
        queue, found, size = self._queue, [], 0
        while queue and queue[0][1] <= now_s and size < TAKEN_BYTES_MAX:
            piece = queue.popleft()[2]
            found.append(piece)
            size += len(piece)
        self._queued_bytes -= size
        return b"".join(found)

    def change(self, profile: LinkProfile | None, *, cut: bool, now_s: float) -> None:
        """Let the link be another one from now on; what is on the wire is not touched."""
        self._profile = profile or CLEAR
        if cut and not self._cut:
            while self._queue and self._queue[-1][0] > now_s:
                self._held.appendleft(self._queue.pop()[2])
            self._busy_until_s = min(self._busy_until_s, now_s)
        self._cut = cut
        while self._held and not cut:
            self._schedule(self._held.popleft(), now_s)

    def _schedule(self, piece: bytes, now_s: float) -> None:
        profile = self._profile
        sent_s = max(now_s, self._busy_until_s)
        if profile.rate_bytes_per_s is not None:
            sent_s += len(piece) / profile.rate_bytes_per_s
        self._busy_until_s = sent_s
        wire_s = sent_s + (self._retransmission_s(len(piece)) if profile.loss else 0.0)
        latency_ms = profile.latency_ms_min
        if profile.latency_ms_max > latency_ms:
            latency_ms += self._draw() * (profile.latency_ms_max - latency_ms)
        # Nothing overtakes: behind a segment that is still to be sent again, the others wait at the
        # other end. What has left the queue has arrived before now, and holds up nothing.
        last_wire_s, last_due_s = self._queue[-1][:2] if self._queue else (-inf, -inf)
        wire_s = max(wire_s, last_wire_s)
        self._queue.append((wire_s, max(wire_s + latency_ms / 1e3, last_due_s), piece))

    def _retransmission_s(self, size_bytes: int) -> float:
        """Return how much later the whole piece has come for its lost segments."""
        profile = self._profile
        rtt_s = 2 * profile.latency_ms_max / 1e3
        late_s = 0.0
        for behind in reversed(range(-(-size_bytes // SEGMENT_BYTES))):
            pause_s = rtt_s if behind >= FAST_SEGMENTS else rtt_s + RTO_MARGIN_S
            its_s = 0.0
            for _ in range(RETRANSMISSIONS_MAX):
                self._losing = profile.loses(self._losing, self._draw())
                if not self._losing:
                    break
                its_s += pause_s
                # That one is lost too is known only from the time-out.
                pause_s = min(2 * max(pause_s, rtt_s + RTO_MARGIN_S), RTO_S_MAX)
            # They are sent again side by side: the latest one counts.
            late_s = max(late_s, its_s)
        return late_s


def pieces(data: bytes) -> list[bytes]:
    """Cut data into what a schedule takes."""
    if len(data) <= PIECE_BYTES_MAX:
        return [data] if data else []
    return [data[i : i + PIECE_BYTES_MAX] for i in range(0, len(data), PIECE_BYTES_MAX)]
