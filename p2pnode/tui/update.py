"""How the TUI of a node changes: every key and every message of the node, folded in one place."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final, TypeAlias

from p2pnode.node.status import NodeStatus, ViewRow
from p2pnode.telemetry.ring import LogRecord
from p2pnode.tui.app import Copy, Quit, Repaint, Suspend, Tick, Wish, last
from p2pnode.tui.chrome import HISTORY_MAX, STEPS, VIEWS_MAX, Toast, pasted, typed
from p2pnode.tui.keys import Key, Paste
from p2pnode.tui.meter import AppStatistics
from p2pnode.tui.model import (
    BLOCKS_MAX,
    LOG_MAX,
    PEERS_MAX,
    BlockCame,
    Confirm,
    Connecting,
    Data,
    Done,
    Link,
    LinkState,
    LogCame,
    Lost,
    Model,
    PeerAction,
    PeersCame,
    Refused,
    Sample,
    ScreenName,
    StatusCame,
    Ui,
)
from p2pnode.tui.rows import copied, rows_count, selected_peer

TOAST_S: Final = 4.0
MOVES: Final = {**STEPS, "k": -1, "j": 1}
"""Rows that keys move by."""
LEVELS: Final = ("debug", "info", "warning", "error")
FILTERED: Final = (ScreenName.CONSENSUS, ScreenName.PEERS, ScreenName.SHARDS, ScreenName.LOG)
"""Screens with a list that can be filtered."""

Step: TypeAlias = tuple[Model, tuple[Wish, ...]]


def update(model: Model, event: object) -> Step:
    """Fold one event in; `Program.update` of the node's TUI."""
    match event:
        case Key():
            return _key(model, event)
        case Paste(text):
            return _paste(model, text), ()
        case Tick(now_s, cost):
            return _tick(model, now_s, cost), ()
        case Done(text, failed):
            return _toast(model, text, "bar_bad" if failed else "bar_good"), ()
        case _:
            return _told(model, event), ()


# --- what the node tells --------------------------------------------------------------------------


def _told(model: Model, event: object) -> Model:
    data = model.data
    match event:
        case Connecting(now_s):
            if model.link.state is LinkState.LIVE:
                return model
            # A node that was lost has been since then, however often it is called.
            since_s = model.link.since_s if model.link.state is LinkState.LOST else now_s
            link = replace(model.link, state=LinkState.CONNECTING, since_s=since_s)
            return replace(model, link=link, now_s=now_s)
        case Lost(reason, now_s, retry_s):
            was = model.link
            since_s = now_s if was.state is LinkState.LIVE else was.since_s
            link = Link(was.url, LinkState.LOST, since_s, reason, retry_s)
            return replace(model, link=link, now_s=now_s)
        case StatusCame(status, now_s):
            link = model.link
            if link.state is not LinkState.LIVE:
                link = Link(link.url, LinkState.LIVE, now_s)
            return replace(model, link=link, now_s=now_s, data=_with_status(data, status, now_s))
        case PeersCame(rows, now_s):
            ordered = sorted(rows[:PEERS_MAX], key=lambda row: (row.validator is None, row.name))
            data = replace(data, peers=tuple(ordered), peers_s=now_s)
        case BlockCame(block):
            data = replace(data, blocks=last((*data.blocks, block), BLOCKS_MAX))
        case LogCame(records):
            return _with_log(model, records)
        case Refused(topic, reason):
            data = replace(data, refused={**data.refused, topic: reason})
        case _:
            raise AssertionError(event)
    return replace(model, data=data)


def _with_status(data: Data, status: NodeStatus, now_s: float) -> Data:
    before = data.status
    elapsed_s = now_s - data.status_s
    if before is not None and status.device.uptime_s < before.device.uptime_s:
        # The node was started anew: its totals begin again.
        before = None
    sample = _sample(status, before, elapsed_s)
    return replace(
        data,
        status=status,
        status_s=now_s,
        samples=last((*data.samples, sample), HISTORY_MAX),
        views=_merged(data.views, status.consensus.recent),
    )


