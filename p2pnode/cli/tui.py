"""`p2pnode tui`: a running node on the whole terminal; and the same inside `p2pnode run --tui`."""

from __future__ import annotations

import shlex
import traceback
from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.places import SOCKET_NAME, data_dir, node_url
from p2pnode.node.config import NodeConfig
from p2pnode.tui.app import AppOptions
from p2pnode.tui.model import Admin, ScreenName
from p2pnode.tui.program import make_program, show
from p2pnode.tui.theme import Background

FPS_MIN, FPS_MAX = 0.5, 30.0


def tui(arguments: Namespace, console: Console) -> int:
    """Show a node until the person quits; the node goes on."""
    if wrong := wrong_fps(arguments):
        console.error(wrong)
        return ExitCode.USAGE
    program = make_program(
        node_url(arguments),
        admin=_admin(arguments),
        screen=ScreenName(arguments.screen),
    )
    return trio.run(show, program, options(arguments))


@dataclass(frozen=True, slots=True)
class Inside:
    """A TUI in the process of its node. The node must not depend on it."""

    arguments: Namespace
    config: NodeConfig
    console: Console

    async def show(self, url: str) -> bool:
        """Show the node; return whether it should stop.

        It should when the person said so or the terminal is gone. When the TUI itself fails, the
        error is logged and printed, and the node goes on.
        """
        folder = self.config.data_dir
        program = make_program(
            url, admin=admin_of(folder), screen=ScreenName(self.arguments.screen), inside=True
        )
        wanted = replace(options(self.arguments), signals=(), suspends=False)
        try:
            await show(program, wanted)
        except Exception as error:
            # A mistake in a picture must not stop a validator: what it was, is said in full.
            from p2pnode.telemetry.logging import get_logger

            get_logger("tui").error("tui_crashed", exc_info=error)
            self.console.error("".join(traceback.format_exception(error)).rstrip())
            self.console.error(f"the TUI has failed; the node goes on without it at {url}")
            self.console.next(f"p2pnode tui --data {shlex.quote(str(folder))}")
            return False
        return True


def options(arguments: Namespace) -> AppOptions:
    """Return how flags want the terminal used."""
    theme: str | None = arguments.theme
    return AppOptions(
        frames_per_s=arguments.fps,
        background=None if theme is None else Background(theme),
        ascii=arguments.ascii,
    )


def wrong_fps(arguments: Namespace) -> str:
    """Return what is wrong with --fps; empty for nothing."""
    if FPS_MIN <= arguments.fps <= FPS_MAX:
        return ""
    return f"--fps {arguments.fps:g}: {FPS_MIN:g} to {FPS_MAX:g} expected"


def admin_of(folder: Path) -> Admin:
    """Return how the node that runs in a folder is commanded."""
    path = folder / SOCKET_NAME
    if path.is_socket():
        return Admin(str(path))
    return Admin(why_not=f"no {path}")


def _admin(arguments: Namespace) -> Admin:
    if arguments.node and not arguments.data:
        return Admin(why_not="start with --data DIR, the node's folder, to command the node")
    return admin_of(data_dir(arguments))
