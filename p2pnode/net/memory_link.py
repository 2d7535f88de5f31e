"""Links between nodes in one process: their state while they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2pnode.ports import Lane

if TYPE_CHECKING:
    from p2pnode.net.memory import MemoryNetwork


class Call:
    """A request under way."""

    __slots__ = ("answer", "done", "error")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.answer: bytes | None = None
        self.error = ""

    def finish(self, answer: bytes | None, error: str) -> None:
        if not self.done.is_set():
            self.answer, self.error = answer, error
            self.done.set()


class Link:
    """One direction of a standing connection; a later connection has another object."""

    __slots__ = (
        "busy_until", "calls", "cut", "inbound", "last_due", "losing", "open", "profile",
        "receiver", "sender",
    )  # fmt: skip

    def __init__(self, sender: MemoryNetwork, receiver: MemoryNetwork, inbound: bool) -> None:
        self.sender = sender
        self.receiver = receiver
        self.inbound = inbound
        self.open = True
        self.cut = False
        self.losing = False
        """The last thing sent was lost."""
        self.profile = sender.hub.profile(sender.peer_id, receiver.peer_id)
        self.last_due = [0.0] * len(Lane)
        self.busy_until = [0.0] * len(Lane)
        self.calls: dict[int, Call] = {}
