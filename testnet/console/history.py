"""What is remembered of a testnet: samples once a second, views, log lines; and the diagnosis."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from p2pnode.explain import Explanation, LinkFacts, Situation, explain
from p2pnode.node.status import ViewRow
from p2pnode.tui.app import last
from p2pnode.tui.chrome import HISTORY_MAX, VIEWS_MAX
from p2pnode.tui.screens.common import number
from testnet.console.model import (
    LOG_MAX,
    LogLine,
    Model,
    Network,
    NodeHistory,
    NodeRow,
    Pulse,
)
from testnet.supervise.facts import node_facts

SAMPLE_S: Final = 0.95
"""Least time between samples; the supervisor looks once a second."""


def with_network(model: Model, network: Network) -> Model:
    """Fold in what the supervisor told."""
    pulse, histories = model.pulse, model.histories
    if pulse.at_s == 0.0 or network.came_s - pulse.at_s >= SAMPLE_S:
        histories = {
            node.name: _sampled(model.histories.get(node.name, NodeHistory()), node)
            for node in network.nodes
        }
        pulse = _pulse(pulse, network)
    best = network.best
    views = model.views if best is None else merged(model.views, best.consensus.recent)
    return replace(
        model,
        network=network,
        now_s=max(model.now_s, network.came_s),
        lost=None,
        histories=histories,
        pulse=pulse,
        views=views,
        explanation=diagnosis(network),
    )


def diagnosis(network: Network) -> Explanation:
    """Return what is the matter with a testnet."""
    now_s = network.came_s
    nodes = tuple(
        node_facts(
            node.name,
            node.state,
            node.status,
            now_s=now_s,
            changed_s=node.changed_s,
            seen_s=node.status_s,
            validator=node.validator,
        )
        for node in network.nodes
    )
    links = tuple(
        LinkFacts(
            sender,
            receiver,
            cut_s=now_s - row.cut_since_s if row.cut else None,
            latency_ms=row.latency_ms,
        )
        for (sender, receiver), row in network.links.items()
    )
    return explain(Situation(nodes, links))


def merged(known: tuple[ViewRow, ...], recent: tuple[ViewRow, ...]) -> tuple[ViewRow, ...]:
    """Return all views ever told, each as told last."""
    if not recent:
        return known
    first = min(row.view for row in recent)
    if known and recent[-1].view < known[0].view:
        # Another chain under the same name.
        known = ()
    rows = {row.view: row for row in known if row.view < first}
    rows.update((row.view, row) for row in recent)
    return last((rows[view] for view in sorted(rows)), VIEWS_MAX)


def with_log(model: Model, new: tuple[LogLine, ...], missed_count: int) -> Model:
    """Fold in new lines of the log, by their time."""
    both = sorted((*model.log, *new), key=lambda entry: entry.time_ms)
    missed_count += model.log_missed_count
    return replace(model, log=last(both, LOG_MAX), log_missed_count=missed_count)


def _sampled(history: NodeHistory, node: NodeRow) -> NodeHistory:
    base = history.base
    cpu = blocks = 0.0
    now, then = node.status, None if base is None else base.status
    if now is not None and base is not None and then is not None and node.starts == base.starts:
        elapsed_s = node.status_s - base.status_s
        if elapsed_s > 0.2:
            cpu = max(0.0, number(now.cpu_s) - number(then.cpu_s)) / elapsed_s
            blocks = max(0.0, number(now.height) - number(then.height)) / elapsed_s
        elif node.state == "running" and history.cpu:
            # Its status has not come yet: as before, and counted from where it was.
            return replace(
                history,
                cpu=last((*history.cpu, history.cpu[-1]), HISTORY_MAX),
                blocks_per_s=last((*history.blocks_per_s, history.blocks_per_s[-1]), HISTORY_MAX),
            )
    return NodeHistory(
        last((*history.cpu, cpu), HISTORY_MAX),
        last((*history.blocks_per_s, blocks), HISTORY_MAX),
        node,
    )


def _pulse(before: Pulse, network: Network) -> Pulse:
    load, best = network.load, network.best
    height = 0 if best is None else best.height
    now = Pulse(network.came_s, height, load.submitted, load.finalized)
    elapsed_s = now.at_s - before.at_s
    if before.at_s == 0.0 or elapsed_s <= 0:
        return replace(now, p50_ms=before.p50_ms)

    def grown(series: tuple[float, ...], value: float) -> tuple[float, ...]:
        return last((*series, max(0.0, value) / elapsed_s), HISTORY_MAX)

    p50_ms = 0 if load.p50_ms is None or not load.running else load.p50_ms
    return replace(
        now,
        submitted_per_s=grown(before.submitted_per_s, load.submitted - before.submitted),
        finalized_per_s=grown(before.finalized_per_s, load.finalized - before.finalized),
        blocks_per_s=grown(before.blocks_per_s, height - before.height),
        p50_ms=last((*before.p50_ms, float(p50_ms)), HISTORY_MAX),
    )
