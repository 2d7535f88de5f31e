"""The WebSocket: calls as on /rpc, and subscriptions to blocks and to the status.

    → {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": ["blocks"]}
    ← {"jsonrpc": "2.0", "id": 1, "result": "blocks"}
    ← {"jsonrpc": "2.0", "method": "blocks", "params": {"snapshot": <status>}}
    ← {"jsonrpc": "2.0", "method": "blocks", "params": {"event": <block event>}}   … no gap

A reader slower than the chain is dropped with close code 1013 and subscribes again: nothing waits
for it, and nothing is left out silently. The topic `status` gives a status as its snapshot, and one
every second as its events.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import trio
from starlette.websockets import WebSocket

from p2pnode.api.jsonrpc import INVALID_PARAMS, TOO_LARGE, Dispatcher, error_answer
from p2pnode.api.limiter import limiter_of
from p2pnode.api.view import NodeView
from p2pnode.node.jsonform import Json, to_json
from p2pnode.node.status import BlockEvent, NodeStatus

TRY_AGAIN_LATER: Final = 1013
"""Close code: the reader was too slow, there are too many readers, or the node stops."""

TOPIC_BLOCKS: Final = "blocks"
TOPIC_STATUS: Final = "status"
TOPICS: Final = (TOPIC_BLOCKS, TOPIC_STATUS)

STATUS_PERIOD_S: Final = 1.0
"""How often subscribers to the status get it."""


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
        self._subscribed: dict[str, None] = {}

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
            answer = await self._dispatcher.answer(body, limiter_of(self._websocket.scope))
            if answer is not None:
                await self._send(answer)

    async def _subscribe(self, id: Json, params: Json) -> None:
        topic = _topic(params)
        if topic is None:
            text = f"subscribe takes one topic: {' or '.join(map(repr, TOPICS))}"
            await self._send(error_answer(id, INVALID_PARAMS, text, "invalid_params"))
        elif topic in self._subscribed:
            text = f"subscribed to {topic!r} already"
            await self._send(error_answer(id, TOO_LARGE, text, "subscribed_already"))
        else:
            self._subscribed[topic] = None
            # Opened before the snapshot is taken: a block between the two must not be lost.
            events = self._node.events() if topic == TOPIC_BLOCKS else None
            await self._send(_bytes({"jsonrpc": "2.0", "id": id, "result": topic}))
            if events is None:
                self._nursery.start_soon(self._feed_status)
            else:
                self._nursery.start_soon(self._feed_blocks, events)

    async def _feed_blocks(self, events: trio.MemoryReceiveChannel[BlockEvent]) -> None:
        with events:
            status = to_json(NodeStatus, self._node.status())
            await self._send(_notification(TOPIC_BLOCKS, {"snapshot": status}))
            async for event in events:
                changed = to_json(BlockEvent, event)
                await self._send(_notification(TOPIC_BLOCKS, {"event": changed}))
        # The node closed the channel: this reader was too slow, or the node stops.
        await self._close(TRY_AGAIN_LATER, "too slow, or the node stops")
        # It may never answer the close; when it does, reading ends and this task with it.
        await self._cut_off()

    async def _feed_status(self) -> None:
        name = "snapshot"
        while True:
            next_s = trio.current_time() + STATUS_PERIOD_S
            status = to_json(NodeStatus, self._node.status())
            # Nothing piles up behind a slow reader: the next status is taken after this one left.
            await self._send(_notification(TOPIC_STATUS, {name: status}))
            name = "event"
            await trio.sleep_until(next_s)

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


def _topic(params: Json) -> str | None:
    """Return the topic that the parameters of `subscribe` name, None when it is none."""
    if isinstance(params, list) and len(params) == 1:
        topic = params[0]
    elif isinstance(params, dict) and list(params) == ["topic"]:
        topic = params["topic"]
    else:
        return None
    return topic if isinstance(topic, str) and topic in TOPICS else None


def _notification(topic: str, params: Json) -> bytes:
    return _bytes({"jsonrpc": "2.0", "method": topic, "params": params})


def _bytes(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
