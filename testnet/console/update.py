"""How the network TUI changes: every key and every message, folded in one place. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeAlias

from p2pnode.net.links.profile import UnknownProfileError, profile_named
from p2pnode.tui.app import Copy, Quit, Repaint, Suspend, Tick, Wish, last
from p2pnode.tui.chrome import STEPS, Toast, pasted, typed
from p2pnode.tui.keys import Key, Paste
from testnet.console import logview
from testnet.console.actions import goes_on, touches_quorum, undo_of, words
from testnet.console.history import with_log, with_network
from testnet.console.model import (
    LOG_MAX,
    UNDO_MAX,
    Action,
    Done,
    LogsCame,
    Lost,
    Model,
    NetworkCame,
    Option,
    Outlook,
    Perform,
    Prompt,
    Question,
    Screen,
    SupervisorLost,
    Ui,
)
from testnet.console.questions import NothingToDoError, ask, rate_question

TOAST_S: Final = 6.0
MOVES: Final = {**STEPS, "shift-up": -1, "shift-down": 1}
"""Rows that keys move by."""
CLOCK_S: Final = 0.5
"""Ages on the screen are renewed this often."""
SEEN_S: Final = 5.0
"""No block for so long after an action is what was to be seen."""
SEEN_BLOCKS: Final = 2
"""Blocks after an action that tell that they go on: one may have been under way."""

FILTERED: Final = (Screen.NODES, Screen.LINKS, Screen.LOGS)
LISTS: Final = (Screen.NODES, Screen.LINKS, Screen.NODE)
"""Screens on which the cursor is a node."""
ACTIONS: Final = frozenset("kpsrchlLuQ")

Step: TypeAlias = tuple[Model, tuple[Wish, ...]]


def update(model: Model, event: object) -> Step:
    """Fold one event in; `Program.update` of the network TUI."""
    match event:
        case Key():
            return _key(model, event)
        case Paste(text):
            return _paste(model, text), ()
        case Tick(now_s):
            return _tick(model, now_s), ()
        case NetworkCame(network):
            return _seen(with_network(model, network)), ()
        case SupervisorLost(reason, now_s):
            since_s = now_s if model.lost is None else model.lost.since_s
            return replace(model, lost=Lost(reason, since_s), now_s=now_s), ()
        case LogsCame(lines, missed_count):
            return with_log(model, lines, missed_count), ()
        case Done():
            return _done(model, event)
        case _:
            raise AssertionError(event)


# --- time, and what is seen -----------------------------------------------------------------------


def _tick(model: Model, now_s: float) -> Model:
    toast = model.ui.toast
    if toast is not None and now_s >= toast.until_s:
        model = _ui(model, toast=None)
    return model if now_s - model.now_s < CLOCK_S else replace(model, now_s=now_s)


def _done(model: Model, done: Done) -> Step:
    """An action has ended: say so, remember how to take it back, and wait for what it does."""
    ui = model.ui
    undo = ui.undo[: len(ui.undo) - done.undoes] if done.undoes else ui.undo
    if done.undo and not done.undoes:
        undo = last((*undo, done.undo), UNDO_MAX)
    model = _ui(model, undo=undo)
    if done.error:
        return _toast(model, done.error, "bar_bad"), ()
    if any(action.verb == "end" for action in done.actions):
        return replace(model, ended=True), (Quit(),)
    text = "; ".join(words(action) for action in done.actions)
    network = model.network
    quorate = [action for action in done.actions if touches_quorum(action)]
    if not quorate or network is None:
        return _toast(model, text), ()
    best = network.best
    back = tuple(n for a in quorate if a.verb in ("restart", "resume") for n in a.nodes)
    height = 0 if best is None else best.height
    outlook = Outlook(text, back, goes_on(network, quorate[-1]), height, model.now_s)
    return _ui(_toast(model, text), outlook=outlook), ()


def _seen(model: Model) -> Model:
    """Say what an action was seen to do, once it is."""
    outlook, network = model.ui.outlook, model.network
    if outlook is None or network is None:
        return model
    best = network.best
    height = 0 if best is None else best.height
    blocks, waited_s = height - outlook.height, model.now_s - outlook.since_s
    rows = [node for node in network.nodes if node.name in outlook.back]
    back = all(n.state == "running" and n.status is not None and n.status.ready for n in rows)
    if outlook.back and not back and waited_s < 4 * SEEN_S:
        return model
    style = "bar_good"
    if outlook.expects and blocks >= SEEN_BLOCKS:
        seen = f"height {outlook.height} → {height} in {waited_s:.1f} s: blocks go on"
    elif waited_s < SEEN_S:
        return model
    elif not outlook.expects:
        # Blocks that came while the action was under way say nothing of what it did.
        age_s = None if best is None else best.last_block_age_s
        stopped = blocks < SEEN_BLOCKS or (age_s is not None and age_s > SEEN_S / 2)
        seen = f"nothing final for {waited_s:.0f} s" if stopped else f"blocks went on to {height}"
        style = "bar_warn"
    elif best is not None and not best.consensus.demand and best.consensus.power_total:
        seen = "nothing to decide at the moment, so no block"
    elif waited_s < 4 * SEEN_S:
        return model
    else:
        seen, style = f"but nothing became final for {waited_s:.0f} s", "bar_bad"
    if outlook.back and not back:
        seen, style = f"not ready after {waited_s:.0f} s", "bar_bad"
    elif outlook.back:
        seen = f"ready again; {seen}"
    return _ui(_toast(model, f"{outlook.text} · seen: {seen}", style), outlook=None)


# --- keys -----------------------------------------------------------------------------------------


def _key(model: Model, key: Key) -> Step:
    ui = model.ui
    if ui.question is not None:
        return _answer(model, ui.question, key)
    if ui.prompt is not None:
        return _type(model, ui.prompt, key), ()
    match key.name:
        case "ctrl-c":
            return model, (Quit(130),)
        case "q":
            return model, (Quit(),)
        case "ctrl-l":
            return model, (Repaint(),)
        case "ctrl-z":
            return model, (Suspend(),)
        case "?" | "f1":
            return _ui(model, help=not ui.help), ()
        case "escape":
            return _back(model), ()
    if ui.help:
        # Any other key closes the help and does what it does.
        model = _ui(model, help=False)
        ui = model.ui
    match key.name:
        case "1" | "2" | "3" | "4" | "5" as digit:
            return _go(model, Screen(int(digit))), ()
        case "tab" | "right":
            return _go(model, Screen(ui.screen % len(Screen) + 1)), ()
        case "shift-tab" | "left":
            return _go(model, Screen((ui.screen - 2) % len(Screen) + 1)), ()
        case "/":
            if ui.screen not in FILTERED:
                return _toast(model, "nothing to filter on this screen", "bar_warn"), ()
            return _ui(model, prompt=Prompt("filter", model.filter)), ()
        case "y":
            return _copy(model)
        case "enter" if ui.screen in (Screen.NODES, Screen.LINKS):
            return _go(model, Screen.NODE), ()
    if key.name in ACTIONS:
        return _ask(model, key.name), ()
    if ui.screen is Screen.LOGS:
        return _log_key(model, key.name), ()
    if ui.screen in LISTS:
        return _list_key(model, key.name), ()
    return model, ()


def _ui(model: Model, **changes: object) -> Model:
    return replace(model, ui=replace(model.ui, **changes))  # type: ignore[arg-type]


def _toast(model: Model, text: str, style: str = "bar_good") -> Model:
    return _ui(model, toast=Toast(text, model.now_s + TOAST_S, style))


def _go(model: Model, screen: Screen) -> Model:
    if screen is model.ui.screen:
        return model
    return _ui(model, screen=screen, back=0, frozen=None, anchor=None)


def _back(model: Model) -> Model:
    """Undo the last thing that stands in the way: help, node screen, filter, selection, toast."""
    ui: Ui = model.ui
    if ui.help:
        return _ui(model, help=False)
    if ui.screen is Screen.NODE:
        return _go(model, Screen.NODES)
    if model.filter:
        filters = {name: text for name, text in ui.filters.items() if name is not ui.screen}
        return _ui(model, filters=filters, cursor=0, back=0)
    if ui.frozen is not None:
        return _ui(model, frozen=None, back=0)
    if ui.selected:
        return _ui(model, selected=frozenset(), anchor=None)
    return _ui(model, toast=None) if ui.toast is not None else model


def _list_key(model: Model, name: str) -> Model:
    rows, ui = model.rows, model.ui
    if not rows:
        return model
    here = min(ui.cursor, len(rows) - 1)
    match name:
        case " ":
            chosen = ui.selected ^ {rows[here].name}
            below = min(here + 1, len(rows) - 1)
            return _ui(model, selected=chosen, anchor=here, cursor=below)
        case "a":
            names = frozenset(node.name for node in rows)
            chosen = ui.selected - names if names <= ui.selected else ui.selected | names
            return _ui(model, selected=chosen, anchor=None)
        case "i":
            names = frozenset(node.name for node in rows)
            return _ui(model, selected=ui.selected ^ names, anchor=None)
        case "v":
            begin = here if ui.anchor is None else min(ui.anchor, len(rows) - 1)
            between = rows[min(begin, here) : max(begin, here) + 1]
            return _ui(model, selected=ui.selected | {node.name for node in between}, anchor=here)
    if name not in MOVES:
        return model
    there = max(0, min(len(rows) - 1, here + MOVES[name]))
    if name.startswith("shift-"):
        both = {rows[here].name, rows[there].name}
        return _ui(model, cursor=there, selected=ui.selected | both)
    return model if there == ui.cursor else _ui(model, cursor=there)


def _log_key(model: Model, name: str) -> Model:
    ui = model.ui
    match name:
        case " ":
            frozen = model.log if ui.frozen is None else None
            return _ui(model, frozen=frozen, back=0)
        case "f":
            return _ui(model, frozen=None, back=0)
        case "m":
            levels = logview.LEVELS
            return _ui(model, level=levels[(levels.index(ui.level) + 1) % len(levels)], back=0)
        case "e":
            return _only_event(model)
        case "a":
            return _ui(model, selected=frozenset(), back=0)
    if name not in MOVES:
        return model
    if name in ("end", "G"):
        return _ui(model, frozen=None, back=0)
    # Who looks at older lines keeps seeing them: the log stands still.
    frozen = model.log if ui.frozen is None else ui.frozen
    most = max(0, logview.count(_ui(model, frozen=frozen)) - 1)
    back = max(0, min(most, LOG_MAX, ui.back - MOVES[name]))
    return _ui(model, frozen=frozen, back=back)


def _only_event(model: Model) -> Model:
    """Show only events like the lowest line's; a second time, all again."""
    words = model.filter.split()
    rest = [word for word in words if not word.startswith("event:")]
    if len(rest) == len(words):
        lowest = logview.lowest(model)
        if lowest is None:
            return _toast(model, "no line to take the event from", "bar_warn")
        rest.append(f"event:{lowest.event}")
    return _ui(model, filters={**model.ui.filters, Screen.LOGS: " ".join(rest)}, back=0)


