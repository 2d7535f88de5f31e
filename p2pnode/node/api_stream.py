"""A stream to a node's API, for who opens a WebSocket on it and has to close it in any case.

trio-websocket's own way of connecting leaves the stream open when the handshake fails.
"""

from __future__ import annotations

import ssl
from typing import TypeAlias
from urllib.parse import urlsplit

import trio

ApiStream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


async def open_api_stream(url: str) -> tuple[ApiStream, str]:
    """Connect; return the stream and what the node is called there.

    Args:
        url: `http://host:port` or `https://host:port`.

    Raises:
        OSError: Nobody answers there.
        ValueError: It is no address.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{url!r} is no address of a node")
    stream = await trio.open_tcp_stream(host, parts.port or (443 if secure else 80))
    if not secure:
        return stream, parts.netloc
    context = ssl.create_default_context()
    return trio.SSLStream(stream, context, server_hostname=host), parts.netloc
