"""Requests about links and their effect on the quorum: what control.py hands on.

A request names links by `nodes`: one (all links of it), two (the link between them; `one_way`: only
from the first to the second), by `pairs` (links in one direction each, [sender, receiver]), by
`halves` (all links between these and the others), or `all`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Any, Final

import trio

from p2pnode.errors import P2PNodeError
from p2pnode.net.links.profile import LinkProfile, profile_named, reverse_name
from p2pnode.telemetry.clock import wall_ms
from testnet.supervise.links import Links, NamedProfile, NotALinkError, Pair
from testnet.supervise.noderun import NodeRun, require
from testnet.supervise.quorum import Topology, effect, restart_effect
from testnet.supervise.supervisor import Supervisor

Json = dict[str, Any]

GERUNDS: Final = {
    "kill": "Killing",
    "pause": "Pausing",
    "resume": "Resuming",
    "restart": "Restarting",
    "cut": "Cutting",
    "heal": "Healing",
}
"""Actions whose effect on the quorum can be told before."""


class RefusedActionError(P2PNodeError):
    """An action that nobody knows."""


def carry_out(supervisor: Supervisor, request: Json) -> Callable[[], Json]:
    """Cut, heal or change links; returns what makes the answer, once the nodes were told."""
    links = supervisor.links
    text = "" if request["command"] == "link" else effect_of(supervisor, request)
    match request["command"]:
        case "cut":
            changed = links.cut(pairs_of(links, request), wall_ms())
        case "heal":
            changed = links.heal(pairs_of(links, request))
        case _:
            changed = pairs_of(links, request)
            links.set_profile(changed, _profiles(request, changed))

    def answer() -> Json:
        return {
            "ok": True,
            "effect": text,
            "changed": [list(pair) for pair in changed],
            "links": links.rows(wall_ms(), changed_only=True),
        }

    return answer


def pairs_of(links: Links, request: Json) -> tuple[Pair, ...]:
    """Return the links that a request means.

    Raises:
        NotALinkError: They are none.
        UnknownNodeError: A node does not exist.
    """
    nodes, halves = _texts(request, "nodes"), _texts(request, "halves")
    if request.get("all"):
        return links.everything()
    if request.get("last"):
        return links.last_cut
    if halves:
        return links.across(halves)
    if request.get("pairs"):
        return tuple(links.between(a, b, one_way=True)[0] for a, b in request["pairs"])
    match nodes:
        case [one]:
            return links.across([one])
        case [here, there]:
            return links.between(here, there, one_way=bool(request.get("one_way")))
        case _:
            raise NotALinkError(f"{len(nodes)} nodes: one, or two that are linked, expected")


def effect_of(supervisor: Supervisor, request: Json) -> str:
    """Return what an action would do to the quorum, as a sentence.

    It is judged first whether the action can be done: nobody is told the effect of what is refused.

    Args:
        supervisor: Of the nodes as they are.
        request: The action as its own request.

    Raises:
        RefusedActionError: Nobody knows the action.
        NotALinkError: It names no link.
        UnknownNodeError: It names a node that does not exist.
        WrongStateError: It can't be done to a node in its state.
        NotEndingError: The signal to kill with ends no node.
    """
    command = str(request.get("command"))
    doing = GERUNDS.get(command)
    if doing is None:
        raise RefusedActionError(f"nothing is known of the effect of {command!r}")
    before = supervisor.topology()
    if command in ("cut", "heal"):
        return _effect_on_links(supervisor.links, request, before)
    nodes = nodes_of(supervisor, request)
    for name in nodes:
        require(supervisor.node(name), command, int(request.get("signal", signal.SIGKILL)))
    names = ", ".join(nodes)
    if command in ("kill", "pause"):
        return effect(f"{doing} {names}", before, before.without(nodes))
    if command == "restart":
        return restart_effect(nodes, before)
    return effect(f"{doing} {names}", before, before.with_back(nodes))


def nodes_of(supervisor: Supervisor, request: Json) -> list[str]:
    """Return the names of the nodes that a request means, each once.

    Raises:
        UnknownNodeError: One does not exist.
    """
    return list(dict.fromkeys(supervisor.node(t).plan.name for t in _texts(request, "nodes")))


def _effect_on_links(links: Links, request: Json, before: Topology) -> str:
    """Return what cutting or healing does; that it does nothing is said, and is no mistake."""
    pairs = pairs_of(links, request)
    what = _what(links, request, pairs)
    if request["command"] == "cut":
        if links.cuts.issuperset(pairs):
            return f"Nothing to cut: {what} {_be(what)} cut already."
        return effect(f"Cutting {what}", before, before.with_cut(pairs))
    if not links.cuts:
        return "Nothing to heal: no link is cut."
    if links.cuts.isdisjoint(pairs):
        return f"Nothing to heal: not cut: {what}."
    return effect(f"Healing {what}", before, before.with_healed(pairs))


def _be(what: str) -> str:
    return "are" if " " in what else "is"


def table(supervisor: Supervisor) -> list[Json]:
    """Return every link with what is known of it: profile, cut, round trip."""
    rows = supervisor.links.rows(wall_ms(), changed_only=False)
    nodes = {node.plan.name: node for node in supervisor.nodes}
    now_s = trio.current_time()
    for row in rows:
        rtts = rtts_of(nodes[row["from"]])
        row["connected"] = row["to"] in rtts
        row["rtt_ms"] = rtts.get(row["to"])
        pong_s = nodes[row["from"]].pongs_s.get(row["to"])
        row["rtt_age_s"] = None
        if row["connected"] and pong_s is not None:
            row["rtt_age_s"] = round(now_s - pong_s, 1)
    return rows


def rtts_of(node: NodeRun) -> dict[str, float | None]:
    """Return the round trips that a node measures now; a process that is not up measures none."""
    return dict(node.rtts_ms) if node.answers else {}


def isolated(supervisor: Supervisor) -> dict[str, float]:
    """Return the nodes of which every link is cut, and for how many seconds."""
    now_ms = wall_ms()
    rows = supervisor.links.rows(now_ms, changed_only=True)
    found = {}
    others = len(supervisor.nodes) - 1
    for name in supervisor.links.names:
        since: dict[str, int] = {}
        for row in rows:
            if row["cut"] and name in (row["from"], row["to"]):
                other = row["to"] if row["from"] == name else row["from"]
                since[other] = min(since.get(other, row["cut_since_ms"]), row["cut_since_ms"])
        if others and len(since) == others:
            found[name] = round((now_ms - max(since.values())) / 1000, 1)
    return found


def _profiles(request: Json, pairs: Sequence[Pair]) -> dict[Pair, NamedProfile]:
    """Return the profile of each link; none for links that shall do nothing again."""
    name, numbers = request.get("profile"), request.get("numbers")
    if name is None and numbers is None:
        return {}
    if numbers is not None:
        named = NamedProfile("custom", LinkProfile.from_json(numbers))
        return dict.fromkeys(pairs, named)
    there = NamedProfile(str(name), profile_named(str(name)))
    back_name = reverse_name(str(name))
    back = NamedProfile(back_name, profile_named(back_name))
    # From a to b as named, from b to a the way back.
    found: dict[Pair, NamedProfile] = {}
    for a, b in pairs:
        found[a, b] = back if (b, a) in found else there
    return found


def _what(links: Links, request: Json, pairs: Sequence[Pair]) -> str:
    nodes, halves = _texts(request, "nodes"), _texts(request, "halves")
    if request.get("all"):
        return "all links"
    if request.get("last"):
        return "the last cut" if pairs else "nothing"
    if request.get("pairs"):
        return f"{len(pairs)} link{'s' * (len(pairs) != 1)}"
    if halves:
        return f"{', '.join(links.name(text) for text in halves)} from the others"
    if len(nodes) == 1:
        return f"all links of {links.name(nodes[0])}"
    arrow = "→" if request.get("one_way") else "-"
    return arrow.join(links.name(text) for text in nodes)


def _texts(request: Json, name: str) -> list[str]:
    return [str(text) for text in request.get(name) or ()]
