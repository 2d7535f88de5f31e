"""The network of a node that shares its process with all others, over a `MemoryHub`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from p2pnode.errors import P2PNodeError, RemoteProtocolError
from p2pnode.net.memory_hub import HubStatistics as HubStatistics
from p2pnode.net.memory_hub import MemoryHub as MemoryHub
from p2pnode.net.memory_link import Call, Link
from p2pnode.net.scores import Scores
from p2pnode.ports import (
    BannedPeer,
    Incoming,
    Lane,
    NetworkStatistics,
    PeerId,
    PeerStatus,
    RequestFailedError,
    Verdict,
)

INCOMING_MAX: Final = 4096
"""Items that wait in one node's `incoming`; later ones are dropped and counted."""

BAN_S: Final = 60.0
"""How long a peer is refused the first time that its score reached -100."""

SEEN_MAX: Final = 8192
"""Message ids one node remembers at least; it forgets the oldest at twice as many."""

HANDLERS_MAX: Final = 256
"""Requests one node answers at a time; more fail."""


class MemoryNetwork:
    """One node's port to a `MemoryHub`; the contract is ports.Network's.

    A node that starts again makes a new one. When its reader is too slow, `incoming` overflows and
    what does not fit is dropped and counted.
    """

    def __init__(
        self, hub: MemoryHub, peer_id: PeerId, *, incoming_max: int = INCOMING_MAX
    ) -> None:
        """Make a port that is not connected yet.

        Args:
            hub: The medium.
            peer_id: This node's id.
            incoming_max: Items that may wait to be read.
        """
        self.hub = hub
        self.up = False
        self.links: dict[PeerId, Link] = {}
        self.topics: dict[str, Callable[[PeerId, bytes], Verdict]] = {}
        self.frames_sent = 0
        self.frames_received = 0
        self.frames_dropped = 0
        self.messages_published = 0
        self.messages_received = 0
        self.messages_invalid = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self._peer_id = peer_id
        send, self._incoming = trio.open_memory_channel[Incoming](incoming_max)
        self._send = send
        self.deliver = send.send_nowait
        self._handlers: dict[str, Callable[[PeerId, bytes], Awaitable[bytes]]] = {}
        self._handlers_running = 0
        self._nursery: trio.Nursery | None = None
        self._asked = 0
        self._scores = Scores(ban_s=BAN_S)
        self._seen: dict[int, None] = {}
        self._seen_before: dict[int, None] = {}

    @property
    def peer_id(self) -> PeerId:
        """This node's own id."""
        return self._peer_id

    @property
    def incoming(self) -> trio.MemoryReceiveChannel[Incoming]:
        """Everything that arrives."""
        return self._incoming

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled; handlers of requests run in here."""
        assert self._nursery is None, "a network runs once; a restarted node makes a new one"
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.up = True
            self.hub.join(self)
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self.hub.leave(self)
                self._send.close()

    def send(self, peer: PeerId, lane: Lane, frame: bytes) -> bool:
        link = self.links.get(peer)
        if link is None or not self.up or not self.hub.send(link, lane, frame):
            self.frames_dropped += 1
            return False
        self.frames_sent += 1
        self.bytes_sent += len(frame)
        return True

    async def request(self, peer: PeerId, protocol: str, body: bytes, *, timeout_s: float) -> bytes:
        link = self.links.get(peer)
        if link is None or not self.up:
            await trio.lowlevel.checkpoint()
            raise RequestFailedError(f"{protocol}: not connected to {peer.hex()}")
        call = Call()
        self._asked += 1
        number = self._asked
        link.calls[number] = call
        self.bytes_sent += len(body)
        try:
            self.hub.ask(link, protocol, body, call)
            with trio.move_on_after(timeout_s):
                await call.done.wait()
        finally:
            del link.calls[number]
        if call.answer is not None:
            self.bytes_received += len(call.answer)
            return call.answer
        why = call.error or f"no answer in {timeout_s} s"
        raise RequestFailedError(f"{protocol}: {why} (peer {peer.hex()})")

    def serve(self, protocol: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]]) -> None:
        assert self._nursery is None, "serve comes before run"
        self._handlers[protocol] = handler

    def subscribe(self, topic: str, validate: Callable[[PeerId, bytes], Verdict]) -> None:
        assert self._nursery is None, "subscribe comes before run"
        self.topics[topic] = validate

    def publish(self, topic: str, data: bytes) -> None:
        if self.up:
            self.messages_published += 1
            self.hub.spread(self, topic, data)

    def peers(self) -> tuple[PeerStatus, ...]:
        return tuple(self._status(self.links[peer]) for peer in sorted(self.links))

    def penalize(self, peer: PeerId, points: float, reason: str) -> None:
        if self._scores.penalize(peer, points, trio.current_time(), reason):
            self.hub.disconnect(self, peer, f"banned: {reason}")
            self.hub.dial(self._peer_id, peer, self._scores.banned_until_s(peer))

    def banned(self) -> tuple[BannedPeer, ...]:
        return self._scores.all_banned(trio.current_time())

    def statistics(self) -> NetworkStatistics:
        return NetworkStatistics(
            peers_count=len(self.links),
            frames_sent=self.frames_sent,
            frames_received=self.frames_received,
            frames_dropped=self.frames_dropped,
            messages_published=self.messages_published,
            messages_received=self.messages_received,
            messages_invalid=self.messages_invalid,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            dials_failed=0,
            bans_count=self._scores.bans_count,
        )

    # --- what the hub calls ----------------------------------------------------------------------

    def is_banned(self, peer: PeerId) -> bool:
        """Tell whether a peer is refused at present."""
        return self._scores.banned(peer, trio.current_time())

    def is_new(self, message_id: int) -> bool:
        """Tell whether a message was never seen here, and remember it."""
        if message_id in self._seen or message_id in self._seen_before:
            return False
        if len(self._seen) >= SEEN_MAX:
            self._seen, self._seen_before = {}, self._seen
        self._seen[message_id] = None
        return True

    def answer(self, peer: PeerId, protocol: str, body: bytes, call: Call) -> None:
        """Start answering a request."""
        assert self._nursery is not None
        self.bytes_received += len(body)
        handler = self._handlers.get(protocol)
        if handler is None:
            self._reply(peer, call, None, "no such protocol there")
        elif self._handlers_running >= HANDLERS_MAX:
            self._reply(peer, call, None, f"busy with {HANDLERS_MAX} requests there")
        else:
            self._handlers_running += 1
            self._nursery.start_soon(self._run_handler, handler, peer, body, call)

    async def _run_handler(
        self,
        handler: Callable[[PeerId, bytes], Awaitable[bytes]],
        peer: PeerId,
        body: bytes,
        call: Call,
    ) -> None:
        try:
            answer = await handler(peer, body)
        except P2PNodeError as error:
            if isinstance(error, RemoteProtocolError):
                self.penalize(peer, error.penalty, f"request: {error}")
            self._reply(peer, call, None, f"{type(error).__name__} there")
        except Exception as error:
            if self.hub.on_bug is None:
                raise
            self.hub.on_bug(self._peer_id, error)
            self._reply(peer, call, None, "internal error there")
        else:
            self._reply(peer, call, answer, "")
        finally:
            self._handlers_running -= 1

    def _reply(self, peer: PeerId, call: Call, answer: bytes | None, error: str) -> None:
        link = self.links.get(peer)
        if link is not None and self.up:
            self.bytes_sent += len(answer or b"")
            self.hub.reply(link, call, answer, error)

    def _status(self, link: Link) -> PeerStatus:
        peer, now_s = link.receiver.peer_id, trio.current_time()
        there, back = link.profile, self.hub.profile(peer, self._peer_id)
        rtt_ms = (
            there.latency_ms_min + there.latency_ms_max + back.latency_ms_min + back.latency_ms_max
        ) / 2
        return PeerStatus(
            peer=peer,
            rtt_s=rtt_ms / 1e3,
            inbound=link.inbound,
            address=f"/memory/{peer.hex()}",
            score=self._scores.score(peer, now_s),
            reasons=self._scores.reasons(peer, now_s),
        )
