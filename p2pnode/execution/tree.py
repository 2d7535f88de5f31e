"""The flat prefix-bucket Merkle tree that commits to a shard's accounts.

A bucket holds the keys that share `depth` bits below the shard's prefix:

    bucket = H(0x00 ‖ key ‖ H(value) ‖ key ‖ H(value) ‖ …)      ascending by key
    inner  = H(0x01 ‖ left ‖ right)

The two prefixes keep a bucket from passing for an inner node. An empty bucket is H(0x00). The root
is a function of the content alone, whatever the order and history of updates. The tree of a parent
with `depth` bits has as its two halves the trees of its children with `depth - 1` bits, so a split
or a merge proves with one hash.

Rejected: compact sparse trees and tries (6 and 30 times slower a key in Python); they save nothing
here, since accounts spread evenly over the buckets by the hash that makes their addresses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Final

from p2pnode import codec
from p2pnode.errors import RemoteProtocolError
from p2pnode.execution.ranges import bucket_of

KEY_BYTES: Final = 32
ENTRY_BYTES: Final = 64
"""A key and the hash of its value."""

PROOF_BYTES_MAX: Final = 1 << 20
"""Largest encoded proof: a bucket of 16,000 accounts."""


class ProofError(RemoteProtocolError):
    """A proof does not show what it claims."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Shows that a key has a value, or none, in the tree with a given root."""

    bucket: bytes
    """The key's whole bucket: 64 bytes an entry, ascending by key."""
    siblings: tuple[bytes, ...]
    """Hashes beside the path from the bucket to the root, 32 bytes each."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return codec.encode([self.bucket, b"".join(self.siblings)])


def decode_proof(data: bytes) -> Proof:
    """Decode a proof's bytes.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    bucket, joined = codec.array(
        codec.decode(data, size_bytes_max=PROOF_BYTES_MAX), "proof", length=2
    )
    hashes = codec.octets(joined, "siblings", length_max=KEY_BYTES * 256)
    if len(hashes) % 32:
        raise codec.WrongShapeError(f"siblings: {len(hashes)} bytes are no whole number of hashes")
    return Proof(
        codec.octets(bucket, "bucket"),
        tuple(hashes[i : i + 32] for i in range(0, len(hashes), 32)),
    )


