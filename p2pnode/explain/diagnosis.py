"""What is the matter: from statuses to a kind with names and numbers.

The order of the questions is the diagnosis: can a quorum vote and hear each other; if so, is
anything final; if so, does anything else need a look.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from p2pnode.explain.facts import (
    Condition,
    Diagnosis,
    Kind,
    Missing,
    Severity,
    Situation,
    Skip,
    Votes,
)
from p2pnode.explain.network import Member, NetworkView, power
from p2pnode.node.status import (
    NodeStatus,
    SkipReason,
    ViewOutcome,
    ViewRow,
)

STALL_S: Final = 5.0
"""Nothing final for so long, while there was something to decide, is a stall."""

BEHIND_HEIGHTS: Final = 8
"""A node further behind than this is behind; less is ordinary under load."""

CLOCK_MS: Final = 1_000
"""A clock that is further off is worth a word: payloads from further ahead than half of it wait."""

PINGS_LOST_MS: Final = 1_000
"""Over links with a longer one-way latency pings come too late, and connections end."""

CAP_SHARE: Final = 0.9
"""An adaptive Δ above this share of its cap can't grow any more to speak of."""

LATE_VIEWS_MIN: Final = 2
"""One late proposal happens; two in the newest views are a cause."""

ROWS_PER_VALIDATOR: Final = 2
"""Newest views looked at for late proposals, for each validator: two turns."""


def diagnose(situation: Situation) -> Diagnosis:
    """Return what is the matter with a network."""
    answers = any(n.condition is Condition.ANSWERS and n.status for n in situation.nodes)
    if not answers:
        names = tuple(node.name for node in situation.nodes)
        return Diagnosis(Kind.UNKNOWN, Severity.STALLED, names)
    return _Diagnostician(NetworkView(situation)).diagnose()


