"""`p2pnode status`: how a node is doing, once or again and again."""

from __future__ import annotations

from argparse import Namespace

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.places import connect, place_options
from p2pnode.client import BlockingClient
from p2pnode.explain import Severity, explain_node
from p2pnode.node.jsonform import to_json
from p2pnode.node.status import NodeStatus
from p2pnode.node.units import human_size, parse_duration
from p2pnode.telemetry.status_line import status_line


def status(arguments: Namespace, console: Console) -> int:
    """Say how a node is doing."""
    try:
        interval_s = parse_duration(arguments.interval)
    except ValueError as error:
        console.error(f"--interval {arguments.interval!r}: {error}")
        return ExitCode.USAGE
    with connect(arguments) as client:
        if arguments.watch:
            return _watch(client, console, interval_s)
        found = client.status()
        if console.json:
            console.document(to_json(NodeStatus, found))
        else:
            console.pairs(_rows(found))
            explained = explain_node(found)
            console.sentence(explained.sentence)
            console.to_do(explained.next_step)
        place = place_options(arguments)
        console.next(f"p2pnode status --watch{place}", f"p2pnode account ADDR{place}")
    return ExitCode.OK


def _watch(client: BlockingClient, console: Console, interval_s: float) -> int:
    """Print a status again and again, until interrupted."""
    previous: NodeStatus | None = None
    previous_s = 0.0
    while True:
        now_s = console.clock()
        found = client.status()
        if console.json:
            console.document(to_json(NodeStatus, found))
        else:
            console.data(informant(found, previous, now_s - previous_s))
        previous, previous_s = found, now_s
        console.sleep(interval_s)


def informant(found: NodeStatus, previous: NodeStatus | None, elapsed_s: float) -> str:
    """Return a node in one line; with what is the matter at its end, if anything is."""
    line = status_line(found, previous, elapsed_s)
    explained = explain_node(found)
    if explained.severity is Severity.OK:
        return line
    return f"{line}  {explained.severity.value}: {explained.sentence}"


def _rows(found: NodeStatus) -> list[tuple[str, object]]:
    age = found.last_block_age_s
    rows: list[tuple[str, object]] = [
        ("node", f"{found.name}  ({', '.join(found.roles)})  p2pnode {found.version}"),
        ("chain", f"{found.chain_name}  {found.chain[:16]}…  {found.engine}, {found.scheme}"),
        ("height", f"{found.height}  final {found.finalized_height}"),
        (
            "executed",
            # It trails, by ten seconds in an idle chain: what it means stands beside it.
            f"{found.executed_height}  certified {found.certified_height}"
            "  (signed by a quorum of executors, in a later block)",
        ),
        ("last block", "none yet" if age is None else f"{age:.1f} s ago"),
        ("view", f"{found.view}  epoch {found.epoch}  proposer {found.proposer_name or '-'}"),
        ("peers", f"{found.peers_count}  ({found.peers_in_count} in)"),
        (
            "mempool",
            f"{found.mempool.transactions_count} transactions"
            f"  {human_size(found.mempool.size_bytes)}",
        ),
        ("network", f"↓ {human_size(found.bytes_received)}  ↑ {human_size(found.bytes_sent)}"),
        ("process", f"{found.cpu_s:.1f} s CPU  {human_size(found.memory_bytes)}"),
    ]
    rows += [
        (f"state {uid}", f"{state.root[:16]}…  height {state.height}")
        for uid, state in sorted(found.state_roots.items())
    ]
    rows += [(f"supply {asset}", amount) for asset, amount in sorted(found.supply.items())]
    if found.observing:
        rows.append(("observing", "signs nothing until the next epoch: its log was lost"))
    rows.append(("ready", "yes" if found.ready else f"no: {'; '.join(found.not_ready_reasons)}"))
    return rows
