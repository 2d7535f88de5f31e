"""The Verifier port: signature checks in worker threads, and inline for the simulator.

libsodium runs without the interpreter's lock, but takes it back after every check. While the event
loop is busy a worker waits for it a whole switch interval each time, 5 ms by default: 200 checks a
second instead of 20,000, on two free cores. A process that uses ThreadVerifier therefore sets
`sys.setswitchinterval(SWITCH_INTERVAL_S)` when it starts; it is the process's to set, so no code
here does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import trio

from p2pnode import crypto

SWITCH_INTERVAL_S: Final = 0.0005
"""Switch interval at which two workers check 7,000/s beside a busy event loop (5 ms: 700/s)."""

INLINE_CHECKS_MAX: Final = 4
"""Checks done on the event loop: 4 x 60 µs are less than going to a thread and back is worth."""

SLICE_CHECKS_MIN: Final = 64
"""Checks a worker gets at least; a trip to a thread costs about one check."""

MEMO_ENTRIES_MAX: Final = 65536
"""Answers remembered; an entry takes about 150 bytes."""

Check: TypeAlias = tuple[bytes, bytes, bytes]
"""(public key, message, signature)."""


@dataclass(frozen=True, slots=True)
class VerifierStatistics:
    """Totals since start."""

    checks_count: int
    remembered_count: int
    """Checks answered from memory."""
    invalid_count: int
    """Checks whose answer was no."""
    inline_count: int
    """Checks done on the event loop."""
    threads_count: int
    """Checks done in worker threads."""


class SignatureMemo:
    """The answers to the checks asked last, by the hash of the check; bounded."""

    def __init__(self, entries_max: int = MEMO_ENTRIES_MAX) -> None:
        """Start empty.

        Args:
            entries_max: Beyond it the answer unused for longest is forgotten.
        """
        assert entries_max > 0, entries_max
        self._entries_max = entries_max
        self._answers: dict[bytes, bool] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: bytes) -> bool | None:
        """Return a remembered answer, or None."""
        answer = self._answers.pop(key, None)
        if answer is not None:
            self._answers[key] = answer
        return answer

    def put(self, key: bytes, answer: bool) -> None:
        """Remember an answer."""
        self._answers.pop(key, None)
        self._answers[key] = answer
        if len(self._answers) > self._entries_max:
            del self._answers[next(iter(self._answers))]


def memo_key(check: Check) -> bytes | None:
    """Return what a check is remembered by, or None when its lengths alone make it invalid.

    Key and signature have fixed lengths, so that no two checks run together to the same bytes.
    """
    public_key, message, signature = check
    if len(public_key) != crypto.PUBLIC_KEY_BYTES or len(signature) != crypto.SIGNATURE_BYTES:
        return None
    return crypto.sha256(public_key + signature + message)


class _Book:
    """Answers from memory, and counts; what both verifiers share."""

    def __init__(self, memo: SignatureMemo | None) -> None:
        self._memo = memo if memo is not None else SignatureMemo()
        self._checks_count = 0
        self._remembered_count = 0
        self._invalid_count = 0
        self._inline_count = 0
        self._threads_count = 0

    def recall(self, checks: Sequence[Check]) -> _Batch:
        """Find out which checks are still to be done, each once."""
        batch = _Batch([memo_key(check) for check in checks], {}, {})
        for key, check in zip(batch.keys, checks, strict=True):
            if key is None:
                continue
            answer = self._memo.get(key)
            if answer is None:
                batch.todo[key] = check
            else:
                batch.answers[key] = answer
        self._checks_count += len(checks)
        self._remembered_count += len(batch.answers)
        return batch

    def conclude(self, batch: _Batch, done: Sequence[bool], *, in_threads: bool) -> list[bool]:
        """Remember the answers to the batch's open checks, and answer all of it."""
        for key, answer in zip(batch.todo, done, strict=True):
            self._memo.put(key, answer)
            batch.answers[key] = answer
        if in_threads:
            self._threads_count += len(done)
        else:
            self._inline_count += len(done)
        answers = [key is not None and batch.answers[key] for key in batch.keys]
        self._invalid_count += answers.count(False)
        return answers

    def statistics(self) -> VerifierStatistics:
        return VerifierStatistics(
            self._checks_count,
            self._remembered_count,
            self._invalid_count,
            self._inline_count,
            self._threads_count,
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    keys: list[bytes | None]
    """Of every check, in order; None where it can't be valid."""
    answers: dict[bytes, bool]
    todo: dict[bytes, Check]


class InlineVerifier:
    """Checks at once, on the event loop: for the simulator, where threads would break repetition.

    Nodes of one process may share a memo: then a signature is checked once, however many nodes get
    it. `verify` is no checkpoint, so that a run's schedule doesn't depend on what the memo holds.
    """

    def __init__(self, memo: SignatureMemo | None = None) -> None:
        """Use a shared memo, or one of its own."""
        self._book = _Book(memo)

    async def verify(self, checks: Sequence[Check]) -> list[bool]:
        """Check (public key, message, signature) triples; one answer each, in order."""
        return self.check(checks)

    def check(self, checks: Sequence[Check]) -> list[bool]:
        """Do what `verify` does, without an event loop."""
        batch = self._book.recall(checks)
        return self._book.conclude(batch, _check_all(list(batch.todo.values())), in_threads=False)

    def statistics(self) -> VerifierStatistics:
        """Totals since start."""
        return self._book.statistics()


class ThreadVerifier:
    """Checks in worker threads, as many at a time as there are cores.

    A batch is cut into slices of at least SLICE_CHECKS_MIN checks; one of at most INLINE_CHECKS_MAX
    is done on the event loop.
    """

    def __init__(
        self, *, threads_max: int | None = None, memo: SignatureMemo | None = None
    ) -> None:
        """Start no thread yet.

        Args:
            threads_max: Most threads at a time, as many as cores by default.
            memo: Shared answers, else of its own.
        """
        self._threads_max = threads_max if threads_max is not None else os.cpu_count() or 1
        self._limiter = trio.CapacityLimiter(self._threads_max)
        self._book = _Book(memo)

    async def verify(self, checks: Sequence[Check]) -> list[bool]:
        """Check (public key, message, signature) triples; one answer each, in order."""
        batch = self._book.recall(checks)
        todo = list(batch.todo.values())
        if len(todo) <= INLINE_CHECKS_MAX:
            await trio.lowlevel.checkpoint()
            return self._book.conclude(batch, _check_all(todo), in_threads=False)
        slices = _sliced(todo, self._threads_max)
        done: list[list[bool]] = [[] for _ in slices]

        async def work(index: int) -> None:
            done[index] = await trio.to_thread.run_sync(
                partial(_check_all, slices[index]), limiter=self._limiter
            )

        async with trio.open_nursery() as nursery:
            for index in range(1, len(slices)):
                nursery.start_soon(work, index)
            await work(0)
        answers = [answer for part in done for answer in part]
        return self._book.conclude(batch, answers, in_threads=True)

    def statistics(self) -> VerifierStatistics:
        """Totals since start."""
        return self._book.statistics()


def _check_all(checks: Sequence[Check]) -> list[bool]:
    return [crypto.verify(*check) for check in checks]


def _sliced(checks: Sequence[Check], slices_max: int) -> list[Sequence[Check]]:
    """Cut into at most `slices_max` about equal parts; several only of SLICE_CHECKS_MIN or more."""
    count = max(1, min(slices_max, len(checks) // SLICE_CHECKS_MIN))
    size = -(-len(checks) // count)
    return [checks[start : start + size] for start in range(0, len(checks), size)]
