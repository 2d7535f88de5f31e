"""The control socket: requests to a supervisor, one line of JSON each, answered by lines of JSON.

A request is `{"command": …, …}`. Its answer's last line has `ok`, or `error` and `exit`; a load
sends lines with `progress` before.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from p2pnode.cli.exit_codes import ExitCode
from p2pnode.client import ClientError
from p2pnode.errors import P2PNodeError, UsageError
from p2pnode.telemetry.clock import wall_ms
from testnet.folder import usable_path
from testnet.supervise.explanation import explain_json
from testnet.supervise.fund import fund
from testnet.supervise.linkrequests import (
    carry_out,
    effect_of,
    isolated,
    nodes_of,
    rtts_of,
    table,
)
from testnet.supervise.noderun import NodeRun
from testnet.supervise.supervisor import Supervisor
from testnet.supervise.watch import watch_json

LINE_BYTES_MAX: Final = 1 << 16

Json = dict[str, Any]
_Tell = Callable[[Json], Awaitable[None]]


class RefusedRequestError(P2PNodeError):
    """A request can't be understood."""


class ControlServer:
    """Answers requests as long as it runs."""

    def __init__(self, supervisor: Supervisor) -> None:
        """Serve one supervisor."""
        self._supervisor = supervisor

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen on the testnet's socket until cancelled."""
        path = self._supervisor.folder.control
        sock = trio.socket.socket(socket.AF_UNIX)
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            await sock.bind(usable_path(path))
        finally:
            os.umask(before)
        sock.listen(16)
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                await trio.serve_listeners(
                    self._serve, [trio.SocketListener(sock)], handler_nursery=nursery
                )
        finally:
            path.unlink(missing_ok=True)

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                async for line in lines(stream):
                    await self._answer(line, stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _answer(self, line: bytes, stream: trio.SocketStream) -> None:
        async def tell(message: Json) -> None:
            await stream.send_all(json.dumps(message).encode() + b"\n")

        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise RefusedRequestError("a request is an object")
            answer = await self._carry_out(request, tell)
        except (ValueError, KeyError, TypeError) as error:
            answer = {"error": f"bad request: {error!r}", "exit": ExitCode.USAGE}
        except UsageError as error:
            answer = {"error": str(error), "exit": ExitCode.USAGE}
        except P2PNodeError as error:
            answer = {"error": str(error), "exit": ExitCode.FAILED}
        await tell(answer)

    async def _carry_out(self, request: Json, tell: _Tell) -> Json:
        supervisor = self._supervisor
        match request.get("command"):
            case "status":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(supervisor.look_at_all)
                    nursery.start_soon(supervisor.link_keeper.look)
                return {"ok": True, **status_json(supervisor)}
            case "explain":
                await supervisor.look_at_all()
                return {"ok": True, "name": supervisor.spec.name, **explain_json(supervisor)}
            case "watch":
                if supervisor.ready.is_set():
                    supervisor.link_keeper.freshen()
                return {"ok": True, **watch_json(supervisor, request.get("seen", {}))}
            case "kill":
                number = int(request.get("signal", signal.SIGKILL))
                killed = await supervisor.kill(str(request["node"]), number)
                return {"ok": True, "node": node_json(killed)}
            case "links":
                await supervisor.link_keeper.look()
                return {"ok": True, "links": table(supervisor)}
            case "cut" | "heal" | "link":
                answer = carry_out(supervisor, request)
                await supervisor.link_keeper.tell()
                return answer()
            case "effect":
                action = request["action"]
                text = effect_of(supervisor, action)
                return {"ok": True, "effect": text, "nodes": nodes_of(supervisor, action)}
            case "restart":
                return {"ok": True, "node": node_json(await supervisor.restart(request["node"]))}
            case "pause":
                return {"ok": True, "node": node_json(supervisor.pause(request["node"]))}
            case "resume":
                return {"ok": True, "node": node_json(supervisor.resume(request["node"]))}
            case "wait":
                return await self._wait(request)
            case "fund":
                return {"ok": True, **await self._fund(request)}
            case "load":
                return await self._load(request, tell)
            case "load_start":
                supervisor.load.start(
                    float(request["rate"]),
                    for_s=request.get("for_s"),
                    trace=request.get("trace"),
                )
                return {"ok": True}
            case "load_stop":
                return {"ok": True, "stopped": await supervisor.load.stop()}
            case "down":
                supervisor.end("down")
                running = [n.plan.name for n in supervisor.nodes if n.process is not None]
                return {"ok": True, "stopped": running}
            case other:
                raise RefusedRequestError(f"no command {other!r}")

    async def _wait(self, request: Json) -> Json:
        height = request.get("height")
        timeout_s = float(request.get("timeout_s", 60.0))
        if await self._supervisor.wait(int(height) if height is not None else None, timeout_s):
            return {"ok": True, **status_json(self._supervisor)}
        what = f"height {height}" if height is not None else "ready"
        return {"error": f"not {what} after {timeout_s:g} s", "exit": ExitCode.NO_LIVENESS}

    async def _fund(self, request: Json) -> Json:
        address = bytes.fromhex(str(request["address"]).removeprefix("0x"))
        try:
            return await fund(
                self._supervisor, address, int(request["amount"]), int(request.get("asset", 0))
            )
        except ClientError as error:
            raise RefusedRequestError(str(error)) from None

    async def _load(self, request: Json, tell: _Tell) -> Json:
        # Progress is told from a task of its own: `on_progress` must not wait for a slow reader.
        sender, receiver = trio.open_memory_channel[dict[str, int]](1)

        def on_progress(progress: dict[str, int]) -> None:
            try:
                sender.send_nowait(progress)
            except trio.WouldBlock:
                return

        async def tell_progress() -> None:
            async for progress in receiver:
                await tell({"progress": progress})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell_progress)
            with sender:
                report = await self._supervisor.load.run(
                    float(request["rate"]),
                    for_s=request.get("for_s"),
                    trace=request.get("trace"),
                    on_progress=on_progress,
                )
        return {"ok": True, "report": report.to_json()}


