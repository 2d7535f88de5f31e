"""How many calls a connection may make: a bucket of tokens that refills with time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio
from starlette.types import Scope

STATE_KEY: Final = "limiter"
"""Where a connection's limiter is in the state of its requests."""

BURST_S: Final = 4.0
"""A connection that was silent may call at once what it may call in so many seconds."""


class RateLimiter:
    """Counts the calls of one connection."""

    def __init__(
        self, calls_per_s_max: float, *, clock: Callable[[], float] = trio.current_time
    ) -> None:
        """Start full.

        Args:
            calls_per_s_max: Calls allowed in the long run; 0 for any number.
            clock: Seconds.
        """
        self._rate = calls_per_s_max
        self._clock = clock
        self._tokens = calls_per_s_max * BURST_S
        self._refilled_s = clock()

    def wait_s(self) -> float:
        """Return how long the connection has to wait before its next call; 0 when it need not."""
        if self._rate <= 0:
            return 0.0
        now_s = self._clock()
        refill = (now_s - self._refilled_s) * self._rate
        self._tokens = min(self._rate * BURST_S, self._tokens + refill)
        self._refilled_s = now_s
        return max(0.0, (1.0 - self._tokens) / self._rate)

    def take(self, cost: float) -> bool:
        """Pay for a call; False when the connection has made too many.

        A call that costs more than is there is carried out, and the next ones wait for it: else a
        dear call could never be made.
        """
        if self.wait_s() > 0:
            return False
        self._tokens -= cost
        return True


def limiter_of(scope: Scope) -> RateLimiter | None:
    """Return the limiter of the connection that a request came by, None where there is none."""
    found = scope.get("state", {}).get(STATE_KEY)
    assert found is None or isinstance(found, RateLimiter), found
    return found
