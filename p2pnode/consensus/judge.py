"""Check: payloads under judgement, until their body and statements are here and their time has
come.

Missing bodies and statements are fetched, never judged: pending is not no.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pnode.consensus.bodies import Bodies
from p2pnode.consensus.engine import Check
from p2pnode.consensus.faults import items_fault, payload_fault
from p2pnode.consensus.host import EngineHost
from p2pnode.consensus.intake import StatementIntake
from p2pnode.types.chain import NS_PER_MS, Chain
from p2pnode.types.desk import Desk

TIME_AHEAD_MS: Final = 500
"""A payload whose time is further ahead than this is judged later, not refused."""

CHECKS_MAX: Final = 64
"""Most payloads under judgement; the oldest is forgotten (pending is not no)."""

RECHECK_NS_MAX: Final = 1_000_000_000
"""A payload from the future is looked at again after so long at the latest: one that is years ahead
must not hold up one that is milliseconds ahead."""


@dataclass(slots=True)
class _Verdict:
    question: Check
    epoch: int
    """Of the engine that asked; views of another one have the same numbers."""


class Judge:
    """Answers the engine's Checks."""

    def __init__(
        self, chain: Chain, host: EngineHost, desk: Desk, bodies: Bodies, intake: StatementIntake
    ) -> None:
        """Start without a question.

        Args:
            chain: Its rules.
            host: Gets the answers.
            desk: Time and timers.
            bodies: The payloads.
            intake: Their statements.
        """
        self._chain = chain
        self._host = host
        self._desk = desk
        self._bodies = bodies
        self._intake = intake
        self._checks: dict[bytes, _Verdict] = {}
        self._recheck_ns = 0
        self.refused_count = 0
        """Payloads answered with no."""

    def __len__(self) -> int:
        return len(self._checks)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._checks

    def check(self, question: Check) -> None:
        """Judge a payload, now or when everything is here."""
        if len(self._checks) >= CHECKS_MAX:
            self._checks.pop(next(iter(self._checks)))
        self._checks[question.payload] = _Verdict(question, self._host.epoch.number)
        self._judge(question.payload)

    def recheck(self) -> None:
        """Something arrived, or time has passed: look at every open question again."""
        self._recheck_ns = self._desk.now_ns + RECHECK_NS_MAX
        for digest in list(self._checks):
            self._judge(digest)

    def finalized(self, height: int) -> None:
        """Drop the questions that a final height answers."""
        for digest in [d for d, v in self._checks.items() if v.question.height <= height]:
            del self._checks[digest]

    def _judge(self, digest: bytes) -> None:
        verdict = self._checks.get(digest)
        if verdict is None:
            return
        question = verdict.question
        epoch = self._host.epoch.number
        if verdict.epoch != epoch:
            del self._checks[digest]
            return
        payload = self._bodies.find(digest)
        refusal = self._bodies.refusal(digest)
        if refusal is not None:
            self._answer(question, refusal)
            return
        if payload is None:
            self._bodies.want(digest, self._host.peers((question.proposer,)))
            return
        fault = payload_fault(payload, question, self._chain, epoch)
        if fault is not None:
            self._answer(question, fault)
            return
        statements = self._intake.gather(payload.items, (question.proposer,))
        if statements is None:
            return
        fault = items_fault(payload, statements, self._chain)
        if fault is not None:
            self._answer(question, fault)
            return
        ahead_ms = payload.time_ms - TIME_AHEAD_MS - self._desk.wall_ms
        if ahead_ms > 0:
            at_ns = self._desk.now_ns + min(ahead_ms * NS_PER_MS, RECHECK_NS_MAX)
            armed = self._recheck_ns > self._desk.now_ns
            self._recheck_ns = min(self._recheck_ns, at_ns) if armed else at_ns
            self._desk.arm(("ordering", "recheck"), self._recheck_ns)
            return
        self._answer(question, None)

    def _answer(self, question: Check, fault: str | None) -> None:
        self._checks.pop(question.payload, None)
        if fault is not None:
            self.refused_count += 1
            self._desk.emit(
                "payload_refused", proposer=question.proposer, height=question.height, reason=fault
            )
        self._host.checked(question.ctx, fault is None)
