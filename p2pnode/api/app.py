"""The HTTP application of a node: health, metrics, JSON-RPC and the WebSocket."""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import trio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from p2pnode.api.jsonrpc import TOO_LARGE, Dispatcher, RpcLimits, error_answer, rate_answer
from p2pnode.api.limiter import limiter_of
from p2pnode.api.methods import METHODS, snapshot
from p2pnode.api.openrpc import document, with_discovery
from p2pnode.api.subscriptions import Sockets, SubscriptionLimits
from p2pnode.api.view import NodeView
from p2pnode.telemetry.metrics import CONTENT_TYPE, Metrics

TITLE: Final = "p2pnode"

BODY_TIMEOUT_S: Final = 30.0
"""A request's body must be here after so long."""

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")
"""Names under which a node that listens on this machine only may be called."""


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """How the API listens, and its limits."""

    host: str = "127.0.0.1"
    """Address to bind; anybody who reaches it can use the API."""
    port: int = 0
    """0 takes a free one."""
    request_bytes_max: int = 8 << 20
    """Largest body of a request."""
    connections_max: int = 256
    """Most open connections; more are closed at once."""
    calls_per_s_max: int = 500
    """Most calls a second on one connection in the long run; 0 for any number."""
    origins: tuple[str, ...] = ()
    """Web pages that may call; a browser on any other page is refused."""
    log: bool = False
    """Show the log to whoever connects from elsewhere, too; on this machine it is always shown."""
    rpc: RpcLimits = field(default_factory=RpcLimits)
    subscriptions: SubscriptionLimits = field(default_factory=SubscriptionLimits)


def make_app(node: NodeView, options: ApiOptions) -> ASGIApp:
    """Return the ASGI application that serves a node."""
    methods = with_discovery(METHODS, TITLE)
    described = json.dumps(document(METHODS, TITLE), indent=1).encode()
    dispatcher = Dispatcher(node, methods, options.rpc)
    names = _names(options.host)
    sockets = Sockets(
        node, dispatcher, options.subscriptions, log_shown=options.log or names is not None
    )
    exposition = Metrics(lambda: snapshot(node))

    async def health(request: Request) -> Response:
        """Answer that the process is alive."""
        return JSONResponse({"alive": True})

    async def ready(request: Request) -> Response:
        """Answer whether the node can be relied on, and why not."""
        status = node.status()
        body = {"ready": status.ready, "reasons": list(status.not_ready_reasons)}
        return JSONResponse(body, status_code=200 if status.ready else 503)

    async def metrics(request: Request) -> Response:
        """Answer the metrics as Prometheus reads them."""
        return Response(exposition.text(), media_type=CONTENT_TYPE)

    async def openrpc(request: Request) -> Response:
        """Answer the description of the methods."""
        return Response(described, media_type="application/json")

    rpc = rpc_endpoint(dispatcher, options.request_bytes_max)

    middleware = []
    if options.origins:
        cors = Middleware(
            CORSMiddleware, allow_origins=options.origins, allow_headers=["content-type"]
        )
        middleware.append(cors)
    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", metrics),
            Route("/openrpc.json", openrpc),
            Route("/rpc", rpc, methods=["POST"]),
            WebSocketRoute("/ws", sockets.serve),
        ],
        middleware=middleware,
    )
    return Guard(app, names, options.origins)


def rpc_endpoint(
    dispatcher: Dispatcher, request_bytes_max: int
) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers JSON-RPC over HTTP POST."""

    async def rpc(request: Request) -> Response:
        """Answer a JSON-RPC request."""
        body = await _read_body(request, request_bytes_max)
        if body is None:
            text = f"a request has at most {request_bytes_max} bytes"
            answer = error_answer(None, TOO_LARGE, text, "request_too_large")
            # The rest of the body is not read: the connection can't be used any more.
            headers = {"connection": "close"}
            return Response(answer, 413, headers=headers, media_type="application/json")
        limiter = limiter_of(request.scope)
        if limiter is not None and (wait_s := limiter.wait_s()) > 0:
            headers = {"retry-after": str(math.ceil(wait_s))}
            answer = rate_answer(None, limiter)
            return Response(answer, 429, headers=headers, media_type="application/json")
        found = await dispatcher.answer(body, limiter)
        if found is None:
            return Response(status_code=204)
        return Response(found, media_type="application/json")

    return rpc


async def _read_body(request: Request, size_bytes_max: int) -> bytes | None:
    """Return the body, or None when it is too large; never holds more than the limit."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > size_bytes_max:
        return None
    parts: list[bytes] = []
    size_bytes = 0
    try:
        with trio.fail_after(BODY_TIMEOUT_S):
            async with aclosing(request.stream()) as stream:
                async for part in stream:
                    size_bytes += len(part)
                    if size_bytes > size_bytes_max:
                        return None
                    parts.append(part)
    except (ClientDisconnect, trio.TooSlowError):
        # Nobody will read the answer, or nobody deserves one.
        return b""
    return b"".join(parts)


class Guard:
    """Refuses calls that a web page makes behind the back of a browser's user.

    The API has no password: it trusts whoever can connect. Pages in a browser on the same machine
    can, too, so their origin must be allowed; and a page that points its own name at 127.0.0.1
    sends that name as the host.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str] | None, origins: Sequence[str]) -> None:
        """Wrap an application.

        Args:
            app: It.
            names: Host names that requests may give; None for any.
            origins: Origins that may call.
        """
        self._app = app
        self._names = names
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] in ("http", "websocket"):
            headers = dict(scope["headers"])
            origin = headers.get(b"origin", b"").decode("latin-1")
            host = headers.get(b"host", b"").decode("latin-1")
            refused = ""
            if origin and origin not in self._origins:
                refused = f"origin {origin[:100]!r} may not call: add it to api.origins"
            elif self._names is not None and _host_name(host) not in self._names:
                refused = f"host {host[:100]!r} is none of {', '.join(self._names)}"
            if refused:
                await _refuse(refused, scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _refuse(reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        # Closed before it was accepted: the client sees 403.
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    answer = error_answer(None, TOO_LARGE, reason, "forbidden")
    await Response(answer, 403, media_type="application/json")(scope, receive, send)


def _names(host: str) -> tuple[str, ...] | None:
    """Return the names a node bound to `host` is called by; None when that can't be known."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    return tuple(dict.fromkeys((*LOCAL_NAMES, host))) if local else None


def _host_name(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
