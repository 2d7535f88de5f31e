"""The tree against a full recomputation that shares no code with it."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from p2pnode import codec
from p2pnode.execution.tree import BucketTree, ProofError, decode_proof, verify_proof


def naive_root(content: dict[bytes, bytes], prefix: str, depth: int) -> bytes:
    """Hash everything under a bit prefix, written from the rules alone."""
    below = {k: v for k, v in content.items() if bits(k).startswith(prefix)}
    if depth == 0:
        joined = b"".join(k + hashlib.sha256(v).digest() for k, v in sorted(below.items()))
        return hashlib.sha256(b"\x00" + joined).digest()
    left = naive_root(below, prefix + "0", depth - 1)
    right = naive_root(below, prefix + "1", depth - 1)
    return hashlib.sha256(b"\x01" + left + right).digest()


def bits(key: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in key)


# Few distinct heads, so that keys share buckets, and tails that differ in the last byte only.
keys = st.builds(
    lambda head, tail: bytes(head) + bytes(28) + bytes(tail),
    st.lists(st.sampled_from([0, 1, 64, 127, 128, 192, 255]), min_size=2, max_size=2),
    st.lists(st.integers(0, 3), min_size=2, max_size=2),
)
changes = st.lists(st.tuples(keys, st.one_of(st.none(), st.binary(max_size=3))), max_size=40)


@given(st.lists(changes, max_size=5), st.integers(0, 6))
def test_the_root_after_any_history_is_that_of_the_content(
    blocks: list[list[tuple[bytes, bytes | None]]], depth: int
) -> None:
    tree = BucketTree(0, depth)
    content: dict[bytes, bytes] = {}
    for block in blocks:
        tree.update(block)
        for key, value in block:
            if value is None:
                content.pop(key, None)
            else:
                content[key] = value
        assert tree.root() == naive_root(content, "", depth)
        assert tree.keys_count == len(content)


@given(changes, changes, st.integers(1, 4), st.integers(0, 3))
def test_a_range_below_a_prefix_roots_like_the_whole_trees_part(
    first: list[tuple[bytes, bytes | None]],
    second: list[tuple[bytes, bytes | None]],
    prefix_bits: int,
    depth: int,
) -> None:
    tree = BucketTree(prefix_bits, depth)
    prefix = "1" * prefix_bits
    content: dict[bytes, bytes] = {}
    for key, value in first + second:
        if not bits(key).startswith(prefix):
            continue
        tree.update([(key, value)])
        if value is None:
            content.pop(key, None)
        else:
            content[key] = value
    assert tree.root() == naive_root(content, prefix, depth)


@given(changes, keys, st.integers(0, 6), st.data())
def test_a_proof_shows_the_truth_and_nothing_else(
    content: list[tuple[bytes, bytes | None]], key: bytes, depth: int, data: st.DataObject
) -> None:
    tree = BucketTree(0, depth)
    tree.update(content)
    truth = dict(content).get(key)
    proof = tree.prove(key)
    verify_proof(tree.root(), key, truth, proof, prefix_bits=0, depth=depth)
    claim = data.draw(st.one_of(st.none(), st.binary(max_size=3)))
    encoded = bytearray(proof.encode())
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(encoded) - 1))
        encoded[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        verify_proof(
            tree.root(),
            key,
            claim,
            decode_proof(bytes(encoded)),
            prefix_bits=0,
            depth=depth,
        )
    except (ProofError, codec.NotCanonicalError, codec.WrongShapeError):
        return
    assert claim == truth
