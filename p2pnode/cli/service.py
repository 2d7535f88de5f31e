"""`p2pnode service`: the node as a service of systemd."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import p2pnode
from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.maintenance import LOG
from p2pnode.cli.passphrase import passphrase_file
from p2pnode.cli.systemd import UnitOptions, in_home, render
from p2pnode.errors import ConfigError
from p2pnode.keys.place import Place
from p2pnode.node.config import FILE_NAME

UNIT_FOLDER: Final = Path("/etc/systemd/system")
UNIT: Final = "p2pnode.service"
DATA: Final = Path("/var/lib/p2pnode")
"""The node's folder, unless another is named."""

RUNNING: Final = Path("/run/systemd/system")
"""Is there while systemd runs the machine."""

TIMEOUT_S: Final = 120.0


class NotRootError(ConfigError):
    """Only root may change what the machine runs."""

    def __init__(self, action: str) -> None:
        super().__init__(f"`p2pnode service {action}` changes the system: run it with sudo")


class UnreadableCodeError(ConfigError):
    """The service's user could not load the program."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"others may not read {path}, so the service could not: `chmod o+rX` it, or install"
            " p2pnode under /opt"
        )


class CommandFailedError(ConfigError):
    """A command of the system failed."""

    def __init__(self, command: list[str], reason: str) -> None:
        super().__init__(f"`{' '.join(command)}`: {reason}")


def help(arguments: Namespace, console: Console) -> int:
    """Say what can be done."""
    console.data(arguments.parser.format_help().rstrip())
    return ExitCode.USAGE


def install(arguments: Namespace, console: Console) -> int:
    """Make the node a service, or bring its unit up to date."""
    options = _options(arguments)
    text = render(options)
    if arguments.print:
        console.data(text.rstrip())
        return ExitCode.OK
    _check_root("install")
    for path in options.code:
        if not _others_read(path):
            raise UnreadableCodeError(path)
    done: list[str] = []
    if not _user_exists(options.user):
        _run(
            *("useradd", "--system", "--user-group", "--no-create-home"),
            *("--home-dir", str(options.data), "--shell", "/usr/sbin/nologin", options.user),
        )
        done.append(f"made the user {options.user}")
    if _give(options.data, options.user):
        done.append(f"gave {options.data} to {options.user}")
    path = UNIT_FOLDER / UNIT
    if not path.exists() or path.read_text() != text:
        UNIT_FOLDER.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(text)
        new.chmod(0o644)
        new.replace(path)
        done.append(f"wrote {path}")
    has_node = (options.data / FILE_NAME).exists()
    done += _activate(start=has_node)
    if console.json:
        shown = {"unit": str(path), "data": str(options.data), "user": options.user, "done": done}
        console.document(shown)
    else:
        console.data(str(path))
    for line in done or ["everything is as it should be: nothing was changed"]:
        console.say(line)
    if has_node:
        console.next(f"p2pnode service status · p2pnode doctor --data {options.data}")
    else:
        console.say(f"there is no node in {options.data} yet")
        console.next(
            f"sudo p2pnode init --data {options.data} --genesis FILE",
            "sudo p2pnode service install",
        )
    return ExitCode.OK


def uninstall(arguments: Namespace, console: Console) -> int:
    """Stop the service and remove its unit; the node's folder and its user stay."""
    path = UNIT_FOLDER / UNIT
    if arguments.print:
        console.data(str(path))
        return ExitCode.OK
    _check_root("uninstall")
    was_there = path.exists()
    if was_there:
        if shutil.which("systemctl"):
            now = ("--now",) if RUNNING.exists() else ()
            _run("systemctl", "disable", *now, UNIT)
        path.unlink()
        if RUNNING.exists():
            _run("systemctl", "daemon-reload")
    if console.json:
        console.document({"unit": str(path), "removed": was_there})
    else:
        console.data(str(path))
    console.say("removed" if was_there else "it was not there")
    console.say(f"kept: the node's folder ({DATA} unless another was named) and its user")
    console.next("p2pnode service install")
    return ExitCode.OK


