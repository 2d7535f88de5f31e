"""What is done to nodes: `kill`, `pause`, `resume` and `restart`."""

from __future__ import annotations

from typing import Any

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from testnet.cli.request import request
from testnet.folder import find


def on_node(arguments: Any, console: Console) -> int:
    """Kill, pause, resume or restart nodes."""
    folder = find(arguments.name)
    command = arguments.command
    # Judged before it is announced, and said before it is done: killed is killed.
    action = {"command": command, "nodes": arguments.node}
    if command == "kill":
        action["signal"] = arguments.signal
    answer = request(folder, {"command": "effect", "action": action})
    if arguments.dry_run:
        return say_effect(answer["effect"], console)
    console.tell(answer["effect"])
    changed = []
    for node in answer["nodes"]:
        message = {"command": command, "node": node}
        if command == "kill":
            message["signal"] = arguments.signal
        changed.append(request(folder, message)["node"])
    if console.json:
        console.document(changed)
    else:
        for node in changed:
            pid = f"  pid {node['pid']}" if node["pid"] is not None else ""
            console.data(f"{node['name']} {node['state']}{pid}")
    after = {"kill": "restart", "pause": "resume"}.get(command)
    console.next(*([f"testnet {after} {changed[0]['name']}"] if after else []), "testnet status")
    return ExitCode.OK


def say_effect(effect: str, console: Console) -> int:
    """Say what an action would do; the whole of a dry run."""
    if console.json:
        console.document({"effect": effect})
    else:
        console.sentence(effect)
    return ExitCode.OK
