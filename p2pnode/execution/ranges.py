"""Account ranges: a shard is a uid and a bit prefix, the contiguous range of addresses under it.

A split or a merge makes new shards with new uids; a uid is never used twice, since feeds,
watermarks and results are named by it.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from p2pnode.errors import LocalProtocolError
from p2pnode.types.genesis import FIRST_UID, SYSTEM_UID

ADDRESS_BITS: Final = 256
"""Bits of an address."""

PREFIX_BITS_MAX: Final = 16
"""Longest prefix: 65,536 shards."""


class LayoutError(LocalProtocolError):
    """Shards leave a gap, overlap, or share a uid."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A contiguous account range with a name that is never used again."""

    uid: int
    """Its name; 0 is the system shard, which has no accounts."""
    prefix: int
    """The leading bits that all of its addresses share, as a number."""
    prefix_bits: int
    """How many they are; 0 is the whole address space."""

    def contains(self, address: bytes) -> bool:
        """Tell whether a 32-byte address lies in the range."""
        return bucket_of(address, self.prefix_bits) == self.prefix

    def first(self) -> bytes:
        """Return the lowest address of the range."""
        return (self.prefix << ADDRESS_BITS - self.prefix_bits).to_bytes(32, "big")

    def last(self) -> bytes:
        """Return the highest address of the range."""
        free = ADDRESS_BITS - self.prefix_bits
        return ((self.prefix << free) | ((1 << free) - 1)).to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class Layout:
    """The shards of an epoch: together they hold every address exactly once."""

    shards: tuple[Shard, ...]
    """Account shards, ascending by range; the system shard is not among them."""

    def validate(self) -> None:
        """Raise LayoutError unless the ranges follow one another over all addresses."""
        expected = 0
        uids: dict[int, None] = {SYSTEM_UID: None}
        for shard in self.shards:
            if not 0 <= shard.prefix_bits <= PREFIX_BITS_MAX:
                raise LayoutError(
                    f"shard {shard.uid}: prefix of {shard.prefix_bits} bits, "
                    f"at most {PREFIX_BITS_MAX} allowed"
                )
            if shard.uid in uids:
                raise LayoutError(f"uid {shard.uid} is used twice")
            uids[shard.uid] = None
            if int.from_bytes(shard.first(), "big") != expected:
                raise LayoutError(f"shard {shard.uid} begins at {shard.first().hex()}")
            expected = int.from_bytes(shard.last(), "big") + 1
        if expected != 1 << ADDRESS_BITS:
            raise LayoutError(f"{len(self.shards)} shards do not reach the last address")

    def uids(self) -> tuple[int, ...]:
        """Return the uids of all shards, the system shard first."""
        return (SYSTEM_UID, *(shard.uid for shard in self.shards))


def bucket_of(address: bytes, bits: int) -> int:
    """Return the first `bits` bits of an address as a number."""
    # 40 bits are enough for prefix and bucket together; a small integer is cheaper than a large
    # one.
    return int.from_bytes(address[:5], "big") >> (40 - bits)


def shard_of(address: bytes, layout: Layout) -> Shard:
    """Return the shard whose range holds a 32-byte address."""
    if len(layout.shards) == 1:
        return layout.shards[0]
    return layout.shards[bisect_right(layout.shards, address, key=Shard.first) - 1]


def genesis_layout() -> Layout:
    """Return the layout every chain begins with: one account shard, beside the system shard."""
    return Layout((Shard(FIRST_UID, 0, 0),))
