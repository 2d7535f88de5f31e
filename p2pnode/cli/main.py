"""The command `p2pnode`: reads arguments, runs one command, returns its exit code.

Starting is fast on purpose: every command imports what it needs when it runs, so that help and
mistakes cost a tenth of a second.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode, exit_codes_help
from p2pnode.cli.parser import Actions, Parser, add_version, natural, positive
from p2pnode.errors import P2PNodeError, UsageError

SHORT_HELP: Final = """\
p2pnode runs one node of a peer-to-peer edge network.

  p2pnode init --single && p2pnode run      a chain of your own, on this machine
  p2pnode status --node http://host:port    how a node is doing

commands: init · run · tui · status · peers · keys · tx · account · rpc · admin · store · log
          config · service · doctor · completion · version
more: p2pnode --help · p2pnode COMMAND --help; a network of test nodes: testnet
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
    try:
        parser = make_parser()
        start = argparse.Namespace(parser=parser)
        arguments, unknown = parser.parse_known_args(argv, start)
        if unknown:
            arguments.parser.unknown(unknown)
    except SystemExit as stop:
        return int(stop.code or 0)
    if arguments.command is None:
        console.data(SHORT_HELP.rstrip())
        return ExitCode.OK
    console = dataclasses.replace(console, quiet=arguments.quiet, json=arguments.json)
    module, _, function = arguments.target.partition(":")
    try:
        command = getattr(importlib.import_module(f"p2pnode.cli.{module}"), function)
        return int(command(arguments, console))
    except UsageError as error:
        console.error(str(error))
        return ExitCode.USAGE
    except P2PNodeError as error:
        console.error(str(error))
        return ExitCode.FAILED
    except PermissionError as error:
        console.error(f"{error.filename}: {error.strerror}; whose folder is it? try sudo")
        return ExitCode.FAILED
    except BaseExceptionGroup as group:
        return _group_failed(group, console)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK


def _group_failed(group: BaseExceptionGroup[BaseException], console: Console) -> int:
    """Report what tasks raised: expected errors as words, anything else with its traceback."""
    expected, rest = group.split(P2PNodeError)
    if rest is None:
        assert expected is not None
        for error in _leaves(expected):
            console.error(str(error))
        only_usage = expected.split(UsageError)[1] is None
        return ExitCode.USAGE if only_usage else ExitCode.FAILED
    if rest.split(KeyboardInterrupt)[1] is None:
        return ExitCode.INTERRUPTED
    traceback.print_exception(group, file=console.err)
    return ExitCode.NODE_CRASHED


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


# --- arguments ----------------------------------------------------------------------------------


