"""Log and signer together: whatever is asked and whenever it crashes, no slot gets two values."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode import codec, crypto
from p2pnode.keys.safesigner import BelowFloorError, DoubleSignError, SafeSigner
from p2pnode.store.memory import MemoryFile, MemoryLog
from p2pnode.store.wal_format import LogDamagedError
from testnet.checks.double_sign import check_logs

KEY = crypto.SecretKey(b"k" * 32)
CHAIN = b"c" * 32
KIND = "engine/simplex/1"

ASK = st.tuples(st.just("ask"), st.integers(0, 5), st.sampled_from([b"", b"A", b"B"]))
STEPS = st.lists(
    ASK
    | st.tuples(st.just("sync"), st.just(0), st.just(b""))
    | st.tuples(st.just("crash"), st.integers(0, 1 << 32), st.just(b""))
    | st.tuples(st.just("prune"), st.integers(0, 5), st.just(b""))
    | st.tuples(st.just("compact"), st.just(0), st.just(b"")),
    max_size=40,
)


@given(steps=STEPS)
@settings(max_examples=150)
def test_nothing_that_left_the_node_is_ever_contradicted(
    steps: list[tuple[str, int, bytes]],
) -> None:
    log = MemoryLog()
    signer = SafeSigner(KEY, CHAIN, [])
    released: dict[int, tuple[bytes, bytes]] = {}
    waiting: list[tuple[int, bytes, bytes]] = []
    floor = 0
    engine: list[bytes] = []
    for name, number, value in steps:
        if name == "ask":
            body = b"%d " % number + value
            try:
                signed = signer.prepare(KIND, 0, body, {("n", number): value}, (number,))
            except DoubleSignError:
                continue
            except BelowFloorError:
                assert number < floor
                continue
            assert number >= floor
            if signed.record is not None:
                log.append(signed.record)
            waiting.append((number, value, signed.signature))
        elif name == "sync":
            engine.append(codec.encode([3, len(engine)]))
            log.append(engine[-1])
            log.sync()
            for slot, given_value, signature in waiting:
                before = released.setdefault(slot, (given_value, signature))
                assert before == (given_value, signature)
            waiting.clear()
        elif name == "crash":
            log.crash(random.Random(number))
            waiting.clear()
            log = log.reopen()
            signer = SafeSigner(KEY, CHAIN, log.records())
        elif name == "prune":
            log.append(signer.prune(KIND, 0, (number,)))
            floor = max(floor, number)
            log.sync()
            for slot, given_value, signature in waiting:
                assert released.setdefault(slot, (given_value, signature)) == (
                    given_value,
                    signature,
                )
            waiting.clear()
        else:
            log.rewrite(signer.compacted(log.records()))
            assert SafeSigner(KEY, CHAIN, log.records()).records_to_keep() == (
                signer.records_to_keep()
            )
    kept = [record for record in log.records() if record[1] == 3]
    assert kept == engine


def test_a_log_cut_at_every_byte_or_zeroed_from_there_never_signs_twice(tmp_path: Path) -> None:
    log = MemoryLog()
    signer = SafeSigner(KEY, CHAIN, [])
    for view in range(12):
        signed = signer.prepare(KIND, 0, b"%d A" % view, {("n", view): b"A"}, (view,))
        assert signed.record is not None
        log.append(signed.record)
    log.sync()
    content = log.file.load()
    used = len(content.rstrip(b"\x00"))
    for offset in [*range(0, 4096, 64), *range(4096, used + 16), len(content) - 1]:
        try:
            MemoryLog(MemoryFile(content[:offset]))
        except LogDamagedError as error:
            assert error.offset == offset  # noqa: PT017 - reaching the else is the failure
        else:
            raise AssertionError(f"a log cut at {offset} was opened")
    # The last sync had not returned: what it had not reached is zeros.
    for offset in range(4096, used + 1):
        life = MemoryLog(MemoryFile(content[:offset].ljust(len(content), b"\x00")))
        again = SafeSigner(KEY, CHAIN, life.records())
        for view in range(len(life.records())):
            try:
                again.prepare(KIND, 0, b"%d B" % view, {("n", view): b"B"}, (view,))
            except DoubleSignError:
                continue
            raise AssertionError(f"view {view} signed twice after a cut at {offset}")
        life.append(b"\x82\x03\x00")
        life.close()
        if offset % 50 == 0:
            (tmp_path / "log").write_bytes(life.file.load())
            assert check_logs([tmp_path / "log"]) == []
