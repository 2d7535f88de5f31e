"""The address book: where peers may be reached, whom to dial, and when to try again.

Pure: time and jitter come from outside. Three kinds of addresses, the better ones kept first: the
operator's, what a peer says of itself, what others say of it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from p2pnode.ports import PeerId

ADDRESSES_PER_PEER_MAX: Final = 4
"""Addresses remembered of one peer."""

ADDRESS_CHARS_MAX: Final = 128
"""Longest multiaddr accepted from a peer."""

FAILURES_MAX: Final = 6
"""Failed dials in a row after which an address that is only hearsay is forgotten."""

LIVED_MIN_S: Final = 5.0
"""A connection that ends sooner does not end the pauses between dials."""


class Origin(IntEnum):
    """Who says that an address is a peer's."""

    CONFIG = 0
    """The operator; never forgotten."""
    ITSELF = 1
    """The peer."""
    HEARSAY = 2
    """Another peer."""


@dataclass(slots=True)
class _Address:
    origin: Origin
    failures: int = 0


@dataclass(slots=True)
class _Entry:
    addresses: dict[str, _Address] = field(default_factory=dict)
    bootstrap: bool = False
    wanted: bool = False
    dials: int = 0
    """Dials since the last success; chooses address and pause."""
    next_dial_s: float = 0.0
    dialling: bool = False


