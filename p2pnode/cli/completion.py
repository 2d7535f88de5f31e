"""`p2pnode completion`: scripts for shells, made from the table of commands itself.

source <(p2pnode completion bash)
p2pnode completion zsh > ~/.zfunc/_p2pnode
p2pnode completion fish > ~/.config/fish/completions/p2pnode.fish
"""

from __future__ import annotations

import argparse
import shlex
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.main import make_parser

FILE_METAVARS: Final = frozenset(("FILE", "DIR", "KEYFILE", "BACKUP", "ADDR"))
"""Arguments of which the shell completes the names of files."""


@dataclass(frozen=True, slots=True)
class Flag:
    """An option of a command."""

    names: tuple[str, ...]
    takes_value: bool
    choices: tuple[str, ...]
    files: bool
    """Its value is the name of a file."""
    help: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or a group of them."""

    path: tuple[str, ...]
    """Words up to it, without the program's name."""
    help: str
    flags: tuple[Flag, ...]
    commands: tuple[str, ...]
    """Names of what comes next."""
    files: bool
    """It takes names of files, or anything else that can't be listed."""


def completion(arguments: Namespace, console: Console) -> int:
    """Print the script for a shell."""
    console.data(script(arguments.shell, make_parser()))
    return ExitCode.OK


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return a shell's script for the program of a parser.

    Args:
        shell: One of `SCRIPTS`.
        parser: With all commands; its `prog` is the program's name.
    """
    return SCRIPTS[shell](parser.prog, list(walk(parser))).rstrip()


def walk(
    parser: argparse.ArgumentParser, path: tuple[str, ...] = (), help: str = ""
) -> Iterator[Command]:
    """Yield the commands of a parser, groups before what is in them."""
    flags: list[Flag] = []
    below: dict[str, argparse.ArgumentParser] = {}
    helps: dict[str, str] = {}
    files = False
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = dict(action.choices)
            helps = {a.dest: a.help or "" for a in action._choices_actions}
        elif action.option_strings:
            flags.append(
                Flag(
                    tuple(action.option_strings),
                    action.nargs != 0,
                    tuple(map(str, action.choices or ())),
                    action.metavar in FILE_METAVARS,
                    action.help or "",
                )
            )
        else:
            files = files or action.metavar in FILE_METAVARS
    yield Command(path, help, tuple(flags), tuple(below), files)
    for name, inner in below.items():
        yield from walk(inner, (*path, name), helps[name])


def _words(command: Command) -> list[str]:
    return [*command.commands, *(name for flag in command.flags for name in flag.names)]


def _bash(program: str, tree: list[Command]) -> str:
    words = "\n".join(
        f"        {shlex.quote(' '.join(c.path))}) words={shlex.quote(' '.join(_words(c)))}"
        f" files={int(c.files)} ;;"
        for c in tree
    )
    values = "\n".join(
        f"        {shlex.quote(' '.join((*c.path, name)))})"
        f" words={shlex.quote(' '.join(flag.choices))} files={int(flag.files)} value=1 ;;"
        for c in tree
        for flag in c.flags
        if flag.takes_value
        for name in flag.names
    )
    groups = "|".join(shlex.quote(" ".join(c.path)) for c in tree if c.path)
    return f"""\
# bash completion of {program}; made by `{program} completion bash`
_{program}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local command="" words="" files=0 value=0 word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "${{command:+$command }}$word" in
        {groups}) command="${{command:+$command }}$word" ;;
        esac
    done
    case "${{command:+$command }}$previous" in
{values}
        *) ;;
    esac
    if [ "$value" = 0 ]; then
        case "$command" in
{words}
        esac
    fi
    COMPREPLY=()
    [ -n "$words" ] && COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [ "$files" = 1 ]; then
        local IFS=$'\\n'
        COMPREPLY+=($(compgen -f -- "$current"))
    fi
}}
complete -o filenames -F _{program} {program}
"""


def _zsh(program: str, tree: list[Command]) -> str:
    cases = []
    for command in tree:
        lines = [
            _zsh_item(name, _help_of(tree, (*command.path, name))) for name in command.commands
        ]
        lines += [_zsh_item(name, flag.help) for flag in command.flags for name in flag.names]
        cases.append(
            f"    {shlex.quote(' '.join(command.path))})\n"
            f"        found=({' '.join(lines)}); files={int(command.files)} ;;"
        )
    groups = "|".join(shlex.quote(" ".join(c.path)) for c in tree if c.path)
    inner = "\n".join(cases)
    return f"""\
#compdef {program}
# zsh completion of {program}; made by `{program} completion zsh`
_{program}() {{
    local command="" word files=0
    local -a found
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case "${{command:+$command }}$word" in
        {groups}) command="${{command:+$command }}$word" ;;
        esac
    done
    case "$command" in
{inner}
    esac
    _describe {program} found
    (( files )) && _files
}}
compdef _{program} {program}
"""


def _zsh_item(name: str, help: str) -> str:
    return shlex.quote(f"{name.replace(':', chr(92) + ':')}:{help}")


def _fish(program: str, tree: list[Command]) -> str:
    lines = [
        f"# fish completion of {program}; made by `{program} completion fish`",
        f"function __{program}_at",
        "    set -l found",
        "    for word in (commandline -opc)[2..-1]",
        '        string match -q -- "-*" $word; or set -a found $word',
        "    end",
        "    set -l wanted (count $argv)",
        "    test $wanted -eq 0; and test (count $found) -eq 0; and return 0",
        '    test $wanted -gt 0; and test "$found[1..$wanted]" = "$argv"',
        "end",
        f"complete -c {program} -f",
    ]
    for command in tree:
        at = f"-n {shlex.quote(' '.join((f'__{program}_at', *command.path)))}"
        for name in command.commands:
            help = shlex.quote(_help_of(tree, (*command.path, name)))
            lines.append(f"complete -c {program} {at} -a {name} -d {help}")
        for flag in command.flags:
            parts = [f"complete -c {program} {at}"]
            parts += [f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in flag.names]
            if flag.takes_value:
                parts.append("-r")
            if flag.choices:
                parts.append(f"-a {shlex.quote(' '.join(flag.choices))}")
            elif flag.files:
                parts.append("-F")
            parts.append(f"-d {shlex.quote(flag.help)}")
            lines.append(" ".join(parts))
        if command.files:
            lines.append(f"complete -c {program} {at} -F")
    return "\n".join(lines) + "\n"


def _help_of(tree: list[Command], path: tuple[str, ...]) -> str:
    return next(command.help for command in tree if command.path == path)


SCRIPTS: Final[Mapping[str, Callable[[str, list[Command]], str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
