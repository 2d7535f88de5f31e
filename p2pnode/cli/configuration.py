"""`p2pnode config`: what a node is told, and by whom."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.places import data_dir
from p2pnode.node.config import FILE_NAME, SETTINGS, load_config, sample_toml, setting_value
from p2pnode.node.settings import toml_value


def help(arguments: Namespace, console: Console) -> int:
    """Say what can be done."""
    console.data(arguments.parser.format_help().rstrip())
    return ExitCode.USAGE


def show(arguments: Namespace, console: Console) -> int:
    """Show every setting with its origin: a flag, a variable, the file, or the default."""
    named = arguments.config or os.environ.get("P2PNODE_CONFIG")
    path = Path(named).expanduser() if named else data_dir(arguments) / FILE_NAME
    flags = {"data_dir": arguments.data} if arguments.data else {}
    given = path if named or path.exists() else None
    config = load_config(given, environment=os.environ, flags=flags)
    rows = []
    for setting in SETTINGS:
        origin = config.origins[setting.key]
        if origin == "default" and arguments.changed:
            continue
        value = toml_value(setting.kind, setting_value(config, setting.key))
        rows.append((setting.key, value, origin))
    if console.json:
        console.document({key: {"value": value, "origin": o} for key, value, o in rows})
    else:
        widths = [max((len(row[i]) for row in rows), default=0) for i in (0, 1)]
        for key, value, origin in rows:
            console.data(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {origin}")
    if given is None:
        console.say(f"there is no {path}")
    console.next(f"p2pnode doctor --data {config.data_dir}")
    return ExitCode.OK


def sample(arguments: Namespace, console: Console) -> int:
    """Print a configuration file in which every setting is explained, at its default."""
    console.data(sample_toml().rstrip())
    return ExitCode.OK
