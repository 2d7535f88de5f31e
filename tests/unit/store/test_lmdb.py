"""What only the store on disk has: files, processes, formats, full disks."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import lmdb
import pytest

from p2pnode import codec
from p2pnode.store.lmdb import FormatError, LmdbStore, StoreDamagedError, StoreFullError
from p2pnode.store.lock import StoreLockedError
from p2pnode.store.tables import FORMAT
from p2pnode.store.transfer import (
    ExportDamagedError,
    StoreExistsError,
    StoreMissingError,
    export,
    import_,
)
from p2pnode.types.effects import Write

ROOT = Path(__file__).resolve().parents[3]


def row(number: int, table: str = "blocks") -> Write:
    return Write(table, number.to_bytes(8, "big"), b"v%d" % number)


def in_other_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def test_what_was_closed_in_order_is_all_there_again(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store")
    store.commit([row(1)], sync=True)
    store.commit([row(2)], sync=False)
    store.close()
    again = LmdbStore(tmp_path / "store")
    assert [key[-1] for key, _ in again.scan("blocks", limit=9)] == [1, 2]
    again.close()


KILLED = """
import sys
from pathlib import Path
from p2pnode.store.lmdb import LmdbStore
from p2pnode.types.effects import Write
store = LmdbStore(Path(sys.argv[1]), pending_bytes_max=2000)
number = 0
while True:
    number += 1
    sync = number % 7 == 0
    rows = [Write(table, number.to_bytes(8, "big"), b"v") for table in ("blocks", "accounts")]
    store.commit(rows, sync=sync)
    if sync:
        print(number, flush=True)
"""


def test_kill_9_leaves_whole_commits_in_order_and_all_that_were_synced(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    for life in range(3):
        process = in_other_process(KILLED, directory / str(life))
        assert process.stdout is not None
        synced = 0
        while synced < 50 * (life + 1):
            synced = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        synced = max([synced, *map(int, process.stdout.read().split())])
        process.wait()
        process.stdout.close()
        assert process.stdin is not None
        process.stdin.close()
        store = LmdbStore(directory / str(life))
        blocks = [int.from_bytes(key, "big") for key, _ in store.scan("blocks", limit=1 << 20)]
        accounts = [int.from_bytes(key, "big") for key, _ in store.scan("accounts", limit=1 << 20)]
        assert blocks == accounts == list(range(1, len(blocks) + 1))
        assert len(blocks) >= synced
        store.close()


def test_a_second_open_is_refused_with_the_holders_pid(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from p2pnode.store.lmdb import LmdbStore\n"
        "s = LmdbStore(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read(1)"
    )
    process = in_other_process(code, tmp_path / "store")
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    with pytest.raises(StoreLockedError, match=f"in use by process {process.pid}"):
        LmdbStore(tmp_path / "store")
    process.kill()
    process.communicate()
    mine = LmdbStore(tmp_path / "store")
    with pytest.raises(StoreLockedError, match=f"in use by process {os.getpid()}"):
        LmdbStore(tmp_path / "store")
    mine.close()


def test_the_map_grows_when_it_is_full(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store", map_bytes=64 << 10, map_bytes_max=4 << 20)
    for number in range(30):
        store.commit([Write("bodies", bytes((number,)), bytes(30_000))], sync=True)
    assert len(store.scan("bodies", limit=99)) == 30
    store.close()
    again = LmdbStore(tmp_path / "store", map_bytes=64 << 10)
    assert len(again.scan("bodies", limit=99)) == 30
    again.close()


def test_beyond_the_greatest_map_a_commit_fails_and_the_old_state_stays(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store", map_bytes=128 << 10, map_bytes_max=256 << 10)
    store.commit([row(1)], sync=True)
    with pytest.raises(StoreFullError, match="at most 262144"):
        store.commit([Write("bodies", b"big", bytes(1 << 20))], sync=True)
    with pytest.raises(StoreFullError):
        store.close()
    again = LmdbStore(tmp_path / "store")
    assert again.scan("blocks", limit=9) == [(row(1).key, b"v1")]
    assert again.get("bodies", b"big") is None
    again.close()


FULL = """
import resource, sys
from pathlib import Path
from p2pnode.errors import StorageError
from p2pnode.store.lmdb import LmdbStore
from p2pnode.types.effects import Write
store = LmdbStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
number = 0
try:
    while True:
        number += 1
        store.commit([Write("bodies", bytes((number,)), bytes(30_000))], sync=True)
except StorageError as error:
    print(number - 1, type(error).__name__, flush=True)
