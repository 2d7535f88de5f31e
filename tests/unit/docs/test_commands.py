"""What the documentation shows can be typed."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from p2pnode.cli.exit_codes import exit_codes_help
from p2pnode.cli.main import make_parser as node_parser
from testnet.cli import main as testnet_cli
from testnet.sim.command import make_parser as sim_parser
from tests.unit.docs.pages import DOCS, ROOT, console_commands, pages, shown_commands


def complaint(command: str) -> str:
    """Return what the parser has against a command, or nothing."""
    words = shlex.split(re.split(r"\s[|;&>]+\s", command)[0], comments=True)
    program, arguments = words[0], words[1:]
    parser: argparse.ArgumentParser = node_parser() if program == "p2pnode" else testnet_cli.make_parser()
    if program == "testnet" and arguments[0] == "sim":
        parser, arguments = sim_parser(), arguments[1:]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            _, unknown = parser.parse_known_args(arguments)
    except SystemExit as stop:
        return said.getvalue() if stop.code else ""
    return f"unknown: {unknown}" if unknown else ""


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_is_understood(page: Path) -> None:
    wrong = {command: said for command in shown_commands(page) if (said := complaint(command))}
    assert not wrong


def test_a_command_with_a_mistake_is_noticed() -> None:
    assert complaint("testnet up --validatros 4")
    assert complaint("p2pnode tx send --to 00")
    assert complaint("testnet sim --sede 7")
    assert not complaint("testnet up --validators 4 | head  # four of them")


def test_every_exit_code_has_its_row_and_its_meaning() -> None:
    page = (DOCS / "exit-codes.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([0-9]+) \| ([^|]+) \|", page, re.MULTILINE))
    assert " · ".join(f"{code} {meaning}" for code, meaning in rows.items()) in exit_codes_help()


def test_the_tutorial_shows_commands_on_every_page() -> None:
    for page in sorted((DOCS / "tutorial").glob("*.md")):
        assert list(console_commands(page)), page.name
