"""Both verifiers: same answers, different places."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from p2pnode import crypto
from p2pnode.keys import verifier as module
from p2pnode.keys.verifier import (
    INLINE_CHECKS_MAX,
    SLICE_CHECKS_MIN,
    Check,
    InlineVerifier,
    SignatureMemo,
    ThreadVerifier,
    memo_key,
)

KEY = crypto.SecretKey(b"k" * 32)


def good(number: int) -> Check:
    message = b"message %d" % number
    return KEY.public, message, KEY.sign(message)


def bad(number: int) -> Check:
    public, message, signature = good(number)
    return public, message + b"!", signature


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int]]:
    """(in the main thread, how many) of every slice checked."""
    seen: list[tuple[bool, int]] = []
    real = module._check_all

    def check_all(checks: list[Check]) -> list[bool]:
        seen.append((threading.current_thread() is threading.main_thread(), len(checks)))
        return real(checks)

    monkeypatch.setattr(module, "_check_all", check_all)
    return seen


MAKERS: list[Callable[[], InlineVerifier | ThreadVerifier]] = [
    InlineVerifier,
    lambda: ThreadVerifier(threads_max=2),
]


@pytest.mark.parametrize("make", MAKERS, ids=["inline", "threads"])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 63, 200])
async def test_answers_come_in_order(
    make: Callable[[], InlineVerifier | ThreadVerifier], count: int
) -> None:
    checks = [good(i) if i % 3 else bad(i) for i in range(count)]
    made = make()
    assert await made.verify(checks) == [bool(i % 3) for i in range(count)]
    assert await made.verify(checks[::-1]) == [bool(i % 3) for i in range(count)][::-1]
    counts = made.statistics()
    assert counts.checks_count == 2 * count
    assert counts.remembered_count == count
    assert counts.invalid_count == 2 * len(range(0, count, 3))
    assert counts.inline_count + counts.threads_count == count


@pytest.mark.parametrize("make", MAKERS, ids=["inline", "threads"])
async def test_a_repeated_check_is_done_once(
    make: Callable[[], InlineVerifier | ThreadVerifier], threads: list[tuple[bool, int]]
) -> None:
    made = make()
    assert await made.verify([good(1), bad(1), good(1), bad(1), good(2)]) == [
        True, False, True, False, True,
    ]  # fmt: skip
    assert [count for _, count in threads] == [3]


@pytest.mark.parametrize("make", MAKERS, ids=["inline", "threads"])
async def test_wrong_lengths_are_no_and_not_confused_with_others(
    make: Callable[[], InlineVerifier | ThreadVerifier],
) -> None:
    public, message, signature = good(1)
    shifted = (public, signature[-1:] + message, signature[:-1])
    checks = [
        (public, message, signature),
        shifted,
        (public + b"\x00", message, signature),
        (b"", message, signature),
        (public, message, b""),
    ]
    assert await make().verify(checks) == [True, False, False, False, False]
    assert memo_key(shifted) is None


async def test_a_few_checks_stay_on_the_event_loop_and_many_go_to_threads_in_slices(
    threads: list[tuple[bool, int]],
) -> None:
    made = ThreadVerifier(threads_max=2)
    await made.verify([good(i) for i in range(INLINE_CHECKS_MAX)])
    assert threads == [(True, INLINE_CHECKS_MAX)]
    threads.clear()
    await made.verify([good(i) for i in range(100, 100 + 2 * SLICE_CHECKS_MIN - 1)])
    assert threads == [(False, 2 * SLICE_CHECKS_MIN - 1)]
    threads.clear()
    await made.verify([good(i) for i in range(300, 300 + 3 * SLICE_CHECKS_MIN)])
    assert sorted(threads) == [(False, 96), (False, 96)]


async def test_the_inline_verifier_never_uses_a_thread(threads: list[tuple[bool, int]]) -> None:
    await InlineVerifier().verify([good(i) for i in range(300)])
    assert threads == [(True, 300)]


async def test_verifiers_that_share_a_memo_check_once(threads: list[tuple[bool, int]]) -> None:
    memo = SignatureMemo()
    nodes = [InlineVerifier(memo) for _ in range(4)]
    for node in nodes:
        assert await node.verify([good(1), bad(2)]) == [True, False]
    assert sum(count for _, count in threads) == 2
    assert [node.statistics().remembered_count for node in nodes] == [0, 2, 2, 2]


async def test_the_memo_is_bounded_and_forgets_what_was_unused_for_longest() -> None:
    memo = SignatureMemo(entries_max=3)
    made = InlineVerifier(memo)
    await made.verify([good(1), good(2), good(3)])
    await made.verify([good(1)])
    await made.verify([good(4)])
    assert len(memo) == 3
    assert [memo.get(memo_key(good(i)) or b"") for i in (1, 2, 3, 4)] == [True, None, True, True]


async def test_a_batch_larger_than_the_memo_is_answered_whole() -> None:
    for made in (InlineVerifier(SignatureMemo(2)), ThreadVerifier(memo=SignatureMemo(2))):
        checks = [good(i % 10) if i % 10 else bad(0) for i in range(40)]
        await made.verify(checks[:2])
        assert await made.verify(checks) == [bool(i % 10) for i in range(40)]
