"""`p2pnode run`: one node in this process, until SIGINT or SIGTERM."""

from __future__ import annotations

import os
import signal
from argparse import Namespace
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.notify import notify
from p2pnode.cli.passphrase import Asked
from p2pnode.cli.places import data_dir, genesis_advice, remove_endpoint, write_endpoint
from p2pnode.errors import ConfigError, UsageError
from p2pnode.keys.sealing import Passphrase
from p2pnode.node.config import FILE_NAME, NodeConfig, load_config

if TYPE_CHECKING:
    from p2pnode.cli.tui import Inside

STOP_S: Final = 5
"""A node that has not stopped after so long is ended by the system."""


class BadFlagError(UsageError):
    """A --set is not KEY=VALUE."""

    def __init__(self, text: str) -> None:
        super().__init__(f"--set {text!r}: KEY=VALUE expected, such as api.port=8080")


class NoFolderError(ConfigError):
    """There is no node in the folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"no {path}: make a node with `p2pnode init --data {path.parent}`")


class NoGenesisError(ConfigError):
    """The folder has no genesis document yet."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"no {path}: {genesis_advice(path)}")
        self.path = path


def run(arguments: Namespace, console: Console) -> int:
    """Run the node."""
    config = gather(arguments)
    if not config.genesis_path.exists():
        raise NoGenesisError(config.genesis_path)
    if not arguments.tui:
        return trio.run(_run, config, console, Asked(arguments))
    from p2pnode.cli.tui import Inside, wrong_flags
    from p2pnode.tui.program import INSTEAD
    from p2pnode.tui.terminal import own_device

    if wrong := wrong_flags(arguments):
        console.error(wrong)
        return ExitCode.USAGE
    # Before the node starts, which takes seconds.
    own_device(INSTEAD)
    # Two may not write on one terminal.
    config = replace(config, log_console=False)
    console.say(f"starting {config.name}")
    return trio.run(_run, config, console, Asked(arguments), Inside(arguments, config, console))


def gather(arguments: Namespace) -> NodeConfig:
    """Return the configuration that file, environment and flags make.

    Raises:
        ConfigError: They don't make one.
    """
    flags: dict[str, object] = {}
    named = arguments.config or os.environ.get("P2PNODE_CONFIG")
    path = Path(named) if named else data_dir(arguments) / FILE_NAME
    if not named and not path.exists():
        raise NoFolderError(path)
    if arguments.data:
        flags["data_dir"] = arguments.data
    for key, value in (
        ("api.port", arguments.api_port),
        ("network.listen", arguments.listen),
        ("network.bootstrap", arguments.bootstrap),
        ("network.lan", True if arguments.lan else None),
        ("log.level", arguments.log_level),
        ("record.inputs", True if arguments.record else None),
    ):
        if value is not None:
            flags[key] = value
    for text in arguments.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadFlagError(text)
        flags[key] = value
    return load_config(path, environment=os.environ, flags=flags)


async def _run(
    config: NodeConfig,
    console: Console,
    passphrase: Passphrase = None,
    tui: Inside | None = None,
) -> int:
    # It brings libp2p with it, which takes a second.
    from p2pnode.service import Running, run_node

    def ready(running: Running) -> None:
        write_endpoint(config.data_dir, running.rpc_url)
        notify("READY=1")
        if tui is not None:
            nursery.start_soon(show, running.rpc_url)
            return
        if console.json:
            console.document({"name": config.name, **asdict(running)})
        else:
            console.pairs([("rpc", running.rpc_url), ("p2p", running.p2p_address)])
        console.next(f"p2pnode status --node {running.rpc_url}")

    async def show(url: str) -> None:
        assert tui is not None
        if await tui.show(url):
            notify("STOPPING=1")
            _set_alarm()
            nursery.cancel_scope.cancel()

    code = ExitCode.OK
    # Without a terminal there is no TUI, and nobody who watches a node that was started to be seen.
    hangup = () if tui is None else (signal.SIGHUP,)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, *hangup) as signals:
        try:
            async with trio.open_nursery() as nursery:

                async def stop_when_told() -> None:
                    nonlocal code
                    code = await _told(signals)
                    if tui is None:
                        console.say("stopping")
                    notify("STOPPING=1")
                    nursery.cancel_scope.cancel()

                nursery.start_soon(stop_when_told)
                await run_node(config, on_ready=ready, passphrase=passphrase)
                nursery.cancel_scope.cancel()
        finally:
            remove_endpoint(config.data_dir)
            signal.alarm(0)
    return code


async def _told(signals: AsyncIterator[int]) -> ExitCode:
    """Wait for a signal, and make sure that the process ends after it."""
    async for number in signals:
        _set_alarm()
        return ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.OK
    raise AssertionError("the signals ended")


def _set_alarm() -> None:
    # Even if a worker thread hangs in a system call: the alarm's default ends the process.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(STOP_S)
