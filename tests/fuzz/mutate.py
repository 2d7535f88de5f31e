"""Structure-aware mutation: decode, change a node of the tree, encode again.

A message holds documents inside byte strings (a header, a body, a certificate): those are opened
too, so that most mutants are canonical all the way down and fail, if at all, at a rule.
"""

from __future__ import annotations

import random
from typing import TypeAlias

from p2pnode import codec
from p2pnode.errors import RemoteProtocolError

Tree: TypeAlias = "int | bytes | list[Tree] | Inner | None"

NUMBERS = (
    0,
    1,
    2,
    3,
    4,
    63,
    64,
    255,
    256,
    65535,
    65536,
    (1 << 31) - 1,
    1 << 32,
    (1 << 48) + 1,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
    1 << 64,
    (1 << 128) - 1,
    -1,
    -(1 << 64),
)
"""Where implementations change their mind."""


class Inner:
    """A document inside a byte string."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree


def open_tree(value: codec.Value, depth: int = 0) -> Tree:
    """Return a decoded value as something that can be changed."""
    if isinstance(value, tuple):
        return [open_tree(item, depth) for item in value]
    if isinstance(value, bytes) and len(value) > 2 and value[0] >> 5 == 4 and depth < 3:
        try:
            inner = codec.decode(value, size_bytes_max=1 << 20)
        except RemoteProtocolError:
            return value
        return Inner(open_tree(inner, depth + 1))
    return value


def close_tree(tree: Tree) -> codec.Encodable:
    """Return what can be encoded."""
    if isinstance(tree, Inner):
        return codec.encode(close_tree(tree.tree))
    if isinstance(tree, list):
        return [close_tree(item) for item in tree]
    return tree


class Mutator:
    """Changes trees at random, with material from trees seen before."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._octets: dict[int, list[bytes]] = {}
        self._trees: list[Tree] = []

    def learn(self, tree: Tree) -> None:
        """Remember the parts of a true message as material."""
        match tree:
            case bytes():
                known = self._octets.setdefault(len(tree), [])
                if len(known) < 64:
                    known.append(tree)
                else:
                    known[self._rng.randrange(64)] = tree
            case list():
                if len(self._trees) < 256:
                    self._trees.append(tree)
                else:
                    self._trees[self._rng.randrange(256)] = tree
                for item in tree:
                    self.learn(item)
            case Inner():
                self.learn(tree.tree)

    def change(self, tree: Tree, times: int = 1) -> Tree:
        """Return a copy with some nodes changed."""
        tree = _copy(tree)
        for _ in range(times):
            places = _places(tree)
            if not places:
                return self._node(tree)
            holder, index = self._rng.choice(places)
            if isinstance(holder, Inner):
                holder.tree = self._node(holder.tree)
            elif self._rng.random() < 0.15:
                self._list(holder)
            else:
                holder[index] = self._node(holder[index])
        return tree

    def bytes_of(self, data: bytes) -> bytes:
        """Return bytes changed without regard for what they mean."""
        rng = self._rng
        match rng.randrange(5):
            case 0 if data:
                at = rng.randrange(len(data))
                return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case 1:
                return data[: rng.randrange(len(data) + 1)]
            case 2:
                return data + rng.randbytes(rng.randrange(1, 40))
            case 3:
                at = rng.randrange(len(data) + 1)
                return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
            case _:
                return rng.randbytes(rng.randrange(0, 200))

    def _node(self, node: Tree) -> Tree:
        rng = self._rng
        match node:
            case int():
                near = (node + 1, node - 1, node ^ 1, node * 2, node + 64, node - 64)
                return rng.choice((*NUMBERS, *near))
            case bytes():
                return self._bytes(node)
            case None:
                return rng.choice([0, b"", rng.randbytes(32)])
            case list():
                match rng.randrange(5):
                    case 0:
                        return []
                    case 1 if self._trees:
                        return _copy(rng.choice(self._trees))
                    case 2:
                        return node + node
                    case 3:
                        return rng.sample(node, len(node))
                    case _:
                        self._list(node)
                        return node
            case Inner():
                if rng.random() < 0.8:
                    return Inner(self.change(node.tree))
                closed = close_tree(node)
                assert isinstance(closed, bytes)
                return self._bytes(closed)
        raise AssertionError(node)

    def _bytes(self, data: bytes) -> Tree:
        rng = self._rng
        same = self._octets.get(len(data), ())
        match rng.randrange(6):
            case 0 | 1 if same:
                return rng.choice(same)
            case 2:
                return bytes(len(data))
            case 3:
                return b"\xff" * len(data)
            case 4:
                return b""
            case _:
                return self.bytes_of(data)

    def _list(self, items: list[Tree]) -> None:
        rng = self._rng
        if not items:
            items.append(rng.choice(NUMBERS))
            return
        at = rng.randrange(len(items))
        match rng.randrange(4):
            case 0:
                del items[at]
            case 1:
                items.insert(at, _copy(items[at]))
            case 2:
                other = rng.randrange(len(items))
                items[at], items[other] = items[other], items[at]
            case _:
                material = rng.choice(self._trees) if self._trees else 0
                items.insert(at, _copy(material))


def _copy(tree: Tree) -> Tree:
    match tree:
        case list():
            return [_copy(item) for item in tree]
        case Inner():
            return Inner(_copy(tree.tree))
    return tree


def _places(tree: Tree) -> list[tuple[list[Tree] | Inner, int]]:
    """Return every (holder, index) of a node below the top."""
    match tree:
        case list():
            found: list[tuple[list[Tree] | Inner, int]] = [(tree, i) for i in range(len(tree))]
            for item in tree:
                found += _places(item)
            return found
        case Inner():
            return [(tree, 0), *_places(tree.tree)]
    return []
