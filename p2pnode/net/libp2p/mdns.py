"""Asking and answering on the local network, in Trio tasks and without threads."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import trio

from p2pnode.errors import ConfigError
from p2pnode.net import lan
from p2pnode.net.addresses import interface_ips, scope_of_ip
from p2pnode.net.rates import TokenBucket
from p2pnode.types.record import Scope

_log = logging.getLogger("p2pnode.net")

QUERY_MIN_S: Final = 1.0
"""Pause after the first question; doubles with each further one."""

QUERY_MAX_S: Final = 60.0
"""Longest pause between questions."""

PACKETS_PER_S: Final = 50.0
"""Packets looked at; anybody on the local network may send them, and others speak there, too."""

ANSWERS_PER_S: Final = 1.0
"""Answers sent; each goes to everybody, so that more of them help nobody."""


class LanError(ConfigError):
    """Multicast DNS is not possible here."""


class LanDiscovery:
    """Finds peers on the networks of this machine's interfaces, and is found there."""

    def __init__(
        self,
        peer: str,
        addresses: Callable[[], Sequence[str]],
        on_hint: Callable[[str, str], None],
        *,
        ips: Callable[[], Iterable[str]] = interface_ips,
    ) -> None:
        """Make it silent.

        Args:
            peer: Our peer id, base58.
            addresses: Our multiaddrs within private networks, at any time.
            on_hint: Told of a peer id (unchecked text) and a multiaddr where it may be.
            ips: Addresses of the machine's interfaces.
        """
        self._peer = peer
        self._addresses = addresses
        self._on_hint = on_hint
        self._ips = ips
        self._name = secrets.token_hex(20)
        self._joined: set[str] = set()
        self._packets = TokenBucket(PACKETS_PER_S, 2 * PACKETS_PER_S)
        self._answers = TokenBucket(ANSWERS_PER_S, 2 * ANSWERS_PER_S)

    async def run(self) -> None:
        """Ask and answer, for ever.

        Raises:
            LanError: The port cannot be shared.
        """
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if hasattr(socket, "SO_REUSEPORT"):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
                await sock.bind(("", lan.PORT))
            except OSError as error:
                raise LanError(f"multicast DNS on port {lan.PORT}: {error.strerror}") from None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask, sock)
                await self._listen(sock)

    async def _ask(self, sock: trio.socket.SocketType) -> None:
        pause_s = QUERY_MIN_S
        while True:
            await self._send(sock, lan.query())
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, QUERY_MAX_S)

    async def _listen(self, sock: trio.socket.SocketType) -> None:
        while True:
            try:
                packet, source = await sock.recvfrom(lan.PACKET_BYTES_MAX)
            except OSError as error:
                _log.debug("multicast DNS: %s", error)
                continue
            now_s = trio.current_time()
            # What comes from outside the local network is no answer to us (RFC 6762, 11).
            if scope_of_ip(source[0]) is not Scope.PRIVATE or not self._packets.take(1, now_s):
                continue
            if lan.asks_for_peers(packet):
                if self._answers.take(1, now_s) and (own := self._addresses()):
                    await self._send(sock, lan.response(self._name, self._peer, own))
                continue
            for peer, address in lan.hints(packet):
                if peer != self._peer:
                    self._on_hint(peer, address)

    async def _send(self, sock: trio.socket.SocketType, packet: bytes) -> None:
        group = socket.inet_aton(lan.GROUP)
        for ip in list(self._ips()):
            if ":" in ip or scope_of_ip(ip) is not Scope.PRIVATE:
                continue
            interface = socket.inet_aton(ip)
            try:
                if ip not in self._joined:
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + interface)
                    self._joined.add(ip)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
                await sock.sendto(packet, (lan.GROUP, lan.PORT))
            except OSError as error:
                # An interface that is going, or without multicast.
                self._joined.discard(ip)
                _log.debug("multicast DNS on %s: %s", ip, error)
