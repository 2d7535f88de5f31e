"""`testnet up`: a testnet from its folder to its summary, in this process as its supervisor."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from typing import Any, Final

import psutil
import trio

from p2pnode.cli.console import Console
from p2pnode.cli.exit_codes import ExitCode
from p2pnode.client import CallRefusedError, ClientError
from p2pnode.crypto import address_of
from p2pnode.errors import P2PNodeError
from p2pnode.node.answers import BLOCKS_MAX, BlockStatus
from testnet.cli.display import show
from testnet.cli.screen import first_screen, summary_text
from testnet.folder import Folder, create, free_name, write_atomically
from testnet.genesis import ACCOUNT_BALANCE, account_key
from testnet.launch.launcher import Launcher
from testnet.load.trace import Trace
from testnet.prepare import prepare
from testnet.spec import TestnetSpec
from testnet.supervise.control import ControlServer, status_json
from testnet.supervise.noderun import NodeRun
from testnet.supervise.summary import Facts, Judged, NodeAtEnd, judge
from testnet.supervise.supervisor import Supervisor

BLOCKS_CHECKED_MAX: Final = 20_000
"""Blocks compared across nodes at the end, the newest ones."""

EVEN_S: Final = 3.0
"""How long the end waits for all nodes to show the same height."""

_REASONS: Final = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


@dataclass(frozen=True, slots=True)
class UpOptions:
    """How `up` behaves towards the one who called it."""

    named: bool
    """The name was given; else it may be changed to a free one."""
    ready_descriptor: int | None = None
    """Detached: the first screen goes here, as JSON, and everything else into a file."""
    until_ctrl_c: bool = False
    """Ctrl-C is the planned end of a run without one of its own."""
    recording: Trace | None = None
    """What the spec's trace holds, read before anything is made."""


def up(spec: TestnetSpec, options: UpOptions, console: Console) -> int:
    """Run a testnet to its end; returns the exit code.

    Raises:
        P2PNodeError: It can't be started.
    """
    if not options.named:
        spec = replace(spec, name=free_name(spec.name))
    spec.validate()
    folder, lock, removed = create(spec.name)
    try:
        for sentence in removed:
            console.say(sentence)
        # Importing begins at once, on another core, while genesis and keys are made here.
        launcher = Launcher(folder.path, folder.logs / "forkserver.err")
        if options.ready_descriptor is not None:
            _redirect(folder)
        try:
            supervisor = Supervisor(
                spec, folder, prepare(spec, folder, options.recording), launcher
            )
        except BaseException:
            launcher.close()
            raise
        run = _Run(supervisor, options, console)
        try:
            trio.run(run.main)
        finally:
            launcher.close()
    except BaseExceptionGroup as group:
        return _failed(group, options, console)
    except P2PNodeError as error:
        _tell(options, {"error": str(error), "exit": ExitCode.FAILED})
        raise
    finally:
        lock.release()
    return run.exit


