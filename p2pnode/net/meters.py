"""What is counted of each peer: rates, useless traffic, refusals, streams, unfinished frames.

Kept for a while after a connection ends: who comes back does not begin with full buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Final

from p2pnode.errors import RemoteProtocolError
from p2pnode.net import offences
from p2pnode.net.config import NetworkLimits
from p2pnode.net.offences import OFFENCES, Offence
from p2pnode.net.rates import Meter, TokenBucket
from p2pnode.ports import PeerId

PEERS_MAX: Final = 1024
"""Peers whose meters are kept; of those not connected, the one that came longest ago goes first."""

_USELESS_AT_ONCE_MAX: Final = 20


class UnfinishedFramesError(RemoteProtocolError):
    """A peer has begun more frames than it may without finishing them."""

    penalty = offences.UNFINISHED_FRAMES.points

    def __init__(self, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"{size_bytes} bytes of unfinished frames, at most {size_bytes_max}")
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max


class Unfinished:
    """Bytes of frames a peer has begun, over all its streams."""

    __slots__ = ("_held_bytes", "_size_bytes_max")

    def __init__(self, size_bytes_max: int) -> None:
        self._held_bytes = 0
        self._size_bytes_max = size_bytes_max

    def change(self, before_bytes: int, after_bytes: int) -> None:
        """Note that a decoder holds more or less than before.

        Raises:
            UnfinishedFramesError: All of them hold too much; the change counts until undone.
        """
        self._held_bytes += after_bytes - before_bytes
        if after_bytes > before_bytes and self._held_bytes > self._size_bytes_max:
            raise UnfinishedFramesError(self._held_bytes, self._size_bytes_max)


@dataclass(slots=True)
class PeerMeters:
    """The meters of one peer."""

    streams: TokenBucket
    useless: TokenBucket
    refused: TokenBucket
    promises: TokenBucket
    unfinished: Unfinished
    rates: dict[str, Meter] = field(default_factory=dict)


class Meters:
    """The meters of all peers, and the sentences for who exceeds them."""

    def __init__(
        self,
        limits: NetworkLimits,
        penalize: Callable[[PeerId, Offence, float, str], None],
        connected: Container[PeerId] = (),
        is_known: Callable[[PeerId], bool] = lambda _: True,
    ) -> None:
        """Make it without peers.

        Args:
            limits: What a peer may do.
            penalize: Told of (peer, offence, how often, details).
            connected: Peers whose meters are in use; not copied.
            is_known: Tells whether a peer is no stranger.
        """
        self._limits = limits
        self._penalize = penalize
        self._connected = connected
        self._is_known = is_known
        self._peers: dict[PeerId, PeerMeters] = {}
        self._paused_s = dict.fromkeys(limits.rates, 0.0)

    def of(self, peer: PeerId) -> PeerMeters:
        """Return the meters of a peer."""
        meters = self._peers.get(peer)
        if meters is None:
            limits = self._limits
            meters = self._peers[peer] = PeerMeters(
                streams=TokenBucket(limits.streams_per_s, limits.streams_burst_max),
                useless=TokenBucket(limits.useless_per_s, limits.useless_burst_max),
                refused=TokenBucket(limits.refused_per_s, limits.refused_burst_max),
                promises=TokenBucket(limits.promises_per_s, limits.promises_max),
                unfinished=Unfinished(limits.unfinished_bytes_max),
            )
            if len(self._peers) > PEERS_MAX:
                # Else a thousand new identities would give a flooder among them a new burst.
                others = (p for p in self._peers if p not in self._connected and p != peer)
                del self._peers[next(others, next(iter(self._peers)))]
        return meters

    def touch(self, peer: PeerId) -> None:
        """Keep the meters of a peer that has connected longer than those of others."""
        meters = self.of(peer)
        del self._peers[peer]
        self._peers[peer] = meters

    def spend(
        self, peer: PeerId, kind: str, size_bytes: int, messages_count: int, now_s: float
    ) -> float:
        """Count traffic, and blame the peer when it was too fast for too long.

        Returns:
            Seconds to wait before reading on.
        """
        rates, limits = self.of(peer).rates, self._limits
        rate = limits.rates[kind]
        if kind in limits.strangers and not self._is_known(peer):
            rate = limits.strangers[kind]
        meter = rates.get(kind)
        # A stranger can turn out to be a validator, whose record came late.
        if meter is None or meter.rate is not rate:
            meter = rates[kind] = Meter(rate, grace_s=limits.excess_grace_s)
        pace = meter.spend(size_bytes, messages_count, now_s)
        if pace.pause_s:
            self._paused_s[kind] += pace.pause_s
        if pace.excess_s:
            self._penalize(peer, offences.RATE_EXCESS, pace.excess_s, kind)
        return pace.pause_s

    def stream_pause_s(self, peer: PeerId, now_s: float) -> float:
        """Count a stream a peer opened; returns how long it has to wait."""
        return self.of(peer).streams.spend(1.0, now_s)

    def useless(self, peer: PeerId, count: int, what: str, now_s: float) -> None:
        """Count gossip of no use, and blame the peer for what is beyond measure."""
        if count and not self.of(peer).useless.take(count, now_s):
            # One RPC alone must not ban: it may be the tail of a long list.
            self._penalize(peer, offences.USELESS_GOSSIP, min(count, _USELESS_AT_ONCE_MAX), what)

    def refused(self, peer: PeerId, what: str, now_s: float) -> None:
        """Count a request that was refused, and blame the peer for those beyond measure."""
        if not self.of(peer).refused.take(1.0, now_s):
            self._penalize(peer, offences.REFUSED_REQUESTS, 1.0, what)

    def paused_s(self) -> Mapping[str, float]:
        """Return how long peers were slowed since start, by kind of traffic."""
        return dict(self._paused_s)


OFFENCE_KINDS: Final = tuple(offence.kind for offence in OFFENCES)
