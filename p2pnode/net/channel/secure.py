"""The Trio shell of the records: bytes in and out of a connection after the Noise handshake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import trio

from p2pnode.net.channel.errors import ChannelClosedError, FrameFloodError
from p2pnode.net.channel.noise import SMALL_BYTES, Opener, RecordStatistics, Sealer
from p2pnode.net.rates import TokenBucket

WRITE_TIMEOUT_S: Final = 30.0
"""Time for one write to be taken by the operating system; it is at most some records long."""

SMALL_RECORDS_MAX: Final = 40_000
"""Records of less than a kibibyte taken within a second; others seal one a frame, or two. An empty
one is 18 bytes on the wire and several microseconds to us, and no layer above would see it."""

RECEIVE_BYTES: Final = 1 << 16
RECEIVE_BYTES_MAX: Final = 1 << 18
"""Asked for at a time: more when there is much."""


class RawChannel(Protocol):
    """The connection below, in clear."""

    async def receive(self, size_bytes_max: int) -> bytes:
        """Return what has come, at least one byte; cancelled, it has taken nothing.

        Raises:
            ChannelClosedError: The end.
        """
        ...

    async def send(self, data: bytes) -> None:
        """Send all of it; cancelled, it may have sent a part.

        Raises:
            ChannelClosedError: The end.
        """
        ...

    async def aclose(self) -> None:
        """End it at once and wake who waits; repeatable, does not raise."""
        ...


@dataclass(frozen=True, slots=True)
class SecureStatistics:
    """Totals of a channel since its handshake."""

    sealed: RecordStatistics
    """Sent."""
    opened: RecordStatistics
    """Received."""


class SecureChannel:
    """A connection whose two sides have agreed on keys."""

    def __init__(
        self,
        raw: RawChannel,
        sealer: Sealer,
        opener: Opener,
        *,
        write_timeout_s: float = WRITE_TIMEOUT_S,
        small_records_max: int = SMALL_RECORDS_MAX,
    ) -> None:
        """Take over a connection.

        Args:
            raw: Used by nobody else from now on.
            sealer: Of what we send.
            opener: Of what we receive.
            write_timeout_s: After it, a peer that does not read loses the connection.
            small_records_max: Records of little taken within a second; more end the connection.
        """
        self._raw = raw
        self._sealer = sealer
        self._opener = opener
        self._write_timeout_s = write_timeout_s
        self._writing = trio.Lock()
        self._leftover = b""
        self._small_records = TokenBucket(small_records_max, small_records_max)
        self._small_records_max = small_records_max
        self._receive_bytes = RECEIVE_BYTES

    async def read(self, size_bytes_max: int | None = None) -> bytes:
        """Return what has come, at least one byte and all of it unless there is a maximum.

        One task at a time. Cancelled, it has taken nothing.

        Raises:
            ChannelClosedError: The end.
            ChannelProtocolError: A record that cannot be opened, or far too many of little; the
                channel is at its end.
        """
        if self._leftover:
            await trio.lowlevel.checkpoint_if_cancelled()
        data, self._leftover = self._leftover, b""
        while not data:
            received = await self._raw.receive(self._receive_bytes)
            # A large buffer costs time even for little data.
            much = len(received) == self._receive_bytes
            self._receive_bytes = RECEIVE_BYTES_MAX if much else RECEIVE_BYTES
            small_before = self._opener.small_records
            data = self._opener.open(received)
            small = self._opener.small_records - small_before
            if small and not self._small_records.take(small, trio.current_time()):
                what = f"records of less than {SMALL_BYTES} bytes"
                raise FrameFloodError(what, self._small_records_max)
        if size_bytes_max is not None and len(data) > size_bytes_max:
            self._leftover = data[size_bytes_max:]
            data = data[:size_bytes_max]
        return data

    async def write(self, data: bytes) -> None:
        """Send data; what several tasks write goes out one after the other, each in one piece.

        Cancelled while another task writes, it sends nothing; later, it sends all of it first, for
        half a record would be the end of the channel.

        Raises:
            ChannelClosedError: The end, or the peer has not read for `write_timeout_s`.
        """
        # A free lock is taken without the round through the scheduler that `acquire` costs.
        if self._writing.locked():
            await self._writing.acquire()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._writing.acquire_nowait()
        try:
            sealed = self._sealer.seal(data)
            deadline = trio.current_time() + self._write_timeout_s
            with trio.CancelScope(shield=True, deadline=deadline) as scope:
                await self._raw.send(sealed)
        finally:
            self._writing.release()
        if scope.cancelled_caught:
            await self.aclose()
            raise ChannelClosedError(f"the peer has not read for {self._write_timeout_s:g} s")

    async def aclose(self) -> None:
        """End the connection at once and wake who waits; repeatable, does not raise."""
        with trio.CancelScope(shield=True):
            await self._raw.aclose()

    def statistics(self) -> SecureStatistics:
        """Return totals."""
        return SecureStatistics(self._sealer.statistics(), self._opener.statistics())
