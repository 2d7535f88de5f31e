"""The status line: a node in one line, for consoles and logs that are no terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Only for its type: telemetry is below node.
    from p2pnode.node.status import NodeStatus


def status_line(
    status: NodeStatus, previous: NodeStatus | None = None, elapsed_s: float = 0.0
) -> str:
    """Return a node in one line.

    Args:
        status: The node now.
        previous: The node at the line before, for the rates; None leaves them out.
        elapsed_s: Seconds between the two.
    """
    parts = [
        status.name,
        f"h {status.height} final {status.finalized_height}",
        f"view {status.view}",
    ]
    if status.proposer is not None:
        parts.append(f"proposer {status.proposer_name or status.proposer}")
    parts.append(f"peers {status.peers_count} ({status.peers_in_count} in)")
    if status.shards:
        parts.append(f"shards {','.join(map(str, status.shards))}")
    if status.mempool.transactions_count:
        parts.append(f"pool {status.mempool.transactions_count}")
    if previous is not None and elapsed_s > 0:
        received = max(0, status.bytes_received - previous.bytes_received) / elapsed_s
        sent = max(0, status.bytes_sent - previous.bytes_sent) / elapsed_s
        parts.append(f"↓ {_rate(received)} ↑ {_rate(sent)}")
    if status.syncing:
        parts.append("syncing")
    if status.observing:
        parts.append("observing")
    if not status.ready:
        parts.append("not ready: " + (status.not_ready_reasons or ("no reason known",))[0])
    return "  ".join(parts)


def _rate(bytes_per_s: float) -> str:
    for unit in ("B/s", "KiB/s", "MiB/s"):
        if bytes_per_s < 1024:
            return f"{bytes_per_s:.0f} {unit}" if unit == "B/s" else f"{bytes_per_s:.1f} {unit}"
        bytes_per_s /= 1024
    return f"{bytes_per_s:.1f} GiB/s"
