"""The questions that keys ask before anything is done. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from testnet.console.actions import across, among, between, names_text, profile_options
from testnet.console.model import Action, Model, Network, NodeRow, Option, Pair, Prompt, Question

RUNNING: Final = frozenset(("running", "starting", "paused"))
"""States in which there is a process."""


class NothingToDoError(Exception):
    """A key has nothing to act on; the message says why."""


def ask(model: Model, key: str) -> Question | Prompt:
    """Return what a key asks.

    Raises:
        NothingToDoError: It would do nothing.
    """
    network = model.network
    if network is None:
        raise NothingToDoError("the supervisor has not answered yet")
    if model.lost is not None:
        raise NothingToDoError(f"the supervisor does not answer: {model.lost.reason}")
    targets = model.targets
    match key:
        case "L":
            return _load(network)
        case "Q":
            return _one(f"End testnet {network.name}?", Action("end", what=network.name))
        case "u":
            return _undo(model)
        case "h":
            return _heal(network, targets, bool(model.ui.selected))
    if not targets:
        raise NothingToDoError("no node is selected")
    match key:
        case "k":
            return _kill(targets)
        case "p" | "s":
            return _pause(targets)
        case "r":
            names = tuple(node.name for node in targets)
            return _one(f"Restart {names_text(names)}?", Action("restart", names))
        case "c":
            return _cut(network, targets)
        case "l":
            return _profile(network, targets)
    raise AssertionError(key)


def _kill(targets: tuple[NodeRow, ...]) -> Question:
    names = tuple(node.name for node in targets if node.state in RUNNING)
    if not names:
        raise NothingToDoError(f"{names_text(tuple(n.name for n in targets))}: no process to kill")
    return _one(f"Kill {names_text(names)}?", Action("kill", names))


def _pause(targets: tuple[NodeRow, ...]) -> Question:
    running = tuple(node.name for node in targets if node.state in ("running", "starting"))
    paused = tuple(node.name for node in targets if node.state == "paused")
    if running:
        return _one(f"Pause {names_text(running)}?", Action("pause", running))
    if paused:
        return _one(f"Resume {names_text(paused)}?", Action("resume", paused))
    raise NothingToDoError(f"{names_text(tuple(n.name for n in targets))}: no process to pause")


def _cut(network: Network, targets: tuple[NodeRow, ...]) -> Question:
    names = tuple(node.name for node in targets)
    if len(network.nodes) < 2:
        raise NothingToDoError("one node has no links")
    options: list[Option] = []

    def add(label: str, pairs: tuple[Pair, ...], what: str) -> None:
        if pairs and not set(pairs) <= network.cuts:
            options.append(Option(label, (Action("cut", (), pairs, what=what),)))

    if len(names) == 1:
        (name,) = names
        add(f"{name} from all others", across(network, names), f"all links of {name}")
        for other in network.names:
            if other != name:
                add(f"{name}-{other}", between(name, other), f"{name}-{other}")
    elif len(names) == 2:
        a, b = names
        add(f"{a}-{b}, the link between them", between(a, b), f"{a}-{b}")
        add(f"{a}→{b} only", ((a, b),), f"{a}→{b}")
        add(f"{b}→{a} only", ((b, a),), f"{b}→{a}")
    if len(names) >= 2:
        group = names_text(names)
        add(f"{group} from the others", across(network, names), f"{group} from the others")
        pairs = dict.fromkeys((*across(network, names), *among(names)))
        if len(names) > 2 or not options:
            add("the links among them", among(names), f"the links among {group}")
        add("each of them from everybody", tuple(pairs), f"all links of {group}")
    if len(names) == len(network.nodes) and len(names) > 3:
        half = network.names[: len(names) // 2]
        what = f"halves: {names_text(half)} | the rest"
        add(what, across(network, half), "the testnet in halves")
        if options and options[-1].label == what:
            # What one means who selects all.
            options.insert(0, options.pop())
    if not options:
        raise NothingToDoError("these links are cut already; h heals them")
    return Question("Cut", tuple(options))


def _heal(network: Network, targets: tuple[NodeRow, ...], chosen: bool) -> Question:
    cuts = tuple(sorted(network.cuts))
    if not cuts:
        raise NothingToDoError("no link is cut")
    options: list[Option] = []
    names = tuple(node.name for node in targets)
    own = tuple(pair for pair in cuts if pair[0] in names or pair[1] in names)
    inner = tuple(pair for pair in cuts if pair[0] in names and pair[1] in names)
    every = _heals("all cuts", cuts)
    if len(names) == 2 and inner:
        options.append(_heals(f"{names[0]}-{names[1]}", inner))
    if own and set(own) != set(cuts):
        options.append(_heals(f"the links of {names_text(names)}", own))
    # What is selected comes first; without a selection, everything does.
    options = [*options, every] if chosen else [every, *options]
    return Question("Heal", tuple(options))


def _heals(what: str, pairs: tuple[Pair, ...]) -> Option:
    return Option(what, (Action("heal", (), pairs, what=what),))


def _one(title: str, action: Action) -> Question:
    return Question(title, (Option("", (action,)),))


def _profile(network: Network, targets: tuple[NodeRow, ...]) -> Question:
    names = tuple(node.name for node in targets)
    if len(network.nodes) < 2:
        raise NothingToDoError("one node has no links")
    if len(names) == 1:
        pairs, what = across(network, names), f"all links of {names[0]}"
    elif len(names) == 2:
        pairs, what = between(*names), f"{names[0]}-{names[1]}"
    elif len(names) == len(network.nodes):
        pairs, what = among(names), "all links"
    else:
        pairs, what = among(names), f"links among {names_text(names)}"
    return Question(f"Profile of {what}", profile_options(pairs, what))


def _load(network: Network) -> Question | Prompt:
    if network.load.running:
        return _one("Stop the load?", Action("load_stop"))
    return Prompt("rate", "")


def rate_question(text: str) -> Question:
    """Return the question about a load of a rate that was typed.

    Raises:
        NothingToDoError: It is no rate.
    """
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 100_000:
        raise NothingToDoError(f"{text!r} is no rate: 1 to 100000 transactions a second")
    return _one(f"Start a load of {rate:g} tx/s?", Action("load", rate_tx_s=rate))


def _undo(model: Model) -> Question:
    network = model.network
    assert network is not None
    for place in range(len(model.ui.undo) - 1, -1, -1):
        left = [_still(network, action) for action in model.ui.undo[place]]
        actions = tuple(action for action in left if action is not None)
        if actions:
            first = actions[0]
            option = Option("", actions)
            title = f"Undo: {first.verb} {first.what or names_text(first.nodes)}?"
            return Question(title, (option,), undoes=len(model.ui.undo) - place)
    raise NothingToDoError("nothing was done here that could be undone")


def _still(network: Network, action: Action) -> Action | None:
    """Return what of an undo is still to be done; None when somebody else has done it."""
    if action.verb == "heal":
        pairs = tuple(pair for pair in action.pairs if pair in network.cuts)
        return replace(action, pairs=pairs) if pairs else None
    if action.verb in ("restart", "resume"):
        states = ("killed", "crashed", "stopped") if action.verb == "restart" else ("paused",)
        names = tuple(n.name for n in network.nodes if n.name in action.nodes and n.state in states)
        return replace(action, nodes=names) if names else None
    return action