class _Run:
    def __init__(self, supervisor: Supervisor, options: UpOptions, console: Console) -> None:
        self._supervisor = supervisor
        self._options = options
        self._console = console
        self.exit: int = ExitCode.OK

    @property
    def _ends_by_ctrl_c(self) -> bool:
        return self._options.until_ctrl_c and self._supervisor.spec.for_s is None

    async def main(self) -> None:
        supervisor, console = self._supervisor, self._console
        supervisor.notices = console.say
        judged: Judged | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._signals)
            await nursery.start(ControlServer(supervisor).run)
            with trio.CancelScope() as starting:
                nursery.start_soon(_cancel_when, supervisor.ending, starting)
                await nursery.start(supervisor.run)
            if supervisor.ready.is_set():
                supervisor.ready_s = _age_s()
                self._show_first()
                supervisor.shown.set()
                judged = await self._watch()
            nursery.cancel_scope.cancel()
        # All processes have ended.
        self.exit = exit_of(supervisor.reason, planned=self._ends_by_ctrl_c)
        if judged is not None:
            self._finish(judged)
        elif supervisor.reason:
            when = "" if supervisor.ready.is_set() else " before it was ready"
            console.say(f"stopped{when}; files: {supervisor.folder.path}/")
            console.next("testnet up", "testnet down")

    async def _signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
            async for number in received:
                if self._supervisor.ending.is_set() and number == signal.SIGINT:
                    # Asked twice: no summary, no waiting for the nodes' last writes.
                    self._supervisor.kill_all()
                self._supervisor.end(_REASONS.get(signal.Signals(number), "terminated"))

    def _show_first(self) -> None:
        supervisor, spec = self._supervisor, self._supervisor.spec
        address = address_of(account_key(spec.seed, 0).public).hex()
        text = first_screen(
            status_json(supervisor),
            validators=spec.validators,
            light=spec.light,
            shards=spec.shards,
            ready_s=supervisor.ready_s or 0.0,
            account=(address, ACCOUNT_BALANCE),
            folder=str(supervisor.folder.path),
        )
        _tell(self._options, {"screen": text, "status": status_json(supervisor)})
        if self._console.json:
            self._console.say(text)
        elif not self._console.quiet:
            self._console.data(text)

    async def _watch(self) -> Judged | None:
        """Run until the time is over or somebody wants the end; returns what it came to."""
        supervisor, spec = self._supervisor, self._supervisor.spec
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show, self._console, lambda: status_json(supervisor), spec.for_s)
            done = trio.Event()
            nursery.start_soon(self._work, done)
            await _first(done, supervisor.ending)
            nursery.cancel_scope.cancel()
        duration_s = trio.current_time() - start
        interrupted = supervisor.ending.is_set()
        if interrupted and not self._console.json and supervisor.load.report is None:
            return None
        with trio.move_on_after(2.0 if interrupted else 30.0):
            return judge(await self._facts(duration_s, interrupted))
        return None

    async def _work(self, done: trio.Event) -> None:
        """Run the load that was asked for, or wait; then say so."""
        supervisor, spec = self._supervisor, self._supervisor.spec
        if spec.load_tx_s is not None:
            await supervisor.load.run(
                spec.load_tx_s,
                for_s=spec.for_s,
                trace=str(spec.trace) if spec.trace is not None else None,
                on_progress=lambda progress: None,
            )
        else:
            await trio.sleep(spec.for_s if spec.for_s is not None else float("inf"))
        if spec.load_tx_s is not None and spec.for_s is None:
            # Somebody has stopped the load; nobody has asked for the testnet's end.
            return
        done.set()

    # --- the end ---------------------------------------------------------------------------------

    async def _facts(self, duration_s: float, interrupted: bool) -> Facts:
        supervisor, spec = self._supervisor, self._supervisor.spec
        if not interrupted:
            await self._until_even()
        await supervisor.look_at_all()
        found: list[NodeAtEnd] = [await self._node_facts(node) for node in supervisor.nodes]
        if spec.for_s is not None and spec.load_tx_s is not None:
            # What settles after the load is not part of its time.
            duration_s = min(duration_s, spec.for_s)
        folder = supervisor.folder
        return Facts(
            spec=spec,
            issued=supervisor.prepared.supply,
            ready_s=supervisor.ready_s,
            duration_s=duration_s,
            nodes=found,
            load=supervisor.load.report,
            seen=supervisor.seen,
            interrupted=interrupted,
            profile=_profile(folder, supervisor.nodes) if spec.profile else None,
            files={
                "folder": str(folder.path),
                "manifest": str(folder.manifest),
                "logs": str(folder.logs),
            },
        )

    async def _until_even(self) -> None:
        """Wait until all running nodes have executed the same height, for a while."""
        supervisor = self._supervisor
        with trio.move_on_after(EVEN_S):
            while True:
                await supervisor.look_at_all()
                heights = {
                    (n.status.executed_height, n.status.certified_height)
                    for n in supervisor.up()
                    if n.status is not None
                }
                if len(heights) == 1:
                    return
                await trio.sleep(0.05)

    async def _node_facts(self, node: NodeRun) -> NodeAtEnd:
        status, supply = None, None
        blocks: tuple[BlockStatus, ...] = ()
        if node in self._supervisor.up():
            try:
                status = node.status
                blocks = await _blocks(node)
                supply = await _supply(node)
            except ClientError as error:
                self._supervisor.notices(f"{node.plan.name}: {error}")
        return NodeAtEnd(node.plan.name, status, blocks, supply, node.cost, node.crash)

    def _finish(self, judged: Judged) -> None:
        folder, console = self._supervisor.folder, self._console
        summary = {
            **judged.summary,
            "files": {**judged.summary["files"], "summary": str(folder.summary)},
        }
        reason = self._supervisor.reason
        if reason and judged.exit is not ExitCode.SAFETY_VIOLATED:
            summary["exit"] = int(exit_of(reason, planned=self._ends_by_ctrl_c))
        self.exit = int(summary["exit"])
        line = json.dumps(summary)
        write_atomically(folder.summary, line + "\n")
        console.say(summary_text(summary))
        console.next(f"testnet logs --name {folder.name}", "testnet up")
        if console.json:
            console.data(line)


