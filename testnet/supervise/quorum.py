"""What a fault does to the quorum, in numbers and in a sentence, before it is done. Pure.

The model: every validator sends its votes to all others itself; nobody passes votes on.
Certificates are passed on, by whoever has them. So a block becomes final iff some running
validator, the *collector*, has links to validators that together with it have a quorum: it makes
the certificates, and everybody who is connected to it, directly or through others, follows. A link
that is cut in one direction is as good as cut: after three missed pings both ends give the
connection up.

It is about who can reach whom; a slow link is not seen here, nor is what nodes still have to catch
up with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from p2pnode.types.quorum import quorum_of

NAMES_MAX = 3
"""More nodes than these are counted instead of named."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Validators, and what is between them."""

    powers: Mapping[str, int]
    """Voting power by name."""
    down: frozenset[str] = frozenset()
    """Those that do not run: killed, paused, crashed."""
    cut: frozenset[tuple[str, str]] = field(default=frozenset())
    """Directed links that are cut, by names; names of others than validators do no harm."""

    def without(self, names: Iterable[str]) -> Topology:
        """Return it with nodes down."""
        return replace(self, down=self.down | frozenset(names))

    def with_back(self, names: Iterable[str]) -> Topology:
        """Return it with nodes running again."""
        return replace(self, down=self.down - frozenset(names))

    def with_cut(self, pairs: Iterable[tuple[str, str]]) -> Topology:
        """Return it with links cut."""
        return replace(self, cut=self.cut | frozenset(pairs))

    def with_healed(self, pairs: Iterable[tuple[str, str]]) -> Topology:
        """Return it with links healed."""
        return replace(self, cut=self.cut - frozenset(pairs))

    def linked(self, a: str, b: str) -> bool:
        """Tell whether two validators can keep a connection."""
        return not (a in self.down or b in self.down or (a, b) in self.cut or (b, a) in self.cut)


@dataclass(frozen=True, slots=True)
class Reach:
    """Who can reach whom."""

    together: tuple[str, ...]
    """The validator that collects most voting power, itself first, and those it is linked to."""
    power: int
    """Of those."""
    needed: int
    """A quorum."""
    total: int
    followers: tuple[str, ...]
    """Running validators it reaches through others only."""
    lost: tuple[str, ...]
    """Running validators it does not reach at all."""

    @property
    def is_final(self) -> bool:
        """Blocks become final."""
        return self.power >= self.needed


def reach(topology: Topology) -> Reach:
    """Return who is together, and whether it is enough."""
    powers = topology.powers
    running = [name for name in powers if name not in topology.down]
    near = {a: [b for b in running if b != a and topology.linked(a, b)] for a in running}
    best: tuple[str, ...] = ()
    best_key = (-1, -1)
    for name in running:
        whom = (name, *near[name])
        key = (sum(powers[n] for n in whom), len(whom))
        if key > best_key:
            best, best_key = whom, key
    seen = dict.fromkeys(best)
    for name in best:
        _visit(name, near, seen)
    total = sum(powers.values())
    return Reach(
        together=best,
        power=sum(powers[n] for n in best),
        needed=quorum_of(total),
        total=total,
        followers=tuple(n for n in seen if n not in best),
        lost=tuple(n for n in running if n not in seen),
    )


def critical(topology: Topology) -> tuple[str, ...]:
    """Return the running validators of which the loss of any single one stops finality."""
    if not reach(topology).is_final:
        return ()
    return tuple(
        name
        for name in topology.powers
        if name not in topology.down and not reach(topology.without([name])).is_final
    )


def effect(doing: str, before: Topology, after: Topology) -> str:
    """Return what an action does to the quorum, as a person should read it before confirming.

    Args:
        doing: The action, as the beginning of a sentence: `Cutting node2-node3`.
        before: As it is.
        after: As it would be.
    """
    was, will = reach(before), reach(after)
    equal = set(after.powers.values()) <= {1}
    count, whole = (
        (will.power, will.total)
        if not equal
        else (
            len(will.together),
            len(after.powers),
        )
    )
    of = f"{count} of {whole}" if equal else f"power {count} of {whole}"
    if not will.is_final:
        stops = (
            "finality stops; nothing can be reverted"
            if was.is_final
            else "still nothing becomes final"
        )
        return f"{doing} leaves {of}, {will.needed} needed: {stops}."
    if not was.is_final:
        text = f"{doing} brings {of} together: blocks go on again."
    else:
        verb = "leaves" if will.power <= was.power else "brings"
        text = f"{doing} {verb} {of}: blocks go on."
    alone = [name for name in will.lost if name not in was.lost]
    if alone:
        fall = "falls" if len(alone) == 1 else "fall"
        text += f" {_names(alone)} {fall} behind, cut off."
    next_ones = critical(after)
    if len(next_ones) == 1:
        text += f" Losing {next_ones[0]} too stops finality; nothing can be reverted."
    elif next_ones:
        text += f" Losing any of {_names(next_ones)} too stops finality."
    return text


def restart_effect(names: Sequence[str], before: Topology) -> str:
    """Return what a restart does: how it is in between, where some run, and afterwards."""
    after = before.with_back(names)
    alive = [name for name in names if name not in before.down]
    if not alive:
        return effect(f"Restarting {_names(names)}", before, after)
    between = effect(f"Ending {_names(alive)} for the restart", before, before.without(alive))
    they = "they catch" if len(names) > 1 else "it catches"
    again = not reach(before).is_final and reach(after).is_final
    return f"{between} Then {they} up{', and blocks go on again' * again}."


def _visit(name: str, near: Mapping[str, Sequence[str]], seen: dict[str, None]) -> None:
    waiting = [name]
    while waiting:
        for other in near[waiting.pop()]:
            if other not in seen:
                seen[other] = None
                waiting.append(other)


def _names(names: Sequence[str]) -> str:
    if len(names) > NAMES_MAX + 1:
        return f"{', '.join(names[:NAMES_MAX])} and {len(names) - NAMES_MAX} others"
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"