def _copy(model: Model) -> Step:
    """Copy what is under the cursor."""
    text = what = ""
    if model.ui.screen is Screen.LOGS:
        entry = logview.lowest(model)
        if entry is not None:
            what = "line"
            text = f"{entry.time_ms} {entry.node} {entry.level} {entry.event} {entry.text}"
    elif model.ui.screen is Screen.LOAD:
        if model.explanation is not None:
            text, what = model.explanation.sentence, "diagnosis"
    elif model.current is not None:
        text, what = model.current.rpc, f"rpc of {model.current.name}"
    if not text:
        return _toast(model, "nothing to copy yet", "bar_warn"), ()
    said = f"{what}, copied where the terminal allows it: {text}"
    return _toast(model, said), (Copy(text),)


# --- typing ---------------------------------------------------------------------------------------


def _type(model: Model, prompt: Prompt, key: Key) -> Model:
    match key.name:
        case "enter":
            return _typed(model, prompt)
        case "escape" | "ctrl-c":
            return _ui(model, prompt=None)
    text = typed(prompt.text, key)
    return model if text == prompt.text else _prompt(model, prompt, text)


def _prompt(model: Model, prompt: Prompt, text: str) -> Model:
    changes: dict[str, object] = {"prompt": replace(prompt, text=text)}
    if prompt.kind == "filter":
        changes["back"] = 0
        if model.ui.screen is Screen.NODES:
            changes["cursor"] = 0
    return _ui(model, **changes)


