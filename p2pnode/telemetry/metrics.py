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
_LABEL: Final = re.compile(r'([a-z]+)="([A-Za-z0-9_./-]{1,40})"')
_KEY: Final = re.compile(r"([a-z0-9_]+)(?:\{(.*)\})?")

HELP: Final[Mapping[str, str]] = {
    "p2pnode_chain_height_blocks": "Newest block held.",
    "p2pnode_chain_executed_blocks": "Newest block executed here.",
    "p2pnode_chain_certified_blocks": "Newest height with a certified result.",
    "p2pnode_chain_last_block_age_seconds": "Time since the newest block became final here.",
    "p2pnode_chain_supply_units": "Everything that exists of an asset.",
    "p2pnode_consensus_view_number": "The engine's view.",
    "p2pnode_consensus_epoch_number": "The epoch.",
    "p2pnode_consensus_observing_state": "1 when a validator signs nothing until the next epoch.",
    "p2pnode_consensus_views_entered_total": "Views the engine entered.",
    "p2pnode_consensus_views_skipped_total": "Views that ended without a block.",
    "p2pnode_consensus_drafts_signed_total": "Votes signed.",
    "p2pnode_consensus_drafts_refused_total": "Votes the signer refused.",
    "p2pnode_consensus_items_received_total": "Votes and proposals received.",
    "p2pnode_consensus_items_dropped_total": "Of them dropped: too many, or too far away.",
    "p2pnode_consensus_items_deferred_total": "Of them kept for later.",
    "p2pnode_consensus_items_invalid_total": "Of them invalid: somebody misbehaves.",
    "p2pnode_consensus_finality_p50_seconds": "Median time from a proposal to its finality here.",
    "p2pnode_consensus_finality_p99_seconds": "99th percentile of the same; of the last 2048.",
    "p2pnode_ordering_payloads_refused_total": "Proposals this node did not vote for.",
    "p2pnode_ordering_statements_waiting": "Certificates not listed in a block yet.",
    "p2pnode_ordering_checks_open": "Proposals being checked.",
    "p2pnode_mempool_transactions_waiting": "Transactions waiting.",
    "p2pnode_mempool_size_bytes": "Bytes of them.",
    "p2pnode_mempool_transactions_held": "Transactions held, by state.",
    "p2pnode_mempool_senders_held": "Senders with a transaction held.",
    "p2pnode_mempool_transactions_admitted_total": "Transactions that entered the pool.",
    "p2pnode_mempool_transactions_left_total": "Transactions that left the pool, by outcome.",
    "p2pnode_mempool_transactions_refused_total": "Transactions refused, by kind of refusal.",
    "p2pnode_batches_packed_total": "Batches packed here.",
    "p2pnode_batches_transactions_packed_total": "Transactions in them.",
    "p2pnode_batches_stepped_in_total": "Batches packed out of turn.",
    "p2pnode_batches_unordered_own": "Batches packed here that no block lists yet.",
    "p2pnode_dispersal_batches_underway": "Batches being stored by the others.",
    "p2pnode_dispersal_batches_certified_total": "Batches that a quorum has stored.",
    "p2pnode_dispersal_batches_abandoned_total": "Batches given up.",
    "p2pnode_dispersal_copies_resent_total": "Copies sent again.",
    "p2pnode_custody_batches_kept": "Batches kept for others.",
    "p2pnode_custody_batches_unordered": "Of them in no block yet.",
    "p2pnode_custody_kept_bytes": "Bytes of the batches kept.",
    "p2pnode_custody_batches_accepted_total": "Batches accepted.",
    "p2pnode_custody_equivocations_seen_total": "Collators caught with two batches in one place.",
    "p2pnode_execution_transactions_total": "Transactions in final blocks, by outcome.",
    "p2pnode_execution_batches_total": "Batches in final blocks, by outcome.",
    "p2pnode_execution_blocks_waiting": "Final blocks that wait for their batches.",
    "p2pnode_execution_results_open": "Results of ours that are not certified yet.",
    "p2pnode_execution_accounts_held": "Accounts of a shard.",
    "p2pnode_network_peers_connected": "Connected peers, by who dialled.",
    "p2pnode_network_bytes_total": "Bytes to and from peers.",
    "p2pnode_network_frames_total": "Frames to and from peers.",
    "p2pnode_network_frames_dropped_total": "Frames not sent: full queue, or no connection.",
    "p2pnode_network_messages_total": "Published messages, without duplicates.",
    "p2pnode_network_messages_invalid_total": "Published messages that were invalid.",
    "p2pnode_network_dials_failed_total": "Failed attempts to connect.",
    "p2pnode_network_bans_total": "Bans of peers and addresses.",
    "p2pnode_network_refusals_total": "Connections, streams and records refused, by kind.",
    "p2pnode_network_offences_total": "What peers lost score for, by kind.",
    "p2pnode_signer_signatures_total": "Signatures made, repeated ones too.",
    "p2pnode_signer_signatures_refused_total": "Signatures refused, for the key's safety.",
    "p2pnode_signer_signatures_remembered": "Signatures in the table.",
    "p2pnode_verifier_checks_total": "Signatures checked.",
    "p2pnode_verifier_checks_remembered_total": "Checks answered from memory.",
    "p2pnode_verifier_checks_invalid_total": "Checks whose answer was no.",
    "p2pnode_log_syncs_total": "Times the log of signatures was synced.",
    "p2pnode_store_used_bytes": "Size of the store's file.",
    "p2pnode_store_limit_bytes": "Size at which the store is full.",
    "p2pnode_store_pending_bytes": "Bytes not on disk yet.",
    "p2pnode_node_ready_state": "1 when the node follows the chain and answers for it.",
    "p2pnode_node_syncing_state": "1 when the node fetches blocks that others have.",
    "p2pnode_node_inputs_total": "Inputs of the core.",
    "p2pnode_node_effects_total": "Effects of the core.",
    "p2pnode_node_effects_waiting": "Effects not carried out yet.",
    "p2pnode_process_cpu_seconds_total": "CPU time of the process.",
    "p2pnode_process_memory_bytes": "Resident memory of the process.",
}
"""Every metric of a node, and what it says; a test holds a running node to it."""


