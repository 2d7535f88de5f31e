"""Climbs a ladder of loads on a local testnet until it no longer keeps up; prints what each costs.

    python tools/bench_testnet.py
    python tools/bench_testnet.py --trace mainnet_transactions.csv.gz --for 20s --json

A rate holds when at least 95 % of it was submitted and finalized in its time, less than 1 % was
refused, and the median transaction was final within two seconds. CPU seconds are those of the nodes
alone; the load generator and the supervisor have the same machine, so the highest rate is this
machine's. `signatures` has all time of the worker threads: they check signatures and sync the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from p2pnode.node.units import human_size

LADDER: Final = (100, 200, 300, 450, 600, 800, 1000, 1300, 1700, 2200, 3000)

PARTS: Final = ("signatures", "codec", "network", "consensus", "execution", "state", "store")
"""Columns of the split; what else the nodes do is in `rest`."""

SHARE_MIN: Final = 0.95
REFUSED_MAX: Final = 0.01
FINALIZATION_S_MAX: Final = 2.0

HEAD: Final = (
    "rate/s",
    "submit/s",
    "final/s",
    "final p50",
    "p99 s",
    "consensus p50",
    "p99 s",
    "ms cpu/tx/node",
    *PARTS,
    "rest",
    "B/tx",
    "memory",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Climb; returns the exit code."""
    arguments = _parser().parse_args(argv)
    rows: list[dict[str, Any]] = []
    print(*(f"{name:>{_width(name)}}" for name in HEAD), sep="  ", flush=True)
    held = 0
    for rate in arguments.rates or LADDER:
        row = measure(rate, arguments)
        rows.append(row)
        print(*_cells(row), sep="  ", flush=True)
        if row["holds"]:
            held = rate
        elif not arguments.all:
            break
    print(f"\nthe highest rate that holds here: {held} tx/s", flush=True)
    if arguments.json:
        print(json.dumps({"highest_tx_s": held, "rates": rows}))
    return 0 if held else 1


def measure(rate: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one testnet with one load, and return what it cost."""
    command = [sys.executable, "-m", "testnet", "up", "--quiet", "--json", "--profile"]
    command += ["--name", "bench", "--seed", str(arguments.seed), "--load", str(rate)]
    command += ["--validators", str(arguments.validators), "--for", arguments.for_]
    command += ["--engine", arguments.engine]
    if arguments.trace is not None:
        command += ["--trace", str(arguments.trace)]
    root = Path(__file__).parents[1]
    paths = [str(root), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    lines = done.stdout.splitlines()
    if not lines:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}, no summary")
    return digest(rate, json.loads(lines[-1]))


def digest(rate: int, summary: dict[str, Any]) -> dict[str, Any]:
    """Return one rung of the ladder from a run summary."""
    transactions = summary["transactions"]
    count = transactions["finalized"]
    nodes = len(summary["cpu_s"]["per_node"])
    per = 1000 / (count * nodes) if count else 0.0
    parts = {name: spent * per for name, spent in summary["cpu_s"]["parts"].items()}
    split = {name: round(parts.pop(name), 4) for name in PARTS}
    due, refused = transactions["due"], sum(transactions["refused"].values())
    duration_s = summary["duration_s"]
    finalization = summary["finalization_s"]
    final_tx_s = summary["throughput_tx_s"] or 0.0
    holds = (
        summary["exit"] == 0
        and transactions["submitted"] >= SHARE_MIN * due
        # The last ones become final after the load has ended.
        and final_tx_s * (duration_s + FINALIZATION_S_MAX) >= SHARE_MIN * due
        and refused < REFUSED_MAX * due
        and finalization is not None
        and finalization["p50"] < FINALIZATION_S_MAX
    )
    return {
        "rate_tx_s": rate,
        "holds": holds,
        "submitted_tx_s": round(transactions["submitted"] / duration_s, 1),
        "finalized_tx_s": final_tx_s,
        "finalization_s": finalization,
        "consensus_s": summary["consensus_s"],
        "cpu_ms_per_transaction_and_node": round(summary["cpu_s"]["total"] * per, 4),
        "parts_ms": {**split, "rest": round(sum(parts.values()), 4)},
        "rest_ms": {name: round(spent, 4) for name, spent in parts.items()},
        "bytes_per_transaction": summary["bytes_sent"]["per_transaction"],
        "memory_bytes_max": max(summary["memory_bytes_max"].values()),
        "refused": transactions["refused"],
        "unfinished": transactions["unfinished"],
        "exit": summary["exit"],
    }


def _cells(row: dict[str, Any]) -> Iterator[str]:
    final, consensus = row["finalization_s"] or {}, row["consensus_s"] or {}
    values = [
        str(row["rate_tx_s"]) + ("" if row["holds"] else " !"),
        f"{row['submitted_tx_s']:.0f}",
        f"{row['finalized_tx_s']:.0f}",
        _seconds(final.get("p50")),
        _seconds(final.get("p99")),
        _seconds(consensus.get("p50")),
        _seconds(consensus.get("p99")),
        f"{row['cpu_ms_per_transaction_and_node']:.3f}",
        *(f"{row['parts_ms'][name]:.3f}" for name in (*PARTS, "rest")),
        str(row["bytes_per_transaction"]),
        human_size(row["memory_bytes_max"]),
    ]
    for name, value in zip(HEAD, values, strict=True):
        yield f"{value:>{_width(name)}}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _width(name: str) -> int:
    return max(len(name), 7)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="The highest load that a local testnet carries, and what it costs."
    )
    parser.add_argument("--validators", type=int, default=4)
    parser.add_argument("--engine", default="simplex")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--for", dest="for_", default="20s", help="time on each rung")
    parser.add_argument("--trace", type=Path, help="recorded transactions to replay")
    parser.add_argument("--rates", type=int, nargs="*", help="rungs of a ladder of one's own")
    parser.add_argument("--all", action="store_true", help="go on after a rate that did not hold")
    parser.add_argument("--json", action="store_true", help="everything again, as the last line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
