"""Peer exchange: nodes tell one another where they and others are reached."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import trio
from libp2p.peer.id import ID

from p2pnode import codec
from p2pnode.errors import RemoteProtocolError
from p2pnode.net.book import AddressBook, Origin, acceptable, with_observed_ip
from p2pnode.net.config import NetworkConfig
from p2pnode.net.libp2p.session import Session
from p2pnode.ports import PeerId, RequestFailedError

_log = logging.getLogger("p2pnode.net")

PROTOCOL: Final = "peers"
"""Name of the request."""

TIMEOUT_S: Final = 5.0
"""Time for an answer."""


class Exchange:
    """Asks connected peers for others while some are wanting, and answers them."""

    def __init__(
        self,
        own: PeerId,
        book: AddressBook,
        config: NetworkConfig,
        sessions: Mapping[PeerId, Session],
        *,
        penalize: Callable[[PeerId, float, str], None],
        on_learned: Callable[[], None],
    ) -> None:
        """Make it idle.

        Args:
            own: Our id.
            book: Where addresses are kept.
            config: Addresses to announce, and limits.
            sessions: The connections in use at any time; not copied.
            penalize: Told of what peers do wrong.
            on_learned: Called after the book may have changed.
        """
        self._own = own
        self._book = book
        self._config = config
        self._sessions = sessions
        self._penalize = penalize
        self._on_learned = on_learned
        self._wake = trio.Event()
        self.listening = ""
        """The multiaddr listened on, told to others unless the configuration says otherwise."""

    def wake(self) -> None:
        """Ask now, where somebody is missing."""
        self._wake.set()

    async def run(self) -> None:
        """Ask all peers from time to time while too few or not the right ones are connected."""
        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                with trio.move_on_after(self._config.exchange_interval_s):
                    await self._wake.wait()
                few = len(self._sessions) < self._config.peers_wanted
                if few or self._book.misses_someone(self._sessions):
                    for session in list(self._sessions.values()):
                        nursery.start_soon(self.ask, session)

    async def ask(self, session: Session) -> None:
        """Tell a peer our addresses and hear of those it knows."""
        own = [a.encode() for a in self._own_addresses()]
        try:
            answer = await session.ask(PROTOCOL, codec.encode(own), TIMEOUT_S)
            self._learn(session, answer)
        except RequestFailedError as error:
            _log.debug("no peers from %s: %s", ID(session.peer), error)
        except RemoteProtocolError as error:
            self._penalize(session.peer, error.penalty, str(error))

    async def answer(self, peer: PeerId, body: bytes) -> bytes:
        """Answer a peer that asks; the handler of the request."""
        limits = self._config.limits
        session = self._sessions.get(peer)
        if session is not None:
            told = codec.decode(body, size_bytes_max=limits.request_bytes_max)
            self._book.learn(peer, _addresses(told, session), Origin.ITSELF)
            self._on_learned()
        known: list[codec.Encodable] = [[self._own, [a.encode() for a in self._own_addresses()]]]
        for other in self._sessions:
            addresses = [a for a in self._book.addresses(other) if acceptable(a)]
            if other != peer and addresses and len(known) < limits.exchange_peers_max:
                known.append([other, [a.encode() for a in addresses]])
        return codec.encode(known)

    def _learn(self, session: Session, answer: bytes) -> None:
        limits = self._config.limits
        entries = codec.array(
            codec.decode(answer, size_bytes_max=limits.answer_bytes_max),
            "peers",
            length_max=limits.exchange_peers_max,
        )
        for entry in entries:
            raw_peer, raw_addresses = codec.array(entry, "peer", length=2)
            peer = codec.octets(raw_peer, "peer id", length_max=64)
            origin = Origin.ITSELF if peer == session.peer else Origin.HEARSAY
            self._book.learn(peer, _addresses(raw_addresses, session), origin)
        self._on_learned()

    def _own_addresses(self) -> list[str]:
        return [a.partition("/p2p/")[0] for a in self._config.announce] or [self.listening]


def _addresses(value: codec.Value, session: Session) -> list[str]:
    texts = []
    for raw in codec.array(value, "addresses", length_max=16):
        text = codec.octets(raw, "address", length_max=256)
        if text.isascii():
            texts.append(with_observed_ip(text.decode("ascii"), session.observed_ip))
    return texts
