"""What the nodes of a testnet log: `logs`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.errors import ConfigError
from testnet.folder import Folder, find


def logs(arguments: Any, console: Console) -> int:
    """Print the last lines that nodes logged, and go on with --follow."""
    folder = find(arguments.name)
    paths = _log_paths(folder, arguments.node)
    positions: dict[Path, int] = {}
    for path in paths:
        for line in _last_lines(path, arguments.lines):
            _print_log(path, line, console, many=len(paths) > 1)
        positions[path] = path.stat().st_size if path.exists() else 0
    while arguments.follow:
        time.sleep(0.2)
        for path in paths:
            for line in _new_lines(path, positions):
                _print_log(path, line, console, many=len(paths) > 1)
    console.next("testnet logs -f --node node0", "testnet status")
    return ExitCode.OK


def _log_paths(folder: Folder, nodes: Sequence[str]) -> list[Path]:
    known = {path.stem: path for path in sorted(folder.logs.glob("*.jsonl"))}
    if not nodes:
        return list(known.values())
    found = []
    for node in nodes:
        name = f"node{node}" if node.isdigit() else node
        if name not in known:
            raise ConfigError(f"no log of {name!r}; there are: {', '.join(known)}")
        found.append(known[name])
    return found


def _last_lines(path: Path, count: int) -> list[str]:
    if not path.exists() or count == 0:
        return []
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1024 * count))
        return file.read().decode(errors="replace").splitlines()[-count:]


def _new_lines(path: Path, positions: dict[Path, int]) -> list[str]:
    if not path.exists():
        return []
    size = path.stat().st_size
    if size < positions[path]:
        # It was rotated: the rest of the old file is in the one beside it.
        positions[path] = 0
    with path.open("rb") as file:
        file.seek(positions[path])
        data = file.read()
    whole, sign, _ = data.rpartition(b"\n")
    positions[path] += len(whole) + len(sign)
    return whole.decode(errors="replace").splitlines() if sign else []


def _print_log(path: Path, line: str, console: Console, *, many: bool) -> None:
    if console.json:
        console.data(line)
        return
    try:
        event = json.loads(line)
        clock = str(event.pop("time"))[11:23]
        head = f"{clock} {event.pop('level'):<7} {event.pop('event')}"
        event.pop("logger", None)
        event.pop("node", None)
        text = " ".join([head, *(f"{key}={value}" for key, value in event.items())])
    except (ValueError, KeyError, TypeError, AttributeError):
        text = line
    console.data(f"{path.stem:<7} {text}" if many else text)