def make_parser() -> Parser:
    """Return the parser of all commands."""
    shared = Parser(add_help=False)
    # Suppressed: a default in an action would undo the flag given before it.
    unset = argparse.SUPPRESS
    shared.add_argument("--json", action="store_true", default=unset, help="data as JSON")
    shared.add_argument("--quiet", action="store_true", default=unset, help="only data and errors")
    data = Parser(add_help=False)
    data.add_argument(
        "--data", metavar="DIR", help="the node's folder (P2PNODE_DATA_DIR, else the user's)"
    )
    node = Parser(add_help=False, parents=[data])
    node.add_argument(
        "--node", metavar="URL", help="a running node's API (P2PNODE_NODE, else the one in --data)"
    )
    secret = Parser(add_help=False)
    secret.add_argument(
        "--passphrase-file",
        metavar="FILE",
        help="passphrase of encrypted keys, its first line (P2PNODE_PASSPHRASE_FILE)",
    )
    parser = Parser(
        prog="p2pnode",
        description="One node of a peer-to-peer edge network.",
        epilog=exit_codes_help(),
    )
    # Actions of its own: `shared` would share its defaults with every command below.
    parser.add_argument("--json", action="store_true", help="data as JSON")
    parser.add_argument("--quiet", action="store_true", help="only data and errors")
    add_version(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name: str, target: str, help: str, *parents: Parser) -> Parser:
        made = commands.add_parser(
            name,
            help=help,
            description=help.capitalize() + ".",
            parents=[shared, *parents],
            epilog=exit_codes_help(),
        )
        made.set_defaults(target=target, parser=made)
        return made

    init = command(
        "init", "init:init", "make a node's folder: keys and configuration", data, secret
    )
    source = init.add_mutually_exclusive_group()
    source.add_argument("--single", action="store_true", help="begin a test chain of one validator")
    source.add_argument("--genesis", metavar="FILE", help="join the chain of this document")
    init.add_argument("--name", default="node", help="what people call the node")
    init.add_argument("--engine", default="simplex", help="consensus engine of a --single chain")
    init.add_argument("--api-port", type=int, default=0, metavar="PORT", help="0: a free one")

    run = command("run", "run:run", "run the node until it is told to stop", data, secret)
    run.add_argument("--config", metavar="FILE", help="default: p2pnode.toml in the folder")
    run.add_argument("--api-port", metavar="PORT", help="port of the API")
    run.add_argument("--listen", action="append", metavar="ADDRESS", help="multiaddress")
    run.add_argument("--lan", action="store_true", help="find peers on the local network")
    run.add_argument("--bootstrap", action="append", metavar="ADDRESS", help="a first peer")
    run.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    run.add_argument("--record", action="store_true", help="record the core's inputs")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting, such as api.port",
    )

    run.add_argument("--tui", action="store_true", help="show it; quitting stops the node")
    _add_screen(run)

    tui = command("tui", "tui:tui", "show a running node on the whole terminal", node)
    _add_screen(tui)

    status = command("status", "status:status", "say how a node is doing", node)
    status.add_argument("--watch", action="store_true", help="a line every --interval")
    status.add_argument("--interval", default="1s", metavar="TIME", help="such as 250ms or 5s")

    command("peers", "peers:peers", "show the connected and the banned peers, and why", node)
    keys = _nested(command("keys", "keys:help", "make, show, encrypt and back up key files"))
    _add_keys(keys, [shared, secret])
    tx = _nested(command("tx", "tx:help", "send and follow transactions"))
    _add_tx(tx, [shared, node], secret)

    account = command("account", "tx:account", "show an account's nonce and balances", node)
    account.add_argument("address", metavar="ADDR", help="address in hex, or a key file")

    rpc = command("rpc", "rpc:rpc", "call a method of a node's API", node)
    rpc.add_argument("method", metavar="METHOD")
    # Without a default argparse calls it required.
    rpc.add_argument(
        "params", metavar="JSON", nargs="*", default=[], help="parameters, or one list or object"
    )

    admin = _nested(command("admin", "admin:help", "command the node that runs in a folder"))
    for name, help in (
        ("disconnect", "break the connection to a peer"),
        ("ban", "disconnect a peer and refuse it for a while"),
    ):
        made = _leaf(admin, name, f"admin:{name}", help, [shared, data])
        made.add_argument("peer", metavar="PEER", help="its id, as `p2pnode peers` shows")
    level = _leaf(admin, "log-level", "admin:log_level", "log from a level on", [shared, data])
    level.add_argument("level", metavar="LEVEL", help="debug, info, warning or error")
    _leaf(admin, "stop", "admin:stop", "stop the node, as SIGTERM does", [shared, data])

    store = _nested(command("store", "maintenance:help", "export a node's store"))
    export = _leaf(
        store, "export", "maintenance:export", "write all rows to a file", [shared, data]
    )
    export.add_argument("--output", metavar="FILE", required=True, help="- for stdout")
    import_ = _leaf(store, "import", "maintenance:import_", "make a store of it", [shared, data])
    import_.add_argument("input", metavar="FILE", help="what `store export` wrote")

    log = _nested(command("log", "maintenance:help", "look after the log of signatures"))
    repair = _leaf(log, "repair", "maintenance:repair", "keep what is whole", [shared, data])
    repair.add_argument("path", metavar="FILE", nargs="?", help="default: the one in --data")

    trust = _leaf(
        log, "trust", "maintenance:trust", "say that a moved folder is the newest", [shared, data]
    )
    trust.add_argument("--yes", action="store_true", help="nothing newer ever signed")

    service = _nested(command("service", "service:help", "run the node as a systemd service"))
    for name, help in (
        ("install", "make the node a service, or bring its unit up to date"),
        ("uninstall", "stop the service and remove its unit"),
        ("status", "say whether the service runs"),
    ):
        parents = [shared, data, secret] if name == "install" else [shared]
        made = _leaf(service, name, f"service:{name}", help, parents)
        made.add_argument("--print", action="store_true", help="print it, and change nothing")
        if name == "install":
            made.add_argument("--user", default="p2pnode", help="who runs it; made if missing")

    doctor = command(
        "doctor", "doctor:doctor", "check machine, folder, keys, ports, peers", data, secret
    )
    doctor.add_argument(
        "--network", action="store_true", help="say why nothing is final, from running nodes"
    )
    doctor.add_argument(
        "--node",
        dest="nodes",
        action="append",
        default=[],
        metavar="URL",
        help="a node's API to ask, with --network; may be given again for others",
    )
    config = _nested(command("config", "configuration:help", "show settings and their origin"))
    show = _leaf(
        config, "show", "configuration:show", "each setting, and who set it", [shared, data]
    )
    show.add_argument("--config", metavar="FILE", help="default: p2pnode.toml in the folder")
    show.add_argument("--changed", action="store_true", help="only what is no default")
    _leaf(config, "sample", "configuration:sample", "a file with every setting explained", [shared])

    script = command("completion", "completion:completion", "print a shell's completion script")
    script.add_argument("shell", choices=("bash", "zsh", "fish"))

    command("version", "maintenance:version", "show the versions of program and formats")
    return parser


