"""`p2pnode admin`: commands to the node that runs in a folder, over its admin socket."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.places import SOCKET_NAME, data_dir, place_options
from p2pnode.errors import ConfigError
from p2pnode.node.jsonform import Json


class NoSocketError(ConfigError):
    """No node runs in the folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"no {path}: no node runs in this folder")
        self.path = path


def help(arguments: Namespace, console: Console) -> int:
    """Say what can be commanded."""
    console.data(arguments.parser.format_help().rstrip())
    return ExitCode.USAGE


def disconnect(arguments: Namespace, console: Console) -> int:
    """Break the connection to a peer."""
    return _act(arguments, console, "peers_disconnect", [arguments.peer])


def ban(arguments: Namespace, console: Console) -> int:
    """Disconnect a peer and refuse it for a while."""
    return _act(arguments, console, "peers_ban", [arguments.peer])


def log_level(arguments: Namespace, console: Console) -> int:
    """Log from a level on."""
    return _act(arguments, console, "log_level", [arguments.level])


def stop(arguments: Namespace, console: Console) -> int:
    """Stop the node."""
    return _act(arguments, console, "stop", [])


def _act(arguments: Namespace, console: Console, method: str, params: list[Json]) -> int:
    from p2pnode.client import admin_client

    path = data_dir(arguments) / SOCKET_NAME
    if not path.is_socket():
        raise NoSocketError(path)
    with admin_client(path) as client:
        result = client.raw(method, params)
    if console.json:
        console.document(result)
    else:
        console.data(result["done"])
    command = "run" if method == "stop" else "status"
    console.next(f"p2pnode {command}{place_options(arguments)}")
    return ExitCode.OK
