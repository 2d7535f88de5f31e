"""How a testnet is doing: `status`, `explain` and `wait`."""

from __future__ import annotations

from typing import Any

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from testnet.cli.request import request
from testnet.cli.screen import status_line, status_table
from testnet.folder import Folder, find


def status(arguments: Any, console: Console) -> int:
    """Show a testnet."""
    folder = find(arguments.name)
    if arguments.watch:
        return _watch(folder, console, arguments.interval)
    answer = request(folder, {"command": "status"})
    if console.json:
        console.document({k: v for k, v in answer.items() if k != "ok"})
    else:
        console.data(status_table(answer))
        if answer.get("explain"):
            console.data("")
            console.sentence(answer["explain"]["sentence"])
    name = f" --name {folder.name}" if arguments.name else ""
    mending = [f"{command}{name}" for command in (answer.get("explain") or {}).get("commands", ())]
    trying = [f"testnet logs -f{name}", f"testnet kill node0{name}"]
    console.next(*(mending or trying), f"testnet down{name}")
    return ExitCode.OK


def _watch(folder: Folder, console: Console, interval_s: float) -> int:
    """Print a line again and again, until interrupted."""
    before: dict[str, Any] | None = None
    before_s = 0.0
    while True:
        now_s = console.clock()
        answer = request(folder, {"command": "status"})
        if console.json:
            console.document({k: v for k, v in answer.items() if k != "ok"})
        else:
            console.data(status_line(answer, before, now_s - before_s))
        before, before_s = answer, now_s
        console.sleep(interval_s)


def explain(arguments: Any, console: Console) -> int:
    """Say why nothing is final, or that all is well."""
    folder = find(arguments.name)
    answer = request(folder, {"command": "explain"})
    if console.json:
        console.document({k: v for k, v in answer.items() if k != "ok"})
    else:
        console.sentence(answer["sentence"])
    console.to_do(answer["next_step"])
    name = f" --name {folder.name}" if arguments.name else ""
    console.next(*(f"{command}{name}" for command in answer["commands"]), f"testnet status{name}")
    return ExitCode.NO_LIVENESS if answer["severity"] == "stalled" else ExitCode.OK


def wait(arguments: Any, console: Console) -> int:
    """Wait until all nodes that run are ready, or have a height."""
    folder = find(arguments.name)
    answer = request(
        folder,
        {"command": "wait", "height": arguments.height, "timeout_s": arguments.timeout},
        timeout_s=arguments.timeout + 10,
    )
    if console.json:
        console.document({k: v for k, v in answer.items() if k != "ok"})
    else:
        heights = [n["height"] for n in answer["nodes"] if n["height"] is not None]
        console.data(f"{folder.name} ready, height {min(heights, default=0)}")
    console.next("testnet status")
    return ExitCode.OK
