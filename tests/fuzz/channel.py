"""Mutants of what goes over the socket itself: handshakes, Noise records, Yamux frames."""

from __future__ import annotations

import random
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.peer.id import ID
from libp2p.security.noise.exceptions import NoiseFailure
from libp2p.security.noise.transport import Transport as StockNoise

from p2pnode.net.channel.errors import ChannelProtocolError, StreamEndedError
from p2pnode.net.channel.events import StreamOpened, StreamState
from p2pnode.net.channel.frames import HEADER
from p2pnode.net.channel.limits import MuxerLimits
from p2pnode.net.channel.noise import Opener, Sealer
from p2pnode.net.channel.yamux import Yamux
from p2pnode.net.libp2p.channel import OwnNoise
from tests.fuzz.mutate import Mutator
from tests.fuzz.tally import Tally

HANDLERS = ("yamux frames", "noise records", "noise handshake")
LIMITS = MuxerLimits(streams_inbound_max=8, reserved_bytes_max=4 << 20, control_bytes_max=4096)


class ChannelFuzz:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"fuzz/channel/{seed}")
        self.tally = Tally()
        self._mutator = Mutator(self.rng)
        self._begin_muxer()
        self._begin_records()
        self._victim_noise = _noise(self.rng, OwnNoise)

    async def throw(self, kind: str, mutants: int) -> None:
        """Throw mutants of a kind: one of `HANDLERS`."""
        for _ in range(mutants):
            match kind:
                case "yamux frames":
                    self._frame()
                case "noise records":
                    self._record()
                case _:
                    await self._handshake()

    async def judge(self) -> None:
        """See honest bytes pass through fresh machines, and an honest handshake succeed."""
        self._begin_muxer()
        stream_id = 1
        self._yamux.receive(HEADER.pack(0, 0, 1, stream_id, 5) + b"hello")
        assert self._yamux.read(self._yamux._streams[stream_id], 10) == b"hello"
        self._begin_records()
        assert self._opener.open(self._sealer.seal(b"hello")) == b"hello"
        assert await self._shake(None)

    # --- Yamux -----------------------------------------------------------------------------------

    def _begin_muxer(self) -> None:
        self._yamux = Yamux(is_initiator=False, limits=LIMITS)
        self._streams: list[StreamState] = [self._yamux.open()]
        self._next_id = 1

    def _frame(self) -> None:
        rng = self.rng
        version = 0 if rng.random() < 0.97 else rng.randrange(256)
        kind = rng.choice((0, 0, 0, 1, 1, 2, 3 * (rng.random() < 0.1), rng.randrange(6)))
        flags = rng.choice((0, 0, 0, 1, 1, 2, 4, 8, rng.randrange(1 << 16)))
        ids = [stream.stream_id for stream in self._streams[-8:]]
        if flags & 1:
            stream_id = rng.choice((self._next_id, self._next_id, *ids))
            self._next_id += 2 * (stream_id == self._next_id)
        else:
            stream_id = rng.choice((*ids, *ids, 0, self._next_id, (1 << 32) - 1))
        if kind == 2:
            stream_id *= rng.random() < 0.1
        body = rng.randbytes(rng.choice((0, 1, 100, 5000))) if kind == 0 else b""
        length = (
            len(body) if kind == 0 else rng.choice((0, 1, 1000, 1 << 18, 1 << 31, (1 << 32) - 1))
        )
        if rng.random() < 0.02:
            length = rng.choice((1 << 18, (1 << 18) + 1, 1 << 31, (1 << 32) - 1))
        data = HEADER.pack(version, kind, flags, stream_id, length) + body
        if rng.random() < 0.05:
            data = self._mutator.bytes_of(data)
            passed = False
        else:
            passed = version == 0 and kind <= 3
        cut = rng.randrange(len(data) + 1)
        ended = False
        for piece in (data[:cut], data[cut:]):
            try:
                events = self._yamux.receive(piece)
            except ChannelProtocolError:
                ended = True
                break
            self._streams += [e.stream for e in events if isinstance(e, StreamOpened)]
        if not ended:
            self._use_streams()
        statistics = self._yamux.statistics()
        assert statistics.buffered_bytes <= statistics.reserved_bytes <= LIMITS.reserved_bytes_max
        assert statistics.streams_inbound <= LIMITS.streams_inbound_max
        self.tally.count(passed=passed, penalized=ended)
        if ended or self._yamux.is_closed:
            self.tally.bans += 1
            self._begin_muxer()

    def _use_streams(self) -> None:
        stream = self.rng.choice(self._streams)
        try:
            match self.rng.randrange(6):
                case 0 | 1:
                    self._yamux.read(stream, 1 << 20)
                case 2:
                    self._yamux.write(stream, b"answer")
                case 3:
                    self._yamux.reset(stream)
        except StreamEndedError:
            self._streams = [s for s in self._streams if s is not stream] or [stream]
        self._yamux.data_to_send()

    # --- records ---------------------------------------------------------------------------------

    def _begin_records(self) -> None:
        key = self.rng.randbytes(32)
        self._sealer, self._opener = Sealer(key), Opener(key)

    def _record(self) -> None:
        rng = self.rng
        plain = rng.randbytes(rng.choice((0, 1, 12, 500, 65519, 65520, 140_000)))
        data = self._sealer.seal(plain)
        passed = True
        chance = rng.random()
        if chance < 0.3:
            data = self._mutator.bytes_of(data)
            passed = False
        elif chance < 0.35:
            # A record left out: the numbers no longer agree.
            data = self._sealer.seal(plain[:100])
            passed = False
        cut = rng.randrange(len(data) + 1)
        ended = False
        opened = b""
        try:
            opened = self._opener.open(data[:cut]) + self._opener.open(data[cut:])
        except ChannelProtocolError:
            ended = True
        assert ended or self._opener.pending_bytes <= 2 + 65535
        if passed:
            assert opened == plain
        self.tally.count(passed=passed, penalized=ended)
        if not passed:
            self.tally.bans += ended
            self._begin_records()

    # --- handshakes ------------------------------------------------------------------------------

    async def _handshake(self) -> None:
        passed = await self._shake(self.rng)
        self.tally.count(passed=passed, penalized=not self._took)
        self.tally.bans += not self._took

    async def _shake(self, rng: random.Random | None) -> bool:
        """Shake hands as the victim; tell whether the mutant's payload could be decrypted."""
        near, far = _Pipe(), _Pipe()
        near.other, far.other = far, near
        attacker: Any = _noise(self.rng, StockNoise)
        mutated = "nothing"
        if rng is not None:
            mutated = rng.choice(("payload", "payload", "payload", "bytes", "nothing"))
        self._took = False

        async def attack() -> None:
            try:
                await attacker.secure_outbound(near, self._victim_noise.local_peer)
            except Exception:  # the attacker's side may fail in any way
                await near.close()

        async def defend() -> None:
            try:
                await self._victim_noise.secure_inbound(far)
                self._took = True
            except NoiseFailure:
                pass
            nursery.cancel_scope.cancel()

        if mutated == "bytes":
            near.change = self._mutator.bytes_of
        elif mutated == "payload":
            make = attacker.get_pattern

            def pattern() -> Any:
                found = make()
                inner = found.make_handshake_payload

                def payload(*arguments: Any, **named: Any) -> Any:
                    return _Serialized(self._payload(inner(*arguments, **named)))

                found.make_handshake_payload = payload
                return found

            attacker.get_pattern = pattern
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attack)
            nursery.start_soon(defend)
        return mutated != "bytes"

    def _payload(self, message: Any) -> bytes:
        rng = self.rng
        data = message.serialize() if hasattr(message, "serialize") else bytes(message)
        match rng.randrange(4):
            case 0:
                return self._mutator.bytes_of(data)
            case 1:
                # Another's key, with this one's signature.
                return data.replace(data[4:36], rng.randbytes(32))
            case 2:
                return data + bytes([rng.randrange(8, 128)]) + rng.randbytes(rng.randrange(60))
            case _:
                at = rng.randrange(len(data))
                return data[:at] + rng.randbytes(1) + data[at + 1 :]


class _Serialized:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> bytes:
        return self._data


class _Pipe:
    """One end of a connection in memory, as libp2p's raw connections are."""

    def __init__(self) -> None:
        self.other = self
        self.is_initiator = False
        self.change: Any = None
        self._send, self._receive = trio.open_memory_channel[bytes](100)
        self._rest = b""
        self._writes = 0

    async def write(self, data: bytes) -> None:
        self._writes += 1
        if self.change is not None:
            data = self.change(data)
        try:
            await self.other._send.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise OSError("closed") from None

    async def read(self, n: int | None = None) -> bytes:
        while not self._rest:
            try:
                self._rest = await self._receive.receive()
            except (trio.EndOfChannel, trio.ClosedResourceError):
                return b""
        size = len(self._rest) if n is None else n
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    async def close(self) -> None:
        self._receive.close()
        self.other._send.close()

    def get_remote_address(self) -> tuple[str, int]:
        return "127.0.0.1", 1


def _noise(rng: random.Random, kind: Any) -> Any:
    pair = create_new_key_pair(rng.randbytes(32))
    made = kind(pair, noise_privkey=create_new_x25519_key_pair().private_key)
    made.local_peer = ID.from_pubkey(pair.public_key)
    return made
