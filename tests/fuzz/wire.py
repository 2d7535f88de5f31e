"""Mutants over real sockets: a stranger that is cut off comes back under a fresh identity.

The bytes are made as tests/fuzz/network.py and tests/fuzz/core.py make them; here they travel. Run
as a module this is the attacker's process: it makes all mutants first, says so, and then throws
those of each handler it reads the name of. It has no key of the chain it attacks, so that messages
of the core are refused where their signature is looked at; what lies behind is the matter of the
runs without sockets.
"""

from __future__ import annotations

import json
import random
import struct
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import trio
import trio.testing

from p2pnode.net.channel.frames import HEADER
from p2pnode.net.libp2p.streams import StreamBrokenError, Traffic, encode_varint, open_raw
from p2pnode.types import effects as fx
from tests.fuzz import channel, core, network
from tests.fuzz.mutate import Mutator
from tests.hostile.stranger import Line, Stranger, line

NET: Final = tuple(f"net {name}" for name in network.HANDLERS if not name.startswith("reply"))
CORE: Final = tuple(f"core {name}" for name in (*core.KINDS.values(), *core.STATEMENTS.values()))
CHANNEL: Final = tuple(f"channel {name}" for name in channel.HANDLERS)
HANDLERS: Final = (*NET, *(name for name in CORE if name != "core statements"), *CHANNEL)
"""What a peer can send unasked."""

BLAMELESS: Final = tuple(f"net {name}" for name in network.BLAMELESS)
"""As in the runs without sockets: nothing but the lines and frames around them can be wrong."""

ANSWER_TIMEOUT_S: Final = 1.0
"""Time the victim has for a stream whose other half is closed."""

WORKERS: Final = 4
"""Streams at a time: as an honest peer may, so that it is the mutants that are judged."""

RECONNECT_S: Final = 0.05


@dataclass(slots=True)
class Thrown:
    """What came of the mutants of one handler, as the stranger sees it."""

    handler: str = ""
    mutants: int = 0
    """Sent whole, or until the victim would read no more of them."""
    lost: int = 0
    """Not begun."""
    identities: int = 0
    cut_off: int = 0
    """Connections, or handshakes, that the victim ended."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to attack, with what."""

    host: str
    port: int
    peer: str
    chain: str
    handlers: tuple[str, ...]
    mutants: int
    seed: int = 1
    rate: float = 50.0
    """Mutants a second at most."""


Mutant = Sequence[bytes]
"""Pieces for one stream, connection or socket."""


# --- mutants -------------------------------------------------------------------------------------


def make_mutants(handlers: Sequence[str], plan: Plan) -> dict[str, deque[Mutant]]:
    """Make the mutants of handlers; the same seed makes the same, but for the time in records."""
    fuzz = core.CoreFuzz(plan.seed) if any(name in CORE for name in handlers) else None
    made = {}
    for handler in handlers:
        surface, _, kind = handler.partition(" ")
        rng = random.Random(f"fuzz/wire/{handler}/{plan.seed}")
        if surface == "net":
            found = _of_network(kind, plan)
        elif surface == "core":
            assert fuzz is not None
            found = _of_core(fuzz, kind, plan)
        else:
            make = {"yamux frames": _yamux, "noise records": _record}.get(kind, _handshake)
            found = [[make(rng)] for _ in range(plan.mutants)]
        made[handler] = deque(found)
    return made


def _of_network(kind: str, plan: Plan) -> list[list[bytes]]:
    found: list[list[bytes]] = []

    async def gather() -> None:
        chain, wall_ms = bytes.fromhex(plan.chain), time.time_ns() // 1_000_000
        async with network.network_fuzz(plan.seed, chain, wall_ms) as fuzz:

            async def note(stream: Any) -> None:
                found.append(list(stream._pieces))

            fuzz.network._inbound.on_stream = note  # type: ignore[method-assign]
            await fuzz.throw(kind, plan.mutants)

    trio.run(gather, clock=trio.testing.MockClock(autojump_threshold=0))
    return found


def _of_core(fuzz: core.CoreFuzz, kind: str, plan: Plan) -> list[list[bytes]]:
    """Put frames that the victim's core would get onto lanes."""
    given: list[fx.Input] = []
    fuzz.victim.input = given.append  # type: ignore[method-assign,assignment]
    for _ in range(plan.mutants):
        fuzz._frame(kind)
    prefix = f"/p2pnode/{plan.chain[:16]}/lane"
    return [
        [
            _line(b"/multistream/1.0.0\n")
            + _line(f"{prefix}/{fuzz.rng.randrange(3)}/1\n".encode()),
            struct.pack(">I", len(frame.frame)) + frame.frame,
        ]
        for frame in given
        if isinstance(frame, fx.FrameIn)
    ]


def _line(text: bytes) -> bytes:
    return encode_varint(len(text)) + text


def _yamux(rng: random.Random) -> bytes:
    kind = rng.choice((0, 0, 1, 2, 3 * (rng.random() < 0.2), rng.randrange(6)))
    flags = rng.choice((0, 1, 1, 2, 4, 8, rng.randrange(1 << 16)))
    body = rng.randbytes(rng.choice((0, 1, 100, 5000))) if kind == 0 else b""
    length = len(body) if kind == 0 else rng.choice((0, 1, 1 << 18, (1 << 32) - 1))
    return HEADER.pack(0, kind, flags, rng.choice((0, 1, 3, 101, 2, 999)), length) + body


