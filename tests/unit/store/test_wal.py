"""The write-ahead log on real files and on the simulated disk."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from p2pnode.keys.safesigner import OBSERVE_MARK
from p2pnode.store.lock import StoreLockedError
from p2pnode.store.memory import MemoryFile, MemoryLog
from p2pnode.store.tables import StoreClosedError
from p2pnode.store.wal import (
    LogWriteError,
    OpenedLog,
    RecordTooLargeError,
    WriteAheadLog,
    open_file,
    open_log,
    repair,
)
from p2pnode.store.wal_format import (
    HEADER_BYTES,
    RECORD_BYTES_MAX,
    SEGMENT_BYTES,
    LogDamagedError,
    LogFormatError,
)

SALT = bytes(range(16))


def records_of(count: int, seed: int = 1) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(rng.choice((0, 1, 7, 8, 60, 200))) for _ in range(count)]


def opened(file: MemoryFile) -> OpenedLog:
    return open_file(file, Path("data/log"), created=False, salt=SALT)


def new_log() -> tuple[MemoryFile, WriteAheadLog]:
    file = MemoryFile()
    return file, open_file(file, Path("data/log"), created=True, salt=SALT).log


def filled(records: list[bytes]) -> MemoryFile:
    file, log = new_log()
    for record in records:
        log.append(record)
    log.sync()
    return file


# --- in good order -------------------------------------------------------------------------------


def test_synced_records_are_there_in_the_next_life(tmp_path: Path) -> None:
    first = open_log(tmp_path / "log")
    assert first.created
    records = records_of(50)
    for record in records:
        first.log.append(record)
    assert first.log.records() == records
    first.log.sync()
    first.log.close()
    second = open_log(tmp_path / "log")
    assert not second.created
    assert second.notice is None
    assert second.log.records() == records
    second.log.append(b"one more")
    second.log.sync()
    assert second.log.records() == [*records, b"one more"]
    second.log.close()


def test_the_file_has_its_size_before_the_first_record(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log").log
    assert (tmp_path / "log").stat().st_size == HEADER_BYTES + SEGMENT_BYTES
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    log.append(b"r" * 1000)
    log.sync()
    assert (tmp_path / "log").stat().st_size == HEADER_BYTES + SEGMENT_BYTES
    log.close()


def test_the_log_grows_by_segments_and_reads_back_across_them(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log").log
    records = [bytes((i,)) * 9_000 for i in range(40)] + [b"large" * 40_000]
    for start in range(0, len(records), 3):
        for record in records[start : start + 3]:
            log.append(record)
        log.sync()
    log.close()
    size = (tmp_path / "log").stat().st_size
    assert size % SEGMENT_BYTES == HEADER_BYTES
    assert size > 9 * SEGMENT_BYTES
    again = open_log(tmp_path / "log")
    assert again.notice is None
    assert again.log.records() == records
    again.log.close()


def test_rewrite_replaces_everything_and_shrinks_the_file(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log").log
    for _ in range(30):
        log.append(bytes(9_000))
    log.sync()
    log.append(b"waiting")
    kept = records_of(20)
    log.rewrite(kept)
    assert log.records() == kept
    assert (tmp_path / "log").stat().st_size == HEADER_BYTES + SEGMENT_BYTES
    log.append(b"after")
    log.sync()
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.lock"]
    again = open_log(tmp_path / "log").log
    assert again.records() == [*kept, b"after"]
    again.close()


def test_a_rewrite_that_the_disk_refuses_leaves_the_old_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path / "log").log
    log.append(b"precious")
    log.sync()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(LogWriteError, match="No space left"):
        log.rewrite([b"new"])
    monkeypatch.undo()
    log.close()
    again = open_log(tmp_path / "log").log
    assert again.records() == [b"precious"]
    again.close()


def test_what_a_crash_inside_a_rewrite_left_is_removed(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log").log
    log.append(b"precious")
    log.close()
    (tmp_path / "log.new").write_bytes(b"half a file")
    again = open_log(tmp_path / "log").log
    assert again.records() == [b"precious"]
    assert not (tmp_path / "log.new").exists()
    again.close()


def test_after_a_failed_sync_the_log_takes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path / "log").log
    log.append(b"one")

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(LogWriteError, match="Input/output error"):
            log.sync()
    for call in (log.sync, lambda: log.append(b"two"), lambda: log.rewrite([])):
        with pytest.raises(LogWriteError, match="failed before"):
            call()
    log.close()


def test_a_disk_too_full_to_grow_leaves_a_log_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path / "log").log
    log.append(b"precious")
    log.sync()
    log.append(bytes(SEGMENT_BYTES))
    real, calls = os.pwrite, []

    def part_only(descriptor: int, data: bytes, offset: int) -> int:
        calls.append(offset)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(descriptor, bytes(data)[:1000], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", part_only)
        with pytest.raises(LogWriteError, match="No space left"):
            log.sync()
    log.close()
    again = open_log(tmp_path / "log").log
    assert again.records() == [b"precious"]
    again.close()


def test_a_second_open_is_refused(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log").log
    with pytest.raises(StoreLockedError, match=f"in use by process {os.getpid()}"):
        open_log(tmp_path / "log")
    log.close()
    open_log(tmp_path / "log").log.close()


def test_a_record_beyond_the_limit_is_refused() -> None:
    _, log = new_log()
    log.append(bytes(RECORD_BYTES_MAX))
    for call in (log.append, lambda record: log.rewrite([record])):
        with pytest.raises(RecordTooLargeError):
            call(bytes(RECORD_BYTES_MAX + 1))
    log.sync()
    assert [len(record) for record in log.records()] == [RECORD_BYTES_MAX]


def test_a_closed_log_answers_no_more() -> None:
    _, log = new_log()
    log.close()
    log.close()
    for call in (log.records, log.sync, lambda: log.append(b""), lambda: log.rewrite([])):
        with pytest.raises(StoreClosedError):
            call()


def test_threads_that_append_and_sync_lose_no_record(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log").log

    def work(number: int) -> None:
        for i in range(50):
            log.append(b"%d/%d" % (number, i))
            log.sync()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    again = open_log(tmp_path / "log").log
    found = again.records()
    assert sorted(found) == sorted(b"%d/%d" % (n, i) for n in range(4) for i in range(50))
    for n in range(4):
        assert [r for r in found if r.startswith(b"%d/" % n)] == [
            b"%d/%d" % (n, i) for i in range(50)
        ]
    again.close()


# --- cut, torn, damaged --------------------------------------------------------------------------


def test_a_log_cut_at_any_byte_is_refused_loudly() -> None:
    records = records_of(200)
    content = filled(records).load()
    used = open_size(content)
    # Every byte of header and records, then the boundaries and a sample of the zeros behind them.
    offsets = [*range(used + 64), *range(used + 64, len(content), 97), len(content) - 1]
    for offset in offsets:
        with pytest.raises(LogDamagedError) as caught:
            opened(MemoryFile(content[:offset]))
        assert caught.value.offset == offset
    assert opened(MemoryFile(content)).log.records() == records


def test_a_cut_of_a_log_of_several_segments_is_refused_at_their_boundaries_too() -> None:
    content = filled([bytes(9_000)] * 30).load()
    assert len(content) > HEADER_BYTES + 4 * SEGMENT_BYTES
    for boundary in range(HEADER_BYTES, len(content) + 1, SEGMENT_BYTES):
        for offset in (boundary - 1, boundary, boundary + 1):
            if offset < len(content):
                with pytest.raises(LogDamagedError, match="the file ends"):
                    opened(MemoryFile(content[:offset]))


def open_size(content: bytes) -> int:
    return len(content.rstrip(b"\x00"))


def test_a_refusal_names_offset_command_and_consequence(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log").log
    log.append(b"r")
    log.close()
    os.truncate(tmp_path / "log", 5000)
    with pytest.raises(LogDamagedError) as caught:
        open_log(tmp_path / "log")
    message = str(caught.value)
    assert "at byte 5000" in message
    assert f"`p2pnode log repair --data {tmp_path}`" in message
    assert "only observes until the next epoch" in message
    assert (tmp_path / "log").stat().st_size == 5000


def test_unsynced_records_lost_from_any_byte_on_are_truncated_with_a_notice() -> None:
    synced, unsynced = records_of(10), records_of(12, seed=2)
    base = filled(synced).load()
    whole = filled(synced + unsynced).load()
    ends = [HEADER_BYTES]
    for record in synced + unsynced:
        ends.append(ends[-1] + -(-(24 + len(record)) // 8) * 8)
    for offset in range(open_size(base), open_size(whole) + 1):
        torn = whole[:offset].ljust(len(whole), b"\x00")
        file = MemoryFile(torn)
        life = opened(file)
        found = life.log.records()
        assert found == (synced + unsynced)[: len(found)]
        assert len(found) >= len(synced)
        # Nothing that was whole before the cut is given up.
        assert len(found) >= sum(end <= offset for end in ends[1:])
        rest = torn[ends[len(found)] :].rstrip(b"\x00")
        assert (life.notice is not None) == bool(rest)
        if rest:
            assert f"erased {len(rest)} bytes at {ends[len(found)]}" in str(life.notice)
        # The next life goes on from there, and nothing of the torn tail comes back.
        life.log.append(b"next")
        life.log.close()
        again = opened(file)
        assert again.notice is None
        assert again.log.records() == [*found, b"next"]


def test_a_byte_changed_before_a_good_record_is_refused() -> None:
    records = records_of(30)
    content = filled(records).load()
    offsets = [HEADER_BYTES]
    for record in records[:-1]:
        end = offsets[-1] + 24 + len(record)
        for offset in range(offsets[-1], end):
            changed = bytearray(content)
            changed[offset] ^= 0x40
            with pytest.raises(LogDamagedError, match="good ones follow") as caught:
                opened(MemoryFile(bytes(changed)))
            assert caught.value.offset == offsets[-1]
        offsets.append(-(-end // 8) * 8)


def test_a_record_missing_from_the_middle_is_refused() -> None:
    records = [bytes((i,)) * 40 for i in range(10)]
    content = filled(records).load()
    start = HEADER_BYTES + 4 * 64
    without = content[:start] + content[start + 64 :] + bytes(64)
    with pytest.raises(LogDamagedError, match="record 5 is bad"):
        opened(MemoryFile(without))


def test_a_record_inside_a_torn_records_body_is_not_taken_for_a_good_one() -> None:
    inner = filled([b"x", b"y", b"z"]).load()[HEADER_BYTES : HEADER_BYTES + 96]
    file = MemoryFile()
    log = open_file(file, Path("data/log"), created=True, salt=b"another salt 16b").log
    log.append(inner)
    log.sync()
    content = bytearray(file.load())
    content[HEADER_BYTES + 8] ^= 1
    life = opened(MemoryFile(bytes(content)))
    assert life.log.records() == []
    assert life.notice is not None


def test_a_torn_header_slot_leaves_the_other() -> None:
    # One growth: slot 1 is the newer one.
    file = filled([bytes((i,)) * 9_000 for i in range(1, 9)])
    content = file.load()
    assert content[2048:2056] == b"p2pn-log"
    for cut in range(1, 52):
        torn = bytearray(content[: HEADER_BYTES + SEGMENT_BYTES] + bytes(SEGMENT_BYTES))
        torn[2048 + cut : 2048 + 64] = bytes(64 - cut)
        life = opened(MemoryFile(bytes(torn)))
        assert len(life.log.records()) == 7
    both = bytearray(content)
    both[8] ^= 1
    both[2056] ^= 1
    with pytest.raises(LogDamagedError, match="no valid header"):
        opened(MemoryFile(bytes(both)))


def test_an_older_header_beside_records_it_does_not_count_is_refused() -> None:
    content = bytearray(filled([bytes(9_000)] * 9).load())
    content[2056] ^= 1
    with pytest.raises(LogDamagedError, match="more than its header promises"):
        opened(MemoryFile(bytes(content)))


def test_bytes_beyond_the_last_segment_are_refused() -> None:
    content = filled(records_of(3)).load()
    for surplus in (b"\x01", bytes(SEGMENT_BYTES) + b"\x00", bytes(SEGMENT_BYTES - 1) + b"\x07"):
        with pytest.raises(LogDamagedError, match="more than its header promises"):
            opened(MemoryFile(content + surplus))


def test_an_empty_file_is_damage_and_not_a_new_log(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    with pytest.raises(LogDamagedError):
        open_log(tmp_path / "log")


def test_a_log_of_a_later_version_is_neither_opened_nor_repaired(tmp_path: Path) -> None:
    open_log(tmp_path / "log").log.close()
    content = bytearray((tmp_path / "log").read_bytes())
    content[8] = 2
    content[40:56] = hashlib.blake2b(bytes(content[:40]), digest_size=16).digest()
    (tmp_path / "log").write_bytes(content)
    for call in (lambda: open_log(tmp_path / "log"), lambda: repair(tmp_path / "log", marks=[])):
        with pytest.raises(LogFormatError, match="format 2, this program knows 1"):
            call()
    assert (tmp_path / "log").read_bytes() == content


# --- crashes inside the log's own steps ----------------------------------------------------------


class CrashingFile(MemoryFile):
    """Ends the process at the n-th write or sync."""

    def __init__(self, content: bytes, steps: int) -> None:
        super().__init__(content)
        self.steps = steps

    def _step(self) -> None:
        if self.steps == 0:
            raise KeyboardInterrupt
        self.steps -= 1

    def write(self, offset: int, data: bytes) -> None:
        self._step()
        super().write(offset, data)

    def sync(self) -> None:
        self._step()
        super().sync()


@pytest.mark.parametrize("segments_more", [1, 3])
def test_a_crash_at_any_step_and_byte_of_a_growth_is_recovered(segments_more: int) -> None:
    synced = [bytes((i,)) * 9_000 for i in range(7)]
    content = filled(synced).load()
    extra = [bytes((i,)) * 9_000 for i in range(100, 100 + 7 * segments_more)]
    crashes = 0
    for steps in range(99):
        file = CrashingFile(content, steps)
        log = opened(file).log
        for record in extra:
            log.append(record)
        try:
            log.sync()
        except KeyboardInterrupt:
            crashes += 1
        else:
            break
        unsynced = file.unsynced_bytes()
        for kept in sorted({0, 1, 8, 30, 55, unsynced // 2, max(unsynced - 1, 0), unsynced}):
            half = MemoryFile(file._durable)
            half._unsynced = list(file._unsynced)
            half.crash(kept)
            life = opened(half)
            promised = max(
                int.from_bytes(half.load()[slot + 12 : slot + 16], "little") for slot in (0, 2048)
            )
            assert len(half.load()) == HEADER_BYTES + promised * SEGMENT_BYTES
            found = life.log.records()
            assert found == (synced + extra)[: len(found)]
            assert len(found) >= len(synced)
            life.log.append(b"next" * 20_000)
            life.log.close()
            assert opened(half).log.records() == [*found, b"next" * 20_000]
    assert crashes == 4 * segments_more + 2


@pytest.mark.parametrize("seed", range(20))
def test_what_was_synced_survives_any_crash_of_the_memory_log(seed: int) -> None:
    rng = random.Random(seed)
    log = MemoryLog()
    kept: list[bytes] = []
    torn = 0
    for life in range(60):
        waiting: list[bytes] = []
        for step in range(rng.randrange(6)):
            record = b"%d/%d" % (life, step) + rng.randbytes(rng.randrange(900))
            log.append(record)
            waiting.append(record)
            if rng.random() < 0.4:
                log.sync()
                kept += waiting
                waiting = []
            elif rng.random() < 0.05:
                log.rewrite(kept := (kept + waiting)[-5:])
                waiting = []
        log.crash(rng)
        with pytest.raises(StoreClosedError):
            log.append(b"after the crash")
        log = log.reopen()
        torn += log.opened.notice is not None
        found = log.records()
        assert found[: len(kept)] == kept
        assert found[len(kept) :] == waiting[: len(found) - len(kept)]
        kept = found
    assert torn > 0


def test_the_memory_log_is_deterministic() -> None:
    def run() -> bytes:
        rng = random.Random(5)
        log = MemoryLog()
        for i in range(50):
            log.append(b"r%d" % i)
            if i % 9 == 0:
                log.crash(rng)
                log = log.reopen()
        log.close()
        return log.file.load()

    assert run() == run()


KILLED = """
import sys
from pathlib import Path
from p2pnode.store.wal import open_log
log = open_log(Path(sys.argv[1])).log
number = len(log.records())
while True:
    for _ in range(3):
        log.append(b"%d" % number + bytes(700))
        number += 1
    log.sync()
    print(number, flush=True)
