"""Metrics: snapshots of statistics as Prometheus text.

A snapshot maps names to numbers. A name is `p2pnode_<subsystem>_<noun>_<unit>` and ends with
`_total` where it only grows; labels follow in braces, `p2pnode_network_frames_total{lane="vote"}`.
Labels are bounded: known label names, short values, at most `SERIES_MAX` of one name. Never a peer
id: everybody who connects would make a new series.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from p2pnode.errors import LocalProtocolError

if TYPE_CHECKING:
    # Only for its type: telemetry is below node.
    from p2pnode.node.status import NodeStatus

LABELS: Final = frozenset(
    ("asset", "direction", "kind", "lane", "outcome", "part", "phase", "shard", "state", "topic")
)
"""The only label names; each has few values."""

SERIES_MAX: Final = 256
"""Most label values of one metric."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_NAME: Final = re.compile(r"p2pnode(_[a-z][a-z0-9]*){2,}")
_LABEL: Final = re.compile(r'([a-z]+)="([A-Za-z0-9_./-]{1,24})"')
_KEY: Final = re.compile(r"([a-z0-9_]+)(?:\{(.*)\})?")

HELP: Final[Mapping[str, str]] = {
    "p2pnode_chain_height_blocks": "Newest block held.",
    "p2pnode_chain_executed_blocks": "Newest block executed here.",
    "p2pnode_chain_certified_blocks": "Newest height with a certified result.",
    "p2pnode_chain_last_block_age_seconds": "Time since the newest block became final here.",
    "p2pnode_chain_supply_units": "Everything that exists of an asset.",
    "p2pnode_consensus_view_number": "The engine's view.",
    "p2pnode_consensus_epoch_number": "The epoch.",
    "p2pnode_mempool_transactions_count": "Transactions waiting.",
    "p2pnode_mempool_size_bytes": "Bytes of them.",
    "p2pnode_network_peers_count": "Connected peers.",
    "p2pnode_network_bytes_total": "Bytes to and from peers.",
    "p2pnode_node_ready_state": "1 when the node follows the chain and answers for it.",
    "p2pnode_process_cpu_seconds_total": "CPU time of the process.",
    "p2pnode_process_memory_bytes": "Resident memory of the process.",
}


class BadMetricError(LocalProtocolError):
    """A metric's name or label breaks the rules above."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"metric {key!r}: {reason}")
        self.key = key


def status_metrics(status: NodeStatus) -> dict[str, float]:
    """Return the snapshot that every node has, out of its status."""
    found: dict[str, float] = {
        "p2pnode_chain_height_blocks": status.height,
        "p2pnode_chain_executed_blocks": status.executed_height,
        "p2pnode_chain_certified_blocks": status.certified_height,
        "p2pnode_consensus_view_number": status.view,
        "p2pnode_consensus_epoch_number": status.epoch,
        "p2pnode_mempool_transactions_count": status.mempool.transactions_count,
        "p2pnode_mempool_size_bytes": status.mempool.size_bytes,
        'p2pnode_network_peers_count{direction="in"}': status.peers_in_count,
        'p2pnode_network_peers_count{direction="out"}': status.peers_count - status.peers_in_count,
        'p2pnode_network_bytes_total{direction="in"}': status.bytes_received,
        'p2pnode_network_bytes_total{direction="out"}': status.bytes_sent,
        "p2pnode_node_ready_state": float(status.ready),
        "p2pnode_process_cpu_seconds_total": status.cpu_s,
        "p2pnode_process_memory_bytes": status.memory_bytes,
    }
    if status.last_block_age_s is not None:
        found["p2pnode_chain_last_block_age_seconds"] = status.last_block_age_s
    for asset, amount in sorted(status.supply.items())[:SERIES_MAX]:
        found[f'p2pnode_chain_supply_units{{asset="{asset}"}}'] = float(amount)
    for name, value in status.counters.items():
        found[f"p2pnode_node_{name}_total"] = value
    return found


class Metrics:
    """Prometheus text from the newest snapshot; its registry is its own, not the process's."""

    def __init__(self, snapshot: Callable[[], Mapping[str, float]]) -> None:
        """Wire up.

        Args:
            snapshot: Asked at every `text`.
        """
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_SnapshotCollector(snapshot))

    def text(self) -> bytes:
        """Return the exposition, format `CONTENT_TYPE`.

        Raises:
            BadMetricError: The snapshot holds a name or label that breaks the rules.
        """
        text: bytes = generate_latest(self._registry)
        return text


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Callable[[], Mapping[str, float]]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        grouped: dict[str, list[tuple[dict[str, str], float]]] = {}
        for key, value in self._snapshot().items():
            name, labels = parse_key(key)
            grouped.setdefault(name, []).append((labels, value))
        for name, series in sorted(grouped.items()):
            yield _family(name, series)


def parse_key(key: str) -> tuple[str, dict[str, str]]:
    """Return the name and the labels of a snapshot's key.

    Raises:
        BadMetricError: It breaks the rules.
    """
    match = _KEY.fullmatch(key)
    if match is None or not _NAME.fullmatch(match[1]):
        raise BadMetricError(key, "the name is not p2pnode_<subsystem>_<noun>_<unit>[_total]")
    labels: dict[str, str] = {}
    for part in match[2].split(",") if match[2] else ():
        label = _LABEL.fullmatch(part)
        if label is None or label[1] not in LABELS:
            raise BadMetricError(key, f"label {part!r} is not one of {', '.join(sorted(LABELS))}")
        labels[label[1]] = label[2]
    return match[1], labels


def _family(
    name: str, series: list[tuple[dict[str, str], float]]
) -> CounterMetricFamily | GaugeMetricFamily:
    if len(series) > SERIES_MAX:
        raise BadMetricError(name, f"{len(series)} label values, at most {SERIES_MAX} allowed")
    names = sorted(series[0][0])
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = kind(
        name, HELP.get(name, name.removeprefix("p2pnode_").replace("_", " ")), labels=names
    )
    for labels, value in series:
        if sorted(labels) != names:
            raise BadMetricError(name, f"labels {sorted(labels)} and {names}: one set expected")
        family.add_metric([labels[label] for label in names], value)
    return family
