"""`p2pnode keys`: make, show, encrypt and back up key files; no secret half is ever printed."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Final

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.cli.passphrase import Asked, new_passphrase, passphrase_file
from p2pnode.crypto import address_of, peer_id_of
from p2pnode.keys import keystore, sealing
from p2pnode.keys.keystore import KeyFacts, Purpose, StoredKey
from p2pnode.net.network_key import KEY_BYTES, NetworkKeyError, key_file
from p2pnode.node.peer_ids import peer_id_text

BACKUP: Final[dict[Purpose, str]] = {
    Purpose.VALIDATOR: (
        "backup: keep it offline, with its passphrase elsewhere. A validator's key may sign in one"
        " place only: start a copy only when the first node is gone for good, and let it observe"
        " until the next epoch"
    ),
    Purpose.NODE: (
        "backup: it is the node's name on the network; two nodes that share it disturb each other"
    ),
    Purpose.ACCOUNT: "backup: whoever has this key and its passphrase owns the account",
}


def help(arguments: Namespace, console: Console) -> int:
    """Say what can be done with keys."""
    console.data(arguments.parser.format_help().rstrip())
    return ExitCode.USAGE


def generate(arguments: Namespace, console: Console) -> int:
    """Make a key file."""
    path = Path(arguments.file).expanduser()
    named = passphrase_file(arguments)
    passphrase = None
    if named is not None or arguments.encrypt:
        passphrase = new_passphrase(str(named) if named else None, "--passphrase-file")
    key = keystore.generate(Purpose(arguments.purpose))
    keystore.write(path, key, passphrase)
    _print(_facts(key, passphrase), path, console)
    console.say(BACKUP[key.purpose])
    if passphrase is None:
        console.next(f"p2pnode keys encrypt {path}")
    else:
        console.next(f"p2pnode keys show {path}")
    return ExitCode.OK


def network(arguments: Namespace, console: Console) -> int:
    """Make the pre-shared key of a private network."""
    path = Path(arguments.file).expanduser()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise NetworkKeyError(f"network key {path}: {error.strerror}") from None
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(key_file(os.urandom(KEY_BYTES)))
    console.pairs([("file", path)])
    console.say("the same file belongs on every node of the network, and nowhere else")
    console.next(f"p2pnode run --set network.key_file={path}")
    return ExitCode.OK


def show(arguments: Namespace, console: Console) -> int:
    """Show the public half of a key file; with a passphrase, check that it opens the file."""
    path = Path(arguments.file).expanduser()
    facts = keystore.inspect(path)
    asked = Asked(arguments)
    if facts.cipher != keystore.CIPHER_NONE and asked.named:
        keystore.load_any(path, asked)
    _print(facts, path, console)
    if facts.purpose is Purpose.ACCOUNT:
        console.next(f"p2pnode account {path}")
    return ExitCode.OK


def encrypt(arguments: Namespace, console: Console) -> int:
    """Encrypt a key file in its place, or change its passphrase."""
    path = Path(arguments.file).expanduser()
    before = keystore.inspect(path)
    asked = Asked(arguments)
    if before.cipher == keystore.CIPHER_NONE:
        named = arguments.new_passphrase_file or passphrase_file(arguments)
        flag = "--passphrase-file"
    else:
        named, flag = arguments.new_passphrase_file, "--new-passphrase-file"
    key = keystore.load_any(path, asked)
    passphrase = new_passphrase(str(named) if named else None, flag)
    keystore.replace(path, key, passphrase)
    _print(_facts(key, passphrase), path, console)
    if before.cipher == keystore.CIPHER_NONE:
        console.say("older copies and the medium may still hold it in the clear")
    console.next(f"p2pnode keys export {path} --output FILE")
    return ExitCode.OK


def export(arguments: Namespace, console: Console) -> int:
    """Write an encrypted copy of a key file, to be kept elsewhere."""
    path = Path(arguments.file).expanduser()
    asked = Asked(arguments)
    facts = keystore.inspect(path)
    key = keystore.load_any(path, asked)
    named = arguments.new_passphrase_file
    if named is None and (asked.named or facts.cipher != keystore.CIPHER_NONE):
        # The copy of an encrypted key keeps its passphrase.
        passphrase = asked()
        assert passphrase is not None, "a key was opened without a passphrase"
    else:
        passphrase = new_passphrase(named, "--new-passphrase-file")
    if arguments.output == "-":
        console.data(keystore.encode(key, passphrase).rstrip())
    else:
        output = Path(arguments.output).expanduser()
        keystore.write(output, key, passphrase)
        _print(_facts(key, passphrase), output, console)
    console.say(BACKUP[key.purpose])
    console.next(f"p2pnode keys import {arguments.output} FILE")
    return ExitCode.OK


def import_(arguments: Namespace, console: Console) -> int:
    """Make a key file of what `export` wrote, under the same passphrase."""
    source, path = Path(arguments.input).expanduser(), Path(arguments.file).expanduser()
    asked = Asked(arguments)
    # Copies on sticks and shares often have no modes of their own.
    key = keystore.load_any(source, asked, private=False)
    passphrase = asked() if asked.named or _encrypted(source) else None
    keystore.write(path, key, passphrase)
    _print(_facts(key, passphrase), path, console)
    console.say(BACKUP[key.purpose])
    if passphrase is None:
        console.next(f"p2pnode keys encrypt {path}")
    else:
        console.next(f"p2pnode keys show {path}")
    return ExitCode.OK


def _encrypted(path: Path) -> bool:
    return keystore.inspect(path, private=False).cipher != keystore.CIPHER_NONE


def _facts(key: StoredKey, passphrase: bytes | None) -> KeyFacts:
    cipher = keystore.CIPHER_NONE if passphrase is None else sealing.CIPHER
    return KeyFacts(key.secret.public, key.purpose, key.created, key.test, cipher)


def _print(facts: KeyFacts, path: Path, console: Console) -> None:
    shown = {"file": os.fspath(path), "purpose": facts.purpose.value, "public": facts.public.hex()}
    if facts.purpose is Purpose.ACCOUNT:
        shown["address"] = address_of(facts.public).hex()
    if facts.purpose is Purpose.NODE:
        shown["peer_id"] = peer_id_text(peer_id_of(facts.public))
    shown["cipher"] = facts.cipher
    if console.json:
        console.document({**shown, "test": facts.test})
        return
    console.pairs(list(shown.items()))
    if facts.test:
        console.say("TEST KEY, derived from a public seed: never use it elsewhere")
