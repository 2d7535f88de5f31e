"""The WebSocket: calls as on /rpc, and subscriptions.

    → {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": ["blocks"]}
    ← {"jsonrpc": "2.0", "id": 1, "result": "blocks"}
    ← {"jsonrpc": "2.0", "method": "blocks", "params": {"snapshot": <status>}}
    ← {"jsonrpc": "2.0", "method": "blocks", "params": {"event": <block event>}}   … no gap

| topic    | snapshot                   | events                            |
|----------|----------------------------|-----------------------------------|
| `blocks` | status                     | each block that becomes final     |
| `status` | status                     | status, every `period_s`          |
| `peers`  | connected peers, all rows  | the same, every `period_s`        |
| `log`    | the newest records         | lists of newer records, no gap    |

`status` and `peers` take a period: `"params": {"topic": "status", "period_s": 0.25}`, from 0.25 to
10, 1 by default. The log is shown on this machine only, or with `api.log`.

A reader slower than the chain or the log is dropped with close code 1013 and subscribes again:
nothing waits for it, and nothing is left out silently.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import trio
from starlette.websockets import WebSocket

from p2pnode.api.jsonrpc import INVALID_PARAMS, TOO_LARGE, Dispatcher, error_answer, id_of
from p2pnode.api.limiter import limiter_of
from p2pnode.api.view import NodeView
from p2pnode.node.answers import BlockEvent, PeerRow
from p2pnode.node.jsonform import Json, to_json
from p2pnode.node.status import NodeStatus
from p2pnode.telemetry.ring import SHOWN_MAX, LogRecord

TRY_AGAIN_LATER: Final = 1013
"""Close code: the reader was too slow, there are too many readers, or the node stops."""

TOPIC_BLOCKS: Final = "blocks"
TOPIC_STATUS: Final = "status"
TOPIC_PEERS: Final = "peers"
TOPIC_LOG: Final = "log"
TOPICS: Final = (TOPIC_BLOCKS, TOPIC_STATUS, TOPIC_PEERS, TOPIC_LOG)
PERIODIC: Final = (TOPIC_STATUS, TOPIC_PEERS)
"""Topics that take a period."""

PERIOD_S: Final = 1.0
"""How often subscribers get what comes by period, unless they say."""
PERIOD_S_MIN: Final = 0.25
PERIOD_S_MAX: Final = 10.0

LOG_PERIOD_S: Final = 0.25
"""How often new records of the log are sent: nobody reads faster, and logging must not wait."""

LOG_BYTES_MAX: Final = 256 * 1024
"""Records of one message, as JSON; a longer one goes alone."""


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
        self,
        node: NodeView,
        dispatcher: Dispatcher,
        limits: SubscriptionLimits | None = None,
        *,
        log_shown: bool = True,
    ) -> None:
        """Wire up.

        Args:
            node: What is watched.
            dispatcher: Answers calls.
            limits: Limits of the sockets.
            log_shown: Whether the topic `log` may be subscribed to.
        """
        self._log_shown = log_shown
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
                    websocket,
                    self._node,
                    self._dispatcher,
                    self._limits.send_timeout_s,
                    nursery,
                    log_shown=self._log_shown,
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
        *,
        log_shown: bool,
    ) -> None:
        self._log_shown = log_shown
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
        found = _wish(params)
        if isinstance(found, str):
            await self._send(error_answer(id, INVALID_PARAMS, found, "invalid_params"))
            return
        topic, period_s = found
        if topic in self._subscribed:
            text = f"subscribed to {topic!r} already"
            await self._send(error_answer(id, TOO_LARGE, text, "subscribed_already"))
            return
        if topic == TOPIC_LOG and not self._log_shown:
            text = "the log is shown on the node's own machine only: set api.log"
            await self._send(error_answer(id, TOO_LARGE, text, "forbidden"))
            return
        self._subscribed[topic] = None
        # Opened before the snapshot is taken: a block between the two must not be lost.
        events = self._node.events() if topic == TOPIC_BLOCKS else None
        await self._send(_bytes({"jsonrpc": "2.0", "id": id, "result": topic}))
        node = self._node
        if events is not None:
            self._nursery.start_soon(self._feed_blocks, events)
        elif topic == TOPIC_LOG:
            self._nursery.start_soon(self._feed_log)
        elif topic == TOPIC_PEERS:
            look = _looker(tuple[PeerRow, ...], node.peers)
            self._nursery.start_soon(self._feed, topic, look, period_s)
        else:
            look = _looker(NodeStatus, node.status)
            self._nursery.start_soon(self._feed, topic, look, period_s)

    async def _feed_blocks(self, events: trio.MemoryReceiveChannel[BlockEvent]) -> None:
        with events:
            status = to_json(NodeStatus, self._node.status())
            await self._send(_notification(TOPIC_BLOCKS, {"snapshot": status}))
            async for event in events:
                changed = to_json(BlockEvent, event)
                await self._send(_notification(TOPIC_BLOCKS, {"event": changed}))
        # The node closed the channel: this reader was too slow, or the node stops.
        await self._drop()

    async def _drop(self) -> None:
        await self._close(TRY_AGAIN_LATER, "too slow, or the node stops")
        # It may never answer the close; when it does, reading ends and this task with it.
        await self._cut_off()

    async def _feed(self, topic: str, look: Callable[[], Json], period_s: float) -> None:
        """Send what is seen, again and again."""
        name = "snapshot"
        while True:
            next_s = trio.current_time() + period_s
            # Nothing piles up behind a slow reader: the next look is taken after this one left.
            await self._send(_notification(topic, {name: look()}))
            name = "event"
            await trio.sleep_until(next_s)

    async def _feed_log(self) -> None:
        records = self._node.log(None)
        last = records[-1].number if records else 0
        name = "snapshot"
        while True:
            if name == "event" and records and records[0].number > last + 1:
                # Some are gone that this reader never saw.
                await self._drop()
                return
            for part in _parts(records) if records or name == "snapshot" else ():
                await self._send(_notification(TOPIC_LOG, {name: part}))
                name = "event"
            if records:
                last = records[-1].number
            if len(records) < SHOWN_MAX:
                await trio.sleep(LOG_PERIOD_S)
            records = self._node.log(last)

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
    return id_of(call), call.get("params")


def _wish(params: Json) -> tuple[str, float] | str:
    """Return the topic and the period that parameters of `subscribe` name, or what is wrong."""
    wrong = f"subscribe takes one topic: {' or '.join(map(repr, TOPICS))}"
    if isinstance(params, dict) and set(params) <= {"topic", "period_s"}:
        topic, period_s = params.get("topic"), params.get("period_s")
    elif isinstance(params, list) and len(params) in (1, 2):
        topic, period_s = params[0], params[1] if len(params) == 2 else None
    else:
        return wrong
    if not isinstance(topic, str) or topic not in TOPICS:
        return wrong
    if period_s is None:
        return topic, PERIOD_S
    if topic not in PERIODIC:
        return f"topic {topic!r} has no period"
    number = isinstance(period_s, (int, float)) and not isinstance(period_s, bool)
    if not (number and PERIOD_S_MIN <= period_s <= PERIOD_S_MAX):
        return f"period_s {period_s!r}: {PERIOD_S_MIN} to {PERIOD_S_MAX} expected"
    return topic, float(period_s)


def _looker(hint: Any, look: Callable[[], object]) -> Callable[[], Json]:
    return lambda: to_json(hint, look())


def _parts(records: tuple[LogRecord, ...]) -> list[Json]:
    """Return records as JSON, in as many lists as keep each below the limit; at least one."""
    parts: list[list[Json]] = [[]]
    size_bytes = 0
    for record in records:
        value = to_json(LogRecord, record)
        length = len(_bytes(value))
        if parts[-1] and size_bytes + length > LOG_BYTES_MAX:
            parts.append([])
            size_bytes = 0
        parts[-1].append(value)
        size_bytes += length
    return list(parts)


def _notification(topic: str, params: Json) -> bytes:
    return _bytes({"jsonrpc": "2.0", "method": topic, "params": params})


def _bytes(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