"""


def test_kill_9_loses_no_synced_record(tmp_path: Path) -> None:
    count = 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "log")],
            cwd=Path(__file__).resolve().parents[3],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        synced = count
        while synced < count + 200:
            synced = int(process.stdout.readline())
        process.kill()
        synced = max([synced, *map(int, process.stdout.read().split())])
        process.wait()
        process.stdout.close()
        log = open_log(tmp_path / "log").log
        found = log.records()
        assert found == [b"%d" % i + bytes(700) for i in range(len(found))]
        assert len(found) >= synced
        count = len(found)
        log.close()


# --- repair --------------------------------------------------------------------------------------


def test_repair_keeps_every_whole_record_and_a_copy_and_marks_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = open_log(path).log
    records = [bytes((i,)) * 40 for i in range(10)]
    for record in records:
        log.append(record)
    log.close()
    damaged = bytearray(path.read_bytes())
    damaged[HEADER_BYTES + 4 * 64 + 30] ^= 1
    path.write_bytes(damaged)
    report = repair(path, marks=[OBSERVE_MARK])
    assert report.damage is not None
    assert report.damage.offset == HEADER_BYTES + 4 * 64
    assert report.records_count == 9
    assert report.copy == tmp_path / "log.damaged-1"
    assert report.copy.read_bytes() == damaged
    life = open_log(path)
    assert life.log.records() == [*records[:4], *records[5:], OBSERVE_MARK]
    life.log.close()
    again = repair(path, marks=[OBSERVE_MARK])
    assert (again.damage, again.records_count, again.copy) == (None, 10, None)


def test_a_cut_log_is_repaired_to_the_records_before_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = open_log(path).log
    records = [bytes((i,)) * 40 for i in range(10)]
    for record in records:
        log.append(record)
    log.close()
    os.truncate(path, HEADER_BYTES + 6 * 64 + 20)
    assert repair(path, marks=[OBSERVE_MARK]).records_count == 6
    os.truncate(path, 10)
    assert repair(path, marks=[OBSERVE_MARK]).records_count == 0
    life = open_log(path)
    assert life.log.records() == [OBSERVE_MARK]
    life.log.close()
    with pytest.raises(LogWriteError, match="no such log"):
        repair(tmp_path / "nothing", marks=[])