def _nested(parser: Parser) -> Actions:
    return parser.add_subparsers(dest="subcommand", metavar="ACTION", parser_class=Parser)


def _leaf(
    group: Actions,
    name: str,
    target: str,
    help: str,
    parents: list[Parser],
) -> Parser:
    made = group.add_parser(name, help=help, description=help.capitalize() + ".", parents=parents)
    made.set_defaults(target=target, parser=made)
    return made


def _add_screen(parser: Parser) -> None:
    parser.add_argument(
        "--screen",
        type=int,
        choices=range(1, 9),
        default=1,
        metavar="N",
        help="shown first, 1 to 8",
    )
    parser.add_argument(
        "--fps", type=float, default=4.0, metavar="N", help="most frames a second, 0.5 to 30"
    )
    parser.add_argument(
        "--ascii", action="store_true", default=None, help="no characters beyond ASCII"
    )
    parser.add_argument(
        "--theme", choices=("dark", "light", "none"), help="default: what the terminal says"
    )
    parser.add_argument(
        "--stats", metavar="FILE", help="at the end, write what showing it has cost, as JSON"
    )


def _add_keys(group: Actions, parents: list[Parser]) -> None:
    generate = _leaf(group, "generate", "keys:generate", "make a new key file", parents)
    generate.add_argument("file", metavar="FILE", help="must not exist yet")
    generate.add_argument("--purpose", choices=("account", "node", "validator"), default="account")
    generate.add_argument("--encrypt", action="store_true", help="ask for a passphrase")
    show = _leaf(group, "show", "keys:show", "show the public half of a key file", parents)
    show.add_argument("file", metavar="FILE")
    network = _leaf(group, "network", "keys:network", "make a private network's key", parents)
    network.add_argument("file", metavar="FILE", help="must not exist yet; the same on every node")
    encrypt = _leaf(group, "encrypt", "keys:encrypt", "encrypt a key file in its place", parents)
    encrypt.add_argument("file", metavar="FILE")
    export = _leaf(group, "export", "keys:export", "write an encrypted copy, a backup", parents)
    export.add_argument("file", metavar="FILE")
    export.add_argument("--output", metavar="FILE", required=True, help="- for stdout")
    for made in (encrypt, export):
        made.add_argument("--new-passphrase-file", metavar="FILE", help="of what is written")
    import_ = _leaf(group, "import", "keys:import_", "make a key file of a backup", parents)
    import_.add_argument("input", metavar="BACKUP", help="what `keys export` wrote")
    import_.add_argument("file", metavar="FILE", help="must not exist yet")


def _add_tx(group: Actions, parents: list[Parser], secret: Parser) -> None:
    send = _leaf(group, "send", "tx:send", "sign a transfer and submit it", [*parents, secret])
    send.add_argument(
        "--from", dest="sender", metavar="KEYFILE", required=True, help="the sender's key file"
    )
    send.add_argument("--to", metavar="ADDR", required=True, help="address in hex, or a key file")
    send.add_argument(
        "--asset", type=natural, default=0, metavar="N", help="number of the asset; 0 pays fees"
    )
    send.add_argument(
        "--amount", type=positive, required=True, metavar="N", help="how much, from 1 on"
    )
    send.add_argument(
        "--fee-limit", type=natural, metavar="N", help="most it may cost; default: what it costs"
    )
    send.add_argument("--nonce", type=natural, metavar="N", help="default: the account's next")
    send.add_argument(
        "--valid-for",
        type=positive,
        default=1000,
        metavar="HEIGHTS",
        help="after so many heights more it can't come into a block any more; default: 1000",
    )
    send.add_argument(
        "--wait",
        action="store_true",
        help="wait until it is executed (exit code 0), fails, or --timeout is over (1)",
    )
    send.add_argument(
        "--timeout", default="30s", metavar="TIME", help="longest --wait; default: 30s"
    )
    show = _leaf(group, "show", "tx:show", "show how far a transaction has come", parents)
    show.add_argument("id", metavar="ID", help="hex, 32 bytes")


if __name__ == "__main__":
    sys.exit(main())
