"""What a seeded run gave: numbers, violated invariants, and the run summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from p2pnode.cli.exit_codes import ExitCode
from testnet.checks.violation import Violation
from testnet.sim.spec import SimSpec

SAFETY_CHECKS: Final = (
    "agreement",
    "contiguous heights",
    "parent links",
    "equal state roots",
    "conservation",
    "executed once",
    "balances follow from the chain",
    "results follow from the chain",
    "valid finality proofs",
    "valid payloads",
    "valid statements",
    "valid batches",
    "delivered what somebody honest checked",
    "one vote of a kind",
    "not both nullify and finalize",
    "no nullification beside a finalization",
    "one notarized payload a view",
    "finalized what was notarized",
    "finalize only with the notarization",
    "a certificate is a quorum",
    "double signature",
    "never asks to sign a second value",
    "only the guilty are accused",
    "bounded memory",
)

CRASH_CHECKS: Final = ("node stopped by itself",)

LIVENESS_CHECKS: Final = (
    "liveness after healing",
    "every node at the same height",
    "nothing submitted is lost",
)

CHECKS: Final = (*SAFETY_CHECKS, *CRASH_CHECKS, *LIVENESS_CHECKS)


@dataclass(frozen=True, slots=True)
class SimReport:
    """What a run gave."""

    seed: int
    spec: SimSpec
    trace_hash: str
    """SHA-256 over every input of every node, in order."""
    violations: tuple[Violation, ...]
    heights: tuple[int, int]
    """(least, greatest) executed height at the end, of honest nodes."""
    blocks: int
    views_entered: int
    views_skipped: int
    kills: int
    crash_points: dict[str, int]
    """Where crashes between two steps struck, and how often."""
    submitted: int
    refused: dict[str, int]
    finalized: int
    unfinished: int
    """Submitted, accepted, and not final at the end."""
    evidence: dict[int, int]
    """Pieces of evidence ordered, by culprit."""
    finalization_s: tuple[float, float]
    """(p50, p99) from submission to the final block."""
    consensus_s: tuple[float, float]
    """(p50, p99) from proposal to finality at node0."""
    longest_pause_s: float
    """Longest time without a new final height anywhere, while there was load."""
    virtual_s: float
    cpu_s: float
    inputs: int
    votes: int
    bytes_sent: int
    held_max: int
    """Most items that an engine of an honest node held at the end."""
    state_root: str

    @property
    def ok(self) -> bool:
        """Whether no invariant was violated."""
        return not self.violations

    @property
    def exit_code(self) -> ExitCode:
        """The worst of what happened: safety before crashes before liveness."""
        names = dict.fromkeys(v.check for v in self.violations)
        if not names:
            return ExitCode.OK
        if any(name not in (*CRASH_CHECKS, *LIVENESS_CHECKS) for name in names):
            return ExitCode.SAFETY_VIOLATED
        return ExitCode.NODE_CRASHED if CRASH_CHECKS[0] in names else ExitCode.NO_LIVENESS

    def broken(self, names: tuple[str, ...]) -> list[Violation]:
        """Return the violations of some checks."""
        return [v for v in self.violations if v.check in names]

    def summary(self) -> dict[str, Any]:
        """Return the run summary's JSON object."""
        spec = self.spec
        roots_equal = not self.broken(("equal state roots",))
        conserved = not self.broken(("conservation", "balances follow from the chain"))
        per_transaction = self.cpu_s / self.finalized if self.finalized else None
        bytes_each = self.bytes_sent / self.finalized if self.finalized else None
        return {
            "name": "sim",
            "seed": self.seed,
            "engine": spec.engine,
            "validators": spec.validators,
            "light": 0,
            "shards": 1,
            "scheme": "inline",
            "commit": None,
            "ready_s": None,
            "duration_s": self.virtual_s,
            "exit": int(self.exit_code),
            "height": {"min": self.heights[0], "max": self.heights[1]},
            "views": {"total": self.views_entered, "skipped": self.views_skipped},
            "trace_hash": self.trace_hash,
            "transactions": {
                "submitted": self.submitted,
                "finalized": self.finalized,
                "executed": self.finalized,
                "failed": None,
                "refused": self.refused,
                "skipped_from_trace": {},
            },
            "throughput_tx_s": self.finalized / spec.duration_s,
            "finalization_s": {"p50": self.finalization_s[0], "p99": self.finalization_s[1]},
            "execution_s": None,
            "consensus_s": {"p50": self.consensus_s[0], "p99": self.consensus_s[1]},
            "cpu_s": {"total": self.cpu_s, "per_transaction": per_transaction, "per_node": {}},
            "memory_bytes_max": None,
            "bytes_sent": {"total": self.bytes_sent, "per_transaction": bytes_each},
            "availability": None,
            "state_roots": {
                "1": {
                    "height": self.heights[1],
                    "root": self.state_root,
                    "equal": roots_equal,
                }
            },
            "balances_conserved": {"0": conserved},
            "checks": {
                name: "violation" if any(v.check == name for v in self.violations) else "pass"
                for name in dict.fromkeys((*CHECKS, *(v.check for v in self.violations)))
            },
            "violations": [{"check": v.check, "detail": v.detail} for v in self.violations],
            "faults": {
                "kills": self.kills,
                "loss": spec.loss,
                "crash_points": dict(sorted(self.crash_points.items())),
            },
            "files": {},
        }
