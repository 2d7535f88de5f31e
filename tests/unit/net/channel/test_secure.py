"""Records on a wire: whole whatever is cancelled, bounded however slow the peer."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from p2pnode.net.channel.errors import ChannelClosedError, FrameFloodError, RecordForgedError
from p2pnode.net.channel.noise import Opener, Sealer
from p2pnode.net.channel.secure import SMALL_RECORDS_MAX, SecureChannel
from tests.unit.net.channel.wires import Wire, wires

THERE, BACK = bytes(32), bytes([1]) * 32


def channels(buffer_bytes: int = 1 << 16) -> tuple[SecureChannel, SecureChannel, Wire, Wire]:
    wire_a, wire_b = wires(buffer_bytes)
    return (
        SecureChannel(wire_a, Sealer(THERE), Opener(BACK)),
        SecureChannel(wire_b, Sealer(BACK), Opener(THERE)),
        wire_a,
        wire_b,
    )


async def read_exactly(channel: SecureChannel, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await channel.read(size - len(data))
    return data


async def test_what_is_written_is_read_in_pieces_of_any_size() -> None:
    a, b, _, _ = channels()
    await a.write(b"0123456789")
    assert [await b.read(4), await b.read(1), await b.read()] == [b"0123", b"4", b"56789"]


async def test_an_empty_record_is_not_taken_for_the_end() -> None:
    a, b, _, _ = channels()
    await a.write(b"")
    await a.write(b"x")
    assert await b.read() == b"x"
    assert b.statistics().opened.records == 2


async def test_records_of_nothing_are_a_flood_and_so_are_those_of_little(
    autojump_clock: MockClock,
) -> None:
    for little in (b"", b"x"):
        _, b, wire, _ = channels(1 << 20)
        sealer = Sealer(THERE)
        for second in range(3):
            # Something to be read at the end, for empty records are passed over.
            records = [sealer.seal(little) for _ in range(SMALL_RECORDS_MAX - 1)]
            await wire.send(b"".join(records) + sealer.seal(b"."))
            while b.statistics().opened.records < (second + 1) * SMALL_RECORDS_MAX:
                await b.read()
            await trio.sleep(1)
        await wire.send(b"".join(sealer.seal(little) for _ in range(SMALL_RECORDS_MAX + 1)))
        with pytest.raises(FrameFloodError, match="more than 40000 records"), trio.fail_after(9):
            await read_exactly(b, 1 << 30)


async def test_any_number_of_full_records_is_no_flood(autojump_clock: MockClock) -> None:
    wire_a, wire_b = wires(1 << 20)
    b = SecureChannel(wire_b, Sealer(BACK), Opener(THERE), small_records_max=10)
    sealer = Sealer(THERE)
    await wire_a.send(b"".join(sealer.seal(bytes(1024)) for _ in range(200)))
    assert await read_exactly(b, 200 * 1024) == bytes(200 * 1024)


async def test_writes_of_several_tasks_do_not_mix() -> None:
    a, b, _, _ = channels(5000)
    size = 200_000
    async with trio.open_nursery() as nursery:
        for letter in b"abc":
            nursery.start_soon(a.write, bytes([letter]) * size)
        data = await read_exactly(b, 3 * size)
    assert [len(set(data[at : at + size])) for at in range(0, 3 * size, size)] == [1, 1, 1]


async def test_cancelled_writers_and_readers_tear_no_record(autojump_clock: MockClock) -> None:
    chance = random.Random(4)
    a, b, _, _ = channels(3000)
    cancelled = 0
    got: list[bytes] = []
    async with trio.open_nursery() as nursery:

        async def write(name: int) -> None:
            nonlocal cancelled
            for _ in range(50):
                with trio.move_on_after(chance.random() / 100) as scope:
                    await a.write(bytes([name]) * 30_000)
                cancelled += scope.cancelled_caught
                await trio.sleep(chance.random() / 100)

        async def read() -> None:
            while True:
                with trio.move_on_after(chance.random() / 100):
                    await trio.sleep(chance.random() / 100)
                    got.append(await b.read())

        nursery.start_soon(read)
        async with trio.open_nursery() as writers:
            for name in range(3):
                writers.start_soon(write, name)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    data = b"".join(got)
    assert len(data) % 30_000 == 0
    assert all(len(set(data[at : at + 30_000])) == 1 for at in range(0, len(data), 30_000))
    assert cancelled > 10


async def test_a_writer_cancelled_while_another_writes_sends_nothing() -> None:
    a, b, _, _ = channels(1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.write, b"a" * 10_000)
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await a.write(b"b")
        assert await read_exactly(b, 10_000) == b"a" * 10_000
    assert a.statistics().sealed.records == 1


async def test_a_peer_that_does_not_read_loses_the_connection(autojump_clock: MockClock) -> None:
    a, _, wire_a, _ = channels(1000)
    with pytest.raises(ChannelClosedError, match="not read for 30 s"):
        await a.write(bytes(10_000))
    assert trio.current_time() < 31
    assert wire_a.is_closed


async def test_closing_wakes_the_writer_that_hangs() -> None:
    a, _, _, _ = channels(1000)
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            with pytest.raises(ChannelClosedError):
                await a.write(bytes(10_000))

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        await a.aclose()


async def test_a_forged_record_and_the_end_are_told_apart() -> None:
    a, b, wire_a, wire_b = channels()
    await wire_a.send(b"\x00\x20" + bytes(32))
    with pytest.raises(RecordForgedError):
        await b.read()
    await wire_b.aclose()
    with pytest.raises(ChannelClosedError):
        await a.read()
    with pytest.raises(ChannelClosedError):
        await a.write(b"x")
