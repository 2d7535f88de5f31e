"""The data of the network TUI: the supervisor's socket, asked twice a second, and the log files.

When the supervisor goes away what is known stays, and grows old; it is looked for as long as the
TUI runs, for a testnet that is started again has the same socket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from p2pnode.node.jsonform import ValueFormError, from_json
from p2pnode.node.status import NodeStatus
from p2pnode.tui.app import Post
from testnet.console.actions import requests
from testnet.console.logfiles import LogFiles
from testnet.console.model import (
    Action,
    Done,
    LinkRow,
    Load,
    LogsCame,
    Network,
    NetworkCame,
    NodeRow,
    Perform,
    SupervisorLost,
)
from testnet.folder import Folder, runs, usable_path

POLL_S: Final = 0.5
LOG_S: Final = 0.5
RETRY_S: Final = 1.0
ANSWER_S_MAX: Final = 5.0
"""A supervisor that does not answer for so long is taken for lost."""
ACTION_S_MAX: Final = 30.0
LOAD_STOP_S_MAX: Final = 90.0
"""A load settles before it ends."""
LINE_BYTES_MAX: Final = 16 << 20
"""Longest answer: thirty nodes with the votes of many views have some hundred KiB."""

Json = dict[str, Any]


class SupervisorError(Exception):
    """The supervisor refused, or could not be asked; the message says why."""


class ControlClient:
    """A connection to a supervisor; closed by `close`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        """Take a connected stream."""
        self._stream = stream
        self._buffer = bytearray()

    @classmethod
    async def connect(cls, folder: Folder) -> ControlClient:
        """Connect.

        Raises:
            SupervisorError: Nobody listens.
        """
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        try:
            await sock.connect(usable_path(folder.control))
        except OSError as error:
            sock.close()
            if not runs(folder):
                raise SupervisorError("the testnet does not run") from None
            raise SupervisorError(f"its supervisor does not listen: {error.strerror}") from None
        return cls(trio.SocketStream(sock))

    async def ask(self, message: Json, timeout_s: float = ANSWER_S_MAX) -> Json:
        """Return the answer to a request.

        Raises:
            SupervisorError: It is an error, or none came.
        """
        with trio.move_on_after(timeout_s):
            try:
                await self._stream.send_all(json.dumps(message).encode() + b"\n")
                answer: Json = json.loads(await self._line())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise SupervisorError("the connection broke") from None
            except (ValueError, RecursionError):
                raise SupervisorError("an answer is no JSON") from None
            if "error" in answer:
                raise SupervisorError(str(answer["error"]))
            return answer
        raise SupervisorError(f"no answer for {timeout_s:.0f} s")

    async def _line(self) -> bytes:
        begin = 0
        while (end := self._buffer.find(b"\n", begin)) < 0:
            begin = len(self._buffer)
            if begin > LINE_BYTES_MAX:
                raise SupervisorError(f"an answer has more than {LINE_BYTES_MAX} bytes")
            data = await self._stream.receive_some(1 << 18)
            if not data:
                raise SupervisorError("the supervisor has ended")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    async def close(self) -> None:
        """Close, at once."""
        await trio.aclose_forcefully(self._stream)


