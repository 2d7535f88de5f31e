"""The network behind a situation: validators by index, who hears whom, and who can vote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from p2pnode.explain.facts import Condition, LinkFacts, NodeFacts, Situation
from p2pnode.node.status import NodeStatus, ValidatorSeen

SILENT_S: Final = 4.0
"""A validator not heard for this, and a second more for each validator, is not reached: an idle
node tells one other a second how far it is."""


@dataclass(frozen=True, slots=True)
class Member:
    """A validator and all that is known of its node."""

    index: int
    name: str
    power: int
    facts: NodeFacts | None
    """None where its node was not asked."""

    @property
    def status(self) -> NodeStatus | None:
        """What its node says now; None when it does not answer."""
        if self.facts is None or self.facts.condition is not Condition.ANSWERS:
            return None
        return self.facts.status

    @property
    def down(self) -> bool:
        """Its node is known not to run, or does not answer."""
        return self.facts is not None and self.facts.condition is not Condition.ANSWERS

    @property
    def can_vote(self) -> bool:
        """Nothing known of it keeps it from voting."""
        status = self.status
        if status is None:
            return not self.down
        return not status.observing and not status.device.storage_error


class NetworkView:
    """Questions about a situation."""

    def __init__(self, situation: Situation) -> None:
        """Take a situation in which at least one node answers."""
        self.situation = situation
        self.answering = [
            (node, node.status)
            for node in situation.nodes
            if node.condition is Condition.ANSWERS and node.status is not None
        ]
        _, self.best = max(self.answering, key=lambda pair: _progress(pair[1]))
        consensus = self.best.consensus
        self.quorum = consensus.quorum
        self.power_total = consensus.power_total
        facts = {_index(node): node for node in situation.nodes}
        self.members = tuple(
            Member(
                index,
                facts[index].name if index in facts else seen.name,
                seen.power,
                facts.get(index),
            )
            # By its place: what a node says of indices is not to be relied on.
            for index, seen in enumerate(consensus.validators)
        )
        self.silent_s = SILENT_S + len(self.members)
        self._links = {(link.sender, link.receiver): link for link in situation.links}

    def name(self, index: int | None) -> str:
        """Return a validator's name."""
        if index is None:
            return "its proposer"
        known = 0 <= index < len(self.members)
        return self.members[index].name if known else f"validator {index}"

    def seen(self, by: Member, other: Member) -> ValidatorSeen | None:
        """Return a validator as another one's node sees it; None when that says nothing."""
        if by.status is None:
            return None
        rows = by.status.consensus.validators
        return rows[other.index] if other.index < len(rows) else None

    def cut_s(self, a: Member, b: Member) -> float | None:
        """Return for how long two nodes are known to be cut, one way or both; None for not."""
        found = [
            link.cut_s
            for pair in ((a.name, b.name), (b.name, a.name))
            if (link := self._links.get(pair)) is not None and link.cut_s is not None
        ]
        return max(found, default=None)

    def latency_ms(self, a: Member, b: Member) -> float | None:
        """Return the known latency of the slower way between two nodes."""
        found = [
            link.latency_ms
            for pair in ((a.name, b.name), (b.name, a.name))
            if (link := self._links.get(pair)) is not None and link.latency_ms is not None
        ]
        return max(found, default=None)

    def links(self) -> Iterable[LinkFacts]:
        """Return the links of which anything is known."""
        return self._links.values()

    def hears(self, by: Member, other: Member) -> bool:
        """Tell whether a node hears a validator; True where nobody can say."""
        if self.cut_s(by, other) is not None:
            return False
        seen = self.seen(by, other)
        if seen is None or by is other:
            return True
        return seen.connected and (seen.heard_s is None or seen.heard_s <= self.silent_s)

    def linked(self, a: Member, b: Member) -> bool:
        """Tell whether two validators hear each other."""
        return self.hears(a, b) and self.hears(b, a)

    def groups(self, members: Iterable[Member]) -> list[list[Member]]:
        """Return the groups whose members hear one another, directly or through others; the one
        with most power first.
        """
        left = list(members)
        found: list[list[Member]] = []
        while left:
            group = [left.pop(0)]
            for member in group:
                reached = [other for other in left if self.linked(member, other)]
                group += reached
                left = [other for other in left if other not in reached]
            found.append(sorted(group, key=lambda m: m.index))
        return sorted(found, key=lambda g: (-power(g), g[0].index))


def power(members: Iterable[Member]) -> int:
    """Return the voting power of some validators."""
    return sum(member.power for member in members)


def _progress(status: NodeStatus) -> tuple[int, int]:
    return status.height, status.view


def _index(node: NodeFacts) -> int | None:
    if node.status is not None:
        for index, seen in enumerate(node.status.consensus.validators):
            if seen.own:
                return index
    return node.validator
