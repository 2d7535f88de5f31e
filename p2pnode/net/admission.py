"""Who may connect: handshakes and connections per address, a share for known peers, allow-list.

Pure: the time comes in. A connection is judged twice. At accept only its address is known: there
is a limit on handshakes under way and begun. After the handshake the peer is known, and a known
one (a bootstrap peer, a wanted one, a validator) passes where a stranger does not: strangers never
get the last slots, nor more than a few from one address, nor in from an address whose strangers
offended again and again.

Strangers share their slots by the networks they come from: once all are taken, a newcomer takes the
place of one from the network that holds most of them, if its own will still hold fewer. So nobody
who has one network, however many addresses in it, keeps out those of others.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from p2pnode.net.addresses import Ip, parse_ip, scope_of_ip
from p2pnode.net.config import NetworkConfig
from p2pnode.net.rates import TokenBucket
from p2pnode.ports import PeerId
from p2pnode.types.record import Scope


class Refusal(Enum):
    """Why a connection is refused; the values are labels of a metric."""

    HANDSHAKES = "handshakes"
    """Too many connections are in their handshake."""
    HANDSHAKES_OF_ADDRESS = "handshakes_of_address"
    """Too many from this address."""
    RATE_OF_ADDRESS = "rate_of_address"
    """This address begins handshakes too fast."""
    HANDSHAKES_OF_NETWORK = "handshakes_of_network"
    """Too many from this network of addresses."""
    RATE_OF_NETWORK = "rate_of_network"
    """This network of addresses begins handshakes too fast."""
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
    CROWDED_OUT = "crowded_out"
    """A stranger's connection was ended: its slot went to one from a network with fewer."""


@dataclass(slots=True)
class _Place:
    """An address, or a network of them."""

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

    peer: PeerId
    ip: str
    is_known: bool
    network: str | None
    """The network of addresses it counts for; None when it counts for none."""
    instead_of: Admitted | None = None
    """Whose slot it has taken: that connection is counted no more, and to be ended."""


