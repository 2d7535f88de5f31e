"""Who may connect: handshakes and connections per address, a share for known peers, allow-list.

Pure: the time comes in. A connection is judged twice. At accept only its address is known: there
is a limit on handshakes under way and begun. After the handshake the peer is known, and a known
one (a bootstrap peer, a wanted one, a validator) passes where a stranger does not: strangers never
get the last slots, nor more than a few from one address, nor in from an address whose strangers
offended again and again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from p2pnode.net.config import NetworkConfig
from p2pnode.net.rates import TokenBucket
from p2pnode.ports import PeerId


class Refusal(Enum):
    """Why a connection is refused; the values are labels of a metric."""

    HANDSHAKES = "handshakes"
    """Too many connections are in their handshake."""
    HANDSHAKES_OF_ADDRESS = "handshakes_of_address"
    """Too many from this address."""
    RATE_OF_ADDRESS = "rate_of_address"
    """This address begins handshakes too fast."""
    NOT_ALLOWED = "not_allowed"
    """The peer is not on the allow-list."""
    BANNED = "banned"
    """The peer is banned."""
    ADDRESS_BANNED = "address_banned"
    """Strangers from this address are refused for a while."""
    CONNECTIONS = "connections"
    """The slots of strangers are taken."""
    CONNECTIONS_OF_ADDRESS = "connections_of_address"
    """Strangers from this address hold too many."""


@dataclass(slots=True)
class _Address:
    bucket: TokenBucket
    """Handshakes it may begin."""
    points: TokenBucket
    """What its strangers may still lose."""
    handshakes: int = 0
    strangers: int = 0
    bans_count: int = 0
    banned_until_s: float = 0.0


@dataclass(slots=True, eq=False)
class Admitted:
    """A connection others dialled that is counted."""

    ip: str
    is_known: bool


class Admission:
    """Counts connections and judges new ones."""

    def __init__(self, config: NetworkConfig, known: Iterable[PeerId] = ()) -> None:
        """Begin without connections.

        Args:
            config: Limits, allow-list, lengths of bans.
            known: Peers for whom slots are reserved, besides `config.known`.
        """
        self._limits = config.limits
        self._ban_s = config.ban_s
        self._ban_max_s = max(config.ban_s, config.ban_max_s)
        self._limit_loopback = config.limit_loopback
        self._allow = dict.fromkeys(config.allow)
        self._always_known = dict.fromkeys([*known, *config.known])
        self._known: dict[PeerId, None] = {}
        self._addresses: dict[str, _Address] = {}
        self._handshakes = 0
        self._strangers = 0
        self._inbound = 0

    def set_known(self, peers: Iterable[PeerId]) -> None:
        """Replace the known peers that change with time."""
        self._known = dict.fromkeys(peers)

    def is_known(self, peer: PeerId) -> bool:
        """Tell whether slots are reserved for a peer."""
        return peer in self._known or peer in self._always_known

    def allows(self, peer: PeerId) -> bool:
        """Tell whether the allow-list, if there is one, names a peer."""
        return not self._allow or peer in self._allow

    # --- handshakes -------------------------------------------------------------------------------

    def begin(self, ip: str, now_s: float) -> Refusal | None:
        """Judge a connection just accepted; `end` is due when this returns None."""
        limits = self._limits
        if self._handshakes >= limits.handshakes_max:
            return Refusal.HANDSHAKES
        if (address := self._address(ip, now_s)) is not None:
            if address.handshakes >= limits.handshakes_per_address_max:
                return Refusal.HANDSHAKES_OF_ADDRESS
            if not address.bucket.take(1.0, now_s):
                return Refusal.RATE_OF_ADDRESS
            address.handshakes += 1
        self._handshakes += 1
        return None

    def end(self, ip: str, now_s: float) -> None:
        """Note that a handshake is over, however it ended."""
        self._handshakes -= 1
        if (address := self._address(ip, now_s)) is not None:
            address.handshakes -= 1

    # --- connections ------------------------------------------------------------------------------

    def admit(self, peer: PeerId, ip: str, now_s: float) -> Admitted | Refusal:
        """Judge a connection somebody dialled, after its handshake; `leave` ends it."""
        limits = self._limits
        address = self._address(ip, now_s)
        is_known = self.is_known(peer)
        if not self.allows(peer):
            return Refusal.NOT_ALLOWED
        if self._inbound >= limits.inbound_max:
            return Refusal.CONNECTIONS
        if not is_known:
            if self._strangers >= limits.inbound_max - limits.inbound_reserved_max:
                return Refusal.CONNECTIONS
            if address is not None:
                if now_s < address.banned_until_s:
                    return Refusal.ADDRESS_BANNED
                if address.strangers >= limits.inbound_per_address_max:
                    return Refusal.CONNECTIONS_OF_ADDRESS
                address.strangers += 1
            self._strangers += 1
        self._inbound += 1
        return Admitted(ip, is_known)

    def leave(self, admitted: Admitted, now_s: float) -> None:
        """Note that a connection has ended."""
        self._inbound -= 1
        if not admitted.is_known:
            self._strangers -= 1
            if (address := self._address(admitted.ip, now_s)) is not None:
                address.strangers -= 1

    # --- addresses --------------------------------------------------------------------------------

    def blame(self, peer: PeerId, ip: str, points: float, now_s: float) -> float:
        """Note that a peer lost points; its address answers for it when nobody knows the peer.

        Returns:
            For how many seconds strangers from the address are refused now; 0 when they are not.
        """
        address = None if self.is_known(peer) else self._address(ip, now_s)
        if address is None:
            return 0.0
        if now_s < address.banned_until_s or address.points.take(points, now_s):
            return 0.0
        address.points = self._points()
        length_s = min(self._ban_s * 2.0 ** min(address.bans_count, 64), self._ban_max_s)
        address.bans_count += 1
        address.banned_until_s = now_s + length_s
        return length_s

    def banned_addresses(self, now_s: float) -> dict[str, float]:
        """Return the addresses whose strangers are refused, with the seconds left."""
        return {
            ip: address.banned_until_s - now_s
            for ip, address in self._addresses.items()
            if now_s < address.banned_until_s
        }

    def _address(self, ip: str, now_s: float) -> _Address | None:
        """Return what is known of an address, None for one that is not limited."""
        key = _group(ip, limit_loopback=self._limit_loopback)
        if key is None:
            return None
        address = self._addresses.get(key)
        if address is None:
            limits = self._limits
            if len(self._addresses) >= ADDRESSES_MAX:
                self._forget(now_s)
            bucket = TokenBucket(limits.handshakes_per_s, limits.handshakes_burst_max)
            address = self._addresses[key] = _Address(bucket, self._points())
        return address

    def _points(self) -> TokenBucket:
        return TokenBucket(self._limits.address_points_per_s, self._limits.address_points_max)

    def _forget(self, now_s: float) -> None:
        """Make room: first those that are doing nothing and have done nothing."""
        idle = [
            (now_s < a.banned_until_s, bool(a.bans_count), index, ip)
            for index, (ip, a) in enumerate(self._addresses.items())
            if not a.handshakes and not a.strangers
        ]
        for *_, ip in sorted(idle)[: ADDRESSES_MAX // 8]:
            del self._addresses[ip]


ADDRESSES_MAX = 4096
"""Addresses remembered; those in use are few, for connections are."""


def _group(ip: str, *, limit_loopback: bool) -> str | None:
    """Return the address that counts: an IPv4 one, or the /64 one person has of IPv6."""
    try:
        parsed = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        # A transport without IP addresses: one limit for all of it.
        return ip
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or parsed
    if parsed.is_loopback and not limit_loopback:
        return None
    if parsed.version == 6 and not parsed.is_loopback:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
