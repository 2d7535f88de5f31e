"""The load of a testnet: a process of its own, one at a time, that the supervisor hears."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from p2pnode.errors import P2PNodeError
from testnet.folder import Folder, signal_process
from testnet.launch.launcher import Launcher, Process, Request
from testnet.load.options import LoadOptions
from testnet.load.process import STOP
from testnet.load.report import LoadReport
from testnet.prepare import Prepared
from testnet.spec import TestnetSpec
from testnet.supervise.noderun import NodeRun, Task, WrongStateError

VALID_HEIGHTS: Final = 50_000
"""How far ahead a load sets the expiry of its transactions, where the chain allows."""


class LoadRun:
    """The load that runs, or ran last."""

    def __init__(
        self,
        launcher: Launcher,
        folder: Folder,
        spec: TestnetSpec,
        prepared: Prepared,
        nodes: Sequence[NodeRun],
        *,
        start_soon: Callable[[Task], None],
        notify: Callable[[str], None],
    ) -> None:
        """Begin with none.

        Args:
            launcher: Makes its process.
            folder: Gets its errors.
            spec: Of the testnet.
            prepared: The chain, and what is funded on it.
            nodes: Those that run get its transactions.
            start_soon: Runs a task beside the rest.
            notify: Gets a sentence when a load that nobody waits for has failed.
        """
        self.progress: dict[str, int] | None = None
        self.rate_tx_s = 0.0
        self.report: LoadReport | None = None
        self.process: Process | None = None
        self._launcher = launcher
        self._folder = folder
        self._spec = spec
        self._prepared = prepared
        self._nodes = nodes
        self._start_soon = start_soon
        self._notify = notify
        self._ended = trio.Event()
        self._begins = False
        self._next_repetition = 0

    @property
    def runs(self) -> bool:
        """It submits, or settles."""
        return self.process is not None or self._begins

    async def run(
        self,
        rate_tx_s: float,
        *,
        for_s: float | None,
        trace: str | None,
        on_progress: Callable[[dict[str, int]], None],
    ) -> LoadReport:
        """Run a load to its end.

        Raises:
            WrongStateError: One runs already, or it failed.
        """
        if self.process is not None:
            raise WrongStateError("a load runs already; `testnet load --stop` ends it")
        options = self._options(rate_tx_s, for_s, trace)
        request = Request(
            title="load",
            run="testnet.load.process:run",
            value=options.to_json(),
            cwd=self._folder.path,
            output=self._folder.logs / "load.err",
        )
        process = self.process = await self._launcher.start(request)
        self._ended = trio.Event()
        self.rate_tx_s = rate_tx_s
        reports: list[LoadReport] = []

        def on_message(message: dict[str, Any]) -> None:
            if "progress" in message:
                self.progress = message["progress"]
                on_progress(message["progress"])
            if "report" in message:
                reports.append(LoadReport.from_json(message["report"]))

        try:
            await process.receive(on_message)
            await process.ended.wait()
        finally:
            signal_process(process.pid, process.started, signal.SIGTERM)
            self.process = None
            self._ended.set()
        await process.channel.aclose()
        if not reports:
            raise WrongStateError(
                f"the load ended with exit code {process.code}; see {request.output}"
            )
        self.report = reports[0]
        if options.trace is not None:
            self._next_repetition = max(self._next_repetition + 1, reports[0].repetitions)
        return reports[0]

    def start(self, rate_tx_s: float, *, for_s: float | None, trace: str | None) -> None:
        """Begin a load and return; `progress` and `report` tell of it.

        Raises:
            WrongStateError: One runs already.
        """
        if self.runs:
            raise WrongStateError("a load runs already; `testnet load --stop` ends it")
        self._begins = True

        async def run() -> None:
            try:
                await self.run(
                    rate_tx_s, for_s=for_s, trace=trace, on_progress=lambda progress: None
                )
            except P2PNodeError as error:
                self._notify(f"the load failed: {error}")
            finally:
                self._begins = False

        self.report = self.progress = None
        self._start_soon(run)

    async def stop(self) -> bool:
        """Let the load settle and end; False where none runs."""
        if self.process is None:
            return False
        await self.process.send(STOP)
        await self._ended.wait()
        return True

    def _options(self, rate_tx_s: float, for_s: float | None, trace: str | None) -> LoadOptions:
        parameters = self._prepared.genesis.parameters
        same = trace is not None and trace == str(self._spec.trace)
        first = self._next_repetition
        return LoadOptions(
            rate_tx_s=rate_tx_s,
            seed=self._spec.seed,
            chain=self._prepared.chain,
            nodes=tuple((n.plan.name, n.plan.rpc) for n in self._nodes if n.process is not None),
            fee=self._prepared.fee,
            fee_base=parameters.fee_base,
            fee_action=parameters.fee_action,
            valid_heights=min(VALID_HEIGHTS, parameters.validity_heights_max // 2),
            for_s=for_s,
            trace=None if trace is None else Path(trace),
            first_repetition=first,
            funded_count=self._prepared.funded_count if same and first == 0 else 0,
        )
