"""The command `testnet`: reads arguments, runs one command, returns its exit code.

Commands import what they need when they run, so that help and mistakes cost a tenth of a second.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Final, TypeAlias

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode, exit_codes_help
from p2pnode.cli.parser import Actions, Parser, add_version, natural
from p2pnode.errors import ConfigError, P2PNodeError
from p2pnode.node.units import parse_duration, parse_size

SHORT_HELP: Final = """\
testnet runs a network of real nodes on this machine.

  testnet up                                  4 validators, until Ctrl-C
  testnet up --for 30s --load 100 --json      a run of 30 s with a load, and its summary

commands: up · down · status · explain · logs · load · fund · kill · pause · resume · restart · wait
          cut · heal · link · links · tui · sim
more: testnet --help · testnet COMMAND --help
"""


def main(argv: Sequence[str] | None = None, console: Console | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; the process's own by default.
        console: Where to print.

    Returns:
        The exit code.
    """
    console = console or Console()
    given = list(sys.argv[1:] if argv is None else argv)
    flags = list(takewhile(("--json", "--quiet").__contains__, given))
    if given[len(flags) :][:1] == ["sim"]:
        given = ["sim", *given[len(flags) + 1 :], *flags]
        # The simulator reads its own arguments.
        return int(importlib.import_module("testnet.sim.command").main(given[1:]))
    try:
        parser = make_parser()
        # Defaults stand here, once: as defaults of flags they would undo what came before.
        start = argparse.Namespace(quiet=False, json=False, parser=parser)
        arguments, unknown = parser.parse_known_args(given, start)
        if unknown:
            arguments.parser.unknown(unknown)
    except SystemExit as stop:
        return int(stop.code or 0)
    if arguments.command is None:
        console.data(SHORT_HELP.rstrip())
        return ExitCode.OK
    console = dataclasses.replace(console, quiet=arguments.quiet, json=arguments.json)
    arguments.argv = given
    module, _, function = arguments.target.partition(":")
    try:
        command = getattr(importlib.import_module(f"testnet.cli.{module}"), function)
        return int(command(arguments, console))
    except ConfigError as error:
        console.error(str(error))
        return ExitCode.USAGE
    except P2PNodeError as error:
        from testnet.cli.request import RequestFailedError

        console.error(str(error))
        return error.code if isinstance(error, RequestFailedError) else ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK


# --- arguments ----------------------------------------------------------------------------------


