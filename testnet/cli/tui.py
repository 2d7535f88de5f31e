"""`testnet tui`: a testnet on the whole terminal."""

from __future__ import annotations

from typing import Any

import trio

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.tui import wrong_fps
from p2pnode.errors import ConfigError
from p2pnode.tui.app import AppOptions
from p2pnode.tui.theme import Background
from testnet.cli.request import NotRunningError
from testnet.console.app import INSTEAD, show
from testnet.console.model import Screen
from testnet.folder import find, runs


def tui(arguments: Any, console: Console) -> int:
    """Show a testnet until the person quits; the testnet goes on."""
    if wrong := wrong_fps(arguments):
        raise ConfigError(wrong)
    folder = find(arguments.name)
    if not runs(folder):
        raise NotRunningError(folder.name)
    theme: str | None = arguments.theme
    options = AppOptions(
        instead=INSTEAD,
        frames_per_s=arguments.fps,
        background=None if theme is None else Background(theme),
        ascii=arguments.ascii,
    )
    code, ended = trio.run(show, folder, Screen(arguments.screen), options)
    if ended:
        console.say(f"testnet {folder.name} has ended; files: {folder.path}/")
        console.next("testnet up", "testnet down")
    elif code == ExitCode.OK:
        console.say(f"testnet {folder.name} goes on")
        console.next("testnet tui", "testnet status", "testnet down")
    return code