async def _blocks(node: NodeRun) -> tuple[BlockStatus, ...]:
    assert node.status is not None
    last = node.status.height
    found: list[BlockStatus] = []
    for first in range(max(1, last - BLOCKS_CHECKED_MAX + 1), last + 1, BLOCKS_MAX):
        found += await node.client.blocks(first, min(BLOCKS_MAX, last + 1 - first))
    return tuple(found)


async def _supply(node: NodeRun) -> dict[int, int] | None:
    """Return what a node counts of each asset; None where it does not tell."""
    try:
        return {asset: int(amount) for asset, amount in (await node.client.supply()).items()}
    except CallRefusedError:
        return None


def _profile(folder: Folder, nodes: list[NodeRun]) -> dict[str, float]:
    found: dict[str, float] = {}
    for node in nodes:
        path = folder.path / f"{node.plan.name}.profile"
        if path.exists():
            for part, spent_s in json.loads(path.read_text())["parts_s"].items():
                found[part] = found.get(part, 0.0) + spent_s
    return found


def exit_of(reason: str, *, planned: bool = False) -> ExitCode:
    """Return the exit code of a run that ended for a reason.

    Args:
        reason: As the supervisor has it.
        planned: Ctrl-C was to end it.
    """
    match reason:
        case "" | "down":
            return ExitCode.OK
        case "interrupted" if planned:
            return ExitCode.OK
        case "crashed":
            return ExitCode.NODE_CRASHED
        case _:
            return ExitCode.INTERRUPTED


def _failed(group: BaseExceptionGroup[BaseException], options: UpOptions, console: Console) -> int:
    """Report what tasks raised: expected errors as words, anything else as it is."""
    expected, rest = group.split(P2PNodeError)
    if rest is not None or expected is None:
        raise group
    texts = dict.fromkeys(str(error) for error in _leaves(expected))
    for text in texts:
        console.error(text)
    _tell(options, {"error": "; ".join(texts), "exit": ExitCode.FAILED})
    return ExitCode.FAILED


def _leaves(group: BaseExceptionGroup[P2PNodeError]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


# --- detached -----------------------------------------------------------------------------------


def _redirect(folder: Folder) -> None:
    """Send our output to a file: whoever started us reads only the descriptor."""
    sys.stdout.flush()
    sys.stderr.flush()
    path = folder.logs / "supervisor.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _tell(options: UpOptions, message: dict[str, Any]) -> None:
    """Tell the one who detached us, once."""
    if options.ready_descriptor is None:
        return
    try:
        with os.fdopen(options.ready_descriptor, "w", encoding="utf-8") as file:
            json.dump(message, file)
    except OSError:
        return


def _age_s() -> float:
    """Return how long this process exists: the start as a person sees it."""
    import time

    return time.time() - float(psutil.Process().create_time())


async def _first(*events: trio.Event) -> None:
    """Wait for one of several events."""
    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(_cancel_when, event, nursery.cancel_scope)


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