def make_parser() -> Parser:
    """Return the parser of all commands."""
    shared = Parser(add_help=False)
    # Suppressed: a default in an action would undo the flag given before it.
    unset = argparse.SUPPRESS
    shared.add_argument("--json", action="store_true", default=unset, help="data as JSON")
    shared.add_argument("--quiet", action="store_true", default=unset, help="only data and errors")
    name = Parser(add_help=False)
    name.add_argument("--name", help="the testnet; the latest by default")
    parser = Parser(
        prog="testnet",
        description="A network of real nodes on this machine.",
        epilog=exit_codes_help(),
        parents=[shared],
    )
    add_version(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    _add_up(commands, shared)
    _add_load(commands, [shared, name])
    _add_nodes(commands, [shared, name])
    _add_links(commands, [shared, name])
    _add_others(commands, [shared, name])
    _add_tui(commands, [shared, name])
    script = _add(
        commands, "completion", "completion:completion", "print a shell's script", [shared]
    )
    script.add_argument("shell", choices=("bash", "zsh", "fish"))
    commands.add_parser(
        "sim", help="the same nodes in one process, in virtual time", add_help=False
    )
    return parser


def _add(commands: Actions, name: str, target: str, help: str, parents: list[Parser]) -> Parser:
    parser = commands.add_parser(
        name, help=help, description=help, parents=parents, epilog=exit_codes_help()
    )
    parser.set_defaults(target=target, parser=parser)
    return parser


def _add_up(commands: Actions, shared: Parser) -> None:
    up = _add(commands, "up", "lifetime:up", "start a testnet and watch it", [shared])
    up.add_argument("--name", help="its name; made from the seed by default")
    up.add_argument("--seed", type=natural, help="decides keys and load; random by default")
    up.add_argument("--validators", type=natural, default=4, metavar="N")
    up.add_argument("--engine", default="simplex", help="consensus engine (simplex)")
    up.add_argument("--scheme", default="inline", help="availability scheme (inline)")
    up.add_argument("--shards", type=natural, default=1, metavar="N", help="not built yet above 1")
    up.add_argument("--light", type=natural, default=0, metavar="N", help="not built yet above 0")
    up.add_argument("--committee", type=natural, metavar="N", help="executors a shard")
    up.add_argument("--for", dest="for_s", type=_duration, metavar="30s", help="run so long")
    up.add_argument("--load", type=_rate, metavar="R", help="transactions a second")
    up.add_argument("--trace", metavar="FILE", help="recorded transactions to replay")
    up.add_argument("--detach", action="store_true", help="leave it running and return")
    up.add_argument(
        "--until-ctrl-c",
        action="store_true",
        help="Ctrl-C is the planned end: exit code 0, not 130; not with --for",
    )
    up.add_argument("--block-interval", type=_duration, metavar="200ms", help="pace of blocks")
    up.add_argument("--delta", type=_duration, metavar="250ms", help="assumed network delay")
    up.add_argument(
        "--parameter",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=N",
        help="any number of genesis, such as epoch_blocks=20",
    )
    up.add_argument("--profile", action="store_true", help="sample where CPU time goes")
    up.add_argument("--ready-fd", type=natural, help=argparse.SUPPRESS)


def _add_load(commands: Actions, parents: list[Parser]) -> None:
    load = _add(commands, "load", "load:load", "submit transactions at a rate", parents)
    load.add_argument("--rate", type=_rate, metavar="R", help="transactions a second")
    load.add_argument("--trace", metavar="FILE", help="recorded transactions to replay")
    load.add_argument(
        "--for", dest="for_s", type=_duration, default=30.0, metavar="30s", help="submit so long"
    )
    load.add_argument("--stop", action="store_true", help="end the load that runs")
    load.add_argument("--detach", action="store_true", help="leave it running and return")
    fund = _add(commands, "fund", "load:fund", "send an account money from a faucet", parents)
    fund.add_argument("address", help="the account: 32 bytes in hex")
    fund.add_argument("--amount", type=natural, default=1000)
    fund.add_argument("--asset", type=natural, default=0)


def _add_nodes(commands: Actions, parents: list[Parser]) -> None:
    for name, help in (
        ("kill", "end a node's process at once, as a crash would"),
        ("pause", "stop a node's process where it stands"),
        ("resume", "let a paused node go on"),
        ("restart", "start a node again on its files and ports"),
    ):
        command = _add(commands, name, "nodes:on_node", help, parents)
        command.add_argument("node", nargs="+", metavar="NODE", help="such as node2, or 2")
        _add_dry_run(command)
        if name == "kill":
            command.add_argument(
                "--signal", type=_signal, default=9, help="such as TERM; KILL by default"
            )


def _add_links(commands: Actions, parents: list[Parser]) -> None:
    cut = _add(commands, "cut", "links:cut", "cut links; with one node, all of its links", parents)
    cut.add_argument("node", nargs="*", metavar="NODE", help="one, or the two ends of a link")
    cut.add_argument("--one-way", action="store_true", help="only from the first to the second")
    cut.add_argument("--halves", metavar="NODE,…", help="these nodes from all others")
    _add_dry_run(cut)
    heal = _add(commands, "heal", "links:heal", "undo cuts; the last one by default", parents)
    heal.add_argument("node", nargs="*", metavar="NODE", help="one, or the two ends of a link")
    heal.add_argument("--one-way", action="store_true", help="only from the first to the second")
    heal.add_argument("--all", action="store_true", help="every cut")
    heal.add_argument("--last", action="store_true", help="the last cut (the default)")
    _add_dry_run(heal)
    link = _add(commands, "link", "links:link", "let links be slow or lossy", parents)
    link.add_argument("node", nargs="*", metavar="NODE", help="one, or the two ends of a link")
    link.add_argument("--one-way", action="store_true", help="only from the first to the second")
    link.add_argument("--all", action="store_true", help="every link")
    link.add_argument("--clear", action="store_true", help="as it is without us")
    link.add_argument(
        "--profile",
        metavar="NAME",
        help="lan, wifi-good, wifi-bad, lte-edge, satellite, absurd or aws:<from>-<to>",
    )
    link.add_argument("--latency", type=_duration, metavar="200ms", help="one way")
    link.add_argument("--jitter", type=_duration, metavar="20ms", help="more or less than that")
    link.add_argument("--loss", type=_share, metavar="1%", help="of the segments sent")
    link.add_argument("--burst", type=_burst, metavar="N", help="losses in runs of so many")
    link.add_argument("--rate", dest="rate", type=_size, metavar="1MiB", help="bytes a second")
    _add(commands, "links", "links:links", "what every link is like", parents)


def _add_dry_run(parser: Parser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="say the effect on the quorum, and do nothing"
    )


def _add_others(commands: Actions, parents: list[Parser]) -> None:
    down = _add(commands, "down", "lifetime:down", "end a testnet and remove its files", parents)
    down.add_argument("--all", action="store_true", help="every testnet in this folder")
    down.add_argument("--keep", action="store_true", help="keep the files")
    status = _add(commands, "status", "status:status", "how a testnet is doing", parents)
    status.description = (
        "How a testnet is doing. height: the last final block; exec: executed up to it; cert: up to"
        " it a quorum of executors signed the same results, which takes a later block; view: the"
        " attempt that is under way; pool: transactions that wait."
    )
    status.add_argument("--watch", action="store_true", help="a line every --interval")
    status.add_argument("--interval", type=_duration, default=2.0, metavar="2s")
    _add(commands, "explain", "status:explain", "why nothing is final, in one sentence", parents)
    logs = _add(commands, "logs", "logs:logs", "what the nodes log", parents)
    logs.add_argument("--node", action="append", default=[], help="only this node")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    logs.add_argument("-n", "--lines", type=natural, default=20, help="last lines of each node")
    wait = _add(commands, "wait", "status:wait", "wait until something holds", parents)
    wait.add_argument("--height", type=natural, help="all nodes have this height")
    wait.add_argument("--ready", action="store_true", help="all nodes are ready (the default)")
    wait.add_argument("--timeout", type=_duration, default=60.0, metavar="60s")


def _add_tui(commands: Actions, parents: list[Parser]) -> None:
    tui = _add(commands, "tui", "tui:tui", "watch and drive a testnet on one screen", parents)
    tui.add_argument("--screen", type=int, choices=range(1, 6), default=1, help="shown first")
    tui.add_argument("--fps", type=float, default=4.0, metavar="N", help="most frames a second")
    tui.add_argument("--theme", choices=("dark", "light", "none"), help="found out by default")
    tui.add_argument("--ascii", action="store_true", default=None, help="no other characters")
    tui.add_argument("--stats", metavar="FILE", help="at the end, write what it has cost, as JSON")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate in transactions a second")
    return rate


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _share(text: str) -> float:
    number = text.removesuffix("%")
    try:
        share = float(number) / (100 if number != text else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share such as 1% or 0.01")
    return share


def _signal(text: str) -> int:
    if text.isdigit():
        return int(text)
    try:
        return signal.Signals[f"SIG{text.upper().removeprefix('SIG')}"]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is no signal, such as TERM or 15") from None


def _burst(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def _pair(text: str) -> tuple[str, int]:
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=N")
    return name, natural(value)


Arguments: TypeAlias = Any
"""What the parser gives: an argparse.Namespace with the names above."""
