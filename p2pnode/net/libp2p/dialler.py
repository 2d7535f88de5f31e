"""Dialling: whom the address book says is due, a few at a time, with pauses between failures."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from typing import Any, Final

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2pnode.net.book import AddressBook
from p2pnode.net.config import NetworkConfig
from p2pnode.ports import PeerId

_log = logging.getLogger("p2pnode.net")

DIALS_MAX: Final = 8
"""Dials under way at a time; further ones wait."""


class Dialler:
    """Keeps connections to the peers the address book wants, as far as they answer."""

    def __init__(
        self, swarm: Any, book: AddressBook, config: NetworkConfig, connected: Mapping[PeerId, Any]
    ) -> None:
        """Make it idle.

        Args:
            swarm: libp2p's; tells the network of connections itself.
            book: Whom to dial, and where.
            config: Time-outs, and how many peers are wanted.
            connected: The peers connected at any time; not copied.
        """
        self._swarm = swarm
        self._book = book
        self._config = config
        self._connected = connected
        self._wake = trio.Event()
        # Jitter only: nothing anyone could gain by guessing it.
        self._random = random.Random()
        self.dials_failed = 0
        """Since start."""

    def wake(self) -> None:
        """Look into the book again: it has changed."""
        self._wake.set()

    def lost(self, peer: PeerId, *, lived_s: float) -> None:
        """Note that the last connection to a peer has ended after a time."""
        self._book.lost(
            peer, lived_s=lived_s, now_s=trio.current_time(), jitter=self._random.random()
        )
        self.wake()

    async def run(self) -> None:
        """Dial whoever is due, for ever."""
        limiter = trio.CapacityLimiter(DIALS_MAX)
        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                now_s = trio.current_time()
                for peer, address in self._book.due(
                    self._connected, peers_wanted=self._config.peers_wanted, now_s=now_s
                ):
                    nursery.start_soon(self._dial, peer, address, limiter)
                with trio.move_on_at(self._book.next_due_s(now_s)):
                    await self._wake.wait()

    async def _dial(self, peer: PeerId, address: str, limiter: trio.CapacityLimiter) -> None:
        connected = False
        async with limiter:
            # `dial_addr`, not `connect`: no 250 ms head start for other transports, and no list of
            # peers that failed and are not dialled for a minute.
            if peer not in self._connected:
                with trio.move_on_after(self._config.dial_timeout_s):
                    try:
                        await self._swarm.dial_addr(Multiaddr(address), ID(peer))
                        connected = True
                    except Exception as error:  # noqa: BLE001 - libp2p raises anything on dialling
                        # Whatever libp2p raises: the address does not lead to the peer now.
                        _log.debug("dialling %s failed: %r", address, error)
                if not connected:
                    self.dials_failed += 1
        self._book.dialled(
            peer,
            address,
            connected=connected or peer in self._connected,
            now_s=trio.current_time(),
            jitter=self._random.random(),
        )
        self.wake()
