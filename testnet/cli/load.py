"""Transactions for a testnet: `load`, and `fund` for who sends his own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.errors import ConfigError
from testnet.cli.progress import progress_bar
from testnet.cli.request import Connection, request
from testnet.cli.screen import quorum_warning, restart_hint
from testnet.folder import Folder, find
from testnet.load.trace import read_trace


def _warn_of_quorum(folder: Folder, console: Console) -> bool:
    """Say when too few validators run for anything to become final; tells whether it is so."""
    status = request(folder, {"command": "status"})
    warning = quorum_warning(status)
    if warning is None:
        return False
    console.say(warning)
    console.next(restart_hint(status), "testnet status")
    return True


def fund(arguments: Any, console: Console) -> int:
    """Send an account some of an asset from a faucet."""
    folder = find(arguments.name)
    answer = request(
        folder,
        {
            "command": "fund",
            "address": arguments.address,
            "amount": str(arguments.amount),
            "asset": arguments.asset,
        },
        timeout_s=30,
    )
    if console.json:
        console.document({k: v for k, v in answer.items() if k != "ok"})
    else:
        console.data(
            f"{answer['amount']} of asset {answer['asset']} to 0x{answer['address']}: "
            f"{answer['state']} at height {answer['height']}"
        )
    console.next("p2pnode account ADDRESS --node URL", "testnet status")
    return ExitCode.OK if answer["state"] in ("executed", "certified") else ExitCode.FAILED


def load(arguments: Any, console: Console) -> int:
    """Submit transactions at a rate, and say what became of them."""
    folder = find(arguments.name)
    if arguments.stop:
        stopped = request(folder, {"command": "load_stop"}, timeout_s=60)["stopped"]
        console.say("the load has ended" if stopped else "no load runs")
        console.next("testnet status")
        return ExitCode.OK
    if arguments.rate is None:
        raise ConfigError("--rate R is needed: transactions a second")
    trace = Path(arguments.trace).resolve() if arguments.trace is not None else None
    if trace is not None and not trace.is_file():
        raise ConfigError(f"--trace {trace}: no such file")
    if trace is not None:
        read_trace(trace)
    message = {
        "command": "load",
        "rate": arguments.rate,
        "for_s": arguments.for_s,
        "trace": str(trace.absolute()) if trace is not None else None,
    }
    if arguments.detach:
        request(folder, {**message, "command": "load_start"})
        console.say(f"a load of {arguments.rate:g}/s runs for {arguments.for_s:g} s")
        console.next("testnet status", "testnet load --stop")
        return ExitCode.OK
    total = arguments.rate * arguments.for_s
    with (
        Connection(folder, timeout_s=None) as connection,
        progress_bar(console, "load", total) as progress,
    ):
        try:
            answer = connection.ask(message, lambda p: progress(p["submitted"], _counts(p)))
        except KeyboardInterrupt:
            request(folder, {"command": "load_stop"}, timeout_s=60)
            raise
    report = answer["report"]
    console.say(_report_text(report))
    if console.json:
        console.data(json.dumps(report))
    unfinished = report["unfinished_count"]
    if not (unfinished and _warn_of_quorum(folder, console)):
        console.next("testnet status", "testnet down")
    return ExitCode.NO_LIVENESS if unfinished else ExitCode.OK


def _counts(progress: dict[str, int]) -> str:
    return f"{progress['submitted']} submitted · {progress['finalized']} final"


def _report_text(report: dict[str, Any]) -> str:
    refused = sum(report["refused"].values())
    text = (
        f"{report['submitted']} of {report['due']} submitted · {report['finalized']} finalized · "
        f"{report['failed']} failed · {refused} refused · {report['unfinished_count']} unfinished"
    )
    for reason, count in sorted(report["refused"].items()):
        text += f"\n  refused: {count} {reason}"
    if report["finalization_s"]:
        times = report["finalization_s"]
        text += f"\nfinalization p50 {times['p50']:.3f} s   p99 {times['p99']:.3f} s"
    return text
