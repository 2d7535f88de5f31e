"""What is counted of the mutants of one handler."""

from __future__ import annotations

import ctypes
import gc
import os
from dataclasses import dataclass
from pathlib import Path

GROWTH_BYTES_MAX = 20 << 20
"""How much more memory the process may have after all mutants of a handler."""

DECODED_SHARE_MIN = 0.3
"""So many of the mutants at least must get past the decoder, or they test nothing but it."""


@dataclass(slots=True)
class Tally:
    """Counts of one handler."""

    mutants: int = 0
    passed: int = 0
    """Past the decoder."""
    penalized: int = 0
    """Mutants that cost their sender score, or a call that was refused."""
    bans: int = 0
    """Identities that were banned, each followed by a fresh one."""
    grown_bytes: int = 0
    """Resident memory, from a tenth of the mutants to the end."""
    cpu_s: float = 0.0

    def count(self, *, passed: bool, penalized: bool) -> None:
        """Count a mutant."""
        self.mutants += 1
        self.passed += passed
        self.penalized += penalized

    @property
    def passed_share(self) -> float:
        """Share past the decoder."""
        return self.passed / max(1, self.mutants)


def resident_bytes() -> int:
    """Return this process's resident memory, without what it has freed and the C library keeps.

    A batch of a thousand calls has an answer of 20 MiB, whose place may stay with the process.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
