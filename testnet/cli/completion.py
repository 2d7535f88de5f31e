"""`testnet completion`."""

from __future__ import annotations

from typing import Any

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode


def completion(arguments: Any, console: Console) -> int:
    """Print the script that makes a shell complete `testnet`."""
    from p2pnode.cli.completion import script
    from testnet.cli.main import make_parser

    console.data(script(arguments.shell, make_parser()))
    return ExitCode.OK
