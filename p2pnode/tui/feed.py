"""The data of the TUI: one WebSocket to the node, opened again for as long as the TUI runs.

Only this and the actions do I/O. The client of the API is not used here: it brings httpx, a sixth
of the memory that the TUI may take.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from p2pnode.node.answers import BlockEvent, PeerRow
from p2pnode.node.api_stream import open_api_stream
from p2pnode.node.jsonform import Json, ValueFormError, from_json
from p2pnode.node.status import NodeStatus
from p2pnode.telemetry.ring import LogRecord
from p2pnode.tui.app import Post
from p2pnode.tui.model import (
    BlockCame,
    Connecting,
    Done,
    LogCame,
    Lost,
    PeerAction,
    PeersCame,
    Refused,
    StatusCame,
)

TOPICS: Final = ("status", "blocks", "peers", "log")
RETRY_S: Final = 0.5
RETRY_S_MAX: Final = 8.0
"""The wait doubles up to this."""
SILENCE_S_MAX: Final = 5.0
"""A node that sends no status for so long is taken for lost; it sends one a second."""
MESSAGE_BYTES_MAX: Final = 4 << 20


class NotTheTopicError(Exception):
    """A message is not what the subscriptions may send."""


@dataclass(slots=True)
class Feed:
    """Follows a node."""

    url: str
    """`http://host:port`."""

    async def run(self, post: Post) -> None:
        """Post what the node tells, and when it can't be reached, until cancelled."""
        wait_s = RETRY_S
        while True:
            post(Connecting(trio.current_time()))
            begin_s = trio.current_time()
            reason = await self._follow(post)
            if trio.current_time() - begin_s > RETRY_S_MAX:
                wait_s = RETRY_S
            now_s = trio.current_time()
            post(Lost(reason, now_s, now_s + wait_s))
            await trio.sleep(wait_s)
            wait_s = min(RETRY_S_MAX, wait_s * 2)

    async def _follow(self, post: Post) -> str:
        """Post what comes over one connection; return why it ended."""
        reason = ""
        try:
            with trio.fail_after(SILENCE_S_MAX):
                stream, host = await open_api_stream(self.url)
            async with stream, trio.open_nursery() as nursery:
                with trio.fail_after(SILENCE_S_MAX):
                    socket = await wrap_client_stream(
                        nursery, stream, host, "/ws", max_message_size=MESSAGE_BYTES_MAX
                    )
                reason = await self._receive(socket, post)
                nursery.cancel_scope.cancel()
        except* ConnectionClosed as closed:
            reason = _words(closed)
        except* HandshakeError:
            reason = f"who answers at {self.url} is not the API of a node"
        except* (NotTheTopicError, ValueFormError) as errors:
            reason = f"not understood: {_first(errors)}"
        except* trio.TooSlowError:
            reason = f"no answer for {SILENCE_S_MAX:.0f} s"
        except* (OSError, ValueError, trio.BrokenResourceError) as errors:
            reason = _system_words(_first(errors))
        return reason

    async def _receive(self, socket: WebSocketConnection, post: Post) -> str:
        for number, topic in enumerate(TOPICS):
            call = {"jsonrpc": "2.0", "id": number, "method": "subscribe", "params": [topic]}
            await socket.send_message(json.dumps(call))
        until_s = trio.current_time() + SILENCE_S_MAX
        while True:
            message: str | bytes | None = None
            with trio.move_on_at(until_s):
                message = await socket.get_message()
            if message is None:
                return f"silent for {SILENCE_S_MAX:.0f} s"
            if _handle(message, post):
                until_s = trio.current_time() + SILENCE_S_MAX


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _words(group: BaseExceptionGroup[BaseException]) -> str:
    """Return why the node closed the connection."""
    error = _first(group)
    reason = error.reason if isinstance(error, ConnectionClosed) else None
    if reason is None or reason.code == 1006:
        return "the connection broke"
    if reason.code == 1013:
        return "the node stops, or this reader was too slow"
    return f"closed with code {reason.code} {reason.reason or ''}".rstrip()


def _system_words(error: BaseException) -> str:
    """Return why no connection could be made; Trio puts the reason for a single address below."""
    below = error.__cause__
    if isinstance(below, BaseExceptionGroup):
        below = _first(below)
    shown = below if isinstance(below, OSError) else error
    return getattr(shown, "strerror", None) or str(shown) or type(shown).__name__


def _handle(message: str | bytes, post: Post) -> bool:
    """Post what a message says; tell whether it was a status."""
    try:
        value: Json = json.loads(message)
        if "id" in value:
            error = value.get("error")
            if error is not None:
                post(Refused(TOPICS[value["id"]], str(error["message"])))
            return False
        topic = value["method"]
        params = value["params"]
        content = params["snapshot"] if "snapshot" in params else params["event"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise NotTheTopicError(f"{message[:60]!r}") from None
    now_s = trio.current_time()
    match topic:
        case "status":
            post(StatusCame(from_json(NodeStatus, content), now_s))
            return True
        case "peers":
            post(PeersCame(from_json(tuple[PeerRow, ...], content), now_s))
        case "log":
            post(LogCame(from_json(tuple[LogRecord, ...], content)))
        case "blocks" if "event" in params:
            post(BlockCame(from_json(BlockEvent, content)))
    return False


async def perform(wish: object, post: Post, socket_path: str) -> None:
    """Carry out what the person has confirmed.

    Args:
        wish: A `PeerAction`.
        post: Gets how it went.
        socket_path: The node's admin socket.
    """
    assert isinstance(wish, PeerAction), wish
    # In a thread, blocking: needed once a day, and then httpx may cost what it costs.
    text, failed = await trio.to_thread.run_sync(_command, socket_path, wish)
    post(Done(text, failed))


def _command(socket_path: str, wish: PeerAction) -> tuple[str, bool]:
    from pathlib import Path

    from p2pnode.client import ClientError, admin_client

    try:
        with admin_client(Path(socket_path)) as client:
            return str(client.raw(wish.method, [wish.peer])["done"]), False
    except (ClientError, OSError) as error:
        return str(error), True
