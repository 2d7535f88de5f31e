"""Mutants of everything a core takes: nothing raises, nothing grows, honest nodes go on."""

from __future__ import annotations

import random

import pytest

from p2pnode import codec
from tests.fuzz.core import KINDS, CoreFuzz
from tests.fuzz.mutate import Mutator, close_tree, open_tree


@pytest.mark.parametrize("seed", [1, 2])
def test_three_thousand_mutants_leave_a_running_node_as_it_was(seed: int) -> None:
    report = CoreFuzz(seed).run(3000)
    print(f"seed {seed}: {report}")
    assert report.decoded_share >= 0.3
    assert all(report.mutants[kind] > 100 for kind in KINDS.values())
    assert all(report.mutants[kind] > 0 for kind in ("published", "submitted", "served"))
    assert report.mutants["answer to blocks"] + report.mutants["answer to fetch"] > 0
    assert report.penalties > 100


def test_the_same_seed_throws_the_same_mutants() -> None:
    first, second = (CoreFuzz(7).run(300) for _ in range(2))
    assert first == second


def test_opening_a_document_and_closing_it_changes_nothing() -> None:
    inner = codec.encode([1, b"x" * 40, None])
    data = codec.encode([3, inner, [1 << 70, b""], b"\x82\x01"])
    assert codec.encode(close_tree(open_tree(codec.decode(data, size_bytes_max=999)))) == data


def test_most_changes_change_something_and_leave_the_sample_alone() -> None:
    mutator = Mutator(random.Random(1))
    tree = open_tree(codec.decode(codec.encode([1, [2, b"abc"], None]), size_bytes_max=99))
    before = codec.encode(close_tree(tree))
    changed = [codec.encode(close_tree(mutator.change(tree))) for _ in range(200)]
    assert codec.encode(close_tree(tree)) == before
    assert sum(data != before for data in changed) > 150
