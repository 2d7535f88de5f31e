"""Token buckets: how much of something a peer may send in a second, and in one go.

Pure: the time comes in. A bucket goes into debt rather than refuse, because what is counted has
arrived already: who counts then waits until the debt is paid before it reads on. The peer's window
fills meanwhile, and the peer waits, too; an honest peer loses nothing by that. Only who keeps a
meter in debt beyond a grace loses score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pnode.errors import ConfigError


class RateError(ConfigError):
    """A rate that lets nothing through."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What of one kind of traffic a peer may send."""

    bytes_per_s: float
    """Bytes a second, in the long run."""
    messages_per_s: float
    """Messages (frames, requests, published messages) a second, in the long run."""
    burst_s: float = 4.0
    """Seconds' worth that may come at once after silence."""
    is_blamed: bool = True
    """Whether a peer that is slowed for long loses score, too."""

    def __post_init__(self) -> None:
        if min(self.bytes_per_s, self.messages_per_s, self.burst_s) <= 0:
            raise RateError(
                f"{self.bytes_per_s:g} bytes/s, {self.messages_per_s:g} messages/s and"
                f" {self.burst_s:g} s of them at once let nothing through"
            )


class TokenBucket:
    """Fills with time up to a brim; may go into debt."""

    __slots__ = ("_brim", "_level", "_rate_per_s", "_updated_s")

    def __init__(self, rate_per_s: float, brim: float) -> None:
        """Begin full.

        Args:
            rate_per_s: Tokens that come in a second.
            brim: Tokens it holds.
        """
        self._rate_per_s = rate_per_s
        self._brim = brim
        self._level = brim
        self._updated_s: float | None = None

    def _fill(self, now_s: float) -> None:
        if self._updated_s is not None and now_s > self._updated_s:
            grown = self._level + (now_s - self._updated_s) * self._rate_per_s
            self._level = min(self._brim, grown)
        self._updated_s = now_s

    def spend(self, amount: float, now_s: float) -> float:
        """Take tokens, into debt if need be.

        Returns:
            Seconds until the debt is paid; 0 without one.
        """
        self._fill(now_s)
        self._level -= amount
        return max(0.0, -self._level / self._rate_per_s)

    def holds(self, amount: float, now_s: float) -> bool:
        """Tell whether there are so many tokens."""
        self._fill(now_s)
        return self._level >= amount

    def take(self, amount: float, now_s: float) -> bool:
        """Take tokens if there are enough, else none."""
        if not self.holds(amount, now_s):
            return False
        self._level -= amount
        return True

    def give(self, amount: float, now_s: float) -> None:
        """Put tokens back, up to the brim."""
        self._fill(now_s)
        self._level = min(self._brim, self._level + amount)


@dataclass(frozen=True, slots=True)
class Pace:
    """What to do after something was counted."""

    pause_s: float
    """Read on after this long."""
    excess_s: int
    """Whole seconds beyond the grace, each told once, in which the peer stayed in debt."""


REST_S: Final = 0.25
"""A break begins so long after a debt was paid. Who waits for that may sleep some milliseconds too
long, which are tokens, too, and no break of the peer's."""


class Meter:
    """Counts one kind of traffic of one peer."""

    __slots__ = (
        "_bytes", "_grace_s", "_in_debt_since_s", "_messages", "_paid_s", "_told_s", "rate",
    )  # fmt: skip

    def __init__(self, rate: Rate, *, grace_s: float) -> None:
        """Begin with a full burst.

        Args:
            rate: What may come.
            grace_s: How long a peer may be slowed without a break before it counts as excess.
        """
        self._bytes = TokenBucket(rate.bytes_per_s, rate.bytes_per_s * rate.burst_s)
        self._messages = TokenBucket(rate.messages_per_s, rate.messages_per_s * rate.burst_s)
        self._grace_s = grace_s
        self.rate = rate
        self._in_debt_since_s: float | None = None
        self._paid_s = 0.0
        self._told_s = 0

    def spend(self, size_bytes: int, messages_count: int, now_s: float) -> Pace:
        """Count what has come."""
        pause_s = max(
            self._bytes.spend(size_bytes, now_s), self._messages.spend(messages_count, now_s)
        )
        if self._in_debt_since_s is not None and now_s >= self._paid_s + REST_S:
            self._in_debt_since_s = None
            self._told_s = 0
        if pause_s == 0.0:
            return Pace(0.0, 0)
        self._paid_s = now_s + pause_s
        if self._in_debt_since_s is None:
            self._in_debt_since_s = now_s
        if not self.rate.is_blamed:
            return Pace(pause_s, 0)
        over_s = int(now_s - self._in_debt_since_s - self._grace_s)
        excess_s = max(0, over_s - self._told_s)
        self._told_s += excess_s
        return Pace(pause_s, excess_s)
