"""Measure what durability and signature checks cost on this machine.

    python tools/bench_store.py [--directory DIR] [--rounds 200]

Prints the time of a group append to the log with its sync, of store commits, of the signer, and
how many signatures a second are checked, with the event loop idle and busy; asserts nothing about
speed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from p2pnode import crypto
from p2pnode.keys.safesigner import SafeSigner
from p2pnode.keys.verifier import SWITCH_INTERVAL_S, Check, ThreadVerifier
from p2pnode.ports import Store
from p2pnode.store.lmdb import LmdbStore
from p2pnode.store.memory import MemoryLog, MemoryStore
from p2pnode.store.wal import open_log
from p2pnode.types.effects import Write

CHAIN = crypto.sha256(b"test-bench-store")
KEY = crypto.SecretKey(crypto.sha256(b"bench key"))


def timed(rounds: int, work: Callable[[int], object]) -> list[float]:
    """Return the seconds of each round, ascending."""
    taken: list[float] = []
    for number in range(rounds):
        begin = time.perf_counter()
        work(number)
        taken.append(time.perf_counter() - begin)
    return sorted(taken)


def show(what: str, taken: Sequence[float]) -> None:
    p50, p95 = statistics.median(taken), taken[int(0.95 * len(taken))]
    print(f"{what:<58} p50 {p50 * 1e3:8.3f} ms   p95 {p95 * 1e3:8.3f} ms")


def bench_log(directory: Path, rounds: int) -> None:
    log = open_log(directory / "log").log
    for records_count in (1, 4, 32):

        def group(_: int, count: int = records_count) -> None:
            for _ in range(count):
                log.append(os.urandom(300))
            log.sync()

        show(f"log: {records_count} records of 300 bytes, sync", timed(rounds, group))
    show("log: rewrite of 1000 records", timed(10, lambda _: log.rewrite([bytes(300)] * 1000)))
    log.close()
    memory = MemoryLog()

    def in_memory(_: int) -> None:
        memory.append(bytes(300))
        memory.sync()

    show("log in memory: 1 record of 300 bytes, sync", timed(rounds, in_memory))


def bench_store(directory: Path, rounds: int) -> None:
    def fill(store: Store, name: str) -> None:
        def commit(number: int, sync: bool) -> None:
            store.commit(
                [Write("accounts", os.urandom(32), bytes(120)) for _ in range(199)]
                + [Write("blocks", number.to_bytes(8, "big"), bytes(2000))],
                sync=sync,
            )

        show(f"{name}: 200 writes, not synced", timed(10, lambda n: commit(n, False)))
        show(f"{name}: 200 writes, synced", timed(rounds, lambda n: commit(n, True)))
        key = (1).to_bytes(8, "big")
        show(f"{name}: get", timed(rounds, lambda _: store.get("blocks", key)))
        show(f"{name}: scan of 10", timed(rounds, lambda _: store.scan("blocks", limit=10)))
        store.close()

    fill(LmdbStore(directory / "store"), "lmdb")
    fill(MemoryStore(), "memory")


def bench_signer(rounds: int) -> None:
    signer = SafeSigner(KEY, CHAIN, [])

    def vote(view: int) -> None:
        signer.prepare("engine/simplex/1", 0, b"%100d" % view, {("n", view): bytes(32)}, (view,))

    show("signer: prepare", timed(10 * rounds, vote))
    records = signer.records_to_keep()
    name = f"signer: restore from {len(records)} records"
    show(name, timed(3, lambda _: SafeSigner(KEY, CHAIN, records)))


def checks_of(count: int) -> list[Check]:
    messages = [crypto.sha256(number.to_bytes(8, "big")) for number in range(count)]
    return [(KEY.public, message, KEY.sign(message)) for message in messages]


def bench_verifier(checks: Sequence[Check]) -> None:
    begin = time.perf_counter()
    for check in checks:
        assert crypto.verify(*check)
    rate = len(checks) / (time.perf_counter() - begin)
    print(f"{'verify: inline, one after the other':<58} {rate:10.0f} /s")
    usual_s = sys.getswitchinterval()
    for threads in (1, 2):
        for busy, interval_s in ((False, usual_s), (True, usual_s), (True, SWITCH_INTERVAL_S)):
            sys.setswitchinterval(interval_s)
            rate = trio.run(_rate, checks[: len(checks) // 8] if busy else checks, threads, busy)
            loop = f"loop busy, switch interval {interval_s * 1e3:g} ms" if busy else "loop idle"
            print(f"{f'verify: {threads} threads, {loop}':<58} {rate:10.0f} /s")
    sys.setswitchinterval(usual_s)


async def _rate(checks: Sequence[Check], threads: int, busy: bool) -> float:
    """Return checks a second; a busy loop is one whose interpreter never rests."""
    verifier = ThreadVerifier(threads_max=threads)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(100))

    spinner = threading.Thread(target=spin)
    if busy:
        spinner.start()
    begin = time.perf_counter()
    try:
        assert all(await verifier.verify(checks))
        return len(checks) / (time.perf_counter() - begin)
    finally:
        stop.set()
        if busy:
            spinner.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, help="on the disk to measure")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="bench-store-", dir=arguments.directory))
    try:
        bench_log(directory, arguments.rounds)
        bench_store(directory, arguments.rounds)
    finally:
        shutil.rmtree(directory)
    bench_signer(arguments.rounds)
    bench_verifier(checks_of(4096))


if __name__ == "__main__":
    main()