def _sample(status: NodeStatus, before: NodeStatus | None, elapsed_s: float) -> Sample:
    def rate(now: float, then: float) -> float:
        return max(0.0, _tame(now) - _tame(then)) / max(elapsed_s, 0.001)

    level = Sample(
        latency_ms=_tame(status.counters.get("consensus_p50_ms", 0)),
        memory_bytes=_tame(status.memory_bytes),
        pool_count=_tame(status.mempool.transactions_count),
    )
    if before is None:
        return level
    return replace(
        level,
        transactions_per_s=rate(executed_count(status), executed_count(before)),
        cpu=rate(status.cpu_s, before.cpu_s),
        received_bytes_per_s=rate(status.bytes_received, before.bytes_received),
        sent_bytes_per_s=rate(status.bytes_sent, before.bytes_sent),
        views_per_s=rate(status.view, before.view),
    )


def executed_count(status: NodeStatus) -> int:
    """Return the transactions a node has executed since start, with or without effect."""
    names = ("transactions_executed", "transactions_failed", "transactions_skipped")
    return sum(status.counters.get(name, 0) for name in names)


def _tame(value: float) -> float:
    """Return a number that can be drawn, whatever a node sends."""
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return min(1e18, max(-1e18, number)) if math.isfinite(number) else 0.0


def _merged(known: tuple[ViewRow, ...], recent: tuple[ViewRow, ...]) -> tuple[ViewRow, ...]:
    """Return all views ever told, each as told last."""
    if not recent:
        return known
    first = min(row.view for row in recent)
    rows = {row.view: row for row in known if row.view < first}
    if known and recent[-1].view < first:
        rows = {}
    rows.update((row.view, row) for row in recent)
    return last((rows[view] for view in sorted(rows)), VIEWS_MAX)


def _with_log(model: Model, records: tuple[LogRecord, ...]) -> Model:
    known = model.data.log
    newest = known[-1].number if known else 0
    if records and records[-1].number < newest:
        # The node was started anew and counts from 1 again.
        newest = 0
    new = tuple(record for record in records if record.number > newest)
    if not new:
        return model
    data = replace(model.data, log=last((*known, *new), LOG_MAX))
    changed = replace(model, data=data)
    if model.ui.back and model.ui.paused is None and model.ui.screen is ScreenName.LOG:
        # Who looks at older lines keeps seeing them.
        grown = rows_count(changed) - rows_count(model)
        ui = replace(model.ui, back=min(model.ui.back + max(0, grown), LOG_MAX))
        changed = replace(changed, ui=ui)
    return changed


def _tick(model: Model, now_s: float, cost: AppStatistics | None) -> Model:
    toast = model.ui.toast
    if toast is not None and now_s >= toast.until_s:
        model = replace(model, ui=replace(model.ui, toast=None))
    if model.ui.paused is not None:
        # Nothing moves while paused; only a lost node is told.
        return model if model.link.state is LinkState.LIVE else replace(model, now_s=now_s)
    return replace(model, now_s=now_s, cost=cost or model.cost)


# --- keys -----------------------------------------------------------------------------------------


def _key(model: Model, key: Key) -> Step:
    ui = model.ui
    if ui.confirm is not None:
        return _answer(model, ui.confirm, key)
    if ui.prompt is not None:
        return _type(model, ui.prompt, key), ()
    match key.name:
        case "ctrl-c" if not model.inside:
            return model, (Quit(130),)
        case "q" | "ctrl-c":
            return _quit(model)
        case "ctrl-l":
            return model, (Repaint(),)
        case "ctrl-z":
            if model.inside:
                return _toast(model, "ctrl-z would stop the node too: not done", "bar_warn"), ()
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
        case "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" as digit:
            return _go(model, ScreenName(int(digit))), ()
        case "tab" | "right":
            return _go(model, ScreenName(ui.screen % 8 + 1)), ()
        case "shift-tab" | "left":
            return _go(model, ScreenName((ui.screen - 2) % 8 + 1)), ()
        case "p" | " ":
            return _pause(model), ()
        case "/":
            if ui.screen not in FILTERED:
                return _toast(model, "nothing to filter on this screen", "bar_warn"), ()
            return _ui(model, prompt=model.filter, detail=False), ()
        case "y":
            return _copy(model)
        case "enter":
            return _ui(model, detail=not ui.detail and rows_count(model) > 0), ()
        case "d" | "b" if ui.screen is ScreenName.PEERS:
            return _ask_about_peer(model, key.name), ()
        case "l" if ui.screen is ScreenName.LOG:
            level = LEVELS[(LEVELS.index(ui.level) + 1) % len(LEVELS)]
            return _ui(model, level=level, back=0), ()
        case "f" if ui.screen is ScreenName.LOG:
            return _ui(model, back=0), ()
    return _move(model, key.name), ()


