"""What waits for one peer: in which order it goes out, and who loses when there is no room."""

from __future__ import annotations

from collections import Counter

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.net.libp2p.out_queue import OWN, OutQueue

SIZE = 1000
"""Bytes of the RPCs of most tests; the first says whose it is."""

COST_OF_TURN = (1 << 13) // (SIZE + (1 << 10))
"""Such RPCs in a turn, as out_queue.py defines it."""


class Queue:
    """A queue whose writes are taken apart again."""

    def __init__(self, rpcs_max: int = 1000, bytes_max: int = 8 << 20) -> None:
        self.dropped = 0
        self.out = OutQueue(rpcs_max, self._count_drop, bytes_max=bytes_max)

    def _count_drop(self) -> None:
        self.dropped += 1

    def push(self, source: str, times: int = 1) -> list[bool]:
        return [self.out.push(source.encode() * SIZE, source.encode()) for _ in range(times)]

    async def pop(self, rpcs_min: int) -> str:
        found = ""
        while len(found) < rpcs_min:
            written = (await self.out.pop()).decode()
            assert len(written) == self.out.popped_count * SIZE
            found += written[::SIZE]
        return found


async def test_queue_gathers_small_rpcs_puts_control_first_and_waits() -> None:
    queue = OutQueue(100, lambda: None)
    queue.push(b"data")
    queue.push_control(b"first ")
    queue.push_control(b"second ")
    assert await queue.pop() == b"first second data"
    assert queue.popped_count == 3
    async with trio.open_nursery() as nursery:
        got: list[bytes] = []

        async def pop() -> None:
            got.append(await queue.pop())

        nursery.start_soon(pop)
        await trio.testing.wait_all_tasks_blocked()
        assert got == []
        queue.push(b"late")
    assert got == [b"late"]


async def test_a_write_is_not_made_of_all_that_waits() -> None:
    queue = Queue()
    queue.push("a", 200)
    await queue.out.pop()
    assert 64 <= queue.out.popped_count <= 66


async def test_full_queue_of_one_source_drops_what_comes_and_counts_it() -> None:
    queue = Queue(rpcs_max=3)
    assert queue.push("a", 5) == [True] * 3 + [False] * 2
    assert queue.dropped == 2
    assert await queue.pop(1) == "aaa"


async def test_one_rpc_is_taken_however_large_and_no_second() -> None:
    queue = OutQueue(100, lambda: None, bytes_max=10)
    assert queue.push(bytes(50))
    assert not queue.push(b"x")
    assert await queue.pop() == bytes(50)
    assert queue.push(b"x")


async def test_one_message_waits_for_a_turn_of_others_not_for_all_they_sent() -> None:
    queue = Queue()
    queue.push("f", 400)
    queue.push("g", 400)
    await queue.pop(1)
    queue.push("h")
    order = await queue.pop(40)
    assert order.index("h") <= 2 * (COST_OF_TURN + 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60)), min_size=1, max_size=12))
def test_whatever_was_queued_comes_out_each_source_in_its_order(
    pushes: list[tuple[str, int]],
) -> None:
    queue = OutQueue(10_000, lambda: None)
    queued: dict[str, list[bytes]] = {}
    for number, (source, size) in enumerate(pushes):
        rpc = b"%s%03d" % (source.encode(), number) + bytes(size)
        queue.push(rpc, source.encode())
        queued.setdefault(source, []).append(rpc)

    found = b"".join(queue.take() for _ in range(len(queue)))
    assert len(found) == sum(len(rpc) for rpcs in queued.values() for rpc in rpcs)
    for rpcs in queued.values():
        places = [found.index(rpc[:4]) for rpc in rpcs]
        assert places == sorted(places)
        assert all(rpc in found for rpc in rpcs)
    assert (queue._size_bytes, len(queue._sources), len(queue._turns)) == (0, 0, 0)


async def test_sources_that_always_wait_get_the_same() -> None:
    queue = Queue()
    for source in "abcd":
        queue.push(source, 200)
    got = Counter(await queue.pop(200))
    assert max(got.values()) - min(got.values()) <= COST_OF_TURN + 1, got


async def test_who_comes_back_empty_each_time_gets_no_more_than_who_waits() -> None:
    queue = Queue()
    queue.push("a", 900)
    got: Counter[str] = Counter()
    for _ in range(12):
        # A write of 65 RPCs finds nothing of b's soon after it began: b is as fast as it can be.
        queue.push("b", 33)
        got.update(await queue.pop(1))
    assert got["b"] <= got["a"] + 33, got


async def test_what_begins_here_has_more_than_a_flood() -> None:
    queue = Queue()
    for source in "abcd":
        queue.push(source, 200)
    own = b"o" * SIZE
    for _ in range(100):
        queue.out.push(own)
    got = Counter(await queue.pop(100))
    assert got["o"] >= sum(got[source] for source in "abcd"), got


def test_large_messages_get_through_among_small_ones() -> None:
    queue = OutQueue(1000, lambda: None)
    queue.push(b"L" * 100_000, b"large")
    for _ in range(500):
        queue.push(b"s" * 1000, b"small")
    while not queue.take().startswith(b"L"):
        pass
    assert len(queue) > 300, "it waited for nearly all the small ones"


async def test_of_a_full_queue_who_holds_most_loses_its_newest() -> None:
    queue = Queue(rpcs_max=10)
    queue.push("f", 10)
    assert queue.push("h", 3) == [True] * 3
    assert queue.dropped == 3
    assert queue.push("f") == [False]
    got = Counter(await queue.pop(10))
    assert got == {"f": 7, "h": 3}


def test_many_small_rpcs_hold_as_much_as_few_large_ones() -> None:
    queue = OutQueue(100, lambda: None)
    for _ in range(100):
        queue.push(b"s", b"small")
    assert queue.push(b"L" * 20_000, b"large")
    assert Counter(queue.take()[:1] for _ in range(len(queue))) == {b"s": 99, b"L": 1}


async def test_control_finds_room_in_a_queue_full_of_messages_but_not_of_control() -> None:
    queue = OutQueue(3, lambda: None)
    for _ in range(3):
        queue.push(b"m")
    assert [queue.push_control(b"c") for _ in range(4)] == [True, True, True, False]
    assert await queue.pop() == b"ccc"


def test_own_messages_are_their_own_source() -> None:
    queue = OutQueue(10, lambda: None)
    queue.push(b"x")
    assert list(queue._sources) == [OWN]


def test_many_that_fill_all_places_with_little_keep_out_nobody_with_much() -> None:
    queue = OutQueue(512, lambda: None)
    for number in range(512):
        assert queue.push(b"little", b"stranger %d" % (number % 16))
    much = bytes(60_000)
    assert queue.push(much, b"honest")
    assert queue.push(much)
    assert len(queue) == 512
    taken = [queue.take() for _ in range(len(queue))]
    assert taken.count(much) == 2
