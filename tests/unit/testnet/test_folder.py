"""The folder of a testnet: ownership, leftovers, and processes by pid and start time."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from testnet.folder import (
    DEAD_KEPT_MAX,
    Folder,
    Manifest,
    NodeEntry,
    NoTestnetError,
    TestnetRunsError,
    all_folders,
    create,
    end_processes,
    find,
    free_name,
    is_same_process,
    read_manifest,
    remove,
    runs,
    signal_process,
    started_s,
    write_manifest,
)


def manifest(*nodes: NodeEntry) -> Manifest:
    return Manifest(
        "amber", 7, "ab" * 32, "simplex", "/x/control.sock", nodes, os.getpid(), 0.0, ((1, 2.0),)
    )


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_a_running_testnet_s_name_is_taken_and_a_dead_one_s_is_not(tmp_path: Path) -> None:
    folder, lock, removed = create("amber", tmp_path)
    assert removed == []
    assert runs(folder)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    with pytest.raises(TestnetRunsError, match="runs already"):
        create("amber", tmp_path)
    assert free_name("amber", tmp_path) == "amber-2"
    lock.release()
    assert not runs(folder)
    assert free_name("amber", tmp_path) == "amber"
    (folder.path / "old").write_text("x")
    again, lock, removed = create("amber", tmp_path)
    assert not (again.path / "old").exists()
    assert len(removed) == 1
    assert removed[0].startswith(f"removed {folder.path}/")
    lock.release()


def test_latest_points_to_the_one_started_last_and_goes_with_it(tmp_path: Path) -> None:
    for name in ("amber", "jade"):
        create(name, tmp_path)[1].release()
    assert find(None, tmp_path).name == "jade"
    assert find("amber", tmp_path).name == "amber"
    remove(find(None, tmp_path))
    with pytest.raises(NoTestnetError, match="there are: amber"):
        find(None, tmp_path)
    with pytest.raises(NoTestnetError, match="no testnet 'jade'"):
        find("jade", tmp_path)


def test_with_the_latest_removed_the_only_one_that_runs_is_meant(tmp_path: Path) -> None:
    locks = {name: create(name, tmp_path)[1] for name in ("amber", "jade", "opal")}
    for name in ("opal", "jade"):
        locks[name].release()
        if name == "opal":
            remove(find(name, tmp_path))
            with pytest.raises(NoTestnetError, match="--name says which: there are: "):
                find(None, tmp_path)
    assert find(None, tmp_path).name == "amber"
    with pytest.raises(NoTestnetError, match="--name says which"):
        find(None, tmp_path, another=False)
    locks["amber"].release()


def test_files_of_dead_testnets_don_t_pile_up(tmp_path: Path) -> None:
    for number in range(DEAD_KEPT_MAX + 4):
        create(f"t{number}", tmp_path)[1].release()
    assert len(all_folders(tmp_path)) == DEAD_KEPT_MAX + 1


def test_the_manifest_is_read_back_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert read_manifest(folder) is None
    made = manifest(NodeEntry("node0", ("validator",), "http://x:1", "/ip4/x", 5, 6.5))
    write_manifest(folder, made)
    assert read_manifest(folder) == made
    assert [name for name, _, _ in made.processes()] == ["supervisor", "fork server", "node0"]
    folder.manifest.write_text(folder.manifest.read_text()[:-20])
    assert read_manifest(folder) is None
    assert [p.name for p in tmp_path.iterdir()] == ["testnet.json"], "no temporary file stays"


def test_a_process_is_signalled_only_if_its_start_time_is_the_recorded_one() -> None:
    process = sleeper()
    try:
        started = started_s(process.pid)
        assert started is not None
        assert not signal_process(process.pid, started - 5, signal.SIGKILL)
        assert process.poll() is None
        assert signal_process(process.pid, started, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert not is_same_process(process.pid, started)
    assert started_s(process.pid) is None


def test_what_a_dead_testnet_left_running_is_ended_even_when_it_is_paused(tmp_path: Path) -> None:
    process = sleeper()
    try:
        started = started_s(process.pid)
        process.send_signal(signal.SIGSTOP)
        entry = NodeEntry("node0", (), "", "", process.pid, started)
        left = Manifest("amber", 7, "", "", "", (entry,), 1 << 22, 0.0)
        assert end_processes(left) == ["node0"]
        assert process.wait(1) == -signal.SIGTERM
        assert end_processes(left) == []
    finally:
        process.kill()
        process.wait()