class BucketTree:
    """The tree of one range, in memory: 2^(depth + 1) hashes, and 64 bytes a key.

    Updates mark buckets; hashes are computed when the root is asked for, each touched node once.
    """

    def __init__(self, prefix_bits: int, depth: int) -> None:
        """Start empty.

        Args:
            prefix_bits: Leading bits that all keys share.
            depth: Bits below them that choose the bucket; 2^depth buckets.
        """
        assert 0 <= prefix_bits <= 16, prefix_bits
        assert 0 <= depth <= 20, depth
        self._bits = prefix_bits + depth
        self._depth = depth
        self._leaves = 1 << depth
        self._buckets: list[bytes] = [b""] * self._leaves
        # Heap order: 1 is the root, the children of i are 2i and 2i + 1, bucket b is 2^depth + b.
        self._nodes: list[bytes] = [b""] * (2 * self._leaves)
        level = sha256(b"\x00").digest()
        for height in range(depth, -1, -1):
            self._nodes[1 << height : 2 << height] = [level] * (1 << height)
            level = sha256(b"\x01" + level + level).digest()
        self._dirty: dict[int, None] = {}
        self.keys_count = 0
        """Keys in the tree."""

    def update(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Set values, or remove keys whose value is None."""
        buckets, leaves, dirty = self._buckets, self._leaves, self._dirty
        mask = leaves - 1
        for key, value in changes:
            number = bucket_of(key, self._bits) & mask
            bucket = buckets[number]
            at, found = _place(bucket, key)
            rest = at + ENTRY_BYTES if found else at
            if value is None:
                if not found:
                    continue
                buckets[number] = bucket[:at] + bucket[rest:]
                self.keys_count -= 1
            else:
                buckets[number] = bucket[:at] + key + sha256(value).digest() + bucket[rest:]
                self.keys_count += not found
            dirty[leaves + number] = None

    def fill(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Set values of many keys that ascend and are all new; faster than `update`."""
        pending: dict[int, list[bytes]] = {}
        mask = self._leaves - 1
        previous = b""
        for key, value in items:
            assert key > previous, (previous, key)
            previous = key
            entry = key + sha256(value).digest()
            pending.setdefault(bucket_of(key, self._bits) & mask, []).append(entry)
        for number, entries in pending.items():
            assert not self._buckets[number], number
            self._buckets[number] = b"".join(entries)
            self._dirty[self._leaves + number] = None
            self.keys_count += len(entries)

    def root(self) -> bytes:
        """Return the root, 32 bytes."""
        if self._dirty:
            self._rehash()
        return self._nodes[1]

    def prove(self, key: bytes) -> Proof:
        """Return the proof of a key's value or absence under the present root."""
        self.root()
        number = bucket_of(key, self._bits) & (self._leaves - 1)
        siblings = []
        node = self._leaves + number
        while node > 1:
            siblings.append(self._nodes[node ^ 1])
            node >>= 1
        return Proof(self._buckets[number], tuple(siblings))

    def _rehash(self) -> None:
        nodes, buckets, leaves = self._nodes, self._buckets, self._leaves
        # Ascending: neighbours share cache lines, which halves the time at a million keys.
        level = sorted(self._dirty)
        for node in level:
            nodes[node] = sha256(b"\x00" + buckets[node - leaves]).digest()
        for _ in range(self._depth):
            level = list(dict.fromkeys([node >> 1 for node in level]))
            for node in level:
                nodes[node] = sha256(b"\x01" + nodes[2 * node] + nodes[2 * node + 1]).digest()
        self._dirty = {}


def verify_proof(
    root: bytes, key: bytes, value: bytes | None, proof: Proof, *, prefix_bits: int, depth: int
) -> None:
    """Check that `key` has `value`, or is absent if it is None.

    Args:
        root: Post root of a certified result, 32 bytes.
        key: Address, 32 bytes; the caller has checked that it lies in the shard's range.
        value: Encoded account, or None.
        proof: What a node answered.
        prefix_bits: Length of the shard's prefix.
        depth: Bits below it that choose a bucket (`Parameters.bucket_bits`).

    Raises:
        ProofError: The proof shows something else.
    """
    bucket = proof.bucket
    if len(bucket) % ENTRY_BYTES or len(proof.siblings) != depth:
        raise ProofError(
            f"bucket of {len(bucket)} bytes and {len(proof.siblings)} siblings; "
            f"whole entries of {ENTRY_BYTES} bytes and {depth} siblings expected"
        )
    keys = [bucket[i : i + KEY_BYTES] for i in range(0, len(bucket), ENTRY_BYTES)]
    if any(low >= high for low, high in pairwise(keys)):
        raise ProofError(f"the keys of a bucket of {len(keys)} entries do not ascend")
    at, found = _place(bucket, key)
    shown = bucket[at + KEY_BYTES : at + ENTRY_BYTES] if found else None
    wanted = None if value is None else sha256(value).digest()
    if shown != wanted:
        raise ProofError(
            f"key {key.hex()}: the bucket shows {'no value' if shown is None else shown.hex()}, "
            f"not {'no value' if wanted is None else wanted.hex()}"
        )
    node = sha256(b"\x00" + bucket).digest()
    turns = bucket_of(key, prefix_bits + depth)
    for sibling in proof.siblings:
        pair = sibling + node if turns & 1 else node + sibling
        node = sha256(b"\x01" + pair).digest()
        turns >>= 1
    if node != root:
        raise ProofError(f"the path leads to root {node.hex()}, not {root.hex()}")


def _place(bucket: bytes, key: bytes) -> tuple[int, bool]:
    """Return the offset where a key's entry is or belongs, and whether it is there."""
    low, high = 0, len(bucket) // ENTRY_BYTES
    while low < high:
        middle = (low + high) // 2
        at = middle * ENTRY_BYTES
        held = bucket[at : at + KEY_BYTES]
        if held < key:
            low = middle + 1
        elif held > key:
            high = middle
        else:
            return at, True
    return low * ENTRY_BYTES, False
