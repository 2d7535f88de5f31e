"""The last log records in memory: what surfaces show and follow.

Readers pull (`after`), so logging never waits for one and works from any thread. Records are
numbered without gaps: a reader that finds the one after its last missing was too slow.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

KEPT_MAX: Final = 2048
"""Records kept; a reader that is further behind has lost some."""

SHOWN_MAX: Final = 500
"""Records a reader begins with."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """An event as the log file has it."""

    number: int
    """From 1, one more each."""
    time_ms: int
    """Wall clock, milliseconds since 1970."""
    level: str
    """debug, info, warning or error."""
    logger: str
    """The part that logged, such as `consensus`."""
    event: str
    """snake_case."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON values, texts cut to 2048 characters."""


class LogRing:
    """Keeps the newest records; any thread may add and read."""

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        """Start empty."""
        self._lock = threading.Lock()
        self._records: deque[LogRecord] = deque(maxlen=kept_max)
        self._newest = 0

    @property
    def newest(self) -> int:
        """Number of the newest record, 0 before the first."""
        return self._newest

    def add(
        self, time_s: float, level: str, logger: str, event: str, fields: Mapping[str, Any]
    ) -> None:
        """Add a record; the oldest one goes when the ring is full."""
        with self._lock:
            self._newest += 1
            record = LogRecord(self._newest, round(time_s * 1000), level, logger, event, fields)
            self._records.append(record)

    def after(self, number: int | None, records_max: int = SHOWN_MAX) -> tuple[LogRecord, ...]:
        """Return at most `records_max` records, ascending.

        Args:
            number: Of the last one known: the oldest kept ones after it. None: the newest ones.
            records_max: Most of them.
        """
        with self._lock:
            kept = len(self._records)
            oldest = self._newest - kept
            first = kept - records_max if number is None else number - oldest
            first = max(0, first)
            return tuple(islice(self._records, first, first + records_max))