class _Diagnostician:
    """One diagnosis."""

    def __init__(self, view: NetworkView) -> None:
        self._net = view
        self._statuses = [status for _, status in view.answering]
        # Alone: one node's word about all others.
        self._alone = len(view.situation.nodes) == 1
        self._age_s = min(
            (s.last_block_age_s for s in self._statuses if s.last_block_age_s is not None),
            default=None,
        )

    def diagnose(self) -> Diagnosis:
        net = self._net
        if not net.members:
            # An old node, or one that tells nothing of validators.
            return self._whole(net.best)
        return self._quorum() or self._stall() or self._worry() or self._calm()

    # --- can a quorum vote? ----------------------------------------------------------------------

    def _quorum(self) -> Diagnosis | None:
        net = self._net
        lost = [m for m in net.members if not m.can_vote]
        able = [m for m in net.members if m.can_vote]
        if self._alone:
            return self._own_quorum()
        if power(able) < net.quorum:
            down = [m for m in lost if m.down]
            full = [m for m in lost if not m.down and _storage_error(m)]
            observing = [m for m in lost if not m.down and not _storage_error(m)]
            # What alone would mend it comes first; a full disk is mended more easily than found.
            if full and power(able) + power(full) >= net.quorum:
                return self._stalled(Kind.DISK, full, detail=_storage_error(full[0]))
            if observing and power(able) + power(observing) >= net.quorum:
                return self._stalled(Kind.OBSERVING, observing)
            return self._stalled(Kind.TOO_FEW, down + full + observing)
        groups = net.groups(able)
        # No group where nobody votes and a quorum is nothing: a status may say anything.
        if groups and power(groups[0]) < net.quorum:
            names = tuple(_names(group) for group in groups)
            outside = [m for group in groups[1:] for m in group]
            detail = self._latency_between(groups)
            return self._stalled(Kind.PARTITION, outside, groups=names, detail=detail)
        return None

    def _latency_between(self, groups: Sequence[Sequence[Member]]) -> str:
        """Return how slow the links between groups are, where that and no cut parts them."""
        pairs = [
            (a, b)
            for number, group in enumerate(groups)
            for a in group
            for other in groups[number + 1 :]
            for b in other
        ]
        if any(self._net.cut_s(a, b) is not None for a, b in pairs):
            return ""
        worst_ms = max((self._net.latency_ms(a, b) or 0.0 for a, b in pairs), default=0.0)
        return f"{worst_ms:.0f} ms one way" if worst_ms >= PINGS_LOST_MS else ""

    def _own_quorum(self) -> Diagnosis | None:
        """One node's word: whom it does not hear it can't tell dead from unreachable."""
        net = self._net
        status = net.best
        own = next((m for m in net.members if m.status is not None), None)
        if status.device.storage_error:
            return self._stalled(Kind.DISK, _of(own, net), detail=status.device.storage_error)
        seen = status.consensus.validators
        lost = [
            m
            for m, s in zip(net.members, seen, strict=True)
            if not (s.own or (s.connected and (s.heard_s is None or s.heard_s <= net.silent_s)))
        ]
        reached = [m for m in net.members if m not in lost]
        if power(reached) >= net.quorum:
            return None
        others = [m for m in reached if m is not own]
        if own is not None and not others and len(net.members) > 1:
            return self._stalled(Kind.ISOLATED, [own])
        return self._stalled(Kind.TOO_FEW, lost)

    # --- is anything final? ----------------------------------------------------------------------

    def _stall(self) -> Diagnosis | None:
        if any(not _is_stalled(s) for s in self._statuses if s.consensus.demand):
            return None
        if not any(s.consensus.demand for s in self._statuses):
            return None
        syncing = [s for s in self._statuses if s.syncing]
        if len(syncing) == len(self._statuses):
            return self._syncing(syncing, Severity.STALLED)
        # Three of four may be a quorum for an engine that waits for the fourth all the same.
        down = [m for m in self._net.members if m.down]
        return self._slow() or self._unavailable() or self._stalled(Kind.STALLED, down)

    def _slow(self) -> Diagnosis | None:
        """Late proposals in the newest views, as anybody saw them."""
        late = self._late_rows()
        if len({row.view for _, row in late}) < LATE_VIEWS_MIN:
            return None
        proposers = sorted({row.proposer for _, row in late if row.proposer is not None})
        cap_s = max((s.consensus.delta_max_s or 0.0 for s in self._statuses), default=0.0)
        delta_s = max((s.consensus.delta_s or 0.0 for s in self._statuses), default=0.0)
        worst_ms = max(row.late_ms or 0 for _, row in late)
        detail = f"{worst_ms} ms late"
        if cap_s:
            detail += f" at a timer of {3 * delta_s:.1f} s, at most {3 * cap_s:.1f} s"
        slow = [
            link
            for link in self._net.links()
            if link.latency_ms is not None and cap_s and link.latency_ms >= 2000 * cap_s
        ]
        if slow:
            names = tuple(dict.fromkeys(n for link in slow for n in (link.sender, link.receiver)))
            detail = f"{max(link.latency_ms or 0 for link in slow):.0f} ms one way, {detail}"
            return self._stalled(Kind.SLOW_LINK, (), names=names, detail=detail)
        if len(proposers) > 1:
            return self._stalled(Kind.SLOW_LINK, (), names=self._at_late(late), detail=detail)
        members = [self._net.members[i] for i in proposers if 0 <= i < len(self._net.members)]
        return self._stalled(Kind.SLOW_PROPOSER, members, detail=detail)

    def _late_rows(self) -> list[tuple[NodeStatus, ViewRow]]:
        count = ROWS_PER_VALIDATOR * len(self._net.members)
        return [
            (status, row)
            for status in self._statuses
            for row in status.consensus.recent[-count:]
            if row.skip is SkipReason.LATE
        ]

    def _at_late(self, late: Sequence[tuple[NodeStatus, ViewRow]]) -> tuple[str, ...]:
        """Return the nodes at one end or the other of most late proposals; all when it is all."""
        counts: dict[str, int] = {}
        for status, row in late:
            counts[status.name] = counts.get(status.name, 0) + 1
            proposer = self._net.name(row.proposer)
            counts[proposer] = counts.get(proposer, 0) + 1
        everywhere = [name for name, count in counts.items() if count == len(late)]
        return tuple(sorted(everywhere or counts))

    def _unavailable(self) -> Diagnosis | None:
        waiting = [s for s in self._statuses if s.consensus.waiting]
        if not waiting:
            return None
        detail = waiting[0].consensus.waiting
        return self._stalled(Kind.PAYLOAD, (), names=_status_names(waiting), detail=detail)

    # --- what else needs a look ------------------------------------------------------------------

    def _worry(self) -> Diagnosis | None:
        net, statuses = self._net, self._statuses
        full = [s for s in statuses if s.device.storage_error]
        if full:
            detail = full[0].device.storage_error
            return self._warning(Kind.DISK, _status_names(full), detail=detail)
        down = [m for m in net.members if m.down]
        able = [m for m in net.members if m.can_vote]
        if down:
            return self._warning(Kind.DEGRADED, _names(down), missing=self._missing(down))
        if not self._alone:
            groups = net.groups(able)
            outside = [m for group in groups[1:] for m in group]
            if outside:
                names = tuple(_names(group) for group in groups)
                missing = self._missing(outside)
                return self._warning(Kind.ISOLATED, _names(outside), missing=missing, groups=names)
        else:
            unheard = [m for m in net.members if self._unheard(m)]
            if unheard:
                missing = self._missing(unheard)
                return self._warning(Kind.DEGRADED, _names(unheard), missing=missing)
        observing = [s for s in statuses if s.observing]
        if observing:
            return self._warning(Kind.OBSERVING, _status_names(observing))
        return self._lagging() or self._clock() or self._late_proposer()

    def _unheard(self, member: Member) -> bool:
        seen = self._net.best.consensus.validators[member.index]
        heard = seen.heard_s is None or seen.heard_s <= self._net.silent_s
        return not (seen.own or (seen.connected and heard))

    def _lagging(self) -> Diagnosis | None:
        statuses = self._statuses
        syncing = [s for s in statuses if s.syncing]
        if syncing:
            return self._syncing(syncing, Severity.WARNING)
        top = max(s.height for s in statuses)
        behind = [s for s in statuses if top - s.height > BEHIND_HEIGHTS]
        if behind:
            lag = max(top - s.height for s in behind)
            detail = f"{lag} heights behind the newest, {top}"
            return self._warning(Kind.BEHIND, _status_names(behind), detail=detail)
        waiting = [s for s in statuses if s.finalized_height - s.executed_height > BEHIND_HEIGHTS]
        if waiting:
            worst = max(waiting, key=lambda s: s.finalized_height - s.executed_height)
            lag = worst.finalized_height - worst.executed_height
            detail = f"{lag} final blocks not executed, {worst.executed_height + 1} the first"
            return self._warning(Kind.EXECUTION, _status_names(waiting), detail=detail)
        return None

    def _clock(self) -> Diagnosis | None:
        """A clock that differs from most others', by the times in their payloads."""
        off: dict[str, list[int]] = {}
        for status in self._statuses:
            others = [
                (seen.name if self._alone else self._net.name(seen.index), seen.clock_ms)
                for seen in status.consensus.validators
                if seen.clock_ms is not None and not seen.own
            ]
            wrong = [(name, ms) for name, ms in others if abs(ms) > CLOCK_MS]
            if len(wrong) > 1 and 2 * len(wrong) > len(others):
                # Everybody else is off by as much: it is this node's own clock.
                middle = sorted(ms for _, ms in wrong)[len(wrong) // 2]
                off.setdefault(status.name, []).append(-middle)
            else:
                for name, ms in wrong:
                    off.setdefault(name, []).append(ms)
        if not off:
            return None
        name, values = max(off.items(), key=lambda item: len(item[1]))
        middle = sorted(values)[len(values) // 2]
        direction = "ahead" if middle > 0 else "behind"
        detail = f"{abs(middle) / 1000:.1f} s {direction}"
        return self._warning(Kind.CLOCK, (name,), detail=detail)

    def _late_proposer(self) -> Diagnosis | None:
        late = self._late_rows()
        proposers = {row.proposer for _, row in late}
        views_count = len({row.view for _, row in late})
        if views_count < LATE_VIEWS_MIN or len(proposers) != 1:
            return None
        member = self._net.name(next(iter(proposers)))
        worst_ms = max(row.late_ms or 0 for _, row in late)
        detail = f"{worst_ms} ms late, {views_count} skipped views"
        return self._warning(Kind.SLOW_PROPOSER, (member,), detail=detail)

    # --- all is well -----------------------------------------------------------------------------

    def _calm(self) -> Diagnosis:
        demand = any(s.consensus.demand for s in self._statuses)
        waits = any(s.mempool.ready_count + s.mempool.batched_count for s in self._statuses)
        fresh = self._age_s is not None and self._age_s < STALL_S
        kind = Kind.WELL if demand or waits or fresh else Kind.IDLE
        return self._whole(self._net.best, kind)

    def _whole(self, status: NodeStatus, kind: Kind = Kind.WELL) -> Diagnosis:
        return Diagnosis(
            kind,
            Severity.OK,
            height=status.consensus.height or status.height + 1,
            view=status.view,
            final_age_s=self._age_s,
            alone=self._alone,
        )

    # --- making one ------------------------------------------------------------------------------

    def _syncing(self, syncing: Sequence[NodeStatus], severity: Severity) -> Diagnosis:
        least = min(syncing, key=lambda s: s.height)
        lag = max(0, least.best_height - least.height)
        detail = f"at height {least.height} of {least.best_height}, {lag} to go"
        names = _status_names(syncing)
        return self._made(Kind.SYNCING, severity, names, detail=detail)

    def _warning(
        self,
        kind: Kind,
        names: Iterable[str],
        *,
        detail: str = "",
        missing: tuple[Missing, ...] = (),
        groups: tuple[tuple[str, ...], ...] = (),
    ) -> Diagnosis:
        return self._made(
            kind, Severity.WARNING, tuple(names), detail=detail, missing=missing, groups=groups
        )

    def _stalled(
        self,
        kind: Kind,
        members: Sequence[Member],
        *,
        names: tuple[str, ...] = (),
        detail: str = "",
        groups: tuple[tuple[str, ...], ...] = (),
    ) -> Diagnosis:
        votes, lacking = self._votes()
        # A cause whose vote came before it failed is a cause all the same.
        lacking = sorted({m.index: m for m in (*lacking, *members)}.values(), key=lambda m: m.index)
        missing = self._missing(lacking)
        # Where some have a reason, or are the cause, the others may only wait for them.
        causes = _names(members)
        # That the largest group is cut from the others is said of the others.
        whole = groups[0] if groups else ()
        told = tuple(m for m in missing if m.name in causes or (m.reason and m.name not in whole))
        if not told and len(missing) < len(self._net.members):
            told = missing
        return self._made(
            kind,
            Severity.STALLED,
            names or _names(members),
            detail=detail,
            missing=told,
            unvoted_count=len(missing) - len(told) if told else 0,
            groups=groups,
            votes=votes,
        )

    def _made(
        self,
        kind: Kind,
        severity: Severity,
        names: tuple[str, ...],
        *,
        detail: str = "",
        missing: tuple[Missing, ...] = (),
        unvoted_count: int = 0,
        groups: tuple[tuple[str, ...], ...] = (),
        votes: Votes | None = None,
    ) -> Diagnosis:
        best = self._net.best
        skip = self._skip() if severity is Severity.STALLED else None
        if skip is not None and skip.reason == SkipReason.SILENT:
            # Why nothing came from it is said of its own vote.
            skip = None if any(m.name == skip.proposer and m.reason for m in missing) else skip
        return Diagnosis(
            kind,
            severity,
            names,
            height=best.consensus.height or best.height + 1,
            view=best.view,
            final_age_s=self._age_s,
            votes=votes,
            missing=missing,
            unvoted_count=unvoted_count,
            skip=skip,
            groups=groups,
            detail=detail,
            alone=self._alone,
        )

    def _votes(self) -> tuple[Votes, list[Member]]:
        """Return the most votes of one kind that a node has in the newest view, and who lacks."""
        net = self._net
        signers: tuple[int, ...] = ()
        best = Votes("", 0, net.quorum, net.power_total)
        for status in self._statuses:
            if (status.height, status.view) != (net.best.height, net.best.view):
                continue
            for count in status.consensus.votes:
                if count.power > best.power:
                    best = Votes(count.kind, count.power, net.quorum, net.power_total)
                    signers = count.signers
        return best, [m for m in net.members if m.index not in signers]

    def _skip(self) -> Skip | None:
        """Return why the view before this was skipped, from whoever had a part in it."""
        rows = [
            row
            for status in self._statuses
            for row in status.consensus.recent
            if row.outcome is ViewOutcome.SKIPPED and row.skip is not None
        ]
        if not rows:
            return None
        newest = max(row.view for row in rows)
        if newest < self._net.best.view - 1:
            return None
        told = [row for row in rows if row.view == newest and row.skip is not SkipReason.OTHERS]
        if not told:
            return None
        row = max(told, key=_tells)
        assert row.skip is not None
        return Skip(row.view, self._net.name(row.proposer), row.skip.value, row.late_ms)

    # --- why a vote is missing -------------------------------------------------------------------

    def _missing(self, members: Sequence[Member]) -> tuple[Missing, ...]:
        return tuple(Missing(m.name, self._reason(m)) for m in members)

    def _reason(self, member: Member) -> str:
        facts, net = member.facts, self._net
        if facts is not None and facts.condition is not Condition.ANSWERS:
            return _condition(facts.condition, facts.since_s)
        status = member.status
        if status is not None and status.device.storage_error:
            return f"its disk refuses writes: {status.device.storage_error}"
        if status is not None and status.observing:
            return "signs nothing until the next epoch: its log is lost"
        cut = self._cut(member)
        if cut:
            return cut
        heard = self._silence(member)
        if heard:
            return heard
        newest = net.best
        where = status if status is not None else None
        seen = newest.consensus.validators[member.index]
        height = where.height if where is not None else seen.height
        view = where.view if where is not None else seen.view
        if height is not None and newest.height - height > BEHIND_HEIGHTS:
            return f"{newest.height - height} heights behind"
        if view is not None and newest.view - view >= 1 and where is not None:
            views = newest.view - view
            return f"{views} view{'s' * (views != 1)} behind"
        if where is not None and where.consensus.waiting:
            return f"waits for {where.consensus.waiting}"
        return ""

    def _cut(self, member: Member) -> str:
        net = self._net
        proposer = net.best.consensus.proposer
        is_known = proposer is not None and 0 <= proposer < len(net.members)
        if proposer is not None and is_known and proposer != member.index:
            cut_s = net.cut_s(member, net.members[proposer])
            if cut_s is not None:
                return f"cut from the proposer for {cut_s:.1f} s"
        cuts = [
            (cut_s, other.name)
            for other in net.members
            if other is not member and (cut_s := net.cut_s(member, other)) is not None
        ]
        if not cuts:
            return ""
        longest_s, first = max(cuts)
        whom = first if len(cuts) == 1 else f"{len(cuts)} others"
        return f"cut from {whom} for {longest_s:.1f} s"

    def _silence(self, member: Member) -> str:
        """Return that nobody hears a validator, as whoever heard it last says it."""
        rows = [
            status.consensus.validators[member.index]
            for status in self._statuses
            if member.index < len(status.consensus.validators)
        ]
        rows = [row for row in rows if not row.own]
        if not rows:
            return ""
        heard = [row.heard_s for row in rows if row.heard_s is not None]
        connected = any(row.connected for row in rows)
        if not connected:
            return f"unreachable for {min(heard):.0f} s" if heard else "never reached"
        if heard and min(heard) > self._net.silent_s:
            return f"not heard for {min(heard):.0f} s"
        return ""


def _is_stalled(status: NodeStatus) -> bool:
    consensus = status.consensus
    age_s = status.last_block_age_s
    if consensus.demand_s is not None:
        age_s = consensus.demand_s if age_s is None else min(age_s, consensus.demand_s)
    return age_s is not None and age_s > STALL_S


def _storage_error(member: Member) -> str:
    return "" if member.status is None else member.status.device.storage_error


def _of(own: Member | None, net: NetworkView) -> list[Member]:
    return [own] if own is not None else list(net.members[:0])


def _names(members: Iterable[Member]) -> tuple[str, ...]:
    return tuple(member.name for member in members)


def _status_names(statuses: Iterable[NodeStatus]) -> tuple[str, ...]:
    return tuple(status.name for status in statuses)


def _tells(row: ViewRow) -> int:
    """Return how much a row tells: a late proposal has a number, silence has none."""
    order = (SkipReason.OTHERS, SkipReason.SILENT, SkipReason.VOTES, SkipReason.UNAVAILABLE)
    return order.index(row.skip) if row.skip in order else len(order)


def _condition(condition: Condition, since_s: float | None) -> str:
    ago = "" if since_s is None else f" {since_s:.0f} s ago"
    lasting = "" if since_s is None else f" for {since_s:.0f} s"
    match condition:
        case Condition.KILLED:
            return f"killed{ago}"
        case Condition.CRASHED:
            return f"crashed{ago}"
        case Condition.PAUSED:
            return f"paused{lasting}"
        case _:
            return f"does not answer{lasting}"