class BadMetricError(LocalProtocolError):
    """A metric's name or label breaks the rules above."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"metric {key!r}: {reason}")
        self.key = key


def status_metrics(status: NodeStatus) -> dict[str, float]:
    """Return the snapshot that every node has, out of its status."""
    peers_out_count = status.peers_count - status.peers_in_count
    found: dict[str, float] = {
        "p2pnode_chain_height_blocks": status.height,
        "p2pnode_chain_executed_blocks": status.executed_height,
        "p2pnode_chain_certified_blocks": status.certified_height,
        "p2pnode_consensus_view_number": status.view,
        "p2pnode_consensus_epoch_number": status.epoch,
        "p2pnode_mempool_transactions_waiting": status.mempool.transactions_count,
        "p2pnode_mempool_size_bytes": status.mempool.size_bytes,
        'p2pnode_network_peers_connected{direction="in"}': status.peers_in_count,
        'p2pnode_network_peers_connected{direction="out"}': peers_out_count,
        'p2pnode_network_bytes_total{direction="in"}': status.bytes_received,
        'p2pnode_network_bytes_total{direction="out"}': status.bytes_sent,
        "p2pnode_consensus_observing_state": float(status.observing),
        "p2pnode_node_ready_state": float(status.ready),
        "p2pnode_node_syncing_state": float(status.syncing),
        "p2pnode_process_cpu_seconds_total": status.cpu_s,
        "p2pnode_process_memory_bytes": status.memory_bytes,
    }
    if status.last_block_age_s is not None:
        found["p2pnode_chain_last_block_age_seconds"] = status.last_block_age_s
    for asset, amount in sorted(status.supply.items())[:SERIES_MAX]:
        found[f'p2pnode_chain_supply_units{{asset="{asset}"}}'] = float(amount)
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
