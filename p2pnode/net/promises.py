"""What peers offer: messages they say they have, that were asked for, and came or did not.

Pure: the time comes in. While we wait for what one peer has offered we ask nobody else, so that
offers of nothing delay messages. Of each request one id, drawn at random, is remembered as a
promise, as gossipsub's P7 does. A peer has so much trust; a request takes one of it, and the
message, whoever brings it, gives it back. Who has none left is asked for nothing until some has
grown: so its lies delay nothing any more, and what they cost is bounded, too. An honest peer whose
messages come too late, over a bad line, is asked less, and never banned for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from p2pnode.net.rates import TokenBucket
from p2pnode.ports import PeerId

BEATS_MIN: Final = 5
"""Heartbeats until a promise is broken. Counted in ours, not in seconds: when this node hangs,
they hang, too. An honest peer keeps for 2 to 4 of its own what it has offered."""

BEATS_MAX: Final = 30
"""Heartbeats a promise is remembered while we have not read all that its peer has sent."""


class Promises:
    """The promises of all peers that are not kept yet."""

    def __init__(self, trust: Callable[[PeerId], TokenBucket], rng: random.Random) -> None:
        """Begin without promises.

        Args:
            trust: How many promises a peer may leave open or break, and how fast that grows.
            rng: Draws the ids that are remembered; peers must not foresee which.
        """
        self._trust = trust
        self._rng = rng
        self._open: dict[bytes, dict[PeerId, int]] = {}
        """Id of a message, to who has promised it, and how many heartbeats ago."""

    def __len__(self) -> int:
        return sum(len(peers) for peers in self._open.values())

    def trusts(self, peer: PeerId, now_s: float) -> bool:
        """Tell whether a peer is to be asked for what it offers."""
        return self._trust(peer).holds(1.0, now_s)

    def made(self, peer: PeerId, message_ids: Sequence[bytes], now_s: float) -> None:
        """Note that a peer that is trusted was asked for messages."""
        self._trust(peer).take(1.0, now_s)
        self._open.setdefault(self._rng.choice(message_ids), {})[peer] = 0

    def kept(self, message_id: bytes, now_s: float) -> None:
        """Note that a message has come; who brought it does not matter."""
        for peer in self._open.pop(message_id, ()):
            self._trust(peer).give(1.0, now_s)

    def beat(self, is_read: Callable[[PeerId], bool]) -> list[PeerId]:
        """Note a heartbeat; called at each.

        Args:
            is_read: Whether we have read all that a peer has sent. While we have not, it is we who
                are late.

        Returns:
            Who has broken a promise, once for each.
        """
        broken: list[PeerId] = []
        for message_id, peers in list(self._open.items()):
            for peer in list(peers):
                peers[peer] += 1
                if peers[peer] >= BEATS_MIN and is_read(peer):
                    broken.append(peer)
                elif peers[peer] < BEATS_MAX:
                    continue
                del peers[peer]
            if not peers:
                del self._open[message_id]
        return broken

    def forget(self, peer: PeerId) -> None:
        """Forget the promises of a peer whose stream has ended; their trust is gone."""
        for message_id, peers in list(self._open.items()):
            peers.pop(peer, None)
            if not peers:
                del self._open[message_id]
