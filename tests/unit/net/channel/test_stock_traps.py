"""What libp2p's own channel and muxer do wrong, shown beside ours doing it right.

When stock no longer falls for one of these, the reason for our own part of it is gone.
"""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
import trio
from libp2p.network.connection.exceptions import RawConnError
from libp2p.stream_muxer.exceptions import MuxedStreamError, MuxedStreamReset
from libp2p.stream_muxer.yamux.yamux import YAMUX_HEADER_FORMAT
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.unit.net.channel.stock import connections

BOTH = pytest.mark.parametrize("own", [True, False], ids=["own", "stock"])


async def sink(stream: Any) -> None:
    try:
        while True:
            await stream.read(1 << 16)
    except MuxedStreamError:
        await stream.reset()


@BOTH
async def test_both_sides_open_streams_under_load(own: bool, autojump_clock: MockClock) -> None:
    done = 0

    async def serve(side: Any) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(sink, await side.accept_stream())

    async def source(side: Any) -> None:
        nonlocal done
        for _ in range(4):
            stream = await side.open_stream()
            for _ in range(3):
                await stream.write(bytes(200_000))
            await stream.close()
        done += 1

    with trio.move_on_after(120):
        async with connections(own, own, buffer_bytes=4000) as ends, trio.open_nursery() as nursery:
            for side in ends:
                nursery.start_soon(serve, side)
            try:
                async with trio.open_nursery() as sources:
                    for side in ends:
                        for _ in range(6):
                            sources.start_soon(source, side)
            except* MuxedStreamError:
                assert not own
            nursery.cancel_scope.cancel()
    assert done == 12 if own else done < 12


@BOTH
async def test_two_tasks_write_long_messages_to_one_stream(own: bool) -> None:
    async with connections(own, own) as (a, b), trio.open_nursery() as nursery:
        ours = await a.open_stream()
        theirs = await b.accept_stream()
        for letter in (b"a", b"b"):
            nursery.start_soon(ours.write, letter * 200_000)
        data = b""
        while len(data) < 400_000:
            data += await theirs.read(1 << 16)
        turns = sum(data[i] != data[i + 1] for i in range(len(data) - 1))
        assert turns == 1 if own else turns > 1


@BOTH
async def test_a_cancelled_write_does_not_end_the_connection(
    own: bool, autojump_clock: MockClock
) -> None:
    async with connections(own, own, buffer_bytes=1000) as (a, b):
        ours = await a.open_stream()
        theirs = await b.accept_stream()
        with trio.move_on_after(0.1):
            await ours.write(bytes(100_000))  # nobody reads the wire fast enough to finish
            await trio.sleep_forever()
        await wait_all_tasks_blocked()
        other = await a.open_stream()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel_soon() -> None:
                    for _ in range(12):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                nursery.start_soon(cancel_soon)
                await other.write(bytes(60_000))
        # Stock has sent a part of a record, and no one can make sense of the rest.
        lives = False
        with trio.move_on_after(30):
            try:
                await ours.write(b"still here")
                while (await theirs.read(1 << 16))[-10:] != b"still here":
                    pass
                lives = True
            except MuxedStreamError:
                pass
        assert lives == own


@BOTH
async def test_a_cancelled_read_loses_nothing(own: bool, autojump_clock: MockClock) -> None:
    chance = random.Random(7)
    sent = b"".join(number.to_bytes(4, "big") for number in range(20_000))
    async with connections(own, own, buffer_bytes=500) as (a, b), trio.open_nursery() as nursery:
        ours = await a.open_stream()
        theirs = await b.accept_stream()

        async def write() -> None:
            try:
                for at in range(0, len(sent), 1000):
                    await ours.write(sent[at : at + 1000])
                    await trio.sleep(chance.random() / 100)
            except MuxedStreamError:
                assert not own

        nursery.start_soon(write)
        got = b""

        async def read_some() -> None:
            nonlocal got
            # At any turn of the scheduler.
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:

                    async def cancel_soon() -> None:
                        for _ in range(chance.randrange(8)):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()

                    inner.start_soon(cancel_soon)
                    try:
                        got += await theirs.read(1000)
                    except MuxedStreamError:
                        assert not own
                        await trio.sleep_forever()
                    inner.cancel_scope.cancel()

        with trio.move_on_after(60):
            while len(got) < len(sent):
                await read_some()
                await trio.sleep(chance.random() / 200)
        nursery.cancel_scope.cancel()
        assert (got == sent) == own


@BOTH
async def test_a_local_reset_wakes_the_local_reader(own: bool, autojump_clock: MockClock) -> None:
    async with connections(own, own) as (a, _), trio.open_nursery() as nursery:
        ours = await a.open_stream()
        woken = trio.Event()

        async def read() -> None:
            with pytest.raises(MuxedStreamReset):
                await ours.read(1)
            woken.set()

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        await ours.reset()
        with trio.move_on_after(10):
            await woken.wait()
        assert woken.is_set() == own
        nursery.cancel_scope.cancel()


@BOTH
async def test_a_window_is_a_limit_of_what_is_held(own: bool, autojump_clock: MockClock) -> None:
    # A stock dialler that ignores the window: frames are written past its stream's bookkeeping.
    async with connections(False, own) as (a, b):
        ours = await a.open_stream()
        theirs = await b.accept_stream()
        body = bytes(60_000)
        frame = struct.pack(YAMUX_HEADER_FORMAT, 0, 0, 0, ours.stream_id, len(body)) + body
        with trio.move_on_after(60):
            try:
                for _ in range(100):
                    await a._write_frame(frame)
            except RawConnError:
                assert own  # cut off
        await trio.sleep(2)
        if own:
            assert b.is_closed
            assert "window" in str(b.failure)
        else:
            assert len(b.stream_buffers[theirs.stream_id]) == 100 * len(body)


@BOTH
async def test_a_writer_outlasts_a_reader_that_pauses_for_ten_seconds(
    own: bool, autojump_clock: MockClock
) -> None:
    # Stock gives up after five, without a reset: the reader never learns that data is missing.
    async with connections(own, own) as (a, b), trio.open_nursery() as nursery:
        ours = await a.open_stream()
        theirs = await b.accept_stream()
        outcome = []

        async def write() -> None:
            try:
                await ours.write(bytes(600_000))
                outcome.append("written")
            except MuxedStreamError:
                outcome.append("given up")

        nursery.start_soon(write)
        await trio.sleep(10)
        got = 0
        with trio.move_on_after(10):
            while got < 600_000:
                got += len(await theirs.read(1 << 18))
        nursery.cancel_scope.cancel()
    assert outcome == ["written" if own else "given up"]
    assert (got == 600_000) == own
