"""The network TUI put together: model, update, view and feed as one program."""

from __future__ import annotations

import time

from p2pnode.tui.app import AppOptions, Program, run
from testnet.console.feed import Feed
from testnet.console.model import Model, Screen, Ui
from testnet.console.update import update
from testnet.console.view import view
from testnet.folder import Folder

INSTEAD = "testnet status"
"""What to use where there is no terminal."""


async def show(folder: Folder, screen: Screen, options: AppOptions) -> tuple[int, bool]:
    """Show a testnet until the person quits.

    Returns:
        The exit code, and whether the testnet was ended.
    """
    feed = Feed(folder)
    ended = False

    def remembering(model: Model, event: object) -> tuple[Model, tuple[object, ...]]:
        nonlocal ended
        model, wishes = update(model, event)
        ended = model.ended
        return model, wishes

    begin = Model(folder.name, ui=Ui(screen=screen), offset_s=time.localtime().tm_gmtoff)
    program = Program(begin, remembering, view, perform=feed.perform, feeds=(feed.watch, feed.logs))
    return await run(program, options), ended
