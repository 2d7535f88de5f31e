from __future__ import annotations

import pytest

from p2pnode.execution.ranges import Layout, LayoutError, Shard, genesis_layout, shard_of

HALVES = Layout((Shard(5, 0, 1), Shard(9, 1, 1)))


def test_genesis_has_one_account_shard_with_every_address() -> None:
    layout = genesis_layout()
    layout.validate()
    assert layout.uids() == (0, 1)
    shard = layout.shards[0]
    assert (shard.first(), shard.last()) == (bytes(32), b"\xff" * 32)
    assert shard.contains(bytes(32))
    assert shard.contains(b"\xff" * 32)


def test_a_shard_is_the_contiguous_range_under_its_prefix() -> None:
    shard = Shard(7, 0b101, 3)
    assert shard.first() == b"\xa0" + bytes(31)
    assert shard.last() == b"\xbf" + b"\xff" * 31
    assert shard.contains(shard.first())
    assert shard.contains(shard.last())
    assert not shard.contains(b"\x9f" + b"\xff" * 31)
    assert not shard.contains(b"\xc0" + bytes(31))


def test_shard_of_finds_the_range_at_its_borders() -> None:
    layout = Layout((Shard(4, 0, 1), Shard(2, 0b10, 2), Shard(3, 0b11, 2)))
    layout.validate()
    for shard in layout.shards:
        assert shard_of(shard.first(), layout) is shard
        assert shard_of(shard.last(), layout) is shard


@pytest.mark.parametrize(
    "shards",
    [
        (),
        (Shard(1, 0, 1),),
        (Shard(1, 1, 1), Shard(2, 0, 1)),
        (Shard(1, 0, 1), Shard(2, 0, 1)),
        (Shard(1, 0, 1), Shard(1, 1, 1)),
        (Shard(0, 0, 0),),
        (Shard(1, 0, 2), Shard(2, 2, 2), Shard(3, 3, 2)),
    ],
)
def test_a_layout_with_gap_overlap_or_repeated_uid_is_refused(shards: tuple[Shard, ...]) -> None:
    with pytest.raises(LayoutError):
        Layout(shards).validate()


def test_halves_are_a_layout() -> None:
    HALVES.validate()
    assert HALVES.uids() == (0, 5, 9)
