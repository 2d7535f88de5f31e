"""Exit codes of `p2pnode` and `testnet`."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """What a command's exit status means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SAFETY_VIOLATED = 10
    NO_LIVENESS = 11
    INCONCLUSIVE = 12
    NODE_CRASHED = 13
    INTERRUPTED = 130


_MEANINGS: Final = {
    ExitCode.OK: "ok",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "usage",
    ExitCode.SAFETY_VIOLATED: "safety violated",
    ExitCode.NO_LIVENESS: "no liveness",
    ExitCode.INCONCLUSIVE: "inconclusive",
    ExitCode.NODE_CRASHED: "a node crashed",
    ExitCode.INTERRUPTED: "interrupted",
}


def exit_codes_help() -> str:
    """Return the line of --help that lists the codes."""
    return "exit codes: " + " · ".join(f"{code.value} {_MEANINGS[code]}" for code in ExitCode)
