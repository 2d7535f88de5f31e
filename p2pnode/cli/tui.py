"""`p2pnode tui`: a running node on the whole terminal; and the same inside `p2pnode run --tui`."""

from __future__ import annotations

import json
import shlex
import traceback
from argparse import Namespace
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import trio

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.places import SOCKET_NAME, data_dir, node_url
from p2pnode.node.config import NodeConfig
from p2pnode.tui.app import AppOptions
from p2pnode.tui.meter import AppStatistics
from p2pnode.tui.model import Admin, ScreenName
from p2pnode.tui.program import make_program, show
from p2pnode.tui.theme import Background

FPS_MIN, FPS_MAX = 0.5, 30.0


def tui(arguments: Namespace, console: Console) -> int:
    """Show a node until the person quits; the node goes on."""
    if wrong := wrong_flags(arguments):
        console.error(wrong)
        return ExitCode.USAGE
    program = make_program(
        node_url(arguments),
        admin=_admin(arguments),
        screen=ScreenName(arguments.screen),
    )
    return trio.run(show, program, options(arguments, console))


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
        wanted = replace(options(self.arguments, self.console), signals=(), suspends=False)
        try:
            await show(program, wanted)
        except Exception as error:  # noqa: BLE001 - the node goes on without its picture
            # A mistake in a picture must not stop a validator: what it was, is said in full.
            from p2pnode.telemetry.logging import get_logger

            get_logger("tui").error("tui_crashed", exc_info=error)
            self.console.error("".join(traceback.format_exception(error)).rstrip())
            self.console.error(f"the TUI has failed; the node goes on without it at {url}")
            self.console.next(f"p2pnode tui --data {shlex.quote(str(folder))}")
            return False
        return True


def options(arguments: Namespace, console: Console) -> AppOptions:
    """Return how flags want the terminal used."""
    theme: str | None = arguments.theme
    stats: str | None = arguments.stats
    return AppOptions(
        frames_per_s=arguments.fps,
        background=None if theme is None else Background(theme),
        ascii=arguments.ascii,
        report=None if stats is None else partial(_write, Path(stats), console),
    )


def wrong_flags(arguments: Namespace) -> str:
    """Return what is wrong with --fps or --stats; empty for nothing."""
    if not FPS_MIN <= arguments.fps <= FPS_MAX:
        return f"--fps {arguments.fps:g}: {FPS_MIN:g} to {FPS_MAX:g} expected"
    if arguments.stats is not None:
        # Now, not when the program has ended and what it has counted would be lost.
        try:
            Path(arguments.stats).write_text("")
        except OSError as error:
            return f"--stats {arguments.stats}: {error.strerror}"
    return ""


def _write(path: Path, console: Console, statistics: AppStatistics) -> None:
    """Leave what showing a program has cost, as JSON."""
    found = {
        **asdict(statistics),
        "cpu": statistics.cpu,
        "frame_bytes": statistics.frame_bytes,
    }
    try:
        path.write_text(f"{json.dumps(found)}\n")
    except OSError as error:
        console.error(f"--stats {path}: {error.strerror}")


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