def _typed(model: Model, prompt: Prompt) -> Model:
    model = _ui(model, prompt=None)
    match prompt.kind:
        case "filter":
            return _ui(model, filters={**model.ui.filters, model.ui.screen: prompt.text}, back=0)
        case "rate":
            try:
                return _ui(model, question=rate_question(prompt.text))
            except NothingToDoError as error:
                return _toast(model, str(error), "bar_warn")
        case _:
            name = prompt.text.strip()
            try:
                profile_named(name)
            except UnknownProfileError as error:
                return _toast(model, str(error), "bar_warn")
            action = Action("link", (), prompt.pairs, name, what=prompt.what)
            question = Question(f"Profile of {prompt.what}", (Option(name, (action,)),))
            return _ui(model, question=question)


def _paste(model: Model, text: str) -> Model:
    if model.ui.prompt is None:
        return model
    return _prompt(model, model.ui.prompt, pasted(model.ui.prompt.text, text))


# --- what is asked first --------------------------------------------------------------------------


def _ask(model: Model, key: str) -> Model:
    try:
        asked = ask(model, key)
    except NothingToDoError as error:
        return _toast(model, str(error), "bar_warn")
    if isinstance(asked, Prompt):
        return _ui(model, prompt=asked)
    return _ui(model, question=asked)


def _answer(model: Model, question: Question, key: Key) -> Step:
    count = len(question.options)
    match key.name:
        case "n" | "N" | "q" | "escape" | "ctrl-c":
            return _ui(model, question=None), ()
        case "up" | "k" | "shift-tab":
            return _ui(model, question=replace(question, chosen=(question.chosen - 1) % count)), ()
        case "down" | "j" | "tab":
            return _ui(model, question=replace(question, chosen=(question.chosen + 1) % count)), ()
        case "y" | "Y" | "enter":
            return _yes(model, question)
    if key.name.isdecimal() and 1 <= int(key.name) <= count:
        return _ui(model, question=replace(question, chosen=int(key.name) - 1)), ()
    return model, ()


def _yes(model: Model, question: Question) -> Step:
    model = _ui(model, question=None)
    option, network = question.options[question.chosen], model.network
    if not option.actions:
        first = question.options[0].actions[0]
        return _ui(model, prompt=Prompt("profile", "aws:", first.pairs, first.what)), ()
    if network is None:
        return model, ()
    undo: tuple[Action, ...] = ()
    if not question.undoes:
        undo = tuple(back for action in option.actions for back in undo_of(network, action))
    wish = Perform(option.actions, undo, question.undoes)
    return _toast(model, "asking the supervisor …"), (wish,)
