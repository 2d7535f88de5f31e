"""What can be done to a testnet: the requests, the effect stated before, and what takes it back.

All of it is pure: the arithmetic of the quorum is the supervisor's own (supervise/quorum.py), over
what is alive, cut and intended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from p2pnode.net.links.profile import PROFILES, LinkProfile, profile_named
from p2pnode.node.units import human_size
from testnet.console.model import Action, Network, Option, Pair
from testnet.supervise import quorum
from testnet.supervise.quorum import Topology

Json = dict[str, Any]

DONE: Final[Mapping[str, str]] = {
    "kill": "killed",
    "pause": "paused",
    "resume": "resumed",
    "restart": "restarted",
    "cut": "cut",
    "heal": "healed",
    "link": "set",
    "load": "load started:",
    "load_stop": "load stopped",
    "end": "ended",
}
"""What was done, in one word."""

_DOING: Final[Mapping[str, str]] = {
    "kill": "Killing",
    "pause": "Pausing",
    "resume": "Resuming",
    "restart": "Restarting",
    "cut": "Cutting",
    "heal": "Healing",
}


def requests(action: Action) -> list[Json]:
    """Return what the supervisor is asked, one after the other."""
    match action.verb:
        case "kill" | "pause" | "resume" | "restart" as verb:
            return [{"command": verb, "node": name} for name in action.nodes]
        case "cut" | "heal" as verb:
            return [{"command": verb, "pairs": [list(pair) for pair in action.pairs]}]
        case "link":
            pairs = [list(pair) for pair in action.pairs]
            return [{"command": "link", "pairs": pairs, "profile": action.profile or None}]
        case "load":
            return [{"command": "load_start", "rate": action.rate_tx_s}]
        case "load_stop":
            return [{"command": "load_stop"}]
        case "end":
            return [{"command": "down"}]
    raise AssertionError(action)


def words(action: Action) -> str:
    """Return what was done, as a person says it."""
    what = action.what or ", ".join(action.nodes)
    if action.verb == "link":
        return f"{what}: {action.profile or 'no profile any more'}"
    if action.verb == "load":
        return f"load started: {action.rate_tx_s:g} tx/s"
    if action.verb == "load_stop":
        return "load stopped"
    return f"{DONE[action.verb]} {what}"


# --- the effect -----------------------------------------------------------------------------------


def topology(network: Network) -> Topology:
    """Return the validators, and what is between them."""
    validators = [node for node in network.nodes if node.validator is not None]
    return Topology(
        {node.name: node.power for node in validators},
        frozenset(node.name for node in network.nodes if not node.alive),
        network.cuts,
    )


def after(network: Network, action: Action) -> Topology:
    """Return what there is once an action is done."""
    before = topology(network)
    match action.verb:
        case "kill" | "pause":
            return before.without(action.nodes)
        case "resume" | "restart":
            return before.with_back(action.nodes)
        case "cut":
            return before.with_cut(action.pairs)
        case "heal":
            return before.with_healed(action.pairs)
    return before


def touches_quorum(action: Action) -> bool:
    """Tell whether an action changes who reaches whom."""
    return action.verb in _DOING


def goes_on(network: Network, action: Action) -> bool:
    """Tell whether blocks become final once an action is done."""
    return quorum.reach(after(network, action)).is_final


def effects(network: Network, actions: Sequence[Action]) -> str:
    """Return what some actions would do."""
    return " ".join(effect(network, action) for action in actions)


def effect(network: Network, action: Action) -> str:
    """Return what an action would do, in a sentence or two."""
    before = topology(network)
    match action.verb:
        case "load":
            count = sum(node.state == "running" for node in network.nodes)
            return (
                f"{action.rate_tx_s:g} transactions a second, spread over {count} nodes, until you"
                " stop it."
            )
        case "load_stop":
            return "Nothing more is submitted; what is on its way may still become final."
        case "end":
            nodes = len(network.nodes)
            whom = f"all {nodes} nodes and their" if nodes > 1 else "the node and its"
            return (
                f"Ends {whom} supervisor. The files stay in"
                f" .testnet/{network.name}/ until `testnet down`."
            )
        case "link":
            return _profile_effect(network, action)
    names = [name for name in action.nodes if name in before.powers]
    if action.nodes and not names:
        verb = "is no validator" if len(action.nodes) == 1 else "are no validators"
        return f"{', '.join(action.nodes)} {verb}: blocks go on as they do."
    if action.verb == "restart":
        return quorum.restart_effect(names, before)
    what = action.what or names_text(action.nodes)
    return quorum.effect(f"{_DOING[action.verb]} {what}", before, after(network, action))


def _profile_effect(network: Network, action: Action) -> str:
    count = len(action.pairs)
    links = f"{count} link{'s' * (count != 1)} (each direction is one)"
    if not action.profile:
        return f"{links}: as they are without us."
    profile = profile_named(action.profile)
    text = f"{links}: {profile_words(profile)}."
    best = network.best
    slowest_s = profile.latency_ms_max / 1000
    if best is None or best.consensus.delta_max_s is None:
        return text
    limit_s = best.consensus.delta_max_s
    if slowest_s > limit_s:
        text += (
            f" That is slower than the engine ever waits for ({limit_s:g} s): if a quorum needs"
            " these links, views are skipped; nothing can be reverted."
        )
    else:
        text += f" The engine waits for up to {limit_s:g} s: blocks go on, slower."
    return text


# --- links ----------------------------------------------------------------------------------------


def between(here: str, there: str) -> tuple[Pair, ...]:
    """Return both directions of a link."""
    return ((here, there), (there, here))


def across(network: Network, group: Sequence[str]) -> tuple[Pair, ...]:
    """Return all links between a group of nodes and the others."""
    others = [name for name in network.names if name not in group]
    return tuple(pair for a in group for b in others for pair in between(a, b))


def among(group: Sequence[str]) -> tuple[Pair, ...]:
    """Return all links between the nodes of a group."""
    return tuple((a, b) for a in group for b in group if a != b)


def profile_words(profile: LinkProfile) -> str:
    """Return the numbers of a profile."""
    low, high = profile.latency_ms_min, profile.latency_ms_max
    parts = [f"{low:g} ms" if low == high else f"{low:g}-{high:g} ms one way"]
    if profile.loss:
        runs = f" in runs of {profile.loss_burst:g}" if profile.loss_burst > 1 else ""
        parts.append(f"{profile.loss * 100:g} % lost{runs}")
    if profile.rate_bytes_per_s is not None:
        parts.append(f"{human_size(int(profile.rate_bytes_per_s))}/s")
    return ", ".join(parts)


def profile_options(pairs: tuple[Pair, ...], what: str) -> tuple[Option, ...]:
    """Return the profiles to choose from, with their numbers."""
    width = max(len(name) for name in PROFILES)
    nothing = Action("link", (), pairs, what=what)
    found = [Option("none".ljust(width) + "  as it is without us", (nothing,))]
    for name, profile in PROFILES.items():
        label = f"{name:<{width}}  {profile_words(profile)}"
        found.append(Option(label, (Action("link", (), pairs, name, what=what),)))
    found.append(Option("another …".ljust(width) + "  aws:<from>-<to>", ()))
    return tuple(found)


# --- taking back ----------------------------------------------------------------------------------


def undo_of(network: Network, action: Action) -> tuple[Action, ...]:
    """Return what takes an action back, given the testnet before it; nothing where that can't be.

    Only what the action changes is taken back: a link that was cut before stays cut.
    """
    match action.verb:
        case "kill":
            return _back(network, action, "restart")
        case "pause":
            return _back(network, action, "resume")
        case "cut":
            pairs = tuple(pair for pair in action.pairs if pair not in network.cuts)
            return (Action("heal", (), pairs, what=action.what),) if pairs else ()
        case "link":
            return _profiles_back(network, action)
    return ()


def _back(network: Network, action: Action, verb: str) -> tuple[Action, ...]:
    rows = [node for node in network.nodes if node.name in action.nodes]
    names = tuple(n.name for n in rows if n.alive or (n.state == "paused" and verb == "restart"))
    return (Action(verb, names),) if names else ()


def _profiles_back(network: Network, action: Action) -> tuple[Action, ...]:
    """Return one action for each profile that the links had."""
    by_name: dict[str, list[Pair]] = {}
    for pair in action.pairs:
        row = network.links.get(pair)
        name = "" if row is None else row.profile
        if name == "custom":
            # Its numbers have no name to ask for; the command line set them.
            continue
        by_name.setdefault(name, []).append(pair)
    return tuple(
        Action("link", (), tuple(pairs), name, what=action.what) for name, pairs in by_name.items()
    )


def names_text(names: Sequence[str]) -> str:
    """Return names as a list, the rest counted where there are many."""
    if len(names) > 5:
        return f"{', '.join(names[:4])} and {len(names) - 4} others"
    return ", ".join(names)
