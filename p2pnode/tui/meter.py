"""What showing a program costs: frames and the gaps between them, answers to keys, bytes, CPU.

A gap runs from one frame to the next, or from the moment at which nothing was to be drawn: it says
how long what is new had to wait, whatever held it up: our own tasks, others of this process, the
machine, or a terminal that takes nothing.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2pnode.telemetry.percentile import percentile

SAMPLES_MAX: Final = 2400
"""Frames that percentiles look back on: ten minutes at four a second."""

_STATUS: Final = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Spread:
    """How a time was spread over the last frames."""

    count: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class AppStatistics:
    """What showing a program has cost since it was started."""

    elapsed_s: float
    cpu_s: float
    """CPU seconds of the whole process in that time; with `run --tui` the node is in it."""
    memory_bytes_max: int
    """Greatest resident memory of the process."""
    drawn_count: int
    """Pictures made: something had changed that might be on the screen."""
    frames_count: int
    """Pictures that differed from what the screen showed, and were written."""
    written_bytes: int
    """Of these frames."""
    gap: Spread
    """From one picture to the next while something changes."""
    drawing: Spread
    """To make a picture and find what differs; nothing else runs meanwhile."""
    answer: Spread
    """From a key that changed something to its picture at the terminal."""

    @property
    def frame_bytes(self) -> float:
        """Bytes of a frame, mean."""
        return self.written_bytes / self.frames_count if self.frames_count else 0.0

    @property
    def cpu(self) -> float:
        """Share of one core."""
        return self.cpu_s / self.elapsed_s if self.elapsed_s > 0 else 0.0


class Meter:
    """Counts what a program's loop does; times are the loop's own, in seconds."""

    def __init__(self, now_s: float) -> None:
        """Begin to count."""
        self._begin_s = now_s
        self._begin_cpu_s = time.process_time()
        self._drawn_count = 0
        self._frames_count = 0
        self._written_bytes = 0
        self._current_s = now_s
        """When the screen was last known to show what there was."""
        self._key_s: float | None = None
        """When the first key came whose picture has not been begun."""
        self._gaps_s: deque[float] = deque(maxlen=SAMPLES_MAX)
        self._drawings_s: deque[float] = deque(maxlen=SAMPLES_MAX)
        self._answers_s: deque[float] = deque(maxlen=SAMPLES_MAX)

    def quiet(self, now_s: float) -> None:
        """Nothing is to be drawn at this moment."""
        self._current_s = now_s

    def key(self, now_s: float) -> None:
        """A key has changed something."""
        if self._key_s is None:
            self._key_s = now_s

    def begun(self) -> float | None:
        """A picture is begun; returns when the first key came that it answers."""
        key_s, self._key_s = self._key_s, None
        return key_s

    def shown(self, key_s: float | None, drawing_s: float, size_bytes: int, now_s: float) -> None:
        """A picture is on the screen, or had nothing new to write.

        Args:
            key_s: What `begun` returned for it.
            drawing_s: Time to make it.
            size_bytes: What was written.
            now_s: When it was.
        """
        self._drawn_count += 1
        self._frames_count += size_bytes > 0
        self._written_bytes += size_bytes
        self._gaps_s.append(now_s - self._current_s)
        self._current_s = now_s
        self._drawings_s.append(drawing_s)
        if key_s is not None:
            self._answers_s.append(now_s - key_s)

    def statistics(self, now_s: float) -> AppStatistics:
        """Return what was counted so far."""
        return AppStatistics(
            elapsed_s=now_s - self._begin_s,
            cpu_s=time.process_time() - self._begin_cpu_s,
            memory_bytes_max=memory_bytes_max(),
            drawn_count=self._drawn_count,
            frames_count=self._frames_count,
            written_bytes=self._written_bytes,
            gap=_spread(self._gaps_s),
            drawing=_spread(self._drawings_s),
            answer=_spread(self._answers_s),
        )


def _spread(values_s: Iterable[float]) -> Spread:
    ordered = sorted(values_s)
    if not ordered:
        return Spread()
    p50_s, p99_s = percentile(ordered, 50), percentile(ordered, 99)
    return Spread(len(ordered), p50_s * 1000, p99_s * 1000, ordered[-1] * 1000)


def memory_bytes_max() -> int:
    """Return the greatest resident memory of this process, 0 where the system does not tell."""
    try:
        for line in _STATUS.read_text().splitlines():
            # Not `ru_maxrss`: Linux begins it with what the process that started this one had.
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
