"""The watcher of votes and the checks of chains find each violation, and nothing in a good run."""

from __future__ import annotations

import cbor2
import pytest

from testnet.checks.chain import (
    SeenBlock,
    check_agreement,
    check_conservation,
    check_order,
    check_roots,
)
from testnet.checks.votes import VoteWatcher

C, D = b"c" * 32, b"d" * 32


def _notarize(view: int, digest: bytes = C) -> bytes:
    return cbor2.dumps([1, view, view - 1, view, digest])


def _nullify(view: int) -> bytes:
    return cbor2.dumps([2, view])


def _finalize(view: int, digest: bytes = C) -> bytes:
    return cbor2.dumps([3, view, view - 1, view, digest])


def _vote(signer: int, body: bytes) -> bytes:
    return cbor2.dumps([[1, 0, [signer, body, bytes(64)], b"", b""]])


def _certificate(body: bytes, bitmap: int = 0b111, signatures: int | None = None) -> bytes:
    count = bitmap.bit_count() if signatures is None else signatures
    return cbor2.dumps([[1, 0, None, cbor2.dumps([body, bytes([bitmap]), bytes(64 * count)]), b""]])


def _names(watcher: VoteWatcher) -> list[str]:
    return [v.check for v in watcher.violations()]


@pytest.fixture
def watcher() -> VoteWatcher:
    return VoteWatcher((1, 1, 1, 1), (0, 1, 2))


def test_a_good_view_has_no_violation(watcher: VoteWatcher) -> None:
    for signer in (0, 1, 2):
        watcher.frame(signer, _vote(signer, _notarize(1)))
    watcher.frame(0, _certificate(_notarize(1)))
    for signer in (0, 1, 2):
        watcher.frame(signer, _vote(signer, _finalize(1)))
    watcher.frame(1, _certificate(_finalize(1)))
    watcher.frame(2, _vote(2, _nullify(2)))
    watcher.frame(2, _certificate(_nullify(2)))
    assert _names(watcher) == []
    assert watcher.unchecked([C]) == []
    assert watcher.votes_count == 7
    assert watcher.certificates_count == 3


@pytest.mark.parametrize(
    ("bodies", "check"),
    [
        ([_notarize(1), _notarize(1, D)], "one vote of a kind"),
        ([_nullify(1), _finalize(1)], "not both nullify and finalize"),
        ([_finalize(1)], "finalize only with the notarization"),
    ],
)
def test_what_no_correct_validator_signs_is_found(
    watcher: VoteWatcher, bodies: list[bytes], check: str
) -> None:
    for body in bodies:
        watcher.frame(1, _vote(1, body))
    assert check in _names(watcher)


def test_an_adversary_may_sign_anything(watcher: VoteWatcher) -> None:
    for body in (_notarize(1), _notarize(1, D), _nullify(1), _finalize(1)):
        watcher.frame(3, _vote(3, body))
    watcher.frame(3, b"\xff\xff")
    watcher.frame(3, cbor2.dumps([[1, 0], 7, [1, 0, None, b"junk", b""]]))
    watcher.frame(3, _certificate(_finalize(1), 0b1))
    assert _names(watcher) == []


def test_an_adversary_speaks_for_itself_only(watcher: VoteWatcher) -> None:
    watcher.frame(3, _vote(1, _notarize(1)))
    watcher.frame(3, _vote(1, _notarize(1, D)))
    assert _names(watcher) == []


def test_certificates_that_exclude_each_other_are_found(watcher: VoteWatcher) -> None:
    watcher.frame(0, _certificate(_finalize(1)))
    watcher.frame(0, _certificate(_nullify(1)))
    watcher.frame(0, _certificate(_notarize(1, D)))
    watcher.frame(0, _certificate(_notarize(1, C)))
    assert set(_names(watcher)) == {
        "no nullification beside a finalization",
        "finalized what was notarized",
        "one notarized payload a view",
    }


@pytest.mark.parametrize(("bitmap", "signatures"), [(0b11, None), (0b111, 2), (0b10011, None)])
def test_a_certificate_without_a_quorum_is_found(
    watcher: VoteWatcher, bitmap: int, signatures: int | None
) -> None:
    watcher.frame(0, _certificate(_notarize(1), bitmap, signatures))
    assert _names(watcher) == ["a certificate is a quorum"]


def test_a_payload_that_nobody_honest_notarized_is_found(watcher: VoteWatcher) -> None:
    watcher.frame(3, _vote(3, _notarize(1, D)))
    assert [v.check for v in watcher.unchecked([D])] == ["delivered what somebody honest checked"]


def test_weights_count_not_heads() -> None:
    watcher = VoteWatcher((4, 3, 2, 1), (0, 1, 2, 3))
    watcher.frame(0, _certificate(_notarize(1), 0b11))
    assert _names(watcher) == []
    watcher.frame(0, _certificate(_notarize(2), 0b1110))
    assert _names(watcher) == ["a certificate is a quorum"]


def _block(node: str, height: int, hash: bytes, parent: bytes, life: int = 1) -> SeenBlock:
    return SeenBlock(node, life, height, hash, parent)


def test_two_blocks_at_a_height_are_found() -> None:
    good = [_block("a", 1, C, b""), _block("b", 1, C, b"")]
    assert check_agreement(good) == []
    assert [v.check for v in check_agreement([*good, _block("b", 1, D, b"")])] == ["agreement"]


def test_gaps_repetitions_and_broken_links_within_a_life_are_found() -> None:
    good = [_block("a", 1, C, b""), _block("a", 2, D, C), _block("a", 2, D, C, life=2)]
    assert check_order(good) == []
    gap = check_order([_block("a", 1, C, b""), _block("a", 3, D, C)])
    assert [v.check for v in gap] == ["contiguous heights"]
    twice = check_order([_block("a", 1, C, b""), _block("a", 1, C, b"")])
    assert [v.check for v in twice] == ["contiguous heights"]
    link = check_order([_block("a", 1, C, b""), _block("a", 2, D, D)])
    assert [v.check for v in link] == ["parent links"]


def test_different_roots_and_supplies_are_found() -> None:
    assert check_roots([("a", 1, 5, C), ("b", 1, 5, C), ("b", 0, 5, D)]) == []
    assert [v.check for v in check_roots([("a", 1, 5, C), ("b", 1, 5, D)])] == ["equal state roots"]
    assert check_conservation({0: 10}, {"a": {0: 10}}) == []
    assert len(check_conservation({0: 10}, {"a": {0: 9}, "b": {}, "c": {0: 10, 1: 1}})) == 3
