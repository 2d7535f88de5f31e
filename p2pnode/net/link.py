"""Links between nodes in one process: what they do to traffic, and their state while they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from p2pnode.errors import ConfigError
from p2pnode.ports import Lane

if TYPE_CHECKING:
    from p2pnode.net.memory import MemoryNetwork


class LinkProfileError(ConfigError):
    """The numbers of a link contradict each other."""


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """What a directed link does to what travels over it."""

    latency_ms_min: float = 20.0
    """Least latency; each frame draws its own, but never overtakes an earlier one of its lane."""
    latency_ms_max: float = 80.0
    """Largest latency, without the wait for a limited rate."""
    loss: float = 0.0
    """Probability that a frame, a hop of a published message or a leg of a request vanishes."""
    duplicate: float = 0.0
    """Probability that a hop of a published message arrives twice; frames never do."""
    rate_bytes_per_s: float | None = None
    """Throughput; None is unlimited."""

    def __post_init__(self) -> None:
        """Refuse impossible numbers.

        Raises:
            LinkProfileError: Latencies out of order, a probability outside 0 … 1 or a rate of 0.
        """
        if not 0 <= self.latency_ms_min <= self.latency_ms_max:
            raise LinkProfileError(
                f"latency from {self.latency_ms_min} to {self.latency_ms_max} ms"
            )
        for name, value in (("loss", self.loss), ("duplicate", self.duplicate)):
            if not 0 <= value <= 1:
                raise LinkProfileError(f"{name} {value} is no probability")
        if self.rate_bytes_per_s is not None and self.rate_bytes_per_s <= 0:
            raise LinkProfileError(f"rate of {self.rate_bytes_per_s} bytes/s")


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
        "busy_until", "calls", "cut", "inbound", "last_due", "open", "profile", "receiver", "sender"
    )  # fmt: skip

    def __init__(self, sender: MemoryNetwork, receiver: MemoryNetwork, inbound: bool) -> None:
        self.sender = sender
        self.receiver = receiver
        self.inbound = inbound
        self.open = True
        self.cut = False
        self.profile = sender.hub.profile(sender.peer_id, receiver.peer_id)
        self.last_due = [0.0] * len(Lane)
        self.busy_until = [0.0] * len(Lane)
        self.calls: dict[int, Call] = {}