class AddressBook:
    """Addresses of peers and the state of dialling them."""

    def __init__(
        self,
        own: PeerId,
        *,
        peers_max: int,
        backoff_min_s: float = 0.2,
        backoff_max_s: float = 5.0,
    ) -> None:
        """Begin empty.

        Args:
            own: Our id, which is never dialled.
            peers_max: Peers remembered; beyond, the oldest hearsay goes first.
            backoff_min_s: Pause after the first failed dial.
            backoff_max_s: Longest pause.
        """
        self._own = own
        self._peers_max = peers_max
        self._backoff_min_s = backoff_min_s
        self._backoff_max_s = backoff_max_s
        self._entries: dict[PeerId, _Entry] = {}

    def add_bootstrap(self, peer: PeerId, address: str) -> None:
        """Add an address of a peer that is to be kept connected for ever."""
        if peer != self._own:
            entry = self._entries.setdefault(peer, _Entry())
            entry.bootstrap = True
            entry.addresses[address] = _Address(Origin.CONFIG)

    def set_wanted(self, addresses: Mapping[PeerId, Sequence[str]]) -> None:
        """Replace the peers that are to be kept connected besides the bootstrap peers.

        Args:
            addresses: Peer to its addresses, which may be none: those learned from others are used.
        """
        for entry in self._entries.values():
            entry.wanted = False
        for peer, known in addresses.items():
            if peer == self._own:
                continue
            entry = self._entries.setdefault(peer, _Entry())
            entry.wanted = True
            for address in known[:ADDRESSES_PER_PEER_MAX]:
                self._put(entry, address, Origin.CONFIG)
        self._shrink()

    def learn(self, peer: PeerId, addresses: Iterable[str], origin: Origin) -> None:
        """Remember addresses; one that is new is tried at once."""
        if peer == self._own:
            return
        known = [a for a in addresses if acceptable(a)][:ADDRESSES_PER_PEER_MAX]
        if not known:
            return
        entry = self._entries.setdefault(peer, _Entry())
        is_new = any([self._put(entry, address, origin) for address in known])
        if is_new:
            entry.next_dial_s = 0.0
        self._shrink()

    def _put(self, entry: _Entry, address: str, origin: Origin) -> bool:
        known = entry.addresses.get(address)
        if known is not None:
            known.origin = min(known.origin, origin)
            return False
        if len(entry.addresses) >= ADDRESSES_PER_PEER_MAX:
            # The newest word of the same weight wins: a restarted peer has a new port.
            worst = max(entry.addresses, key=lambda a: (entry.addresses[a].origin, 0))
            if entry.addresses[worst].origin < origin or origin is Origin.HEARSAY:
                return False
            del entry.addresses[worst]
        entry.addresses[address] = _Address(origin)
        return True

    def _shrink(self) -> None:
        excess = len(self._entries) - self._peers_max
        if excess > 0:
            idle = [
                peer
                for peer, entry in self._entries.items()
                if not (entry.bootstrap or entry.wanted or entry.dialling)
            ]
            for peer in idle[:excess]:
                del self._entries[peer]

    def due(
        self, connected: Mapping[PeerId, object], *, peers_wanted: int, now_s: float
    ) -> list[tuple[PeerId, str]]:
        """Return whom to dial now, and where; `dialled` must follow for each.

        Args:
            connected: Peers that are not to be dialled.
            peers_wanted: Peers that are merely known are dialled up to this number of connections.
            now_s: The time.
        """
        under_way = sum(entry.dialling for entry in self._entries.values())
        room = peers_wanted - len(connected) - under_way
        dials = []
        for peer, entry in self._entries.items():
            if entry.dialling or entry.next_dial_s > now_s or peer in connected:
                continue
            if not entry.addresses:
                continue
            if not (entry.bootstrap or entry.wanted):
                if room <= 0:
                    continue
                room -= 1
            best = sorted(
                entry.addresses,
                key=lambda a: (entry.addresses[a].failures, entry.addresses[a].origin),
            )
            entry.dialling = True
            dials.append((peer, best[0]))
        return dials

    def dialled(
        self, peer: PeerId, address: str, *, connected: bool, now_s: float, jitter: float
    ) -> None:
        """Note how a dial ended.

        Args:
            peer: Who was dialled.
            address: Where.
            connected: Whether a connection stands.
            now_s: The time.
            jitter: A random number in [0, 1): peers that failed together do not return together.
        """
        entry = self._entries.get(peer)
        if entry is None:
            return
        entry.dialling = False
        tried = entry.addresses.get(address)
        if connected:
            entry.next_dial_s = 0.0
            if tried is not None:
                tried.failures = 0
            return
        if tried is not None:
            tried.failures += 1
            if tried.failures >= FAILURES_MAX and tried.origin is not Origin.CONFIG:
                del entry.addresses[address]
        # Further addresses of the peer are tried without a pause the first time round.
        if entry.dials + 1 >= len(entry.addresses):
            self._pause(entry, now_s, jitter)
        else:
            entry.dials += 1
        if not entry.addresses and not (entry.bootstrap or entry.wanted):
            del self._entries[peer]

    def _pause(self, entry: _Entry, now_s: float, jitter: float) -> None:
        pause_s = min(self._backoff_min_s * 2.0**entry.dials, self._backoff_max_s)
        entry.next_dial_s = now_s + pause_s * (0.75 + 0.5 * jitter)
        entry.dials = min(entry.dials + 1, 16)

    def lost(self, peer: PeerId, *, lived_s: float, now_s: float, jitter: float) -> None:
        """Note that a connection has ended: the peer is dialled again, soon but not at once.

        Args:
            peer: Whose connection.
            lived_s: How long it stood; one that ends at once (we are banned there) counts as a
                failed dial.
            now_s: The time.
            jitter: A random number in [0, 1).
        """
        entry = self._entries.get(peer)
        if entry is None:
            return
        if lived_s < LIVED_MIN_S:
            self._pause(entry, now_s, jitter)
            return
        entry.dials = 0
        entry.next_dial_s = now_s + self._backoff_min_s * jitter
        for address in entry.addresses.values():
            address.failures = 0

    def refuse(self, peer: PeerId, *, until_s: float) -> None:
        """Do not dial a peer before a time."""
        entry = self._entries.get(peer)
        if entry is not None:
            entry.next_dial_s = until_s

    def misses_someone(self, connected: Mapping[PeerId, object]) -> bool:
        """Tell whether a peer that is to be kept connected is not."""
        return any(
            peer not in connected
            for peer, entry in self._entries.items()
            if entry.bootstrap or entry.wanted
        )

    def next_due_s(self, now_s: float) -> float:
        """Return the earliest time `due` may return more, infinity for never."""
        return min(
            (e.next_dial_s for e in self._entries.values() if e.next_dial_s > now_s),
            default=float("inf"),
        )

    def addresses(self, peer: PeerId) -> list[str]:
        """Return what is known of a peer, the most trusted first."""
        entry = self._entries.get(peer)
        if entry is None:
            return []
        return sorted(entry.addresses, key=lambda a: entry.addresses[a].origin)

    def __len__(self) -> int:
        return len(self._entries)


def acceptable(address: str) -> bool:
    """Tell whether a multiaddr from a peer may be dialled: a plain TCP address of an IP.

    Names are refused: resolving them would make this node ask any server a peer likes.
    """
    if len(address) > ADDRESS_CHARS_MAX:
        return False
    parts = address.split("/")
    if len(parts) != 5 or parts[0] != "" or parts[3] != "tcp":
        return False
    try:
        ip = ipaddress.ip_address(parts[2])
    except ValueError:
        return False
    if parts[1] != f"ip{ip.version}" or ip.is_unspecified or ip.is_multicast:
        return False
    # `str.isdigit` alone accepts digits of other scripts.
    port = parts[4]
    return port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535


def with_observed_ip(address: str, observed_ip: str) -> str:
    """Fill in the IP of a peer that listens on all its interfaces and does not know it."""
    for nowhere in ("/ip4/0.0.0.0/", "/ip6/::/"):
        if address.startswith(nowhere):
            try:
                version = ipaddress.ip_address(observed_ip).version
            except ValueError:
                return address
            return f"/ip{version}/{observed_ip}/{address[len(nowhere) :]}"
    return address
