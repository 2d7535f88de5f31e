"""The admin socket: calls that command a node, on a Unix socket only its owner can open.

    curl --unix-socket DATA/admin.sock http://node/rpc -d '{"jsonrpc":"2.0","id":1,"method":"stop"}'

The same JSON-RPC as /rpc, over HTTP. Whoever can open the socket could stop the process anyway.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from p2pnode.api.app import ApiOptions, rpc_endpoint
from p2pnode.api.jsonrpc import Dispatcher
from p2pnode.api.methods import ApiError, Method, method_of
from p2pnode.api.openrpc import with_discovery
from p2pnode.api.server import AddressInUseError, Connections
from p2pnode.node.answers import PeerRow
from p2pnode.node.socket_path import short_path
from p2pnode.telemetry.logging import LEVELS

FILE_NAME: Final = "admin.sock"
"""In the node's folder."""

REQUEST_BYTES_MAX: Final = 64 * 1024
CONNECTIONS_MAX: Final = 16


class UnknownPeerError(ApiError):
    """No connected peer has this id."""

    def __init__(self, peer: str) -> None:
        super().__init__(f"no peer {peer[:80]!r} is connected")


class UnknownLevelError(ApiError):
    """There is no such level of logs."""

    def __init__(self, level: str) -> None:
        super().__init__(f"no level {level[:20]!r}; there are: {', '.join(LEVELS)}")


class AdminView(Protocol):
    """What the admin socket needs of a node."""

    def peers(self) -> tuple[PeerRow, ...]:
        """Return the connected peers."""

    def disconnect(self, peer: str) -> bool:
        """Break the connection to a peer (base58); False when there is none. It may come back."""

    def ban(self, peer: str) -> bool:
        """Disconnect a peer and refuse it for a while; False when it is not connected."""

    def set_log_level(self, level: str) -> None:
        """Log from this level on: one of `LEVELS`."""

    def stop(self) -> None:
        """End the node as SIGTERM does."""


@dataclass(frozen=True, slots=True)
class Done:
    """What an admin call did."""

    done: str
    """A sentence for people."""


async def peers(node: AdminView) -> tuple[PeerRow, ...]:
    """Return the connected peers."""
    return node.peers()


async def peers_disconnect(node: AdminView, peer: str) -> Done:
    """Break the connection to a peer; it may come back at once."""
    if not node.disconnect(peer):
        raise UnknownPeerError(peer)
    return Done(f"disconnected {peer}")


async def peers_ban(node: AdminView, peer: str) -> Done:
    """Disconnect a peer and refuse it for a while."""
    if not node.ban(peer):
        raise UnknownPeerError(peer)
    return Done(f"banned {peer}")


async def log_level(node: AdminView, level: str) -> Done:
    """Log from a level on: debug, info, warning or error; until the node stops."""
    if level not in LEVELS:
        raise UnknownLevelError(level)
    node.set_log_level(level)
    return Done(f"logs from level {level} on")


async def stop(node: AdminView) -> Done:
    """Stop the node, as SIGTERM does."""
    node.stop()
    return Done("stopping")


ADMIN_METHODS: Final[Mapping[str, Method]] = {
    function.__name__: method_of(function)
    for function in (log_level, peers, peers_ban, peers_disconnect, stop)
}
"""Every admin method, by name."""


@dataclass(frozen=True, slots=True)
class Admin:
    """An `AdminView` made of functions."""

    peers: Callable[[], tuple[PeerRow, ...]]
    disconnect: Callable[[str], bool]
    ban: Callable[[str], bool]
    set_log_level: Callable[[str], None]
    stop: Callable[[], None]


async def serve_admin(
    node: AdminView,
    folder: Path,
    *,
    task_status: trio.TaskStatus[Path] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the admin socket in a node's folder until cancelled; it is removed at the end.

    Args:
        node: What is commanded.
        folder: The node's; no other node uses it.
        task_status: Gets the socket's path once connections are accepted.

    Raises:
        AddressInUseError: The socket can't be made.
    """
    path = folder / FILE_NAME
    options = ApiOptions(connections_max=CONNECTIONS_MAX, calls_per_s_max=0)
    dispatcher = Dispatcher(node, with_discovery(ADMIN_METHODS, "p2pnode admin"))
    answer = rpc_endpoint(dispatcher, REQUEST_BYTES_MAX)

    async def rpc(request: Request) -> Response:
        """Answer a JSON-RPC request."""
        return await answer(request)

    app = Starlette(routes=[Route("/rpc", rpc, methods=["POST"])])
    connections = Connections(app, options)
    try:
        listener = trio.SocketListener(_bind(path))
    except OSError as error:
        raise AddressInUseError(str(path), 0, error.strerror or str(error)) from error
    try:
        async with trio.open_nursery() as nursery:
            task_status.started(path)
            try:
                await trio.serve_listeners(connections.handle, [listener], handler_nursery=nursery)
            finally:
                connections.close_all()
    finally:
        # First: closing is where a cancellation ends this.
        with contextlib.suppress(OSError):
            path.unlink()
        await trio.aclose_forcefully(listener)


def _bind(path: Path) -> trio.socket.SocketType:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Nobody may connect between its birth and a chmod.
        mask = os.umask(0o177)
        try:
            with short_path(path) as address:
                sock.bind(address)
        finally:
            os.umask(mask)
        sock.listen(CONNECTIONS_MAX)
        return trio.socket.from_stdlib_socket(sock)
    except BaseException:
        sock.close()
        raise
