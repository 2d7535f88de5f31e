"""What a supervisor has to do with links: tell the nodes of them, and ask what they measure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import trio

from p2pnode.client import ClientError
from p2pnode.net.links.shim import links_to_json
from testnet.supervise.links import Links
from testnet.supervise.noderun import NodeRun, NodeState, Task

LOOK_S: Final = 2.0
"""Least time between two looks at the links for somebody who watches."""


class LinkKeeper:
    """Keeps the nodes' processes at the state of `Links`."""

    def __init__(
        self,
        links: Links,
        nodes: Sequence[NodeRun],
        *,
        start_soon: Callable[[Task], None],
        told: Callable[[], None],
    ) -> None:
        """Begin with nodes that were told nothing.

        Args:
            links: As they should be.
            nodes: All of the testnet.
            start_soon: Runs a task beside the rest.
            told: Called whenever the nodes were told.
        """
        self._links = links
        self._nodes = nodes
        self._start_soon = start_soon
        self._told = told
        self._telling = trio.Lock()
        self._looked_s = float("-inf")

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return what a node's process is to be told now."""
        return links_to_json(self._links.states(name))

    async def tell(self) -> None:
        """Tell every node's process how its links are now; called after each change of `links`.

        A paused process reads nothing, and is told when it goes on.
        """
        async with self._telling:
            version = self._links.version
            for node in self._nodes:
                process = node.process
                is_told = node.links_version == version or node.state is NodeState.PAUSED
                if process is None or is_told:
                    continue
                node.links_version = version
                await process.send({"links": self.of(node.plan.name)})
        self._told()

    async def look(self) -> None:
        """Ask every node that runs for the round trips it measures."""
        async with trio.open_nursery() as nursery:
            for node in self._nodes:
                if node.is_up:
                    nursery.start_soon(self._ask, node)

    def freshen(self) -> None:
        """Look soon, where that was long ago; returns at once."""
        now_s = trio.current_time()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._start_soon(self.look)

    async def _ask(self, node: NodeRun) -> None:
        names = {other.plan.p2p.rpartition("/")[2]: other.plan.name for other in self._nodes}
        with contextlib.suppress(ClientError):
            rows = await node.client.peers()
            now_s = trio.current_time()
            node.rtts_ms = {names[row.id]: row.rtt_ms for row in rows if row.id in names}
            node.pongs_s = {
                names[row.id]: now_s - row.rtt_age_s
                for row in rows
                if row.id in names and row.rtt_age_s is not None
            }
