"""Invariants over what nodes say of their chains, their states and their transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testnet.checks.violation import Violation


@dataclass(frozen=True, slots=True)
class SeenBlock:
    """A block as one life of a node reported it."""

    node: str
    life: int
    """Which start of the node."""
    height: int
    hash: bytes
    parent: bytes


def check_agreement(blocks: Sequence[SeenBlock]) -> list[Violation]:
    """Return every height for which two different blocks were final anywhere (G1)."""
    first: dict[int, SeenBlock] = {}
    found = []
    for block in blocks:
        known = first.setdefault(block.height, block)
        if known.hash != block.hash:
            found.append(
                Violation(
                    "agreement",
                    f"height {block.height}: {known.node} has {known.hash.hex()[:12]}, "
                    f"{block.node} has {block.hash.hex()[:12]}",
                )
            )
    return found


def check_order(blocks: Sequence[SeenBlock]) -> list[Violation]:
    """Return heights missing or repeated in one life of a node, and broken parent links (G2)."""
    last: dict[tuple[str, int], SeenBlock] = {}
    found = []
    for block in blocks:
        previous = last.get((block.node, block.life))
        if previous is not None:
            if block.height != previous.height + 1:
                found.append(
                    Violation(
                        "contiguous heights",
                        f"{block.node} life {block.life}: {block.height} after {previous.height}",
                    )
                )
            elif block.parent != previous.hash:
                found.append(
                    Violation(
                        "parent links", f"{block.node}: height {block.height} has another parent"
                    )
                )
        last[(block.node, block.life)] = block
    return found


def check_roots(roots: Sequence[tuple[str, int, int, bytes]]) -> list[Violation]:
    """Return every (shard, height) for which two nodes computed different state roots.

    Args:
        roots: (node, shard uid, height, root).
    """
    first: dict[tuple[int, int], tuple[str, bytes]] = {}
    found = []
    for node, uid, height, root in roots:
        known_node, known = first.setdefault((uid, height), (node, root))
        if known != root:
            found.append(
                Violation(
                    "equal state roots",
                    f"shard {uid} height {height}: {known_node} {known.hex()[:12]}, "
                    f"{node} {root.hex()[:12]}",
                )
            )
    return found


def check_conservation(
    expected: Mapping[int, int], supplies: Mapping[str, Mapping[int, int]]
) -> list[Violation]:
    """Return every asset whose total at a node is not what genesis issued."""
    return [
        Violation(
            "conservation", f"{node}: asset {asset} is {supply.get(asset, 0)}, issued {amount}"
        )
        for node, supply in supplies.items()
        for asset, amount in expected.items()
        if supply.get(asset, 0) != amount
    ] + [
        Violation("conservation", f"{node}: asset {asset} was never issued")
        for node, supply in supplies.items()
        for asset in supply
        if asset not in expected
    ]
