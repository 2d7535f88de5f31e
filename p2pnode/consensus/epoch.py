"""The frame of an engine object: the epoch it serves, the floor it starts from, and the words that
events, effects and items are made of.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeAlias

from p2pnode.types.genesis import genesis_hash
from p2pnode.types.quorum import quorum_of

Digest: TypeAlias = bytes
"""SHA-256 digest, 32 bytes."""

Index: TypeAlias = int
"""Position in `Epoch.validators`."""

Pos: TypeAlias = tuple[int, ...]
"""Totally ordered inside one engine: (view,), (height, round), (round,)."""

Key: TypeAlias = Hashable
"""Name of a timer or of a question to the host; equal after equal histories."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """The fixed frame of one engine object."""

    chain: Digest
    """Chain id; part of every signing domain."""

    number: int
    """Number of the epoch; part of every signing domain, so a signature of another epoch is worth
    nothing."""

    validators: tuple[tuple[bytes, int], ...]
    """(Ed25519 public key, voting power ≥ 1) by Index; fixed for the epoch."""

    me: Index | None
    """Our own index; None for an observer: the engine runs, never drafts."""

    first_height: int
    """First height of the epoch, at least 1."""

    last_height: int
    """Last height: nothing new is proposed after it, its payload is proposed again until final."""

    seed: bytes
    """Orders the proposers; engines have no random numbers."""

    def power_total(self) -> int:
        """Return the sum of all voting power."""
        return sum(power for _, power in self.validators)

    def quorum(self) -> int:
        """Return floor(2W/3)+1 of the total voting power W."""
        return quorum_of(self.power_total())


@dataclass(frozen=True, slots=True)
class Floor:
    """The newest height known final; durable and monotone. An engine starts there and prunes
    below it.
    """

    height: int
    """Height; 0 is genesis."""

    digest: Digest
    """Digest of the payload final at `height`."""

    proof: bytes
    """The engine's proof of it; empty for genesis. The floor an epoch starts from may carry the
    proof of the epoch before."""


def genesis_floor(chain: Digest) -> Floor:
    """Return height 0 of a chain, final by definition.

    Args:
        chain: Chain id, 32 bytes.
    """
    return Floor(0, genesis_hash(chain), b"")
