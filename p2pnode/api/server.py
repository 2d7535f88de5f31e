"""The server: accepts connections and hands each to hypercorn's protocol code.

hypercorn's own accept loop lets an exception out of one connection end all of them, and waits on
shutdown for readers that don't read. Here a connection ends alone, their number is bounded, and a
stop closes them at once.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.types import ASGIApp

from p2pnode.api.app import ApiOptions, make_app
from p2pnode.api.limiter import STATE_KEY, RateLimiter
from p2pnode.api.view import NodeView
from p2pnode.errors import ConfigError
from p2pnode.telemetry.logging import get_logger

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework

KEEP_ALIVE_S: Final = 75.0
"""An idle connection is closed after this."""


class AddressInUseError(ConfigError):
    """The API can't listen where it is told to."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"the API can't listen on {host} port {port}: {reason}")
        self.host = host
        self.port = port


async def serve(
    node: NodeView,
    options: ApiOptions,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a node's API until cancelled.

    Args:
        node: What it shows and commands.
        options: Where it listens, and limits.
        task_status: Gets the port once connections are accepted.

    Raises:
        AddressInUseError: It can't listen there.
    """
    try:
        listeners = await trio.open_tcp_listeners(options.port, host=options.host, backlog=128)
    except OSError as error:
        raise AddressInUseError(options.host, options.port, error.strerror or str(error)) from error
    # A name with two addresses and port 0 would get two ports; one address is served.
    listener, *others = listeners
    for other in others:
        await trio.aclose_forcefully(other)
    server = Connections(make_app(node, options), options)
    port: int = listener.socket.getsockname()[1]
    try:
        async with trio.open_nursery() as nursery:
            # The socket listens already: a client that connects now waits in its backlog.
            task_status.started(port)
            try:
                await trio.serve_listeners(server.handle, [listener], handler_nursery=nursery)
            finally:
                server.close_all()
    finally:
        await trio.aclose_forcefully(listener)


class _Connection(TCPServer):
    """hypercorn's connection, which otherwise outlives its client until the idle timer ends."""

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class Connections:
    """The open connections of one listener."""

    def __init__(self, app: ASGIApp, options: ApiOptions) -> None:
        """Wire up.

        Args:
            app: Answers the requests.
            options: Limits.
        """
        self._app = ASGIWrapper(_framework(app))
        self._config = _config(options)
        self._context = WorkerContext(None)
        self._connections_max = options.connections_max
        self._calls_per_s_max = options.calls_per_s_max
        self._streams: dict[int, trio.SocketStream] = {}
        self._accepted = 0
        self._log = get_logger("api")

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection until it ends, however it ends."""
        if len(self._streams) >= self._connections_max:
            await trio.aclose_forcefully(stream)
            return
        self._accepted += 1
        key = self._accepted
        # Finds the WebSockets of machines that are gone. No pings: a client library that is closing
        # when one arrives crashes on it (trio-websocket 0.12).
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._streams[key] = stream
        try:
            state = ConnectionState(
                {"stream": stream, STATE_KEY: RateLimiter(self._calls_per_s_max)}
            )
            # Annotated for TLS streams only, but made for both.
            await _Connection(self._app, self._config, self._context, state, stream)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - a supervisor: it costs one connection
            # One of the node's supervisors: whatever a stranger's bytes do to the protocol code
            # must cost that stranger's connection only.
            self._log.exception("api_connection_failed")
        finally:
            del self._streams[key]
            await trio.aclose_forcefully(stream)

    def close_all(self) -> None:
        """Break all connections; it wakes sends that wait, shielded, for a reader."""
        for stream in self._streams.values():
            stream.socket.close()


def _framework(app: object) -> ASGIFramework:
    # Starlette's and hypercorn's types describe ASGI in two ways.
    return app  # type: ignore[return-value]


def _config(options: ApiOptions) -> Config:
    config = Config()
    # Loggers of the standard library, so that nothing writes to stderr on its own.
    config.errorlog = logging.getLogger("hypercorn.error")
    config.accesslog = None
    config.include_server_header = False
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = 1 << 40
    config.websocket_max_message_size = options.request_bytes_max
    return config
