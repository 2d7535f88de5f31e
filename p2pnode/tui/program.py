"""The node's TUI put together: model, update, view and feed as one program."""

from __future__ import annotations

import time
from dataclasses import replace

from p2pnode.tui.app import AppOptions, Post, Program, run
from p2pnode.tui.feed import Feed, perform
from p2pnode.tui.model import Admin, Link, Model, ScreenName, Ui
from p2pnode.tui.update import update
from p2pnode.tui.view import view

INSTEAD = "p2pnode status --watch"


def make_program(
    url: str, *, admin: Admin, screen: ScreenName = ScreenName.OVERVIEW, inside: bool = False
) -> Program[Model]:
    """Return the program that shows a node.

    Args:
        url: The node's API, `http://host:port`.
        admin: Whether and how it may be commanded.
        screen: Shown first.
        inside: The node runs in this process: quitting stops it, and is confirmed first.
    """
    begin = Model(
        Link(url),
        ui=Ui(screen=screen),
        admin=admin,
        inside=inside,
        offset_s=time.localtime().tm_gmtoff,
    )

    async def act(wish: object, post: Post) -> None:
        await perform(wish, post, admin.path)

    return Program(begin, update, view, act, (Feed(url).run,))


async def show(program: Program[Model], options: AppOptions) -> int:
    """Show a node until the person quits; returns the exit code."""
    return await run(program, replace(options, instead=INSTEAD))
