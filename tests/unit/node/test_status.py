from __future__ import annotations

from tests.unit.node.statuses import status


def test_the_system_shard_is_none_of_the_shards_shown() -> None:
    assert status().shards == (1,)
