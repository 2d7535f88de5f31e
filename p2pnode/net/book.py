"""The address book: where peers may be reached, whom to dial, and when to try again.

Pure: time and jitter come from outside. Three kinds of addresses, the better ones kept first: the
operator's, those a peer has signed, unsigned ones from the local network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from p2pnode.net.addresses import acceptable, scope_of
from p2pnode.ports import PeerId
from p2pnode.types.record import NodeRecord, Scope, SignedRecord

ADDRESSES_PER_PEER_MAX: Final = 12
"""Addresses remembered of one peer."""

FAILURES_MAX: Final = 6
"""Failed dials in a row after which an address that is only hearsay is forgotten."""

LIVED_MIN_S: Final = 5.0
"""A connection that ends sooner does not end the pauses between dials."""


class Origin(IntEnum):
    """Who says that an address is a peer's."""

    CONFIG = 0
    """The operator; never forgotten."""
    ITSELF = 1
    """The peer, over its signature."""
    HEARSAY = 2
    """Somebody on the local network, without a signature."""


class News(IntEnum):
    """What a record was to us."""

    OLD = 0
    """We have this one, or a newer one."""
    RENEWED = 1
    """Newer, and says the same."""
    CHANGED = 2
    """Newer, and the peer is reached elsewhere."""
    UNKNOWN = 3
    """Of a peer that was not in the book."""


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
    records: dict[Scope, SignedRecord] = field(default_factory=dict)
    teller: PeerId | None = None
    """Who first told us of the peer, if not itself."""

    @property
    def matters(self) -> bool:
        return self.bootstrap or self.wanted or self.dialling

    @property
    def weight(self) -> int:
        """The lightest is forgotten first where room is wanting."""
        is_hearsay = all(a.origin is Origin.HEARSAY for a in self.addresses.values())
        return 0 if is_hearsay and not self.records else 1 if self.teller is not None else 2


class AddressBook:
    """Addresses of peers and the state of dialling them."""

    def __init__(
        self,
        own: PeerId,
        *,
        peers_max: int,
        told_by_one_max: int = 256,
        backoff_min_s: float = 0.2,
        backoff_max_s: float = 5.0,
    ) -> None:
        """Begin empty.

        Args:
            own: Our id, which is never dialled.
            peers_max: Peers remembered; beyond, the oldest that are merely known go first.
            told_by_one_max: Peers remembered on the word of one other; identities are free, and
                one peer's friends should not push out everybody else's.
            backoff_min_s: Pause after the first failed dial.
            backoff_max_s: Longest pause.
        """
        self._own = own
        self._peers_max = peers_max
        self._told_by_one_max = told_by_one_max
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

    def learn_record(self, signed: SignedRecord, *, teller: PeerId, within: Scope) -> News:
        """Keep a record if it is the newest of its peer and scope.

        Args:
            signed: The record, its signature checked.
            teller: Who told us.
            within: From where we are connected to who told us. Addresses of narrower scopes are of
                no use, or aim at something in our own network.
        """
        record = signed.record
        peer = record.peer
        if peer == self._own:
            return News.OLD
        entry = self._entries.get(peer)
        is_unknown = entry is None
        if entry is None:
            entry = self._entries[peer] = _Entry(teller=None if teller == peer else teller)
        elif teller == peer:
            entry.teller = None
        held = entry.records.get(record.scope)
        if held is not None and held.record.sequence >= record.sequence:
            return News.OLD
        was_placeless = not entry.records
        entry.records[record.scope] = signed
        known = [a for a in record.addresses if acceptable(a) and scope_of(a) <= within]
        if held is not None:
            self._withdraw(entry, held.record)
        is_new = any([self._put(entry, address, Origin.ITSELF) for address in known])
        if is_new:
            entry.next_dial_s = 0.0
        if is_unknown:
            self._shrink(teller)
            return News.UNKNOWN
        # The first record of a further scope is no move.
        has_moved = was_placeless if held is None else held.record.addresses != record.addresses
        return News.CHANGED if has_moved else News.RENEWED

    @staticmethod
    def _withdraw(entry: _Entry, old: NodeRecord) -> None:
        """Forget the addresses of a record that has been replaced, unless they still hold."""
        kept = {a for signed in entry.records.values() for a in signed.record.addresses}
        for address in old.addresses:
            known = entry.addresses.get(address)
            if known is not None and known.origin is Origin.ITSELF and address not in kept:
                del entry.addresses[address]

    def holds(self, signed: SignedRecord) -> bool:
        """Tell whether a record is in the book, byte for byte."""
        entry = self._entries.get(signed.record.peer)
        return entry is not None and entry.records.get(signed.record.scope) == signed

    def records(self, peer: PeerId) -> list[SignedRecord]:
        """Return the newest records of a peer, one for each scope."""
        entry = self._entries.get(peer)
        return [] if entry is None else list(entry.records.values())

    def expire(self, connected: Mapping[PeerId, object], wall_ms: int) -> None:
        """Forget the records that are too old, with what they say, of peers not connected."""
        for peer, entry in list(self._entries.items()):
            if peer in connected:
                continue
            for scope, signed in list(entry.records.items()):
                if not signed.record.is_current(wall_ms):
                    del entry.records[scope]
                    self._withdraw(entry, signed.record)
            if not (entry.addresses or entry.records or entry.matters):
                del self._entries[peer]

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

    def _shrink(self, teller: PeerId | None = None) -> None:
        if teller is not None:
            told = [p for p, e in self._entries.items() if e.teller == teller and not e.matters]
            for peer in told[: max(0, len(told) - self._told_by_one_max)]:
                del self._entries[peer]
        excess = len(self._entries) - self._peers_max
        if excess > 0:
            idle = [peer for peer, entry in self._entries.items() if not entry.matters]
            # Those who came themselves stay before those others only speak of, and whoever has
            # signed before hearsay, of which anybody on the local network makes as much as wanted.
            idle.sort(key=lambda peer: self._entries[peer].weight)
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
        if not entry.addresses:
            # Whoever tells us of it again shall be believed again.
            entry.records.clear()
            if not entry.matters:
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