def _record(rng: random.Random) -> bytes:
    """Return what is written past the sealer: no key fits it."""
    body = rng.randbytes(rng.choice((0, 1, 15, 16, 17, 500, 65535)))
    length = len(body) if rng.random() < 0.7 else rng.randrange(1 << 16)
    return struct.pack(">H", length) + body


def _handshake(rng: random.Random) -> bytes:
    message = rng.randbytes(rng.choice((32, 32, 31, 0, 96, 4000)))
    data = b"\x13/multistream/1.0.0\n\x07/noise\n" + struct.pack(">H", len(message)) + message
    return Mutator(rng).bytes_of(data) if rng.random() < 0.4 else data


# --- the attack ----------------------------------------------------------------------------------


async def throw(stranger: Stranger, handler: str, waiting: deque[Mutant], rate: float) -> Thrown:
    """Send all mutants of a handler."""
    done = Thrown(handler)
    before = stranger.identities
    unfinished: deque[Mutant] = deque()
    while waiting:
        if handler == "channel noise handshake":
            await _on_socket(stranger, waiting.popleft(), done)
            await trio.sleep(1 / rate)
            continue
        try:
            async with line(stranger) as found, trio.open_nursery() as nursery:
                # Below the streams there is but one: what ends the connection ends it for all.
                for _ in range(1 if handler.startswith("channel ") else WORKERS):
                    nursery.start_soon(_send_all, found, handler, waiting, unfinished, done, rate)
        except* Exception:
            # Refused or cut off, in whatever words of libp2p: come back as somebody else.
            await trio.sleep(RECONNECT_S)
    for mutant in unfinished:
        await _send_alone(stranger, handler, mutant, done)
        await trio.sleep(1 / rate)
    done.identities = stranger.identities - before
    return done


async def _send_all(
    found: Line,
    handler: str,
    waiting: deque[Mutant],
    unfinished: deque[Mutant],
    done: Thrown,
    rate: float,
) -> None:
    while waiting and not found.connection.is_closed:
        mutant = waiting.popleft()
        try:
            await _send(found, handler, mutant)
            done.mutants += 1
        except Exception:
            # As above. It or one beside it: that is found out when it is sent alone.
            unfinished.append(mutant)
        await trio.sleep(WORKERS / rate)
        if found.connection.is_closed:
            done.cut_off += 1
            raise StreamBrokenError("cut off")


async def _send_alone(stranger: Stranger, handler: str, mutant: Mutant, done: Thrown) -> None:
    """Send a mutant over a connection of its own, on which nothing else can have cut it off."""
    is_begun = False
    try:
        async with line(stranger) as found:
            is_begun = True
            await _send(found, handler, mutant)
    except* Exception:
        # Refused while it was written: an announced length can be enough.
        done.cut_off += is_begun
    done.mutants += is_begun
    done.lost += not is_begun


async def _send(found: Line, handler: str, mutant: Mutant) -> None:
    data = b"".join(mutant)
    if handler == "channel yamux frames":
        await found.raw_frames(data)
    elif handler == "channel noise records":
        secured = found.connection.muxed_conn.secured_conn
        await secured.raw_connection.stream.stream.send_all(data)
    else:
        stream = await open_raw(found.connection, Traffic())
        try:
            for piece in mutant:
                await stream.write(piece)
            # Not reset at once: a reset overtakes what the victim has not read yet.
            await stream.net_stream.muxed_stream.close()
            with trio.move_on_after(ANSWER_TIMEOUT_S):
                await _read_all(stream)
        finally:
            await stream.reset()


async def _read_all(stream: Any) -> None:
    try:
        while True:
            await stream.read()
    except StreamBrokenError:
        return


async def _on_socket(stranger: Stranger, mutant: Mutant, done: Thrown) -> None:
    with trio.move_on_after(ANSWER_TIMEOUT_S):
        try:
            async with await trio.open_tcp_stream(stranger.host, stranger.port) as stream:
                stranger.identities += 1
                await stream.send_all(b"".join(mutant))
                done.mutants += 1
                await stream.send_eof()
                while await stream.receive_some(4096):
                    pass
                done.cut_off += 1
        except (OSError, trio.BrokenResourceError):
            done.cut_off += 1


async def _serve(plan: Plan, made: dict[str, deque[Mutant]]) -> None:
    stranger = Stranger(plan.host, plan.port, plan.peer, bytes.fromhex(plan.chain), plan.seed)
    print(json.dumps({"ready": len(made)}), flush=True)
    while name := (await trio.to_thread.run_sync(sys.stdin.readline)).strip():
        done = await throw(stranger, name, made[name], plan.rate)
        print(json.dumps(asdict(done)), flush=True)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    the_plan = Plan(**{**given, "handlers": tuple(given["handlers"])})
    # Not within Trio: some mutants are made in a run of their own, in virtual time.
    all_made = make_mutants(the_plan.handlers, the_plan)
    trio.run(_serve, the_plan, all_made)
