from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from p2pnode.execution.tree import BucketTree, Proof, ProofError, decode_proof, verify_proof


def key(*head: int) -> bytes:
    return bytes(head).ljust(32, b"\x07")


def test_the_root_of_two_buckets_is_the_hash_of_both_with_their_own_prefixes() -> None:
    tree = BucketTree(0, 1)
    low, high = key(0x10), key(0x90)
    tree.update([(high, b"b"), (low, b"a")])
    left = sha256(b"\x00" + low + sha256(b"a").digest()).digest()
    right = sha256(b"\x00" + high + sha256(b"b").digest()).digest()
    assert tree.root() == sha256(b"\x01" + left + right).digest()


def test_the_tree_of_a_parent_is_the_hash_of_its_children() -> None:
    parent, left, right = BucketTree(0, 5), BucketTree(1, 4), BucketTree(1, 4)
    items = [(sha256(bytes([n])).digest(), bytes([n])) for n in range(60)]
    parent.update(items)
    left.update([item for item in items if item[0][0] < 128])
    right.update([item for item in items if item[0][0] >= 128])
    assert parent.root() == sha256(b"\x01" + left.root() + right.root()).digest()


def test_removing_what_was_added_gives_the_empty_root_back() -> None:
    tree = BucketTree(0, 3)
    empty = tree.root()
    tree.update([(key(1), b"x"), (key(200), b"y")])
    assert tree.root() != empty
    assert tree.keys_count == 2
    tree.update([(key(1), None), (key(200), None), (key(77), None)])
    assert tree.root() == empty
    assert tree.keys_count == 0


def test_fill_and_update_agree() -> None:
    items = sorted((sha256(bytes([n])).digest(), bytes([n])) for n in range(100))
    filled, updated = BucketTree(0, 4), BucketTree(0, 4)
    filled.fill(items)
    updated.update(reversed(items))
    assert filled.root() == updated.root()
    assert filled.keys_count == updated.keys_count == 100


def test_a_tree_of_depth_zero_is_one_bucket() -> None:
    tree = BucketTree(0, 0)
    tree.update([(key(1), b"x")])
    assert tree.root() == sha256(b"\x00" + key(1) + sha256(b"x").digest()).digest()
    verify_proof(tree.root(), key(1), b"x", tree.prove(key(1)), prefix_bits=0, depth=0)


def test_a_proof_of_another_depth_or_with_keys_out_of_order_is_refused() -> None:
    tree = BucketTree(0, 0)
    tree.update([(key(1), b"x"), (key(2), b"y")])
    proof = tree.prove(key(1))
    with pytest.raises(ProofError, match="siblings"):
        verify_proof(tree.root(), key(1), b"x", proof, prefix_bits=0, depth=1)
    swapped = Proof(proof.bucket[64:] + proof.bucket[:64], ())
    root = sha256(b"\x00" + swapped.bucket).digest()
    with pytest.raises(ProofError, match="ascend"):
        verify_proof(root, key(1), None, swapped, prefix_bits=0, depth=0)


def make() -> BucketTree:
    tree = BucketTree(0, 4)
    tree.update([(key(16 * n, n), bytes([n])) for n in range(8)])
    tree.update([(key(16, 9), b"neighbour")])
    return tree


def test_a_proof_shows_a_value_and_an_absence() -> None:
    tree = make()
    proof = tree.prove(key(16, 1))
    verify_proof(tree.root(), key(16, 1), b"\x01", proof, prefix_bits=0, depth=4)
    verify_proof(tree.root(), key(16, 5), None, tree.prove(key(16, 5)), prefix_bits=0, depth=4)
    verify_proof(tree.root(), key(250), None, tree.prove(key(250)), prefix_bits=0, depth=4)
    assert decode_proof(proof.encode()) == proof


def test_a_proof_of_something_else_is_refused() -> None:
    tree = make()
    root, wanted = tree.root(), key(16, 1)
    good = tree.prove(wanted)
    bad: list[tuple[bytes | None, Proof]] = [
        (b"\x02", good),
        (None, good),
        (b"\x01", replace(good, siblings=good.siblings[:-1])),
        (b"\x01", replace(good, siblings=tuple(reversed(good.siblings)))),
        (b"\x01", replace(good, bucket=good.bucket[:64])),
        (b"\x01", replace(good, bucket=good.bucket[64:] + good.bucket[:64])),
        (b"\x01", replace(good, bucket=good.bucket[:-1])),
        (None, replace(good, bucket=good.bucket[64:])),
        # The path of another, empty bucket does not show the absence of this key.
        (None, tree.prove(key(250))),
    ]
    for value, proof in bad:
        with pytest.raises(ProofError):
            verify_proof(root, wanted, value, proof, prefix_bits=0, depth=4)
    with pytest.raises(ProofError):
        verify_proof(bytes(32), wanted, b"\x01", good, prefix_bits=0, depth=4)
