"""`p2pnode store`, `log` and `version`: what a node leaves on disk, and in what form."""

from __future__ import annotations

import platform
import sys
from argparse import Namespace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import BinaryIO, Final

from p2pnode import __version__
from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.parser import VERSION
from p2pnode.cli.places import data_dir
from p2pnode.errors import ConfigError, P2PNodeError

STORE: Final = "store"
"""Folder of the store, under the node's."""

LOG: Final = "signed.wal"
"""The log of signatures, under the node's folder."""


def help(arguments: Namespace, console: Console) -> int:
    """Say what can be done."""
    console.data(arguments.parser.format_help().rstrip())
    return ExitCode.USAGE


def export(arguments: Namespace, console: Console) -> int:
    """Write all rows of a store to a file."""
    from p2pnode.store import transfer

    store = data_dir(arguments) / STORE
    if arguments.output == "-":
        done = transfer.export(store, sys.stdout.buffer)
    else:
        path = Path(arguments.output).expanduser()
        with _open(path, "xb") as file:
            try:
                done = transfer.export(store, file)
            except P2PNodeError:
                # Half an export would be in the way of the next one.
                path.unlink()
                raise
        if console.json:
            shown = {"file": str(path), "rows": done.rows_count, "format": done.format_number}
            console.document(shown)
        else:
            console.data(str(path))
    console.say(f"{done.rows_count} rows of format {done.format_number}")
    console.next(f"p2pnode store import {arguments.output} --data DIR")
    return ExitCode.OK


def import_(arguments: Namespace, console: Console) -> int:
    """Make a store of what `export` wrote."""
    from p2pnode.store import transfer

    folder = data_dir(arguments)
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(arguments.input).expanduser()
    with _open(path, "rb") as file:
        done = transfer.import_(folder / STORE, file)
    if console.json:
        console.document({"rows": done.rows_count, "format": done.format_number})
    else:
        console.data(str(done.rows_count))
    console.say(f"rows of format {done.format_number} are in {folder / STORE}")
    console.next(f"p2pnode run --data {folder}")
    return ExitCode.OK


def repair(arguments: Namespace, console: Console) -> int:
    """Keep what is whole of a damaged log."""
    from p2pnode.keys.records import OBSERVE_MARK
    from p2pnode.store import wal

    path = Path(arguments.path).expanduser() if arguments.path else data_dir(arguments) / LOG
    report = wal.repair(path, marks=[OBSERVE_MARK])
    if console.json:
        console.document(
            {
                "path": str(path),
                "damage": None if report.damage is None else str(report.damage),
                "records": report.records_count,
                "copy": None if report.copy is None else str(report.copy),
            }
        )
    else:
        console.data(f"{report.records_count} records in {path}")
    if report.damage is None:
        console.say("the log is good: nothing was changed")
    else:
        console.say(f"it was damaged: {report.damage}")
        console.say(f"the damaged file is kept as {report.copy}")
        console.say("the node will sign nothing until the next epoch: it may have forgotten votes")
    console.next(f"p2pnode run --data {path.parent}")
    return ExitCode.OK


def trust(arguments: Namespace, console: Console) -> int:
    """Declare that a folder is the newest and only copy of its node."""
    from p2pnode.keys.place import Place
    from p2pnode.store.lock import FileLock

    folder = data_dir(arguments)
    path = folder / LOG
    if not path.is_file():
        raise ConfigError(f"no log {path}: there is nothing to trust")
    if not arguments.yes:
        console.error(
            "if this key has signed anything after this folder was copied, it will sign twice and"
            " be punished; only when the folder was moved, and nothing else ran since: --yes"
        )
        return ExitCode.USAGE
    store = folder / STORE
    lock = FileLock(store / "lock") if store.is_dir() else None
    try:
        Place(folder).trust()
    finally:
        if lock is not None:
            lock.release()
    if console.json:
        console.document({"folder": str(folder), "trusted": True})
    else:
        console.data(str(folder))
    console.next(f"p2pnode run --data {folder}")
    return ExitCode.OK


def version(arguments: Namespace, console: Console) -> int:
    """Show the versions of the program and of what it reads and writes."""
    from p2pnode.node.config import CONFIG_FORMAT
    from p2pnode.store.tables import FORMAT
    from p2pnode.store.wal_format import VERSION as LOG_FORMAT
    from p2pnode.telemetry.recorder import VERSION as RECORDING
    from p2pnode.types.batch import VERSION as BATCH
    from p2pnode.types.genesis import VERSION as GENESIS
    from p2pnode.types.payload import VERSION as PAYLOAD
    from p2pnode.types.transaction import VERSION as TRANSACTION

    versions: dict[str, object] = {
        "p2pnode": __version__,
        "wire_transaction": TRANSACTION,
        "wire_genesis": GENESIS,
        "wire_batch": BATCH,
        "wire_payload": PAYLOAD,
        "store_format": FORMAT,
        "log_format": LOG_FORMAT,
        "config_format": CONFIG_FORMAT,
        "recording_format": RECORDING,
        "python": platform.python_version(),
        # Asked of the installed packages: importing libp2p would take a second.
        "libp2p": _package("libp2p"),
        "trio": _package("trio"),
    }
    if console.json:
        console.document(versions)
    else:
        # As --version says it.
        console.data(VERSION)
        console.pairs([row for row in versions.items() if row[0] != "p2pnode"])
    console.next("p2pnode init --single")
    return ExitCode.OK


def _package(name: str) -> str:
    try:
        return installed_version(name)
    except PackageNotFoundError:
        return "not installed"


def _open(path: Path, mode: str) -> BinaryIO:
    try:
        return path.open(mode)  # type: ignore[return-value]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