class Admission:
    """Counts connections and judges new ones."""

    def __init__(
        self,
        config: NetworkConfig,
        known: Iterable[PeerId] = (),
        *,
        score: Callable[[PeerId], float] = lambda peer: 0.0,
    ) -> None:
        """Begin without connections.

        Args:
            config: Limits, allow-list, lengths of bans.
            known: Peers for whom slots are reserved, besides `config.known`.
            score: The score of a peer, 0 to -100.
        """
        self._limits = config.limits
        self._ban_s = config.ban_s
        self._ban_max_s = config.ban_max_s
        self._limit_loopback = config.limit_loopback
        self._allow = dict.fromkeys(config.allow)
        self._score = score
        self._always_known = dict.fromkeys([*known, *config.known])
        self._known: dict[PeerId, None] = {}
        self._places: dict[str, _Place] = {}
        self._handshakes = 0
        self._inside: dict[Admitted, None] = {}
        self._strangers = 0

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
        address, network = self._address(ip, now_s), self._network(ip, now_s)
        if address is not None:
            if address.handshakes >= limits.handshakes_per_address_max:
                return Refusal.HANDSHAKES_OF_ADDRESS
            if not address.bucket.take(1.0, now_s):
                return Refusal.RATE_OF_ADDRESS
        if network is not None:
            addresses_max = limits.network_addresses_max
            if network.handshakes >= addresses_max * limits.handshakes_per_address_max:
                return Refusal.HANDSHAKES_OF_NETWORK
            if not network.bucket.take(1.0, now_s):
                return Refusal.RATE_OF_NETWORK
            network.handshakes += 1
        if address is not None:
            address.handshakes += 1
        self._handshakes += 1
        return None

    def end(self, ip: str, now_s: float) -> None:
        """Note that a handshake is over, however it ended."""
        self._handshakes -= 1
        for place in (self._address(ip, now_s), self._network(ip, now_s)):
            if place is not None:
                place.handshakes -= 1

    # --- connections ------------------------------------------------------------------------------

    def admit(self, peer: PeerId, ip: str, now_s: float) -> Admitted | Refusal:
        """Judge a connection somebody dialled, after its handshake; `leave` ends it."""
        limits = self._limits
        if not self.allows(peer):
            return Refusal.NOT_ALLOWED
        is_full = len(self._inside) >= limits.inbound_max
        if self.is_known(peer):
            admitted = Admitted(peer, ip, True, None)
            # More are known than slots are reserved. One for each is enough: they may be hostile.
            if is_full and not any(a.peer == peer for a in self._inside):
                admitted.instead_of = self._crowding(admitted)
            if is_full and admitted.instead_of is None:
                return Refusal.CONNECTIONS
            return self._enter(admitted, now_s)
        address = self._address(ip, now_s)
        if address is not None:
            if now_s < address.banned_until_s:
                return Refusal.ADDRESS_BANNED
            if address.strangers >= limits.inbound_per_address_max:
                return Refusal.CONNECTIONS_OF_ADDRESS
        admitted = Admitted(peer, ip, False, _network_of(ip, self._limit_loopback))
        if is_full or self._strangers >= limits.inbound_max - limits.inbound_reserved_max:
            admitted.instead_of = self._crowding(admitted)
            if admitted.instead_of is None:
                return Refusal.CONNECTIONS
        if address is not None:
            address.strangers += 1
        self._strangers += 1
        return self._enter(admitted, now_s)

    def _enter(self, admitted: Admitted, now_s: float) -> Admitted:
        if admitted.instead_of is not None:
            self.leave(admitted.instead_of, now_s)
        self._inside[admitted] = None
        return admitted

    def leave(self, admitted: Admitted, now_s: float) -> None:
        """Note that a connection has ended; of one whose slot was taken, this is known already."""
        if admitted not in self._inside:
            return
        del self._inside[admitted]
        if not admitted.is_known:
            self._strangers -= 1
            if (address := self._address(admitted.ip, now_s)) is not None:
                address.strangers -= 1

    def _crowding(self, newcomer: Admitted) -> Admitted | None:
        """Return the stranger whose slot goes to a newcomer, None when it has no better claim.

        A known peer has one. A stranger has one if it makes the shares of two networks more equal,
        so that there is an end to these exchanges.
        """
        strangers = [a for a in self._inside if not self.is_known(a.peer)]
        if not newcomer.is_known:
            strangers = [a for a in strangers if a.network is not None]
        held = Counter(a.network for a in strangers)
        most = max(held.values(), default=0)
        if newcomer.is_known:
            has_claim = most > 0
        else:
            has_claim = newcomer.network is not None and held[newcomer.network] + 1 < most
        if not has_claim:
            return None
        # The youngest of those with the lowest score: who is here for long has proved something.
        crowd = [a for a in reversed(strangers) if held[a.network] == most]
        return min(crowd, key=lambda a: self._score(a.peer))

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
        longest_s = max(self._ban_s, min(self._ban_max_s, self._limits.address_ban_max_s))
        length_s = min(self._ban_s * 2.0 ** min(address.bans_count, 64), longest_s)
        address.bans_count += 1
        address.banned_until_s = now_s + length_s
        return length_s

    def banned_addresses(self, now_s: float) -> dict[str, float]:
        """Return the addresses whose strangers are refused, with the seconds left."""
        return {
            ip: address.banned_until_s - now_s
            for ip, address in self._places.items()
            if now_s < address.banned_until_s
        }

    def _address(self, ip: str, now_s: float) -> _Place | None:
        """Return what is known of an address, None for one that is not limited."""
        return self._place(_address_of(ip, self._limit_loopback), 1, now_s)

    def _network(self, ip: str, now_s: float) -> _Place | None:
        """Return what is known of the network around an address, None where there is none wider."""
        network = _network_of(ip, self._limit_loopback)
        if network == _address_of(ip, self._limit_loopback):
            return None
        return self._place(network, self._limits.network_addresses_max, now_s)

    def _place(self, name: str | None, addresses: int, now_s: float) -> _Place | None:
        if name is None:
            return None
        place = self._places.get(name)
        if place is None:
            limits = self._limits
            if len(self._places) >= ADDRESSES_MAX:
                self._forget(now_s)
            bucket = TokenBucket(
                addresses * limits.handshakes_per_s, addresses * limits.handshakes_burst_max
            )
            place = self._places[name] = _Place(bucket, self._points())
        return place

    def _points(self) -> TokenBucket:
        return TokenBucket(self._limits.address_points_per_s, self._limits.address_points_max)

    def _forget(self, now_s: float) -> None:
        """Make room: first those that are doing nothing and have done nothing."""
        idle = [
            (now_s < a.banned_until_s, bool(a.bans_count), index, ip)
            for index, (ip, a) in enumerate(self._places.items())
            if not a.handshakes and not a.strangers
        ]
        for *_, ip in sorted(idle)[: ADDRESSES_MAX // 8]:
            del self._places[ip]


ADDRESSES_MAX: Final = 4096
"""Addresses, and networks of them, remembered; those in use are few, for connections are."""

NETWORK_BITS: Final = {4: 24, 6: 48}
"""Prefix of a network, by version of IP: the smallest that is routed on its own in the world, and
so what one customer, or one tunnel's user, is given of addresses. A /16 of IPv4 has more of them
than one attacker, but also half a mobile carrier's customers."""


def _address_of(ip: str, limit_loopback: bool) -> str | None:
    """Return the address that counts: an IPv4 one, or the /64 one person has of IPv6."""
    parsed = parse_ip(ip)
    if parsed is None:
        # A transport without IP addresses: one limit for all of it.
        return ip
    if parsed.is_loopback:
        return str(parsed) if limit_loopback else None
    return _prefix(parsed, 64) if parsed.version == 6 else str(parsed)


def _network_of(ip: str, limit_loopback: bool) -> str | None:
    """Return the network that counts; an address that the world cannot reach is one by itself.

    Whole private networks lie in one prefix, with everybody who has a right to be there.
    """
    parsed = parse_ip(ip)
    if parsed is None or scope_of_ip(ip) is not Scope.WORLD:
        return _address_of(ip, limit_loopback)
    return _prefix(parsed, NETWORK_BITS[parsed.version])


def _prefix(ip: Ip, bits: int) -> str:
    return str(ipaddress.ip_network((ip, bits), strict=False))
