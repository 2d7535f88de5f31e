"""Two ends of a stream in memory, with the interface of p2pnode.net.libp2p.streams.Stream."""

from __future__ import annotations

import trio

from p2pnode.net.config import NetworkLimits
from p2pnode.net.libp2p.streams import StreamBrokenError
from p2pnode.net.meters import Meters


class FakeStream:
    def __init__(self, peer: bytes = b"peer") -> None:
        self.peer = peer
        self.protocol = ""
        self.writes: list[bytes] = []
        """What was written here, write by write."""
        self.was_reset = False
        self.other: FakeStream | None = None
        self._send, self._receive = trio.open_memory_channel[bytes](1000)
        self._leftover = b""

    async def read(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self._leftover:
            data, self._leftover = self._leftover, b""
            return data
        try:
            return await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StreamBrokenError("fake end") from None

    def unread(self, data: bytes) -> None:
        self._leftover = data + self._leftover

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.writes.append(data)
        assert self.other is not None
        try:
            self.other._send.send_nowait(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise StreamBrokenError("fake end") from None

    async def reset(self) -> None:
        self.was_reset = True
        for end in (self, self.other):
            if end is not None:
                end._send.close()

    def reset_soon(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self.reset)


def stream_pair() -> tuple[FakeStream, FakeStream]:
    a, b = FakeStream(b"b"), FakeStream(b"a")
    a.other, b.other = b, a
    return a, b


def free_meters(limits: NetworkLimits) -> Meters:
    """Return meters that blame nobody."""
    return Meters(limits, lambda peer, offence, times, details: None)
