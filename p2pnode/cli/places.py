"""Where a command finds a node: its folder, its configuration file, and its running API."""

from __future__ import annotations

import json
import os
import shlex
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from p2pnode.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from p2pnode.client import BlockingClient

ENDPOINT_FILE: Final = "api.json"
"""Written into the folder by a running node: `{"url": …, "pid": …}`."""

SOCKET_NAME: Final = "admin.sock"
"""In the folder of a running node, made by p2pnode/api/admin.py."""


class NoNodeError(ConfigError):
    """No running node is named, and none runs in the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"no node runs in {folder}: start one with `p2pnode run --data {folder}`,"
            " or name one with --node URL"
        )
        self.folder = folder


class BadNodeError(UsageError):
    """A text is no address of a node's API."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} is no address of a node's API: its rpc address is needed, such as"
            " http://127.0.0.1:41001, which `p2pnode run` and `testnet up` print"
        )
        self.text = text


class BadAddressError(UsageError):
    """A text is neither an address nor the path of a key file."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} is neither an address (64 hex digits) nor a key file;"
            " `p2pnode keys generate FILE` makes one"
        )


def genesis_advice(path: Path) -> str:
    """Return what to do when the chain's genesis document is missing at `path`."""
    # A folder that holds a node is not made again: the chain of one's own gets another one.
    own = f"{path.parent.resolve()}-single"
    return (
        f"put the chain's {path.name}, from whoever makes it, at {path};"
        f" for a chain of your own: `p2pnode init --single --data {shlex.quote(own)}`"
    )


def data_dir(arguments: Namespace) -> Path:
    """Return the node's folder: --data, else P2PNODE_DATA_DIR, else the user's."""
    named = arguments.data or os.environ.get("P2PNODE_DATA_DIR")
    if named:
        return Path(named).expanduser()
    # Only needed here, and not free.
    import platformdirs

    return platformdirs.user_data_path("p2pnode", appauthor=False)


def place_options(arguments: Namespace) -> str:
    """Return the options that named the place, for a hint that works when it is copied.

    Empty or beginning with a space. What the environment names, it names for the next command too.
    """
    return "".join(
        f" --{name} {shlex.quote(value)}"
        for name in ("node", "data")
        if (value := getattr(arguments, name, None))
    )


def node_url(arguments: Namespace) -> str:
    """Return the API's address: --node, else P2PNODE_NODE, else of the node in the folder.

    Raises:
        NoNodeError: There is none.
        BadNodeError: The one named is none.
    """
    named: str | None = arguments.node or os.environ.get("P2PNODE_NODE")
    if named:
        if "://" in named:
            return named
        # Without a port it is a mistake, such as the name of a testnet's node.
        if not named.partition("/")[0].rpartition(":")[2].isdigit():
            raise BadNodeError(named)
        return f"http://{named}"
    folder = data_dir(arguments)
    try:
        url = json.loads((folder / ENDPOINT_FILE).read_text())["url"]
    except (OSError, ValueError, KeyError, TypeError):
        raise NoNodeError(folder) from None
    return str(url)


def connect(arguments: Namespace) -> BlockingClient:
    """Return a client of the node that the arguments name; use it with `with`."""
    from p2pnode.client import BlockingClient

    return BlockingClient(node_url(arguments))


def write_endpoint(folder: Path, url: str) -> None:
    """Tell other commands where the node in a folder answers; replaced atomically."""
    path = folder / ENDPOINT_FILE
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"url": url, "pid": os.getpid()}) + "\n")
    new.replace(path)


def remove_endpoint(folder: Path) -> None:
    """Undo `write_endpoint`, unless another process has written there since or before."""
    path = folder / ENDPOINT_FILE
    try:
        owner = json.loads(path.read_text())["pid"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if owner == os.getpid():
        path.unlink(missing_ok=True)


def read_address(text: str) -> bytes:
    """Return the address that a text names: hex digits, or a key file of an account.

    Raises:
        BadAddressError: It is neither.
    """
    try:
        address = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        address = b""
    if len(address) == 32:
        return address
    path = Path(text).expanduser()
    if not path.is_file():
        raise BadAddressError(text)
    from p2pnode.crypto import address_of
    from p2pnode.keys.keystore import KeyPurposeError, Purpose, inspect

    facts = inspect(path)
    if facts.purpose is not Purpose.ACCOUNT:
        raise KeyPurposeError(path, facts.purpose, Purpose.ACCOUNT)
    return address_of(facts.public)
