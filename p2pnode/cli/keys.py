"""`p2pnode keys`: make and show key files; the secret half is never printed."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.crypto import address_of, peer_id_of
from p2pnode.keys import keystore
from p2pnode.keys.keystore import KeyPurposeError, Purpose, StoredKey
from p2pnode.node.status import peer_id_text


def help(arguments: Namespace, console: Console) -> int:
    """Say what can be done with keys."""
    console.data(arguments.parser.format_help().rstrip())
    return ExitCode.USAGE


def generate(arguments: Namespace, console: Console) -> int:
    """Make a key file."""
    path = Path(arguments.file).expanduser()
    key = keystore.generate(Purpose(arguments.purpose))
    keystore.write(path, key)
    _print(key, path, console)
    if key.purpose is Purpose.ACCOUNT:
        console.next(f"p2pnode account {path}")
    else:
        console.next(f"p2pnode keys show {path}")
    return ExitCode.OK


def show(arguments: Namespace, console: Console) -> int:
    """Show the public half of a key file."""
    path = Path(arguments.file).expanduser()
    key = load_any(path)
    _print(key, path, console)
    if key.purpose is Purpose.ACCOUNT:
        console.next(f"p2pnode account {path}")
    return ExitCode.OK


def load_any(path: Path) -> StoredKey:
    """Read a key file whatever its purpose."""
    try:
        return keystore.load(path, Purpose.ACCOUNT)
    except KeyPurposeError as error:
        return keystore.load(path, error.found)


def _print(key: StoredKey, path: Path, console: Console) -> None:
    public = key.secret.public
    shown = {"file": str(path), "purpose": key.purpose.value, "public": public.hex()}
    if key.purpose is Purpose.ACCOUNT:
        shown["address"] = address_of(public).hex()
    if key.purpose is Purpose.NODE:
        shown["peer_id"] = peer_id_text(peer_id_of(public))
    if console.json:
        console.document({**shown, "test": key.test})
        return
    console.pairs(list(shown.items()))
    if key.test:
        console.say("TEST KEY, derived from a public seed: never use it elsewhere")
