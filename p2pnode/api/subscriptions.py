"""The WebSocket: calls as on /rpc, and a subscription to blocks.

    → {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": ["blocks"]}
    ← {"jsonrpc": "2.0", "id": 1, "result": "blocks"}
    ← {"jsonrpc": "2.0", "method": "blocks", "params": {"snapshot": <status>}}
    ← {"jsonrpc": "2.0", "method": "blocks", "params": {"event": <block event>}}   … no gap

A reader slower than the chain is dropped with close code 1013 and subscribes again: nothing waits
for it, and nothing is left out silently.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import trio
from starlette.websockets import WebSocket

from p2pnode.api.jsonrpc import INVALID_PARAMS, TOO_LARGE, Dispatcher, error_answer
from p2pnode.api.view import NodeView
from p2pnode.node.jsonform import Json, to_json
from p2pnode.node.status import BlockEvent, NodeStatus

TRY_AGAIN_LATER: Final = 1013
"""Close code: the reader was too slow, there are too many readers, or the node stops."""

TOPIC_BLOCKS: Final = "blocks"


@dataclass(frozen=True, slots=True)
class SubscriptionLimits:
    """Limits of the sockets of one node."""

    sockets_max: int = 64
    """Most open sockets."""
    send_timeout_s: float = 10.0
    """A socket that takes nothing for so long is cut off."""


class Sockets:
    """Serves the WebSockets of one node."""

    def __init__(
        self, node: NodeView, dispatcher: Dispatcher, limits: SubscriptionLimits | None = None
    ) -> None:
        """Wire up."""
        self._node = node
        self._dispatcher = dispatcher
        self._limits = limits or SubscriptionLimits()
        self._open_count = 0

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one socket until either side closes it."""
        if self._open_count >= self._limits.sockets_max:
            await websocket.close(TRY_AGAIN_LATER)
            return
        self._open_count += 1
        try:
            await websocket.accept()
            async with trio.open_nursery() as nursery:
                socket = _Socket(
                    websocket, self._node, self._dispatcher, self._limits.send_timeout_s, nursery
                )
                await socket.read()
                nursery.cancel_scope.cancel()
        finally:
            self._open_count -= 1


class _Socket:
    """One open socket: a task that reads calls, and one that sends blocks once subscribed."""

    def __init__(
        self,
        websocket: WebSocket,
        node: NodeView,
        dispatcher: Dispatcher,
        send_timeout_s: float,
        nursery: trio.Nursery,
    ) -> None:
        self._websocket = websocket
        self._node = node
        self._dispatcher = dispatcher
        self._send_timeout_s = send_timeout_s
        self._nursery = nursery
        self._lock = trio.Lock()
        self._closed = False
        self._subscribed = False

    async def read(self) -> None:
        """Carry out calls until the other side is gone."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._closed = True
                return
            text = message.get("text")
            body = text.encode() if text is not None else message["bytes"]
            subscription = _subscription(body)
            if subscription is not None:
                await self._subscribe(*subscription)
                continue
            answer = await self._dispatcher.answer(body)
            if answer is not None:
                await self._send(answer)

    async def _subscribe(self, id: Json, params: Json) -> None:
        if params not in ([TOPIC_BLOCKS], {"topic": TOPIC_BLOCKS}):
            text = f"subscribe takes one topic: {TOPIC_BLOCKS!r}"
            await self._send(error_answer(id, INVALID_PARAMS, text, "invalid_params"))
        elif self._subscribed:
            text = f"subscribed to {TOPIC_BLOCKS!r} already"
            await self._send(error_answer(id, TOO_LARGE, text, "subscribed_already"))
        else:
            self._subscribed = True
            # Opened before the snapshot is taken: a block between the two must not be lost.
            events = self._node.events()
            await self._send(_bytes({"jsonrpc": "2.0", "id": id, "result": TOPIC_BLOCKS}))
            self._nursery.start_soon(self._feed, events)

    async def _feed(self, events: trio.MemoryReceiveChannel[BlockEvent]) -> None:
        with events:
            status = to_json(NodeStatus, self._node.status())
            await self._send(_notification({"snapshot": status}))
            async for event in events:
                await self._send(_notification({"event": to_json(BlockEvent, event)}))
        # The node closed the channel: this reader was too slow, or the node stops.
        await self._close(TRY_AGAIN_LATER, "too slow, or the node stops")
        # It may never answer the close; when it does, reading ends and this task with it.
        await self._cut_off()

    async def _send(self, body: bytes) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cut_off)
            async with self._lock:
                if not self._closed:
                    await self._websocket.send_text(body.decode())
            nursery.cancel_scope.cancel()

    async def _close(self, code: int, reason: str) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cut_off)
            async with self._lock:
                if not self._closed:
                    self._closed = True
                    await self._websocket.close(code, reason)
            nursery.cancel_scope.cancel()

    async def _cut_off(self) -> None:
        """Break the connection under a send that takes too long.

        The server shields its sends, so cancelling one would wait for the slow reader; closing the
        stream wakes it.
        """
        await trio.sleep(self._send_timeout_s)
        self._closed = True
        stream = self._websocket.scope["state"]["stream"]
        await trio.aclose_forcefully(stream)


def _subscription(body: bytes) -> tuple[Json, Json] | None:
    """Return (id, params) when a message is the call `subscribe`."""
    if b'"subscribe"' not in body[:4096]:
        return None
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or call.get("method") != "subscribe":
        return None
    id = call.get("id")
    return (id if isinstance(id, (str, int)) else None), call.get("params")


def _notification(params: Json) -> bytes:
    return _bytes({"jsonrpc": "2.0", "method": TOPIC_BLOCKS, "params": params})


def _bytes(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
