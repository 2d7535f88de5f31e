"""A node's own metrics: the statistics of its parts under the names that /metrics exports.

What each name means stands in p2pnode/telemetry/metrics.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from p2pnode.execution.block import Executor
from p2pnode.execution.executor import ShardExecutor
from p2pnode.keys.safesigner import SafeSigner
from p2pnode.keys.verifier import VerifierStatistics
from p2pnode.node.core import Core
from p2pnode.node.shell import Ports, ShellStatistics
from p2pnode.telemetry.percentile import Newest

if TYPE_CHECKING:
    # Only for its type: the simulator's nodes have no LMDB.
    from p2pnode.store.lmdb import StoreStatistics

REFUSALS_MAX: Final = 64
"""Most kinds of refusal that are exported; they are error classes, so there are few."""


@runtime_checkable
class _CountsChecks(Protocol):
    def statistics(self) -> VerifierStatistics:
        """Totals since start."""


@runtime_checkable
class _CountsBytes(Protocol):
    def statistics(self) -> StoreStatistics:
        """Sizes now."""


def node_metrics(
    core: Core,
    shell: ShellStatistics,
    signer: SafeSigner | None,
    ports: Ports,
    finality_ms: Newest[int],
) -> dict[str, float]:
    """Return the numbers of a node's parts by metric name.

    Args:
        core: The node's core.
        shell: What its shell did.
        signer: Guard of its validator's key.
        ports: Its adapters; those that count are asked.
        finality_ms: Recent times from a proposal to its finality here.
    """
    return {
        **_consensus(core, finality_ms),
        **_mempool(core),
        **_availability(core),
        **_execution(core),
        **_network(ports),
        **_shell(shell, signer),
        **_ports(ports),
    }


def _consensus(core: Core, finality_ms: Newest[int]) -> Mapping[str, float]:
    host, ordering = core.ordering.host.statistics(), core.ordering.statistics()
    found: dict[str, float] = {
        "p2pnode_consensus_views_entered_total": host.views_entered,
        "p2pnode_consensus_views_skipped_total": host.views_skipped,
        "p2pnode_consensus_drafts_signed_total": host.drafts_signed,
        "p2pnode_consensus_drafts_refused_total": host.drafts_refused,
        "p2pnode_consensus_items_received_total": host.items_received,
        "p2pnode_consensus_items_dropped_total": host.items_dropped,
        "p2pnode_consensus_items_deferred_total": host.items_deferred,
        "p2pnode_consensus_items_invalid_total": host.items_invalid,
        "p2pnode_ordering_payloads_refused_total": ordering.payloads_refused,
        "p2pnode_ordering_statements_waiting": ordering.statements_waiting,
        "p2pnode_ordering_checks_open": ordering.checks_open,
    }
    for name, percent in (("p50", 50), ("p99", 99)):
        value_ms = finality_ms.percentile(percent)
        if value_ms is not None:
            found[f"p2pnode_consensus_finality_{name}_seconds"] = value_ms / 1000
    return found


def _mempool(core: Core) -> Mapping[str, float]:
    pool = core.pool.statistics()
    found: dict[str, float] = {
        'p2pnode_mempool_transactions_held{state="checking"}': pool.checking_count,
        'p2pnode_mempool_transactions_held{state="ready"}': pool.ready_count,
        'p2pnode_mempool_transactions_held{state="batched"}': pool.batched_count,
        "p2pnode_mempool_senders_held": pool.senders_count,
        "p2pnode_mempool_transactions_admitted_total": pool.admitted_count,
        'p2pnode_mempool_transactions_left_total{outcome="executed"}': pool.executed_count,
        'p2pnode_mempool_transactions_left_total{outcome="dropped"}': pool.dropped_count,
    }
    for kind, count in pool.refused[:REFUSALS_MAX]:
        found[f'p2pnode_mempool_transactions_refused_total{{kind="{kind[:40]}"}}'] = count
    return found


def _availability(core: Core) -> Mapping[str, float]:
    if core.certifier is None or core.collator is None:
        return {}
    certifier, collator = core.certifier.statistics(), core.collator.statistics()
    custody, dispersal = certifier.custody, certifier.dispersal
    return {
        "p2pnode_batches_packed_total": collator.batches_count,
        "p2pnode_batches_transactions_packed_total": collator.transactions_count,
        "p2pnode_batches_stepped_in_total": collator.stepped_in_count,
        "p2pnode_batches_unordered_own": collator.unordered_count,
        "p2pnode_dispersal_batches_underway": dispersal.batches_count,
        "p2pnode_dispersal_batches_certified_total": dispersal.certified_count,
        "p2pnode_dispersal_batches_abandoned_total": dispersal.given_up_count,
        "p2pnode_dispersal_copies_resent_total": dispersal.resent_count,
        "p2pnode_custody_batches_kept": custody.batches_count,
        "p2pnode_custody_batches_unordered": custody.unordered_count,
        "p2pnode_custody_kept_bytes": custody.held_bytes,
        "p2pnode_custody_batches_accepted_total": custody.accepted_count,
        "p2pnode_custody_equivocations_seen_total": custody.equivocations_count,
    }


def _execution(core: Core) -> Mapping[str, float]:
    done = core.pipeline.statistics()
    outcomes = "p2pnode_execution_transactions_total"
    found: dict[str, float] = {
        f'{outcomes}{{outcome="executed"}}': done.transactions_executed,
        f'{outcomes}{{outcome="failed"}}': done.transactions_failed,
        f'{outcomes}{{outcome="skipped"}}': done.transactions_skipped,
        'p2pnode_execution_batches_total{outcome="executed"}': done.batches_executed,
        'p2pnode_execution_batches_total{outcome="void"}': done.batches_void,
        "p2pnode_execution_blocks_waiting": done.blocks_waiting,
        "p2pnode_execution_results_open": done.results_open,
    }
    for uid, count in _accounts(core.executors):
        found[f'p2pnode_execution_accounts_held{{shard="{uid}"}}'] = count
    return found


def _accounts(executors: Mapping[int, Executor]) -> list[tuple[int, int]]:
    return [
        (uid, executor.state.statistics().accounts_count)
        for uid, executor in sorted(executors.items())
        if isinstance(executor, ShardExecutor)
    ]


def _network(ports: Ports) -> Mapping[str, float]:
    seen = ports.network.statistics()
    return {
        'p2pnode_network_frames_total{direction="in"}': seen.frames_received,
        'p2pnode_network_frames_total{direction="out"}': seen.frames_sent,
        "p2pnode_network_frames_dropped_total": seen.frames_dropped,
        'p2pnode_network_messages_total{direction="in"}': seen.messages_received,
        'p2pnode_network_messages_total{direction="out"}': seen.messages_published,
        "p2pnode_network_messages_invalid_total": seen.messages_invalid,
        "p2pnode_network_dials_failed_total": seen.dials_failed,
        "p2pnode_network_bans_total": seen.bans_count,
        **{
            f'p2pnode_network_refusals_total{{kind="{kind}"}}': count
            for kind, count in seen.refusals.items()
        },
        **{
            f'p2pnode_network_offences_total{{kind="{kind}"}}': count
            for kind, count in seen.offences.items()
        },
    }


def _shell(shell: ShellStatistics, signer: SafeSigner | None) -> Mapping[str, float]:
    found: dict[str, float] = {
        "p2pnode_node_inputs_total": shell.inputs_count,
        "p2pnode_node_effects_total": shell.effects_count,
        "p2pnode_node_effects_waiting": shell.effects_waiting,
        "p2pnode_log_syncs_total": shell.syncs_count,
    }
    if signer is not None:
        signed = signer.statistics()
        found |= {
            "p2pnode_signer_signatures_total": signed.signed_count,
            "p2pnode_signer_signatures_refused_total": signed.refused_count,
            "p2pnode_signer_signatures_remembered": signed.remembered_count,
        }
    return found


def _ports(ports: Ports) -> Mapping[str, float]:
    found: dict[str, float] = {}
    if isinstance(ports.verifier, _CountsChecks):
        checks = ports.verifier.statistics()
        found |= {
            "p2pnode_verifier_checks_total": checks.checks_count,
            "p2pnode_verifier_checks_remembered_total": checks.remembered_count,
            "p2pnode_verifier_checks_invalid_total": checks.invalid_count,
        }
    if isinstance(ports.store, _CountsBytes):
        store = ports.store.statistics()
        found |= {
            "p2pnode_store_used_bytes": store.used_bytes,
            "p2pnode_store_limit_bytes": store.limit_bytes,
            "p2pnode_store_pending_bytes": store.pending_bytes,
        }
    return found
