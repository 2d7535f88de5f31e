"""A busy run of in-memory networks; prints the hash of everything delivered, and when.

    python memory_scenario.py SEED

Run by test_memory.py in processes with different PYTHONHASHSEEDs.
"""

from __future__ import annotations

import hashlib
import random
import sys

import trio
from trio._core import _run

from p2pnode.net.links.profile import LinkProfile
from p2pnode.net.memory import MemoryHub, MemoryNetwork
from p2pnode.net.virtual import VirtualTime
from p2pnode.ports import Lane, PeerId, RequestFailedError, Verdict

TOPIC = "tx"
NODES = 9


async def main(seed: int) -> str:
    digest = hashlib.sha256()
    hub = MemoryHub(
        random.Random(seed), LinkProfile(20, 80, loss=0.02, duplicate=0.05, rate_bytes_per_s=1e6)
    )
    ids = [hashlib.sha256(bytes([number])).digest() for number in range(NODES)]

    def note(*parts: object) -> None:
        digest.update(repr((trio.current_time(), *parts)).encode())

    async def live(peer: PeerId, rng: random.Random) -> None:
        network = MemoryNetwork(hub, peer)

        async def answer(asker: PeerId, body: bytes) -> bytes:
            await trio.sleep(rng.random() / 10)
            return asker[:4] + body

        def validate(_peer: PeerId, data: bytes) -> Verdict:
            return Verdict.ACCEPT if data[0] % 5 else Verdict.IGNORE

        async def read() -> None:
            async for item in network.incoming:
                note(peer, item)

        async def ask() -> None:
            while True:
                await trio.sleep(rng.random())
                other = rng.choice(ids)
                try:
                    note(peer, await network.request(other, "ask", rng.randbytes(8), timeout_s=1))
                except RequestFailedError as error:
                    note(peer, str(error))

        async def talk() -> None:
            while True:
                await trio.sleep(rng.random() / 5)
                for status in network.peers():
                    network.send(status.peer, rng.choice(list(Lane)), rng.randbytes(100))
                network.publish(TOPIC, rng.randbytes(50))

        network.serve("ask", answer)
        network.subscribe(TOPIC, validate)
        async with trio.open_nursery() as nursery:
            await nursery.start(network.run)
            for task in (read, ask, talk):
                nursery.start_soon(task)

    async def lives(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        while True:
            with trio.move_on_after(2 + 3 * rng.random()):
                await live(ids[number], rng)
            await trio.sleep(rng.random() / 2)

    with trio.move_on_after(15):
        async with trio.open_nursery() as nursery:
            await nursery.start(hub.run)
            for number in range(NODES):
                nursery.start_soon(lives, number)
            hub.cut(ids[0], ids[1])
            await trio.sleep(9)
            hub.heal(ids[0], ids[1])
    note(hub.statistics())
    return digest.hexdigest()


if __name__ == "__main__":
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True
    _run._r.seed(int(sys.argv[1]))
    print(trio.run(main, int(sys.argv[1]), clock=VirtualTime()))