def _ui(model: Model, **changes: object) -> Model:
    return replace(model, ui=replace(model.ui, **changes))  # type: ignore[arg-type]


def _toast(model: Model, text: str, style: str = "bar_good") -> Model:
    return _ui(model, toast=Toast(text, model.now_s + TOAST_S, style))


def _go(model: Model, screen: ScreenName) -> Model:
    if screen is model.ui.screen:
        return model
    return _ui(model, screen=screen, selected=0, detail=False, back=0)


def _back(model: Model) -> Model:
    """Undo the last thing that stands in the way: help, detail, filter."""
    ui: Ui = model.ui
    if ui.help:
        return _ui(model, help=False)
    if ui.detail:
        return _ui(model, detail=False)
    if model.filter:
        filters = {name: text for name, text in ui.filters.items() if name is not ui.screen}
        return _ui(model, filters=filters, selected=0, back=0)
    return _ui(model, toast=None) if ui.toast is not None else model


def _pause(model: Model) -> Model:
    if model.ui.paused is None:
        return _ui(model, paused=model.data, paused_s=model.now_s)
    return _ui(model, paused=None)


def _move(model: Model, name: str) -> Model:
    """Move the selection, or through the log."""
    if name not in MOVES:
        return model
    count = rows_count(model)
    if model.ui.screen is ScreenName.LOG:
        back = min(max(0, count - 1), max(0, model.ui.back - MOVES[name]))
        return model if back == model.ui.back else _ui(model, back=back)
    selected = max(0, min(count - 1, min(model.ui.selected, count - 1) + MOVES[name]))
    return model if selected == model.ui.selected else _ui(model, selected=selected)


def _copy(model: Model) -> Step:
    found = copied(model)
    if found is None:
        return _toast(model, "nothing to copy yet", "bar_warn"), ()
    name, text = found
    return _toast(model, f"{name}, copied where the terminal allows it: {text}"), (Copy(text),)


def _type(model: Model, prompt: str, key: Key) -> Model:
    match key.name:
        case "enter":
            filters = {**model.ui.filters, model.ui.screen: prompt}
            return _ui(model, prompt=None, filters=filters, selected=0, back=0)
        case "escape" | "ctrl-c":
            return _ui(model, prompt=None)
    text = typed(prompt, key)
    if key.text:
        return _ui(model, prompt=text, selected=0, back=0)
    return model if text == prompt else _ui(model, prompt=text)


def _paste(model: Model, text: str) -> Model:
    if model.ui.prompt is None:
        return model
    return _ui(model, prompt=pasted(model.ui.prompt, text))


# --- what is confirmed first ----------------------------------------------------------------------


def _quit(model: Model) -> Step:
    if not model.inside:
        return model, (Quit(),)
    text = "The node runs in this process: leaving stops it. It finishes its writes first."
    return _ui(model, confirm=Confirm("Stop the node?", text, Quit())), ()


def _ask_about_peer(model: Model, key: str) -> Model:
    peer = selected_peer(model)
    if peer is None:
        return _toast(model, "no peer is selected", "bar_warn")
    if not model.admin.path:
        return _toast(model, model.admin.why_not, "bar_warn")
    name = peer.name or peer.id[:16]
    status = model.status
    text = "It may connect again at once." if key == "d" else "It is refused for a while."
    if status is not None and peer.validator is not None:
        validators = status.consensus.validators
        connected = sum(row.connected for row in validators)
        if validators:
            text += (
                f" It is a validator: {connected - 1} of {len(validators)} stay connected,"
                f" {status.consensus.quorum} of {status.consensus.power_total} votes are needed."
            )
    if key == "d":
        return _ui(
            model,
            confirm=Confirm(f"Disconnect {name}?", text, PeerAction("peers_disconnect", peer.id)),
        )
    return _ui(model, confirm=Confirm(f"Ban {name}?", text, PeerAction("peers_ban", peer.id)))


def _answer(model: Model, confirm: Confirm, key: Key) -> Step:
    if key.name in ("y", "Y") or (key.name == "ctrl-c" and isinstance(confirm.action, Quit)):
        return _ui(model, confirm=None), (confirm.action,)
    if key.name in ("n", "N", "q", "escape", "ctrl-c"):
        return _ui(model, confirm=None), ()
    return model, ()