@dataclass(slots=True)
class Feed:
    """Follows one testnet."""

    folder: Folder
    _known: dict[str, NodeRow] = field(default_factory=dict)
    """Nodes with the status that came last."""

    async def watch(self, post: Post) -> None:
        """Post what the supervisor tells, and that it does not, until cancelled."""
        while True:
            try:
                await self._watch(post)
            except SupervisorError as error:
                post(SupervisorLost(str(error), trio.current_time()))
            await trio.sleep(RETRY_S)

    async def _watch(self, post: Post) -> None:
        client = await ControlClient.connect(self.folder)
        # Another supervisor counts its looks from 1 again.
        self._known.clear()
        try:
            while True:
                begin_s = trio.current_time()
                seen = {name: node.looks for name, node in self._known.items()}
                answer = await client.ask({"command": "watch", "seen": seen})
                try:
                    network = network_of(answer, self._known, trio.current_time())
                except (KeyError, TypeError, ValueError, AttributeError, ValueFormError) as error:
                    raise SupervisorError(f"an answer is not understood: {error!r}") from None
                self._known = {node.name: node for node in network.nodes}
                post(NetworkCame(network))
                await trio.sleep_until(begin_s + POLL_S)
        finally:
            await client.close()

    async def logs(self, post: Post) -> None:
        """Post what the nodes log, until cancelled."""
        files = LogFiles(self.folder.logs)
        while True:
            lines, missed_count = files.read()
            if lines or missed_count:
                post(LogsCame(tuple(lines), missed_count))
            await trio.sleep(LOG_S)

    async def perform(self, wish: object, post: Post) -> None:
        """Do what was confirmed, and post how it went."""
        assert isinstance(wish, Perform), wish
        done: list[Action] = []
        error = ""
        try:
            client = await ControlClient.connect(self.folder)
            try:
                for action in wish.actions:
                    for message in requests(action):
                        slow = action.verb == "load_stop"
                        await client.ask(message, LOAD_STOP_S_MAX if slow else ACTION_S_MAX)
                    if action.verb == "end":
                        await self._until_ended()
                    done.append(action)
            finally:
                await client.close()
        except SupervisorError as refused:
            error = str(refused)
        post(Done(tuple(done), wish.undo, error, wish.undoes))

    async def _until_ended(self) -> None:
        with trio.move_on_after(ACTION_S_MAX):
            # Another process: nothing here can be told of its end.
            while runs(self.folder):  # noqa: ASYNC110
                await trio.sleep(0.05)


def network_of(answer: Json, known: Mapping[str, NodeRow], now_s: float) -> Network:
    """Return the testnet that an answer to `watch` tells of.

    Args:
        answer: As testnet/supervise/watch.py makes it.
        known: Nodes with the statuses that came before.
        now_s: Our clock, for the ages in it.
    """
    load = answer["load"]
    return Network(
        name=str(answer["name"]),
        seed=int(answer["seed"]),
        engine=str(answer["engine"]),
        ready=bool(answer["ready"]),
        nodes=tuple(_node(node, known.get(node["name"]), now_s) for node in answer["nodes"]),
        links={(row["from"], row["to"]): _link(row, now_s) for row in answer["links"]},
        load=Load(
            running=bool(load["running"]),
            rate_tx_s=float(load["rate_tx_s"]),
            **{
                name: int(load[name])
                for name in ("due", "submitted", "finalized", "held", "p50_ms", "p99_ms")
                if name in load
            },
        ),
        came_s=now_s,
    )


def _node(body: Json, known: NodeRow | None, now_s: float) -> NodeRow:
    looks = int(body["looks"])
    status, status_s = None, 0.0
    if "status" in body:
        status = from_json(NodeStatus, body["status"])
        status_s = now_s - float(body["look_age_s"])
    elif known is not None and known.looks == looks:
        status, status_s = known.status, known.status_s
    return NodeRow(
        name=str(body["name"]),
        roles=tuple(body["roles"]),
        state=str(body["state"]),
        changed_s=now_s - float(body["state_s"]),
        validator=body["validator"],
        power=body["power"] or 0,
        rpc=str(body["rpc"]),
        p2p=str(body["p2p"]),
        pid=body["pid"],
        starts=int(body["starts"]),
        crash=str(body["crash"]),
        rtt_ms=body["rtt_ms"],
        looks=looks,
        status=status,
        status_s=status_s,
    )


def _link(row: Json, now_s: float) -> LinkRow:
    numbers = row["numbers"] or {}
    latency_ms = None
    if numbers:
        latency_ms = (numbers["latency_ms_min"] + numbers["latency_ms_max"]) / 2
    cut_s = row["cut_s"]
    return LinkRow(
        profile=row["profile"] or "",
        latency_ms=latency_ms,
        numbers=numbers,
        cut=bool(row["cut"]),
        cut_since_s=now_s - (cut_s or 0.0),
    )
