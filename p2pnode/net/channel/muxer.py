"""The Trio shell of the muxer: one task reads, one writes, one looks at the clock.

Nothing the reader does waits for the writer: two peers under load cannot wait for each other. What
a call promises when it is cancelled is in its docstring; no call tears a frame or a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import trio

from p2pnode.net.channel.errors import (
    ChannelClosedError,
    ChannelProtocolError,
    StreamResetError,
)
from p2pnode.net.channel.events import (
    Event,
    GoAwayReceived,
    IdleExpired,
    PingAnswered,
    StreamOpened,
    StreamReadable,
    StreamReset,
    StreamState,
    YamuxStatistics,
)
from p2pnode.net.channel.limits import MuxerLimits
from p2pnode.net.channel.yamux import Yamux

ACCEPT_MAX: Final = 256
"""Streams that wait to be accepted; go-yamux lets as many be opened without an answer."""

SEND_BYTES: Final = 64 << 10
"""What a stream queues before its writer waits; one message may exceed it."""


class ByteChannel(Protocol):
    """The secure channel below a muxer, used by one reader and one writer."""

    async def read(self) -> bytes:
        """Return what has come, at least one byte.

        Raises:
            ChannelClosedError: The end.
            ChannelProtocolError: The peer broke a rule.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            ChannelClosedError: The end.
        """
        ...

    async def aclose(self) -> None:
        """End it at once and wake its reader and writer; repeatable, does not raise."""
        ...


@dataclass(frozen=True, slots=True)
class MuxerStatistics:
    """State of a muxer and its shell."""

    yamux: YamuxStatistics
    """Of the state machine."""
    waiting_to_be_accepted: int
    """Streams of the peer nobody has taken yet."""


class MuxedStream:
    """One stream: read by one task, written and reset by any."""

    __slots__ = ("_muxer", "_readers", "_state", "_turn", "_writers", "_yamux")

    def __init__(self, muxer: Muxer, state: StreamState) -> None:
        self._muxer = muxer
        self._yamux = muxer.yamux
        self._state = state
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._turn: trio.Lock | None = None
        state.owner = self

    @property
    def stream_id(self) -> int:
        """Number on the wire; of one parity for the streams of each side."""
        return self._state.stream_id

    async def read(self, size_bytes_max: int) -> bytes:
        """Wait for data and return some of it, at least one byte.

        Cancelled, it has taken nothing. Returns without letting other tasks run when there is data.

        Raises:
            StreamFinishedError: The peer has finished, and all was read.
            StreamResetError: The stream has ended before its end.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not (data := self._yamux.read(self._state, size_bytes_max)):
            await self._muxer.park(self._readers)
        self._muxer.send_soon()
        return data

    async def write(self, data: bytes) -> None:
        """Hand over a message, and wait while more than SEND_BYTES of the stream are unsent.

        Messages of several tasks go out one after the other, each in one piece. Cancelled before
        the message is handed over, nothing of it is sent; later, all of it is: the peer sees it
        whole or not at all, unless the stream ends.

        Raises:
            StreamResetError: The stream has ended, perhaps because the peer did not read it for
                `limits.stall_s`.
            StreamClosedError: We have finished it.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._turn is None and self._fits(len(data)):
            self._yamux.write(self._state, data)
        else:
            await self._write_in_turn(data)
        self._muxer.send_soon()
        if self._state.unsent_bytes > SEND_BYTES:
            while self._state.unsent_bytes > SEND_BYTES:
                await self._muxer.park(self._writers)
            if self._state.is_reset:
                raise StreamResetError(f"stream {self.stream_id} was reset")

    def _fits(self, size_bytes: int) -> bool:
        unsent_bytes = self._state.unsent_bytes
        return not unsent_bytes or unsent_bytes + size_bytes <= SEND_BYTES

    async def _write_in_turn(self, data: bytes) -> None:
        # Made when first needed: most streams have one writer, whom no one ever waits for.
        turn = self._turn = self._turn or trio.Lock()
        try:
            async with turn:
                while not self._fits(len(data)):
                    await self._muxer.park(self._writers)
                self._yamux.write(self._state, data)
        finally:
            if not turn.locked():
                self._turn = None

    def finish(self) -> None:
        """Say that we write no more, after what was written; repeatable."""
        self._yamux.finish(self._state)
        self._muxer.send_soon()

    def reset(self) -> None:
        """End the stream in both directions, drop what is queued, wake who waits; repeatable."""
        self._yamux.reset(self._state)
        self.wake()
        self._muxer.send_soon()

    def wake(self) -> None:
        """Let all tasks that wait look again; for the muxer."""
        self._readers.unpark_all()
        self._writers.unpark_all()

    def wake_readers(self) -> None:
        """Let those that read look again; for the muxer."""
        self._readers.unpark_all()

    def wake_writers(self) -> None:
        """Let those that write look again; for the muxer."""
        self._writers.unpark_all()


class Muxer:
    """Streams over one secure channel."""

    def __init__(
        self, channel: ByteChannel, *, is_initiator: bool, limits: MuxerLimits | None = None
    ) -> None:
        """Begin on a channel nobody else uses from now on.

        Args:
            channel: Closed when the muxer ends.
            is_initiator: Whether we dialled.
            limits: Bounds.
        """
        self._channel = channel
        self._limits = limits or MuxerLimits()
        self.yamux = Yamux(is_initiator=is_initiator, limits=self._limits)
        self.failure: ChannelProtocolError | None = None
        """What the peer did wrong, when that has ended the connection."""
        self._send_opened, self._opened = trio.open_memory_channel[MuxedStream](ACCEPT_MAX)
        self._parked: dict[trio.lowlevel.ParkingLot, None] = {}
        self._idle_writer = trio.lowlevel.ParkingLot()
        self._is_sending = False
        self._is_mute = False
        self._sent = trio.lowlevel.ParkingLot()
        self._pings = trio.lowlevel.ParkingLot()
        self._pong_value = 0
        self._ended = False

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return self._ended

    async def run(self) -> None:
        """Carry streams until the connection ends, for whatever reason; then close the channel.

        What has come can still be read from the streams.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_all)
                nursery.start_soon(self._keep_time)
                try:
                    await self._read_all()
                finally:
                    nursery.cancel_scope.cancel()
                    # A write is shielded; only this ends one that hangs.
                    await self._channel.aclose()
        finally:
            self._end()

    async def open_stream(self) -> MuxedStream:
        """Open a stream; it can be written to at once.

        Raises:
            ChannelClosedError: The connection has ended.
            TooManyStreamsError: A limit of ours is reached.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        state = self.yamux.open()
        stream = MuxedStream(self, state)
        self.send_soon()
        return stream

    async def accept_stream(self) -> MuxedStream:
        """Wait for a stream the peer opens; cancelled, it has taken none.

        Raises:
            ChannelClosedError: The connection has ended.
        """
        try:
            return await self._opened.receive()
        except trio.EndOfChannel:
            raise ChannelClosedError("the connection has ended") from None

    async def ping(self) -> float:
        """Return the round-trip time of a ping, in seconds.

        Raises:
            ChannelClosedError: The connection has ended.
        """
        if self._ended:
            raise ChannelClosedError("the connection has ended")
        asked_s = trio.current_time()
        value = self.yamux.ping()
        self.send_soon()
        # A later ping, such as the machine's own, stands for this one.
        while not self._ended and self._pong_value < value:
            await self.park(self._pings)
        if self._ended:
            raise ChannelClosedError("the connection has ended")
        return trio.current_time() - asked_s

    async def aclose(self) -> None:
        """Send what can be sent within `limits.close_s`, say go-away, close the channel.

        Cancelled, it closes the channel at once.
        """
        if self._ended:
            return
        try:
            if not self.yamux.is_closed:
                with trio.move_on_after(self._limits.close_s):
                    await self._drain()
                    self.yamux.go_away()
                    self.send_soon()
                    await self._drain()
        finally:
            self._end()
            await self._channel.aclose()

    async def _drain(self) -> None:
        while not self._is_mute and (self.yamux.has_output or self._is_sending):
            await self.park(self._sent)

    def statistics(self) -> MuxerStatistics:
        """Return state and totals."""
        return MuxerStatistics(
            yamux=self.yamux.statistics(),
            waiting_to_be_accepted=self._opened.statistics().current_buffer_used,
        )

    # --- the three tasks --------------------------------------------------------------

    async def _read_all(self) -> None:
        try:
            while not self.yamux.is_closed:
                for event in self.yamux.receive(await self._channel.read()):
                    self._on_event(event)
                self.send_soon()
        except ChannelClosedError:
            return
        except ChannelProtocolError as error:
            self.failure = error
            await self._say_last_words()

    async def _write_all(self) -> None:
        yamux = self.yamux
        try:
            while True:
                while not yamux.has_output:
                    self._is_sending = False
                    self._sent.unpark_all()
                    await self._idle_writer.park()
                self._is_sending = True
                # Without output after all: what was ready has been reset.
                if data := yamux.data_to_send():
                    await self._channel.write(data)
                    for stream in yamux.sent_streams:
                        stream.owner.wake_writers()
        except ChannelClosedError:
            # What came before the end is still to be read; the reader will come to the end, too.
            pass
        finally:
            self._is_mute = True
            self._sent.unpark_all()

    async def _keep_time(self) -> None:
        while not self.yamux.is_closed:
            await trio.sleep(self._limits.tick_s)
            try:
                for event in self.yamux.tick(trio.current_time()):
                    self._on_event(event)
            except ChannelProtocolError as error:
                self.failure = error
            self.send_soon()
        await self._say_last_words()
        await self._channel.aclose()

    # --- between them -------------------------------------------------------------------

    def send_soon(self) -> None:
        """Wake the writer if there is something to send; for streams."""
        if self._idle_writer and self.yamux.has_output:
            self._idle_writer.unpark_all()

    async def park(self, lot: trio.lowlevel.ParkingLot) -> None:
        """Wait to be woken, by the end of the connection at the latest; for streams."""
        self._parked[lot] = None
        try:
            await lot.park()
        finally:
            if not lot:
                self._parked.pop(lot, None)

    async def _say_last_words(self) -> None:
        """Let the writer send a go-away, if the peer takes it soon."""
        self._wake_all()
        self.send_soon()
        with trio.move_on_after(self._limits.close_s):
            await self._drain()

    def _on_event(self, event: Event) -> None:
        match event:
            case StreamReadable(state):
                state.owner.wake_readers()
            case StreamOpened(state):
                try:
                    self._send_opened.send_nowait(MuxedStream(self, state))
                except trio.WouldBlock:
                    self.yamux.reset(state)
            case StreamReset(state):
                state.owner.wake()
            case PingAnswered(value):
                self._pong_value = value
                self._pings.unpark_all()
            case GoAwayReceived() | IdleExpired():
                pass  # the machine is closed, which the loops see

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self.yamux.lose()
            self._send_opened.close()
            self._wake_all()

    def _wake_all(self) -> None:
        for lot in list(self._parked):
            lot.unpark_all()
