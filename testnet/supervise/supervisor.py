"""The supervisor: starts the processes of a testnet, watches them, and ends them all.

It owns the fork server and a channel to every process; supervise/control.py answers requests on its
socket. Nothing outlives it: when it ends, however that happens, the fork server ends the others.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import psutil
import trio

from p2pnode.client import ClientError, NodeClient
from p2pnode.telemetry.clock import wall_ms
from testnet.folder import Folder, Manifest, NodeEntry, signal_process, started_s, write_manifest
from testnet.launch.launcher import Launcher, Process, Request
from testnet.prepare import Prepared
from testnet.spec import TestnetSpec
from testnet.supervise.crash import how_it_ended
from testnet.supervise.linkkeeper import LinkKeeper
from testnet.supervise.links import Links
from testnet.supervise.loadrun import LoadRun
from testnet.supervise.noderun import (
    NodeRun,
    NodeState,
    NotReadyError,
    Task,
    UnknownNodeError,
    require,
    running,
    why_not_ready,
)
from testnet.supervise.quorum import Topology
from testnet.supervise.summary import StateSeen

READY_POLL_S: Final = 0.05
SAMPLE_S: Final = 1.0

READY_MAX_S: Final = 60.0
"""A testnet that is not ready after so long is given up."""

END_S: Final = 5.0
"""Nodes that have not ended so long after SIGTERM are killed."""


class Supervisor:
    """One testnet."""

    def __init__(
        self, spec: TestnetSpec, folder: Folder, prepared: Prepared, launcher: Launcher
    ) -> None:
        """Wire up; `run` starts the nodes.

        Args:
            spec: What is to run.
            folder: Its files.
            prepared: Written there.
            launcher: Its fork server, begun.
        """
        self.spec = spec
        self.folder = folder
        self.prepared = prepared
        self.nodes = [NodeRun(plan, NodeClient(plan.rpc, timeout_s=5.0)) for plan in prepared.nodes]
        self.links = Links({plan.name: plan.peer_id for plan in prepared.nodes})
        self.seen = StateSeen()
        self.ready_s: float | None = None
        self.ready = trio.Event()
        self.shown = trio.Event()
        """`up` has said that the testnet is ready: before, nobody else is told so."""
        self.ending = trio.Event()
        """Somebody wants the testnet to end."""
        self.reason = ""
        self.notices: Callable[[str], None] = _ignore
        """Gets a sentence for every event worth one."""
        self._launcher = launcher
        self.load = LoadRun(
            launcher,
            folder,
            spec,
            prepared,
            self.nodes,
            start_soon=self._start_soon,
            notify=lambda text: self.notices(text),
        )
        self.link_keeper = LinkKeeper(
            self.links, self.nodes, start_soon=self._start_soon, told=self.write_manifest
        )
        self._pid_started = started_s(os.getpid()) or 0.0
        self.fund_lock = trio.Lock()
        self._nursery: trio.Nursery

    # --- the life of the testnet -----------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start everything and watch it until cancelled; then end all processes.

        Started once all nodes are ready.

        Raises:
            NotReadyError: They did not become ready.
            LaunchError: They can't be started.
        """
        async with AsyncExitStack() as stack:
            for node in self.nodes:
                await stack.enter_async_context(node.client)
            try:
                await self._run(task_status)
            finally:
                with trio.CancelScope(shield=True):
                    await self._end()

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            # Both from the beginning: `down` and `status` work while it starts.
            self.write_manifest()
            await nursery.start(self._launcher.run)
            for node in self.nodes:
                await self._start(node)
            self.write_manifest()
            await self._until_ready()
            nursery.start_soon(self._sample)
            nursery.start_soon(self._watch_launcher)
            self.ready.set()
            task_status.started()
            await trio.sleep_forever()

    def _start_soon(self, task: Task) -> None:
        self._nursery.start_soon(task)

    def end(self, reason: str) -> None:
        """Ask for the end; the first reason counts."""
        self.reason = self.reason or reason
        self.ending.set()

    async def _until_ready(self) -> None:
        with trio.move_on_after(READY_MAX_S) as limit:
            while not all(node.ready for node in self.nodes):
                for node in self.nodes:
                    if node.state is NodeState.CRASHED:
                        raise NotReadyError(f"{node.plan.name} {node.crash}")
                    if node.answers and not node.ready:
                        await self._look(node)
                await trio.sleep(READY_POLL_S)
        if limit.cancelled_caught:
            waiting = [node for node in self.nodes if not node.ready]
            reasons = "; ".join(f"{node.plan.name}: {why_not_ready(node)}" for node in waiting)
            raise NotReadyError(f"not ready after {READY_MAX_S:.0f} s: {reasons}")
        for node in self.nodes:
            self._measure(node)
            node.cost.begin()

    async def _end(self) -> None:
        """End the nodes: asked first, then killed; and the fork server."""
        running = [node.process for node in self.nodes if node.process is not None]
        if self.load.process is not None:
            running.append(self.load.process)
        for node in self.nodes:
            if node.process is not None:
                node.become(NodeState.STOPPED)
        for process in running:
            signal_process(process.pid, process.started, signal.SIGTERM)
            # A paused process handles nothing, not even SIGTERM.
            signal_process(process.pid, process.started, signal.SIGCONT)
        async with trio.open_nursery() as nursery:
            # Its reports of ended children are needed here, though `run` was cancelled.
            nursery.start_soon(self._launcher.listen)
            with trio.move_on_after(END_S) as limit:
                for process in running:
                    await process.ended.wait()
            if limit.cancelled_caught:
                for process in running:
                    signal_process(process.pid, process.started, signal.SIGKILL)
                with trio.move_on_after(1.0):
                    for process in running:
                        await process.ended.wait()
            nursery.cancel_scope.cancel()
        self._launcher.close()
        for process in running:
            await process.channel.aclose()
        for node in self.nodes:
            node.process = None
        self.write_manifest()

    # --- nodes -----------------------------------------------------------------------------------

    def node(self, name: str) -> NodeRun:
        """Return a node by name; a number alone will do.

        Raises:
            UnknownNodeError: There is none.
        """
        for node in self.nodes:
            if name in (node.plan.name, str(node.plan.index)):
                return node
        raise UnknownNodeError(name, [node.plan.name for node in self.nodes])

    async def kill(self, name: str, number: int = signal.SIGKILL) -> NodeRun:
        """End a node's process, as a crash would (or as SIGTERM asks for).

        Raises:
            UnknownNodeError: There is no such node.
            WrongStateError: It does not run.
            NotEndingError: The signal ends no process.
        """
        node = self.node(name)
        require(node, "kill", number)
        process = running(node)
        node.become(NodeState.KILLED)
        signal_process(process.pid, process.started, number)
        if number != signal.SIGKILL:
            signal_process(process.pid, process.started, signal.SIGCONT)
        await process.ended.wait()
        node.process = None
        node.answers = False
        self.write_manifest()
        return node

    async def restart(self, name: str) -> NodeRun:
        """Start a node again on its own files and ports; one that runs is ended first."""
        node = self.node(name)
        if node.process is not None:
            await self.kill(name, signal.SIGTERM)
        await self._start(node)
        self.write_manifest()
        return node

    def pause(self, name: str) -> NodeRun:
        """Stop a node's process where it stands."""
        node = self.node(name)
        require(node, "pause")
        process = running(node)
        signal_process(process.pid, process.started, signal.SIGSTOP)
        node.become(NodeState.PAUSED)
        return node

    def resume(self, name: str) -> NodeRun:
        """Let a paused node go on."""
        node = self.node(name)
        require(node, "resume")
        process = running(node)
        signal_process(process.pid, process.started, signal.SIGCONT)
        node.become(NodeState.RUNNING)
        self._nursery.start_soon(self.link_keeper.tell)
        return node

    def kill_all(self) -> None:
        """End all nodes at once; for somebody who can't wait."""
        for node in self.nodes:
            if node.process is not None:
                node.become(NodeState.STOPPED)
                signal_process(node.process.pid, node.process.started, signal.SIGKILL)

    def up(self) -> list[NodeRun]:
        """Return the nodes whose API should answer."""
        return [node for node in self.nodes if node.is_up]

    def topology(self) -> Topology:
        """Return the validators, and what is between them."""
        validators = self.prepared.genesis.validators
        by_peer = {node.plan.peer_id: node for node in self.nodes}
        nodes = {by_peer[v.peer_id].plan.name: v.power for v in validators if v.peer_id in by_peer}
        running = (NodeState.RUNNING, NodeState.STARTING)
        down = frozenset(n.plan.name for n in self.nodes if n.state not in running)
        return Topology(nodes, down, self.links.cuts)

    async def _start(self, node: NodeRun) -> None:
        plan = node.plan
        node.starts += 1
        node.answers = False
        node.status = None
        node.crash = ""
        node.become(NodeState.STARTING)
        profile = self.folder.path / f"{plan.name}.profile" if self.spec.profile else None
        links_version = self.links.version
        value = {
            "config": str(plan.config.absolute()),
            "profile": str(profile.absolute()) if profile is not None else None,
            # From the beginning: it must not connect over a link that is cut.
            "links": self.link_keeper.of(plan.name),
        }
        request = Request(
            title=plan.name,
            run="testnet.launch.node:run",
            value=value,
            cwd=plan.config.parent,
            output=self.folder.logs / f"{plan.name}.err",
        )
        process = await self._launcher.start(request)
        node.process = process
        node.links_version = links_version
        if self.links.version != links_version:
            # Changed while the process was made.
            self._nursery.start_soon(self.link_keeper.tell)
        node.cost.new_process()
        self._nursery.start_soon(self._follow, node, process)

    async def _follow(self, node: NodeRun, process: Process) -> None:
        """Listen to a node's process until it ends."""

        def on_message(message: dict[str, Any]) -> None:
            if "ready" in message and node.process is process:
                node.answers = True
                if node.state is NodeState.STARTING:
                    node.become(NodeState.RUNNING)

        await process.receive(on_message)
        await process.ended.wait()
        await process.channel.aclose()
        if node.process is not process:
            return
        node.process = None
        node.answers = False
        if node.state not in (NodeState.KILLED, NodeState.STOPPED):
            node.become(NodeState.CRASHED)
            node.crash = how_it_ended(process.code or 0, self.folder.logs / f"{node.plan.name}.err")
            self.notices(f"{node.plan.name} {node.crash}")
            self.write_manifest()

    async def _watch_launcher(self) -> None:
        await self._launcher.gone.wait()
        self.notices("the fork server is gone, and the nodes with it")
        self.end("crashed")

    # --- watching --------------------------------------------------------------------------------

    async def _sample(self) -> None:
        while True:
            started = trio.current_time()
            async with trio.open_nursery() as nursery:
                for node in self.up():
                    nursery.start_soon(self._look, node)
            for node in self.nodes:
                self._measure(node)
            await trio.sleep(max(0.1, started + SAMPLE_S - trio.current_time()))

    async def _look(self, node: NodeRun) -> None:
        """Ask a node for its status, and check what can be checked at once."""
        with contextlib.suppress(ClientError):
            status = await node.client.status()
            node.status = status
            node.seen_s = trio.current_time()
            node.looks += 1
            node.cost.sent(status.bytes_sent)
            self.seen.status(node.plan.name, status)

    async def look_at_all(self) -> None:
        """Refresh the status of every node that runs."""
        async with trio.open_nursery() as nursery:
            for node in self.up():
                nursery.start_soon(self._look, node)
        for node in self.nodes:
            self._measure(node)

    def _measure(self, node: NodeRun) -> None:
        """Note CPU time and memory of a node's process, from outside it."""
        if node.process is None:
            return
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(node.process.pid)
            times = process.cpu_times()
            cpu_s = times.user + times.system + times.children_user + times.children_system
            node.cost.measured(cpu_s, process.memory_info().rss)

    async def wait(self, height: int | None, timeout_s: float) -> bool:
        """Wait until all running nodes are ready, and have a height where one is given."""
        with trio.move_on_after(timeout_s):
            await self.shown.wait()
            while True:
                await self.look_at_all()
                alive = [n for n in self.nodes if n.process is not None]
                if alive and all(
                    n.ready and (height is None or (n.status and n.status.height >= height))
                    for n in alive
                ):
                    return True
                await trio.sleep(READY_POLL_S)
        return False

    # --- the manifest ----------------------------------------------------------------------------

    def write_manifest(self) -> None:
        """Rewrite testnet.json."""
        nodes = tuple(
            NodeEntry(
                name=node.plan.name,
                roles=node.plan.roles,
                rpc=node.plan.rpc,
                p2p=node.plan.p2p,
                pid=node.process.pid if node.process is not None else None,
                started=node.process.started if node.process is not None else None,
            )
            for node in self.nodes
        )
        manifest = Manifest(
            name=self.spec.name,
            seed=self.spec.seed,
            chain=self.prepared.chain.hex(),
            engine=self.spec.engine,
            control=str(self.folder.control.absolute()),
            nodes=nodes,
            pid=os.getpid(),
            started=self._pid_started,
            helpers=((self._launcher.pid, self._launcher.started),),
            links=tuple(self.links.rows(wall_ms(), changed_only=True)),
        )
        write_manifest(self.folder, manifest)


def _ignore(text: str) -> None:
    """Drop a notice."""