def status(arguments: Namespace, console: Console) -> int:
    """Say whether the service is installed, enabled and active."""
    path = UNIT_FOLDER / UNIT
    if arguments.print:
        console.data(path.read_text().rstrip() if path.exists() else "")
        return ExitCode.OK if path.exists() else ExitCode.FAILED
    found = {"unit": str(path), "installed": path.exists(), "enabled": "no", "active": "no"}
    if shutil.which("systemctl"):
        found["enabled"] = _asked("is-enabled")
        found["active"] = _asked("is-active")
    if console.json:
        console.document(found)
    else:
        console.pairs([(k, "yes" if v is True else v or "no") for k, v in found.items()])
    if found["active"] == "active":
        console.next("p2pnode status", f"journalctl -u {UNIT} -f")
        return ExitCode.OK
    console.next(
        "sudo p2pnode service install" if not path.exists() else f"journalctl -u {UNIT} -e"
    )
    return ExitCode.FAILED


def _options(arguments: Namespace) -> UnitOptions:
    data = Path(arguments.data).expanduser() if arguments.data else DATA
    secret = passphrase_file(arguments)
    program = Path(sys.argv[0]).absolute()
    if program.name == "p2pnode" and os.access(program, os.X_OK):
        command: tuple[str, ...] = (str(program),)
    else:
        command = (sys.executable, "-m", "p2pnode")
    source = Path(p2pnode.__file__).resolve().parents[1]
    # Of a virtual environment: itself, the Python it was made from, and the sources where they
    # were installed to be edited.
    code = [Path(sys.prefix), Path(sys.base_prefix), source, Path(command[0]).parent]
    return UnitOptions(
        command=command,
        data=data.absolute(),
        user=arguments.user,
        code=_outermost(code),
        passphrase_file=None if secret is None else secret.absolute(),
    )


def _outermost(paths: list[Path]) -> tuple[Path, ...]:
    """Return the paths without those inside others of them."""
    found: list[Path] = []
    for path in sorted(dict.fromkeys(paths), key=lambda p: len(p.parts)):
        if not any(path.is_relative_to(outer) for outer in found):
            found.append(path)
    return tuple(found)


def _others_read(path: Path) -> bool:
    """Tell whether any user may enter a folder; what hides it in a home is bound around."""
    parents = [] if in_home(path) else list(path.parents)
    return all(p.stat().st_mode & 0o001 for p in (path, *parents) if p.exists())


def _check_root(action: str) -> None:
    if os.geteuid() != 0:
        raise NotRootError(action)


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _give(folder: Path, user: str) -> bool:
    """Make a folder, or give it and everything in it to a user; tell whether anything changed."""
    entry = pwd.getpwnam(user)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    foreign = [p for p in (folder, *folder.rglob("*")) if p.lstat().st_uid != entry.pw_uid]
    if not foreign:
        return False
    # A change of owner changes the times by which the node tells a copy of its folder.
    has_log = (folder / LOG).exists()
    place = Place(folder)
    moved = place.check(log_is_there=has_log).moved
    for path in foreign:
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    if has_log and not moved:
        with _acting_as(entry.pw_uid, entry.pw_gid):
            place.settle()
    return True


@contextmanager
def _acting_as(uid: int, gid: int) -> Iterator[None]:
    before = os.geteuid(), os.getegid()
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before[0])
        os.setegid(before[1])


def _activate(*, start: bool) -> list[str]:
    if not shutil.which("systemctl"):
        link = UNIT_FOLDER / "multi-user.target.wants" / UNIT
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(UNIT_FOLDER / UNIT)
        return ["systemd is not installed here: the unit waits for it"]
    _run("systemctl", "enable", "--quiet", UNIT)
    if not RUNNING.exists():
        return ["systemd does not run here: the node starts with the machine"]
    _run("systemctl", "daemon-reload")
    if not start:
        return []
    _run("systemctl", "restart", UNIT)
    return ["the node runs, and starts with the machine"]


def _asked(question: str) -> str:
    done = subprocess.run(
        ["systemctl", question, UNIT],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.stdout.strip() or "no"


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandFailedError(list(command), str(error)) from None
    if done.returncode != 0:
        reason = done.stderr.strip() or f"exit status {done.returncode}"
        raise CommandFailedError(list(command), reason)
