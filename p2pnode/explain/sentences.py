"""A diagnosis in words: one sentence with numbers, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pnode.explain.facts import Diagnosis, Kind, Missing, Severity, Skip

NAMES_MAX: Final = 5
"""Names in one list; the rest is counted."""


def sentence(found: Diagnosis) -> str:
    """Return what is the matter."""
    if found.kind is Kind.UNKNOWN:
        whom = listed(found.nodes)
        return (
            f"nothing is known: {whom} {_do(found.nodes)} not answer"
            if whom
            else "nothing is known: no node was asked"
        )
    if found.severity is Severity.STALLED:
        return _stalled(found)
    place = f"height {found.height}, view {found.view}"
    final = "" if found.final_age_s is None else f", last block {_age(found.final_age_s)} ago"
    if found.kind is Kind.WELL:
        return f"all is well: {place}{final}"
    if found.kind is Kind.IDLE:
        return f"all is well, nothing to decide: {place}{final}"
    return f"blocks go on, {place}{final}; {_cause(found)}"


def _stalled(found: Diagnosis) -> str:
    parts = [f"height {found.height}, view {found.view}: {_votes(found)}"]
    if found.missing:
        parts.append(f"missing {_missing(found.missing)}")
    if found.unvoted_count:
        more = found.unvoted_count
        parts.append(f"{more} more {'has' if more == 1 else 'have'} not voted")
    cause = _cause(found)
    if cause:
        parts.append(cause)
    if found.skip is not None:
        parts.append(f"the last view was skipped because {_skip(found.skip)}")
    if found.final_age_s is not None:
        parts.append(f"nothing final for {_age(found.final_age_s)}")
    return "; ".join(parts)


def _votes(found: Diagnosis) -> str:
    votes = found.votes
    if votes is None:
        return "nothing becomes final"
    if votes.power == 0:
        return f"no votes, {votes.quorum} of {votes.power_total} needed"
    # A nullify is a vote to skip: it must not read as if the block were nearly there.
    what = " to skip it" if votes.kind == "nullify" else ""
    return f"{votes.power} of {votes.quorum} votes{what}"


def _cause(found: Diagnosis) -> str:
    """Return the kind's own words; empty where the missing votes say it all."""
    who, one = listed(found.nodes), len(found.nodes) == 1
    match found.kind:
        case Kind.PARTITION:
            sides = " | ".join(listed(group) for group in found.groups)
            slow = f", over links of {found.detail}" if found.detail else ""
            return f"the network is split: {sides}{slow}"
        case Kind.ISOLATED if found.severity is Severity.STALLED:
            return f"{who} hears no other validator"
        case Kind.ISOLATED:
            return f"cut off from the others: {_missing(found.missing)}"
        case Kind.DEGRADED:
            return f"without {_missing(found.missing)}"
        case Kind.DISK if any(found.detail in m.reason for m in found.missing):
            # Said of the missing vote already.
            return ""
        case Kind.DISK:
            return f"the disk of {who} refuses writes: {found.detail}"
        case Kind.SLOW_PROPOSER:
            return f"proposals of {who} come too late: {found.detail}"
        case Kind.SLOW_LINK:
            return f"links are slower than the timer: {who}, {found.detail}"
        case Kind.PAYLOAD:
            return f"{who} {_verb(found.nodes, 'wait')} for {found.detail}"
        case Kind.SYNCING:
            return f"{who} {_be(found.nodes)} syncing, {found.detail}"
        case Kind.OBSERVING if found.severity is Severity.WARNING:
            until = "until the next epoch"
            return f"{who} {_verb(found.nodes, 'sign')} nothing {until}: {_its(one)} log is lost"
        case Kind.EXECUTION | Kind.BEHIND:
            return f"{who}: {found.detail}"
        case Kind.CLOCK:
            return f"the clock of {who} is {found.detail}"
        case _:
            return ""


def next_step(found: Diagnosis) -> str:
    """Return what to do; empty for nothing."""
    who = listed(found.nodes)
    match found.kind:
        case Kind.WELL:
            return ""
        case Kind.IDLE:
            return "send a transaction to see a block"
        case Kind.UNKNOWN:
            return "look whether the node runs, and at its address"
        case Kind.TOO_FEW | Kind.DEGRADED if found.alone:
            return f"look at {who}, and at the network between"
        case Kind.TOO_FEW | Kind.DEGRADED:
            return f"start {who} again"
        case Kind.PARTITION:
            return f"{'mend' if found.detail else 'heal'} the links between the groups"
        case Kind.ISOLATED:
            return f"look at the network of {who}"
        case Kind.DISK:
            return f"free some space on {who}, then start {_it(found.nodes)} again"
        case Kind.SLOW_PROPOSER:
            return f"look at load, disk and network of {who}"
        case Kind.SLOW_LINK:
            return f"mend the links of {who}, or begin a chain with a larger delta_max_ms"
        case Kind.PAYLOAD:
            return f"look whether {who} {_verb(found.nodes, 'reach')} the proposer"
        case Kind.SYNCING:
            return "wait until it has caught up"
        case Kind.OBSERVING:
            return "wait for the next epoch; or, if nothing newer signed: p2pnode log trust"
        case Kind.EXECUTION:
            return f"look at processor and disk of {who}, and whether batches can be fetched"
        case Kind.BEHIND:
            return f"look at the log of {who}"
        case Kind.CLOCK:
            return f"set the clock of {who}: sudo timedatectl set-ntp true"
        case Kind.STALLED if found.nodes:
            return f"start {who} again"
        case Kind.STALLED:
            return "look at the logs for engine_timeout and payload_refused"


def _skip(skip: Skip) -> str:
    match skip.reason:
        case "late":
            return f"the proposal of {skip.proposer} came {skip.late_ms or 0} ms after the timer"
        case "silent":
            return f"nothing came from its proposer {skip.proposer} in time"
        case "unavailable":
            return f"the payload of {skip.proposer} could not be had in time"
        case "votes":
            return f"too few votes for the proposal of {skip.proposer} came in time"
        case _:
            return "others gave it up"


def _missing(missing: Sequence[Missing]) -> str:
    return listed([f"{m.name} ({m.reason})" if m.reason else m.name for m in missing])


def listed(names: Sequence[str]) -> str:
    """Return names as a list in words, the rest counted where there are many."""
    shown = ", ".join(names[:NAMES_MAX])
    more = len(names) - NAMES_MAX
    return f"{shown} and {more} more" if more > 0 else shown


def _age(age_s: float) -> str:
    return f"{age_s:.1f} s" if age_s < 100 else f"{age_s / 60:.0f} min"


def _verb(names: Sequence[str], verb: str) -> str:
    if len(names) != 1:
        return verb
    return f"{verb}es" if verb.endswith("ch") else f"{verb}s"


def _be(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _do(names: Sequence[str]) -> str:
    return "does" if len(names) == 1 else "do"


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _its(one: bool) -> str:
    return "its" if one else "their"