"""


def test_a_full_disk_is_a_storage_error_and_loses_nothing_synced(tmp_path: Path) -> None:
    process = in_other_process(FULL, tmp_path / "store")
    output, _ = process.communicate(timeout=60)
    synced, error = output.split()
    # Not StoreFullError alone: the limit used here cuts a write in two, and the disk has room.
    assert error in ("StoreFullError", "StoreIOError")
    assert int(synced) > 3
    store = LmdbStore(tmp_path / "store")
    assert len(store.scan("bodies", limit=99)) == int(synced)
    store.close()


def test_a_data_file_cut_short_is_refused_and_does_not_end_the_process(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store")
    store.commit([Write("bodies", b"k", bytes(100_000))], sync=True)
    store.close()
    data = tmp_path / "store" / "data.mdb"
    os.truncate(data, data.stat().st_size // 2)
    with pytest.raises(StoreDamagedError, match="are left"):
        LmdbStore(tmp_path / "store")
    data.write_bytes(b"nonsense" * 2000)
    with pytest.raises(StoreDamagedError):
        LmdbStore(tmp_path / "store")


def test_readers_see_every_commit_while_another_thread_flushes(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store", map_bytes=64 << 10)
    stop = threading.Event()

    def flush() -> None:
        while not stop.is_set():
            store.commit([], sync=True)

    thread = threading.Thread(target=flush)
    thread.start()
    try:
        for number in range(1, 400):
            store.commit([row(number), row(number, "accounts")], sync=False)
            assert store.get("blocks", row(number).key) == b"v%d" % number
            assert store.last("accounts") == (row(number).key, b"v%d" % number)
            assert len(store.scan("blocks", limit=1000)) == number
    finally:
        stop.set()
        thread.join()
        store.close()


# --- formats and transfer --------------------------------------------------------------------


def of_format(directory: Path, number: int) -> None:
    LmdbStore(directory).close()
    environment = lmdb.open(str(directory), max_dbs=8)
    meta = environment.open_db(b"meta")
    strange = environment.open_db(b"strange")
    with environment.begin(write=True) as transaction:
        transaction.put(b"format", codec.encode(number), db=meta)
        transaction.put(b"k", b"v", db=strange)
    environment.close()


def test_another_format_is_refused_with_both_numbers_and_the_way_out(tmp_path: Path) -> None:
    of_format(tmp_path / "store", 7)
    with pytest.raises(FormatError) as caught:
        LmdbStore(tmp_path / "store")
    assert (caught.value.found, caught.value.known) == (7, FORMAT)
    assert "format 7" in str(caught.value)
    assert f"format {FORMAT};" in str(caught.value)
    assert f"`p2pnode store export --data {tmp_path}`" in str(caught.value)
    with pytest.raises(FormatError):  # the refusal released the lock
        LmdbStore(tmp_path / "store")


def test_an_environment_without_format_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    environment = lmdb.open(str(tmp_path / "store"), max_dbs=8)
    environment.open_db(b"blocks")
    environment.close()
    with pytest.raises(FormatError, match="no format number"):
        LmdbStore(tmp_path / "store")


def test_a_store_of_any_format_can_be_exported(tmp_path: Path) -> None:
    of_format(tmp_path / "store", 7)
    out = io.BytesIO()
    done = export(tmp_path / "store", out)
    assert (done.rows_count, done.format_number) == (2, 7)
    assert out.getvalue().startswith(codec.encode([b"meta", b"format", codec.encode(7)]))
    assert codec.encode([b"strange", b"k", b"v"]) in out.getvalue()
    with pytest.raises(FormatError, match="format 7"):
        import_(tmp_path / "new", io.BytesIO(out.getvalue()))
    assert not (tmp_path / "new").exists()


def exported(tmp_path: Path) -> bytes:
    store = LmdbStore(tmp_path / "store")
    store.commit([row(n, t) for n in range(1500) for t in ("blocks", "accounts")], sync=True)
    store.close()
    out = io.BytesIO()
    assert export(tmp_path / "store", out).rows_count == 3001
    return out.getvalue()


def test_export_and_import_give_the_same_store(tmp_path: Path) -> None:
    data = exported(tmp_path)
    done = import_(tmp_path / "new", io.BytesIO(data))
    assert (done.rows_count, done.format_number) == (3001, FORMAT)
    store = LmdbStore(tmp_path / "new")
    assert len(store.scan("blocks", limit=9999)) == 1500
    store.close()
    out = io.BytesIO()
    export(tmp_path / "new", out)
    assert out.getvalue() == data
    with pytest.raises(StoreExistsError):
        import_(tmp_path / "new", io.BytesIO(data))


def test_an_export_that_was_cut_or_changed_is_not_imported(tmp_path: Path) -> None:
    data = exported(tmp_path)
    row_bytes = len(codec.encode([b"accounts", bytes(8), b"v0"]))
    one_row_less = data[: -len(codec.encode([None, 3001, bytes(32)]))]
    changed = data.replace(b"v1000", b"v1001", 1)
    for bad in (b"", data[:-1], data[: 5 * row_bytes], one_row_less, changed, b"\x83\x01\x02\x03"):
        with pytest.raises((ExportDamagedError, FormatError)):
            import_(tmp_path / "new", io.BytesIO(bad))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


def test_export_needs_a_store_that_nobody_has_open(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError):
        export(tmp_path / "nothing", io.BytesIO())
    store = LmdbStore(tmp_path / "store")
    with pytest.raises(StoreLockedError):
        export(tmp_path / "store", io.BytesIO())
    store.close()
