"""How many calls a connection may make: a bucket of tokens that refills with time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio
from starlette.types import Scope

from p2pnode.net.rates import TokenBucket

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
        self._clock = clock
        # It holds what is there beyond the token that a call needs: debt means to wait.
        brim = calls_per_s_max * BURST_S - 1.0
        self._bucket = TokenBucket(calls_per_s_max, brim) if calls_per_s_max > 0 else None

    def wait_s(self) -> float:
        """Return how long the connection has to wait before its next call; 0 when it need not."""
        return self._pay(0.0)

    def take(self, cost: float) -> bool:
        """Pay for a call; False when the connection has made too many.

        A call that costs more than is there is carried out, and the next ones wait for it: else a
        dear call could never be made.
        """
        if self.wait_s() > 0:
            return False
        self._pay(cost)
        return True

    def _pay(self, cost: float) -> float:
        return 0.0 if self._bucket is None else self._bucket.spend(cost, self._clock())


def limiter_of(scope: Scope) -> RateLimiter | None:
    """Return the limiter of the connection that a request came by, None where there is none."""
    found = scope.get("state", {}).get(STATE_KEY)
    assert found is None or isinstance(found, RateLimiter), found
    return found
