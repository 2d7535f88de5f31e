"""Faults on the links of a real node: a table of what each link does, and the channels it governs.

For test chains only. Every node delays, slows and stalls what *it* sends, so both directions of a
link are their senders' business. Where it sits in the stack and why: docs/adr/014.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio

from p2pnode.errors import ConfigError
from p2pnode.net.channel.errors import ChannelClosedError
from p2pnode.net.channel.secure import RawChannel
from p2pnode.net.links.profile import LinkProfile
from p2pnode.net.links.schedule import LinkSchedule, pieces
from p2pnode.ports import PeerId

LINKS_MAX: Final = 1024
"""Peers with a link that is not as it is."""

HANDSHAKE_LEGS: Final = 4
"""One-way trips of a TCP connection and a handshake before it; those after it are really made."""


class LinkTableError(ConfigError):
    """A table of links can't be used."""


@dataclass(frozen=True, slots=True)
class LinkState:
    """What becomes of everything this node sends to one peer."""

    profile: LinkProfile | None = None
    """None: it leaves as it comes."""
    cut: bool = False
    """Nothing arrives until it is healed."""


_CLEAR: Final = LinkState()


class LinkTable:
    """What each link of a node does; changed at any time, and followed by its connections."""

    def __init__(
        self,
        states: Mapping[PeerId, LinkState] | None = None,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Begin with some links.

        Args:
            states: Of peers; those not named have a link that does nothing.
            draw: Returns random numbers in [0, 1).
        """
        self._states: Mapping[PeerId, LinkState] = dict(states or {})
        self._draw = draw
        self._changed = trio.Event()
        self._nursery: trio.Nursery | None = None
        # A connection that has ended need not say so.
        self._channels: weakref.WeakSet[ShimmedChannel] = weakref.WeakSet()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry what leaves late, until cancelled; before it no connection may be made."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def state(self, peer: PeerId) -> LinkState:
        """Return what holds for everything sent to a peer."""
        return self._states.get(peer, _CLEAR)

    def set(self, states: Mapping[PeerId, LinkState]) -> None:
        """Replace all links; standing connections follow at once.

        Raises:
            LinkTableError: They are too many.
        """
        if len(states) > LINKS_MAX:
            raise LinkTableError(f"{len(states)} links, at most {LINKS_MAX} expected")
        self._states = dict(states)
        for channel in list(self._channels):
            channel.follow(self.state(channel.peer))
        self._changed.set()
        self._changed = trio.Event()

    async def until_open(self, peer: PeerId) -> None:
        """Wait until the link to a peer is not cut."""
        while self.state(peer).cut:
            await self._changed.wait()

    async def pass_handshake(self, peer: PeerId) -> None:
        """Take the time that a connection and its handshake take on the link to a peer.

        Both sides do, each for its own direction; nobody uses a connection over a cut link.
        """
        await self.until_open(peer)
        profile = self.state(peer).profile
        if profile is not None:
            await trio.sleep(HANDSHAKE_LEGS * profile.latency_ms / 1e3)
            await self.until_open(peer)

    def shim(self, peer: PeerId, inner: RawChannel) -> ShimmedChannel:
        """Return a channel that does to what is sent what the link to the peer does."""
        channel = ShimmedChannel(self, peer, inner)
        self._channels.add(channel)
        channel.follow(self.state(peer))
        return channel

    def schedule(self, profile: LinkProfile | None) -> LinkSchedule:
        """Return an empty schedule."""
        return LinkSchedule(profile, self._draw)

    def start_soon(self, pump: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a task of a channel."""
        assert self._nursery is not None, "the table does not run"
        self._nursery.start_soon(pump)


class ShimmedChannel:
    """A `RawChannel` under a faulty link.

    While the link does nothing, `send` is the inner channel's own: no task, queue or further await.
    """

    def __init__(self, table: LinkTable, peer: PeerId, inner: RawChannel) -> None:
        """Take over a channel; `LinkTable.shim` is how it is made."""
        self.peer = peer
        self._table = table
        self._inner = inner
        self._state = _CLEAR
        self._schedule: LinkSchedule | None = None
        self._pumping = False
        self._scope = trio.CancelScope()
        self._wake = trio.Event()
        self._left = trio.Event()
        self._failure: ChannelClosedError | None = None

    def follow(self, state: LinkState) -> None:
        """Let the link be another one from now on."""
        self._state = state
        if self._schedule is None:
            if state == _CLEAR:
                return
            self._schedule = self._table.schedule(state.profile)
        self._schedule.change(state.profile, cut=state.cut, now_s=trio.current_time())
        self._wake.set()
        self._left.set()
        if not self._pumping:
            self._settle()

    def receive(self, size_bytes_max: int) -> Coroutine[Any, Any, bytes]:
        return self._inner.receive(size_bytes_max)

    def send(self, data: bytes) -> Coroutine[Any, Any, None]:
        if self._schedule is None:
            return self._inner.send(data)
        return self._send_late(data)

    async def aclose(self) -> None:
        self._fail(ChannelClosedError("the connection was closed"))
        self._scope.cancel()
        await self._inner.aclose()

    async def _send_late(self, data: bytes) -> None:
        # What is taken counts as sent, as what a socket's buffer has taken does.
        await trio.lowlevel.checkpoint()
        for piece in pieces(data):
            while self._failure is None and self._schedule and not self._schedule.has_room:
                self._left = trio.Event()
                await self._left.wait()
            if self._failure is not None:
                raise ChannelClosedError(str(self._failure)) from self._failure
            if self._schedule is None:
                # Cleared meanwhile, and everything has left; order needs no more than this.
                self._schedule = self._table.schedule(self._state.profile)
            self._schedule.put(piece, trio.current_time())
            if not self._pumping:
                self._pumping = True
                self._table.start_soon(self._pump)

    async def _pump(self) -> None:
        """Send what is due until nothing waits; one at a time."""
        try:
            with trio.CancelScope() as self._scope:
                if self._failure is not None:
                    return
                while self._schedule is not None and self._schedule.queued_bytes:
                    data = self._schedule.take(trio.current_time())
                    if data:
                        self._left.set()
                        await self._inner.send(data)
                        continue
                    self._wake = trio.Event()
                    with trio.move_on_at(self._schedule.next_due_s):
                        await self._wake.wait()
        except ChannelClosedError as error:
            self._fail(error)
        finally:
            self._pumping = False
            self._settle()

    def _settle(self) -> None:
        """Leave the way once the link does nothing and nothing waits."""
        is_empty = self._schedule is None or not self._schedule.queued_bytes
        if self._state == _CLEAR and is_empty and self._failure is None:
            self._schedule = None

    def _fail(self, error: ChannelClosedError) -> None:
        self._failure = self._failure or error
        self._left.set()


# --- as a supervisor tells it -----------------------------------------------------------------


def links_to_json(states: Mapping[PeerId, LinkState]) -> list[dict[str, Any]]:
    """Return links as JSON: `{"peer": hex, "profile": numbers or null, "cut": bool}` each."""
    return [
        {
            "peer": peer.hex(),
            "profile": None if state.profile is None else state.profile.to_json(),
            "cut": state.cut,
        }
        for peer, state in states.items()
    ]


def links_from_json(rows: Sequence[Mapping[str, Any]]) -> dict[PeerId, LinkState]:
    """Return the links that `links_to_json` wrote.

    Raises:
        LinkTableError: A row is not of that form.
        LinkProfileError: Its numbers contradict each other.
    """
    states = {}
    for row in rows:
        try:
            peer, numbers, cut = bytes.fromhex(row["peer"]), row["profile"], row["cut"]
        except (KeyError, TypeError, ValueError) as error:
            raise LinkTableError(f"a link is {row!r}: {error!r}") from None
        profile = None if numbers is None else LinkProfile.from_json(numbers)
        states[peer] = LinkState(profile, cut is True)
    return states