async def lines(stream: trio.SocketStream) -> Any:
    """Yield the lines of a stream.

    Raises:
        RefusedRequestError: One is too long.
    """
    buffer = b""
    while data := await stream.receive_some(1 << 16):
        buffer += data
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            yield line
        if len(buffer) > LINE_BYTES_MAX:
            return


def node_json(node: NodeRun) -> Json:
    """Return a node as `testnet status --json` shows it."""
    status = node.status
    return {
        "name": node.plan.name,
        "roles": list(node.plan.roles),
        "state": node.state.value,
        "ready": node.ready,
        "rpc": node.plan.rpc,
        "p2p": node.plan.p2p,
        "pid": node.process.pid if node.process is not None else None,
        "starts": node.starts,
        "height": status.height if status is not None else None,
        "executed_height": status.executed_height if status is not None else None,
        "certified_height": status.certified_height if status is not None else None,
        "view": status.view if status is not None else None,
        "peers": status.peers_count if status is not None else None,
        "pool": status.mempool.transactions_count if status is not None else None,
        "syncing": status.syncing if status is not None else None,
        "reasons": list(status.not_ready_reasons) if status is not None else [],
        "cpu_s": round(node.cost.cpu_s, 3),
        "memory_bytes_max": node.cost.memory_bytes_max,
        "crash": node.crash,
        "rtt_ms": rtts_of(node),
    }


def status_json(supervisor: Supervisor) -> Json:
    """Return a testnet as `testnet status --json` shows it."""
    return {
        "name": supervisor.spec.name,
        "seed": supervisor.spec.seed,
        "chain": supervisor.prepared.chain.hex(),
        "engine": supervisor.spec.engine,
        "ready": all(node.ready for node in supervisor.nodes),
        "ready_s": supervisor.ready_s,
        "load": supervisor.load.progress,
        "links": supervisor.links.rows(wall_ms(), changed_only=True),
        "isolated": isolated(supervisor),
        "nodes": [node_json(node) for node in supervisor.nodes],
        "explain": explain_json(supervisor),
    }
