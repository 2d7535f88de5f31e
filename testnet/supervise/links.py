"""The links of a testnet as its supervisor keeps them: profiles, cuts, and how to undo them. Pure.

A link is directed: (sender, receiver), by the names of nodes. The sender's process does what is
said here to what it sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from p2pnode.errors import UsageError
from p2pnode.net.links.profile import LinkProfile
from p2pnode.net.links.shim import LinkState
from p2pnode.ports import PeerId
from testnet.supervise.noderun import UnknownNodeError

Pair: TypeAlias = tuple[str, str]
"""(sender, receiver)."""

UNDO_MAX: Final = 100
"""Cuts that can be undone one after the other."""


class NotALinkError(UsageError):
    """A request names no link."""


@dataclass(frozen=True, slots=True)
class NamedProfile:
    """What a link is like, and what people call it."""

    name: str
    profile: LinkProfile


class Links:
    """All links between the nodes of a testnet."""

    def __init__(self, peers: Mapping[str, PeerId]) -> None:
        """Begin with links that do nothing.

        Args:
            peers: Peer id by the node's name.
        """
        self._peers = dict(peers)
        self._profiles: dict[Pair, NamedProfile] = {}
        self._cut_since_ms: dict[Pair, int] = {}
        self._undo: list[tuple[Pair, ...]] = []
        self.version = 0
        """Grows with each change."""

    # --- which links -----------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes."""
        return tuple(self._peers)

    def name(self, text: str) -> str:
        """Return a node's name; a number alone will do.

        Raises:
            UnknownNodeError: There is none.
        """
        for found in (text, f"node{text}"):
            if found in self._peers:
                return found
        raise UnknownNodeError(text, list(self._peers))

    def everything(self) -> tuple[Pair, ...]:
        """Return every link."""
        return tuple((a, b) for a in self._peers for b in self._peers if a != b)

    def between(self, a: str, b: str, *, one_way: bool = False) -> tuple[Pair, ...]:
        """Return the link from one node to another, and the way back.

        Raises:
            NotALinkError: They are the same.
        """
        here, there = self.name(a), self.name(b)
        if here == there:
            raise NotALinkError(f"{here} has no link to itself")
        return ((here, there),) if one_way else ((here, there), (there, here))

    def across(self, group: Sequence[str]) -> tuple[Pair, ...]:
        """Return every link between a group of nodes and the others, both ways.

        Raises:
            NotALinkError: There is nobody on one side.
        """
        inside = dict.fromkeys(self.name(text) for text in group)
        if not 0 < len(inside) < len(self._peers):
            raise NotALinkError(f"{len(inside)} of {len(self._peers)} nodes have no other side")
        return tuple((a, b) for a, b in self.everything() if (a in inside) != (b in inside))

    # --- what they do ----------------------------------------------------------------------------

    @property
    def cuts(self) -> frozenset[Pair]:
        """The links that are cut."""
        return frozenset(self._cut_since_ms)

    @property
    def last_cut(self) -> tuple[Pair, ...]:
        """What the last cut that still holds has cut."""
        return self._undo[-1] if self._undo else ()

    def cut(self, pairs: Iterable[Pair], now_ms: int) -> tuple[Pair, ...]:
        """Cut links; returns those that were not cut before."""
        new = tuple(pair for pair in pairs if pair not in self._cut_since_ms)
        for pair in new:
            self._cut_since_ms[pair] = now_ms
        if new:
            self._undo = [*self._undo[-UNDO_MAX + 1 :], new]
            self.version += 1
        return new

    def heal(self, pairs: Iterable[Pair]) -> tuple[Pair, ...]:
        """Heal links; returns those that were cut."""
        healed = tuple(pair for pair in pairs if self._cut_since_ms.pop(pair, None) is not None)
        if healed:
            rest = [tuple(p for p in cut if p not in healed) for cut in self._undo]
            self._undo = [cut for cut in rest if cut]
            self.version += 1
        return healed

    def set_profile(self, pairs: Iterable[Pair], to: Mapping[Pair, NamedProfile]) -> None:
        """Give links a profile; those that `to` does not have do nothing again."""
        for pair in pairs:
            found = to.get(pair)
            if found is None:
                self._profiles.pop(pair, None)
            else:
                self._profiles[pair] = found
        self.version += 1

    def states(self, sender: str) -> dict[PeerId, LinkState]:
        """Return what a node's process is to be told."""
        found = {}
        for receiver, peer in self._peers.items():
            pair = (sender, receiver)
            named = self._profiles.get(pair)
            if named is not None or pair in self._cut_since_ms:
                profile = None if named is None else named.profile
                found[peer] = LinkState(profile, pair in self._cut_since_ms)
        return found

    def rows(self, now_ms: int, *, changed_only: bool) -> list[dict[str, Any]]:
        """Return links as JSON.

        Args:
            now_ms: The time, for the age of cuts.
            changed_only: Leave out those that do nothing.
        """
        found = []
        for pair in self.everything():
            named, since_ms = self._profiles.get(pair), self._cut_since_ms.get(pair)
            if changed_only and named is None and since_ms is None:
                continue
            found.append(
                {
                    "from": pair[0],
                    "to": pair[1],
                    "profile": None if named is None else named.name,
                    "numbers": None if named is None else named.profile.to_json(),
                    "cut": since_ms is not None,
                    "cut_since_ms": since_ms,
                    "cut_s": None if since_ms is None else round((now_ms - since_ms) / 1000, 1),
                }
            )
        return found
