"""`testnet tui`: a testnet on the whole terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.errors import ConfigError
from testnet.cli.request import NotRunningError
from testnet.folder import find, runs


def tui(arguments: Any, console: Console) -> int:
    """Show a testnet until the person quits; the testnet goes on."""
    folder = find(arguments.name)
    if not runs(folder):
        raise NotRunningError(folder)
    if console.err.isatty():
        # Importing what draws takes seconds on a busy machine, with an empty screen until then.
        console.say(f"opening testnet {folder.name} …")
    import trio

    from p2pnode.cli.tui import options, wrong_flags
    from testnet.console.app import INSTEAD, show
    from testnet.console.model import Screen

    if wrong := wrong_flags(arguments):
        raise ConfigError(wrong)
    wanted = replace(options(arguments, console), instead=INSTEAD)
    code, ended = trio.run(show, folder, Screen(arguments.screen), wanted)
    if ended:
        console.say(f"testnet {folder.name} has ended; files: {folder.path}/")
        console.next("testnet up", "testnet down")
    elif code == ExitCode.OK:
        console.say(f"testnet {folder.name} goes on")
        console.next("testnet tui", "testnet status", "testnet down")
    return code
