"""The sparse random graph that published messages travel over in memory.

A stand-in for gossipsub's mesh: about `DEGREE` neighbours each, repaired when nodes and connections
come and go, never an island while the connections allow a way.
"""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Callable, Sequence
from typing import Final

from p2pnode.ports import PeerId

DEGREE: Final = 4
"""Neighbours that a member wants; gossipsub's default is 6, but every copy costs."""


class Mesh:
    """The mesh of one topic; changes are collected and worked in by the next `repair`."""

    def __init__(self, rng: random.Random) -> None:
        """Start without members.

        Args:
            rng: Draws the edges.
        """
        self.members: list[PeerId] = []
        """Subscribed nodes, ascending."""
        self._rng = rng
        self._edges: dict[PeerId, list[PeerId]] = {}
        self._changed = False

    def join(self, peer: PeerId) -> None:
        """Add a member; it has no neighbours until the repair after its first connection."""
        insort(self.members, peer)
        self._edges[peer] = []
        self._changed = True

    def leave(self, peer: PeerId) -> None:
        """Remove a member and its edges."""
        self.members.remove(peer)
        for other in self._edges.pop(peer):
            self._edges[other].remove(peer)
        self._changed = True

    def changed(self) -> None:
        """Note that a connection between two members came or went."""
        self._changed = True

    def neighbours(self, peer: PeerId) -> tuple[PeerId, ...]:
        """Return a member's neighbours, ascending."""
        return tuple(self._edges.get(peer, ()))

    def fanout(self, candidates: Sequence[PeerId]) -> tuple[PeerId, ...]:
        """Draw whom a node that is no member sends its message."""
        return tuple(sorted(self._rng.sample(candidates, min(DEGREE, len(candidates)))))

    def repair(self, connected: Callable[[PeerId, PeerId], bool]) -> None:
        """Drop edges without a connection, fill up to `DEGREE`, join islands.

        Args:
            connected: Tells whether a connection between two members stands.
        """
        if not self._changed:
            return
        self._changed = False
        for peer in self.members:
            for other in [o for o in self._edges[peer] if not connected(peer, o)]:
                self._prune(peer, other)
        for peer in self.members:
            self._fill(peer, connected)
        self._join_islands(connected)

    def _fill(self, peer: PeerId, connected: Callable[[PeerId, PeerId], bool]) -> None:
        edges = self._edges
        near = [p for p in self.members if p != peer and connected(peer, p)]
        while len(edges[peer]) < DEGREE:
            free = [p for p in near if len(edges[p]) < DEGREE and p not in edges[peer]]
            if free:
                self._graft(peer, self._rng.choice(free))
                continue
            if len(edges[peer]) > DEGREE - 2:
                return
            # Everybody is full: step into an edge of two others, which keeps their degrees.
            splits = [
                (a, b)
                for a in near
                for b in edges[a]
                if a < b and b in near and a not in edges[peer] and b not in edges[peer]
            ]
            if not splits:
                return
            a, b = self._rng.choice(splits)
            self._prune(a, b)
            self._graft(peer, a)
            self._graft(peer, b)

    def _join_islands(self, connected: Callable[[PeerId, PeerId], bool]) -> None:
        """Add one edge between islands where connections allow it (both sides may be full)."""
        settled: dict[PeerId, None] = {}
        for peer in self.members:
            if peer in settled:
                continue
            reached = self._island([peer])
            while len(reached) < len(self.members):
                others = [p for p in self.members if p not in reached]
                ways = [(a, b) for a in reached for b in others if connected(a, b)]
                if not ways:
                    break
                self._graft(*self._rng.choice(ways))
                reached = self._island([peer])
            settled.update(reached)

    def _island(self, start: list[PeerId]) -> dict[PeerId, None]:
        """Return everyone reachable from `start`, in a fixed order."""
        found = dict.fromkeys(start)
        queue = list(start)
        for peer in queue:
            for other in self._edges[peer]:
                if other not in found:
                    found[other] = None
                    queue.append(other)
        return found

    def _graft(self, a: PeerId, b: PeerId) -> None:
        insort(self._edges[a], b)
        insort(self._edges[b], a)

    def _prune(self, a: PeerId, b: PeerId) -> None:
        self._edges[a].remove(b)
        self._edges[b].remove(a)
