"""The parser of `p2pnode` and `testnet`: mistakes in a line or two, and the nearest name."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn, TypeAlias

from p2pnode import __version__
from p2pnode.cli.exit_codes import ExitCode

VERSION = f"p2pnode {__version__}"
"""What --version prints; `p2pnode version` begins with it."""


class Parser(argparse.ArgumentParser):
    """Says mistakes without the usage's wall of text."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        self.exit(ExitCode.USAGE, f"error: {message}\nmore: {self.prog} --help\n")

    def unknown(self, arguments: Sequence[str]) -> NoReturn:
        """Refuse arguments that no flag takes, and name the flag that may be meant."""
        first = arguments[0].partition("=")[0]
        hint = did_you_mean(first, self._option_string_actions)
        self.error(f"unrecognized arguments: {' '.join(arguments)}{hint}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # argparse would list every command there is, which hides the one that was meant.
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            hint = did_you_mean(value, action.choices)
            raise argparse.ArgumentError(None, f"no command {value!r}{hint}")
        super()._check_value(action, value)


Actions: TypeAlias = "argparse._SubParsersAction[Parser]"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that names what is nearest; empty where nothing is near."""
    names = list(known)
    # `gen` is less like `generate` than what a typing error leaves, and plain all the same.
    near = get_close_matches(name, names, n=1) or [n for n in names if name and n.startswith(name)]
    return f"; did you mean {near[0]}?" if near else ""


def add_version(parser: Parser) -> None:
    """Let a program know --version."""
    parser.add_argument("--version", action="version", version=VERSION, help="show the version")


def natural(text: str) -> int:
    """Return the integer from 0 on that an argument means."""
    return _integer(text, 0)


def positive(text: str) -> int:
    """Return the integer from 1 on that an argument means."""
    return _integer(text, 1)


def _integer(text: str, least: int) -> int:
    # 39 digits: int() takes long for a million of them.
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 39 else -1
    if not least <= value < 1 << 128:
        raise argparse.ArgumentTypeError(f"{text!r}: an integer from {least} to 2^128-1 expected")
    return value
