"""The numbers of an engine, and their limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pnode.errors import ConfigError

NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class EngineParameters:
    """Numbers that every engine takes; an engine ignores those it has no use for."""

    delta_ns: int = 100_000_000
    """Δ: the configured bound on one message delay; the adaptive Δ never goes below it."""

    delta_max_ns: int = 10 * NS_PER_S
    """Cap of the adaptive Δ."""

    block_interval_ns: int = 200_000_000
    """Least time between a payload's proposal and that of its child."""

    skip_ns: int = 4 * NS_PER_S
    """A proposer from whom nothing came for this long, while a quorum was heard, gets no time."""

    retry_ns: int = 1 * NS_PER_S
    """Least interval between repetitions of a nullify and of questions for missing certificates."""

    relay_after_ns: int | None = None
    """When a certificate is relayed to validators that have not shown it: None is Δ/4, 0 is at
    once to all."""

    window_views: int = 16
    """Views above the current one from which messages are deferred rather than dropped."""

    tail_views: int = 32
    """Views below the floor whose certificates are kept for stragglers."""

    certify: bool = False
    """Ask the host once more (`Check`) between a quorum of votes for a payload and its use."""

    deferred_per_sender_max: int = 64
    """DEFERred items that the host keeps per sender."""

    def __post_init__(self) -> None:
        for name in ("delta_ns", "retry_ns", "skip_ns", "window_views", "deferred_per_sender_max"):
            if getattr(self, name) < 1:
                raise EngineParameterError(name, getattr(self, name), "at least 1")
        for name in ("block_interval_ns", "tail_views"):
            if getattr(self, name) < 0:
                raise EngineParameterError(name, getattr(self, name), "at least 0")
        if self.delta_max_ns < self.delta_ns:
            raise EngineParameterError(
                "delta_max_ns", self.delta_max_ns, f"at least delta_ns {self.delta_ns}"
            )
        if self.relay_after_ns is not None and self.relay_after_ns < 0:
            raise EngineParameterError("relay_after_ns", self.relay_after_ns, "at least 0")


class EngineParameterError(ConfigError):
    """A parameter of the consensus engine is out of range."""

    def __init__(self, name: str, value: int, wanted: str) -> None:
        super().__init__(f"engine parameter {name} is {value}, must be {wanted}")
        self.name = name
        self.value = value
